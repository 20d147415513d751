"""A block of consecutive records to typed orders, rejections and issues.

The JSON reader takes what it can of the block at once (:mod:`.reader`). What it refuses, and what only it would take
(:mod:`.suspects`), goes to the record-level rules (:mod:`orders_dask.contract.rules`) one record at a time; what these
repair comes back through the same reader and the same conversion. So both ways give the same, and which one a record
took shows in nothing but time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from orders_dask.contract.rules import Issue, Rejected, Repaired, judge, merged, not_json
from orders_dask.extract.decode.json_reader import are_json, read_judged, read_lines
from orders_dask.extract.decode.type_conversion import Positions, typed
from orders_dask.extract.framing.documents import elements
from orders_dask.extract.lines import Lines
from orders_dask.extract.records import BLANKS, MANY, Records, Unreadable

_ENVELOPE: Final = re.compile(rb'[ \t\r]*(?:\[|\{[ \t\r]*"orders?"[ \t\r]*:)')
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
        More than :data:`~orders_dask.extract.records.MANY` of what is in them is refused.
    """
    outcome = _read(records, first, opened=False)
    tables, places = [table for table, _ in outcome.taken], [rows for _, rows in outcome.taken]
    raw = pa.concat_tables(tables)
    positions = np.concatenate(places)
    if (np.diff(positions) < 0).any():
        order = np.argsort(positions)
        raw, positions = raw.take(pa.array(order)), positions[order]
    orders, issues = typed(raw, positions, zone)
    return Block(
        orders,
        tuple(outcome.rejected),
        merged(outcome.issues + issues),
        outcome.used,
        outcome.unreadable,
        outcome.stopped,
    )


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
            inner = _read(part, first + used, opened=True)
            self.taken += inner.taken
            self.rejected += inner.rejected
            self.issues += inner.issues
            self.unreadable |= inner.unreadable
            self.stopped |= inner.stopped
            used += inner.used
        return used


def _read(records: Records, first: int, *, opened: bool) -> _Outcome:
    """Read records: as many as it takes with the JSON reader, the others by the rules, in document order.

    A line that is an array, a page or a wrapper is opened in its place; the positions after it follow its records.
    """
    opened = opened or records.strict or records.enveloped
    lines = Lines(records.text)
    outcome = _Outcome()
    if records.repeated:
        outcome.issues.append(Issue("order", "duplicate_key", records.repeated, ()))
    table, numbers = read_lines(lines, enveloped=records.enveloped)
    left = np.ones(len(lines), bool)
    left[numbers] = False

    end, shift = len(lines), 0
    shifts = np.zeros(len(lines) + 1, np.int64)  # by how much the positions after a line are moved
    repaired: list[bytes] = []
    places: list[int] = []
    for group, parts in _groups(lines, np.flatnonzero(left).tolist(), opened):
        line = group[0]
        position = first + line + shift
        found = parts if parts is not None else _judged(lines[line], position, records, opened)
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
        if len(outcome.rejected) > MANY:
            raise Unreadable(f"more than {MANY:,} records of a block are rejected")

    moved = np.cumsum(shifts)
    numbers = numbers[: np.searchsorted(numbers, end)]
    outcome.taken.append((table.slice(0, len(numbers)), first + numbers + moved[numbers]))
    if repaired:
        outcome.taken.append((read_judged(repaired, places), np.array(places, np.int64)))
    outcome.used = end + shift
    return outcome


def _judged(
    line: bytes, position: int, records: Records, opened: bool
) -> Repaired | Rejected | list[Records]:
    """Apply the rules to a line of `records`; give the records inside of it if it is to be opened."""
    if records.strict:  # blanks between records belong to none of them, whatever cut them apart
        line = line.strip(BLANKS) + b"\n"
    judged = judge(
        line, position, enveloped=records.enveloped, opened=opened, strict=records.strict
    )
    if judged is not None:
        return judged
    parts = _elements([line])
    if parts is None:
        return not_json(line, position, records.strict, "it nests too deeply")
    return parts


def _groups(
    lines: Lines, left: list[int], opened: bool
) -> Iterator[tuple[list[int], list[Records] | None]]:
    """Give the lines that the reader left, each to be judged alone.

    But for consecutive ones that certainly are arrays, pages or wrappers: these come with the records inside of them.
    """

    def kind(place: int) -> tuple[bool, int]:
        begin = int(lines.bounds[left[place]])
        return not opened and bool(_ENVELOPE.match(lines.text, begin)), left[place] - place

    for (envelopes, _), places in groupby(range(len(left)), kind):
        group = [left[place] for place in places]
        texts = [lines[line] for line in group] if envelopes else []
        parts = _elements(texts) if envelopes and are_json(texts) else None
        if parts is None:
            yield from (([line], None) for line in group)
        else:
            yield group, parts


def _elements(documents: list[bytes]) -> list[Records] | None:
    """Give the records inside of documents; None where these are JSON, but not such as can be taken apart."""
    try:
        return elements(b"".join(documents))
    except Unreadable:
        return None
