"""A block of consecutive records to typed orders, rejections and issues.

The JSON reader takes what it can of the block at once (:mod:`.reader`). What it refuses, and what
only it would take (:mod:`.suspects`), goes to the record-level rules
(:mod:`orders_dask.contract.rules`) one record at a time; what these repair comes back through the
same reader and the same conversion. So both ways give the same, and which one a record took shows
in nothing but time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from orders_dask.contract.arrow import decoded_schema
from orders_dask.contract.rules import (
    Issue,
    Rejected,
    Repaired,
    apply_rules,
    merge_issues,
    reject_invalid_json,
)
from orders_dask.extract.decode.json_reader import all_json, read_lines, read_repaired
from orders_dask.extract.decode.type_conversion import Positions, convert_types
from orders_dask.extract.framing.documents import unwrap
from orders_dask.extract.lines import Lines
from orders_dask.extract.records import MAX_REJECTED, WHITESPACE, Records, Unreadable

_CONTAINER: Final = re.compile(rb'[ \t\r]*(?:\[|\{[ \t\r]*"orders?"[ \t\r]*:)')
"""How an array, a page or a wrapper nearly always begins."""


@dataclass(frozen=True)
class Block:
    """What came of some consecutive records: see :class:`Decoded`. `stopped`: the rest of the file can't be read."""

    orders: pa.Table
    rejected: tuple[Rejected, ...]
    issues: tuple[Issue, ...]
    read: int
    unreadable: bool
    stopped: bool


def decode_records(records: Records, zone: ZoneInfo, first: int = 1) -> Block:
    """Decode some consecutive records of a file.

    Parameters
    ----------
    records
        Their text.
    zone
        The shop's.
    first
        The position of the first of them.

    Raises
    ------
    Unreadable
        More than :data:`~orders_dask.extract.records.MAX_REJECTED` of what is in them is refused.
    """
    if records.framing_error:
        return _reject_unframed(records, first, records.framing_error)
    outcome = _read(records, first, unwrapped=False)
    tables, places = [table for table, _ in outcome.taken], [rows for _, rows in outcome.taken]
    raw = pa.concat_tables(tables)
    positions = np.concatenate(places)
    if (np.diff(positions) < 0).any():
        order = np.argsort(positions)
        raw, positions = raw.take(pa.array(order)), positions[order]
    orders, issues = convert_types(raw, positions, zone)
    return Block(
        orders,
        tuple(outcome.rejected),
        merge_issues(outcome.issues + issues),
        outcome.used,
        outcome.unreadable,
        outcome.stopped,
    )


def _reject_unframed(records: Records, position: int, reason: str) -> Block:
    """Reject the beginning of a line that framing could not read to its end."""
    rejected = reject_invalid_json(records.text, position, records.strict, reason)
    rejected = replace(rejected, message=f"The line can't be read further: {reason}.")
    unreadable = rejected.code == "unreadable_file"
    return Block(decoded_schema().empty_table(), (rejected,), (), 1, unreadable, stopped=False)


@dataclass
class _Outcome:
    """What came of some records before their types are converted."""

    taken: list[tuple[pa.Table, Positions]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    used: int = 0
    unreadable: bool = False
    stopped: bool = False

    def add(self, parts: list[Records], first: int) -> int:
        """Read records that were taken out of lines of these; give how many positions they use."""
        used = 0
        for part in parts:
            inner = _read(part, first + used, unwrapped=True)
            self.taken += inner.taken
            self.rejected += inner.rejected
            self.issues += inner.issues
            self.unreadable |= inner.unreadable
            self.stopped |= inner.stopped
            used += inner.used
        return used


def _read(records: Records, first: int, *, unwrapped: bool) -> _Outcome:
    """Read records: as many as it takes with the JSON reader, the others by the rules, in document order.

    A line that is an array, a page or a wrapper is opened in its place; the positions after it
    follow its records.
    """
    unwrapped = unwrapped or records.strict or records.in_page
    lines = Lines(records.text)
    outcome = _Outcome()
    if records.overwritten:
        outcome.issues.append(Issue("order", "duplicate_key", records.overwritten, ()))
    table, numbers = read_lines(lines, in_page=records.in_page)
    left = np.ones(len(lines), bool)
    left[numbers] = False

    end, shift = len(lines), 0
    shifts = np.zeros(len(lines) + 1, np.int64)  # by how much the positions after a line are moved
    repaired: list[bytes] = []
    places: list[int] = []
    for group, parts in _rule_batches(lines, np.flatnonzero(left).tolist(), unwrapped):
        line = group[0]
        position = first + line + shift
        found = (
            parts if parts is not None else _apply_rules(lines[line], position, records, unwrapped)
        )
        if isinstance(found, list):
            used = outcome.add(found, position)
            shift += used - len(group)
            shifts[group[-1]] = used - len(group)
        elif isinstance(found, Repaired):
            repaired.append(found.line)
            places.append(position)
            outcome.issues += found.issues
            outcome.rejected += found.rejected
        else:
            outcome.rejected.append(found)
            outcome.unreadable |= found.code == "unreadable_file"
            if outcome.unreadable and records.strict:
                outcome.stopped = True
                end = line + 1
                break
        if len(outcome.rejected) > MAX_REJECTED:
            raise Unreadable(f"more than {MAX_REJECTED:,} records of a block are rejected")

    moved = np.cumsum(shifts)
    numbers = numbers[: np.searchsorted(numbers, end)]
    outcome.taken.append((table.slice(0, len(numbers)), first + numbers + moved[numbers]))
    if repaired:
        outcome.taken.append((read_repaired(repaired, places), np.array(places, np.int64)))
    outcome.used = end + shift
    return outcome


def _apply_rules(
    line: bytes, position: int, records: Records, unwrapped: bool
) -> Repaired | Rejected | list[Records]:
    """Apply the rules to a line of `records`; give the records inside of it if it is to be opened."""
    if records.strict:  # blanks between records belong to none of them, whatever cut them apart
        line = line.strip(WHITESPACE) + b"\n"
    judged = apply_rules(
        line, position, in_page=records.in_page, unwrapped=unwrapped, strict=records.strict
    )
    if judged is not None:
        return judged
    parts = _unwrap_all([line])
    if parts is None:
        return reject_invalid_json(line, position, records.strict, "it nests too deeply")
    return parts


def _rule_batches(
    lines: Lines, remaining: list[int], unwrapped: bool
) -> Iterator[tuple[list[int], list[Records] | None]]:
    """Give the lines that the reader left, each to be judged alone.

    But for consecutive ones that certainly are arrays, pages or wrappers: these come with the
    records inside of them.
    """

    def kind(place: int) -> tuple[bool, int]:
        begin = int(lines.bounds[remaining[place]])
        return not unwrapped and bool(_CONTAINER.match(lines.text, begin)), remaining[place] - place

    for (envelopes, _), places in groupby(range(len(remaining)), kind):
        group = [remaining[place] for place in places]
        texts = [lines[line] for line in group] if envelopes else []
        parts = _unwrap_all(texts) if envelopes and all_json(texts) else None
        if parts is None:
            yield from (([line], None) for line in group)
        else:
            yield group, parts


def _unwrap_all(documents: list[bytes]) -> list[Records] | None:
    """Give the records inside of documents; None where these are JSON, but not such as can be taken apart."""
    try:
        return unwrap(b"".join(documents))
    except Unreadable:
        return None
