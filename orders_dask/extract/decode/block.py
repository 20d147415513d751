"""Decode a block of consecutive records into typed orders, rejections and issues.

The JSON reader (:mod:`~orders_dask.extract.decode.reader`) takes as much of the block as it can,
and nothing of little text. Records that it doesn't take, and those that only it would take
(:mod:`~orders_dask.extract.decode.suspects`), go one by one to the record-level rules
(:mod:`orders_dask.contract.rules`). A record that the rules repair goes back through the same
reader and the same conversion. So both paths give the same result, and differ only in time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from orders_dask.contract.arrow import decoded_schema
from orders_dask.contract.envelopes import Envelope
from orders_dask.contract.json_parser import is_sequence, truncate_raw
from orders_dask.contract.rejects import Issue, Rejected, merge_issues, reject_invalid_json
from orders_dask.contract.rules import Repaired, Skipped, apply_rules
from orders_dask.contract.schema_drift import NO_DRIFT, Drift, DriftCounter
from orders_dask.extract.decode.raw_text import (
    RawRun,
    Unwrapped,
    issues_run,
    raw_runs,
    raw_table,
)
from orders_dask.extract.decode.reader import all_json, read_lines, read_repaired
from orders_dask.extract.decode.schema_drift import count_unknown_keys
from orders_dask.extract.decode.type_conversion import Positions, convert_types
from orders_dask.extract.framing.documents import unwrap
from orders_dask.extract.lines import Lines
from orders_dask.extract.records import BOM, MAX_REJECTED, WHITESPACE, Records, Unreadable

_CONTAINER: Final = re.compile(rb'[ \t\r]*(?:\[|\{[ \t\r]*"orders?"[ \t\r]*:)')
"""The beginning of nearly all arrays, pages and wrappers."""


@dataclass(frozen=True)
class Block:
    """The result of decoding some consecutive records of a file.

    Attributes
    ----------
    orders, rejected, issues, read, unreadable, drift, raw
        As in :class:`orders_dask.extract.decode.decode.Decoded`.
    stopped
        The rest of the file, or of the long line that the records are from, can't be read.
    """

    orders: pa.Table
    rejected: tuple[Rejected, ...]
    issues: tuple[Issue, ...]
    read: int
    unreadable: bool
    stopped: bool
    drift: Drift = NO_DRIFT
    raw: pa.Table | None = None


def decode_records(
    records: Records,
    zone: ZoneInfo,
    first: int = 1,
    envelope: Envelope | None = None,
    raw_block: int | None = None,
) -> Block:
    """Decode some consecutive records of a file.

    Parameters
    ----------
    records
        Their text.
    zone
        The shop's time zone.
    first
        The position of the first record.
    envelope
        What stands around the order in each record; None for nothing.
    raw_block
        Number of the block in the file, if its raw texts are kept.

    Raises
    ------
    Unreadable
        More than :data:`~orders_dask.extract.records.MAX_REJECTED` records and children are
        rejected.
    """
    if records.framing_error:
        return _reject_unframed(records, first, records.framing_error, raw_block)
    keep_raw = raw_block is not None
    outcome = _read(records, first, envelope, DriftCounter(), keep_raw=keep_raw)
    raw = pa.concat_tables([table for table, _ in outcome.taken])
    positions = np.concatenate([rows for _, rows in outcome.taken])
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
        outcome.drift.drift(),
        None if raw_block is None else raw_table(outcome.raw, raw_block, orders),
    )


def _reject_unframed(records: Records, position: int, reason: str, raw_block: int | None) -> Block:
    """Reject the beginning of a line that framing could not read to its end."""
    rejected = reject_invalid_json(records.text, position, records.strict, reason)
    rejected = replace(rejected, message=f"The line can't be read further: {reason}.")
    unreadable = rejected.code == "unreadable_file"
    orders, raw = decoded_schema().empty_table(), None
    if raw_block is not None:
        runs = raw_runs(records, Lines(records.text), np.array([position]), [])
        raw = raw_table(runs, raw_block, orders)
    return Block(orders, (rejected,), (), 1, unreadable, stopped=False, raw=raw)


@dataclass
class _Outcome:
    """The result of reading some records, before their types are converted."""

    taken: list[tuple[pa.Table, Positions]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    used: int = 0
    unreadable: bool = False
    stopped: bool = False
    drift: DriftCounter = field(default_factory=DriftCounter)
    raw: list[RawRun] = field(default_factory=list)

    def add_parts(
        self, parts: Sequence[Records], first: int, envelope: Envelope | None, *, keep_raw: bool
    ) -> tuple[int, list[RawRun]]:
        """Decode records, such as those unwrapped from container lines.

        Returns
        -------
        int
            How many positions they use.
        list of RawRun
            Their raw texts.
        """
        used = 0
        raw: list[RawRun] = []
        for part in parts:
            inner = _read(part, first + used, envelope, self.drift, keep_raw=keep_raw)
            raw += inner.raw
            self.taken += inner.taken
            self.rejected += inner.rejected
            self.issues += inner.issues
            self.unreadable |= inner.unreadable
            self.stopped |= inner.stopped
            used += inner.used
            if len(self.rejected) > MAX_REJECTED:
                raise _too_many_rejected()
        return used, raw


def _too_many_rejected() -> Unreadable:
    return Unreadable(f"more than {MAX_REJECTED:,} records of a block are rejected")


def _read(
    records: Records,
    first: int,
    envelope: Envelope | None,
    drift: DriftCounter,
    *,
    keep_raw: bool,
) -> _Outcome:
    """Read records with the JSON reader, and those that it doesn't take with the rules.

    A line that is an array, a page or a wrapper is unwrapped in place. The positions after it
    follow those of its records. A message of an envelope that is no record has no position.
    """
    outcome = _Outcome(issues=[*records.issues], drift=drift)
    if records.parts:
        outcome.used, outcome.raw = outcome.add_parts(
            records.parts, first, envelope, keep_raw=keep_raw
        )
        return outcome
    unwrapped = records.strict or records.in_page
    lines = Lines(records.text)
    if records.overwritten:
        outcome.issues.append(Issue("order", "duplicate_key", records.overwritten, ()))
    table, numbers, unknown_keys = read_lines(lines, in_page=records.in_page, envelope=envelope)
    remaining = np.ones(len(lines), bool)
    remaining[numbers] = False

    end, shift = len(lines), 0
    shifts = np.zeros(len(lines) + 1, np.int64)  # of the positions after each line
    without_position: list[int] = []
    containers: list[Unwrapped] = []
    repaired: list[bytes] = []
    repaired_positions: list[int] = []
    for group, parts in _rule_batches(lines, np.flatnonzero(remaining).tolist(), unwrapped):
        line = group[0]
        position = first + line + shift
        result = (
            _NoRecord(parts, [])
            if parts is not None
            else _read_line(lines[line], position, records, unwrapped, envelope, drift)
        )
        if isinstance(result, Rejected):
            outcome.rejected.append(result)
            outcome.unreadable |= result.code == "unreadable_file"
            if outcome.unreadable and records.strict:
                outcome.stopped = True
                end = line + 1
                break
        elif isinstance(result, Repaired):
            repaired.append(result.line)
            repaired_positions.append(position)
            outcome.issues += result.issues
            outcome.rejected += result.rejected
        else:
            outcome.issues += result.issues
            used, raw = outcome.add_parts(result.parts, position, envelope, keep_raw=keep_raw)
            if result.parts:
                raw = [*issues_run(result.issues), *raw]
                containers.append(Unwrapped(line, group[-1] + 1, raw))
            else:
                without_position += group
            shift += used - len(group)
            shifts[group[-1]] = used - len(group)
        if len(outcome.rejected) > MAX_REJECTED:
            raise Unreadable(f"more than {MAX_REJECTED:,} records of a block are rejected")

    shifted = np.cumsum(shifts)
    numbers = numbers[: np.searchsorted(numbers, end)]
    positions = first + numbers + shifted[numbers]
    outcome.taken.append((table.slice(0, len(numbers)), positions))
    count_unknown_keys(unknown_keys.of_lines(np.arange(len(numbers))), positions, drift)
    if repaired:
        table = read_repaired(repaired, repaired_positions)
        outcome.taken.append((table, np.array(repaired_positions, np.int64)))
    outcome.used = end + shift
    if keep_raw:
        line_positions = first + np.arange(end) + shifted[:end]
        line_positions[without_position] = 0
        outcome.raw += raw_runs(records, lines, line_positions, containers)
    return outcome


class _NoRecord(NamedTuple):
    """The result for a line that is no record itself.

    Attributes
    ----------
    parts
        The records in it, if it is a container; none for an envelope's message without an order.
    issues
        What was found around them.
    """

    parts: list[Records]
    issues: list[Issue]


def _read_line(
    line: bytes,
    position: int,
    records: Records,
    unwrapped: bool,
    envelope: Envelope | None,
    drift: DriftCounter,
) -> Repaired | Rejected | _NoRecord:
    """Apply the rules to a line of `records`; if it is rejected, without its byte-order marks."""
    result = _apply_rules(line, position, records, unwrapped, envelope, drift)
    without_marks = _without_marks(line) if isinstance(result, Rejected) else None
    if without_marks is None:
        return result
    text, marks = without_marks
    result = _apply_rules(text, position, records, unwrapped, envelope, drift)
    if isinstance(result, Rejected):
        return replace(result, raw=truncate_raw(line.removesuffix(b"\n")))
    mark = Issue("", "byte_order_mark", marks, ())
    return result._replace(issues=[mark, *result.issues])


def _apply_rules(
    line: bytes,
    position: int,
    records: Records,
    unwrapped: bool,
    envelope: Envelope | None,
    drift: DriftCounter,
) -> Repaired | Rejected | _NoRecord:
    """Apply the rules to a line of `records`, and unwrap it if it is a container."""
    if not line.strip(WHITESPACE):
        return _NoRecord([], [])  # a byte-order mark alone
    if records.strict:  # blanks between records depend on how the text was cut
        line = line.strip(WHITESPACE) + b"\n"
    result = apply_rules(
        line,
        position,
        in_page=records.in_page,
        unwrapped=unwrapped,
        strict=records.strict,
        envelope=envelope,
        drift=drift,
    )
    if isinstance(result, Skipped):
        return _NoRecord([], result.issues)
    is_line = isinstance(result, Rejected) and not (unwrapped or records.strict)
    if is_line and is_sequence(line):
        result = None  # documents side by side, as a file without newlines between them has
    if result is not None:
        return result
    parts = _unwrap_all([line])
    if parts is None:
        return reject_invalid_json(line, position, records.strict, "it nests too deeply")
    return _NoRecord(parts, [])


def _without_marks(line: bytes) -> tuple[bytes, int] | None:
    """Return a line without the byte-order marks between its documents, and their number.

    Files that begin with one have them in the middle when they are joined. None if there is none:
    in a string it is a character, and anywhere else no JSON.
    """
    if BOM not in line:
        return None
    marks = sum(m[0].count(BOM) for m in _STRING_OR_MARKS.finditer(line) if m[0][:1] != b'"')
    if not marks:
        return None
    return _STRING_OR_MARKS.sub(lambda m: m[0] if m[0][:1] == b'"' else _blanked(m[0]), line), marks


def _blanked(marks: bytes) -> bytes:
    return marks.replace(BOM, b" ")


_STRING_OR_MARKS: Final = re.compile(
    rb'"(?:[^"\\]++|\\.)*+"|(?:\A|[}\]])[ \t\r\n]*+(?:%b[ \t\r\n]*+)++(?=[{\[]|\Z)' % BOM, re.DOTALL
)
"""A string, or marks between documents, with the end of the one before."""


def _rule_batches(
    lines: Lines, remaining: list[int], unwrapped: bool
) -> Iterator[tuple[list[int], list[Records] | None]]:
    """Yield the lines that the reader didn't take, one at a time.

    Consecutive lines that certainly are containers are yielded together, with the records in them.
    """

    def group_key(index: int) -> tuple[bool, int]:
        begin = int(lines.bounds[remaining[index]])
        is_container = not unwrapped and bool(_CONTAINER.match(lines.text, begin))
        return is_container, remaining[index] - index  # the same for consecutive lines

    for (are_containers, _), indices in groupby(range(len(remaining)), group_key):
        group = [remaining[index] for index in indices]
        texts = [lines[line] for line in group] if are_containers else []
        parts = _unwrap_all(texts) if are_containers and all_json(texts) else None
        if parts is None:
            yield from (([line], None) for line in group)
        else:
            yield group, parts


def _unwrap_all(documents: list[bytes]) -> list[Records] | None:
    """Return the records in documents that are JSON; None if they can't be unwrapped."""
    try:
        return unwrap(b"".join(documents))
    except Unreadable:
        return None
