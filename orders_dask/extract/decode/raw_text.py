"""Raw texts of records as a table, and that table as records to be decoded once more.

Decode gives the same for these records as for the file: they are framed as it saw them, in the same
blocks. Records that were unwrapped from a container line stand in its place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orders_dask.contract.arrow import FILE, POSITION
from orders_dask.contract.order_tables import fact_order
from orders_dask.contract.raw_text import FRAMING, ORDER_ID, TEXT, raw_text_schema
from orders_dask.contract.record_keys import id_key
from orders_dask.contract.rejects import Issue
from orders_dask.extract.lines import Lines
from orders_dask.extract.records import Records, Rows, Unreadable

_UNSET: Final = Records(b"", in_page=False, strict=False)
_FRAMED: Final = ("in_page", "strict", "overwritten", "long_line", "framing_error")
"""Attributes of :class:`~orders_dask.extract.records.Records` that are kept, if they are set."""
_ISSUES: Final = "issues"
_LAST_LINE_IS_OPEN: Final = "last_line_is_open"
_UNREADABLE: Final = "unreadable"


class RawRun(NamedTuple):
    """Consecutive lines that are framed alike.

    Attributes
    ----------
    records
        The lines.
    bounds
        The index where each line begins, and the length of the text.
    positions
        The position of each line, 0 for one that takes none.
    """

    records: Records
    bounds: Rows
    positions: Rows


class Unwrapped(NamedTuple):
    """The lines [begin, end) of a text, which are containers, and the runs of their records."""

    begin: int
    end: int
    runs: Sequence[RawRun]


def raw_runs(
    records: Records, lines: Lines, positions: Rows, containers: Sequence[Unwrapped]
) -> Iterator[RawRun]:
    """Yield the runs of some records as far as decode read them.

    Parameters
    ----------
    records
        The records.
    lines
        Their text as lines.
    positions
        The position of each line that was read, 0 for one that takes none.
    containers
        Its lines that were unwrapped, in order.
    """

    def run(begin: int, end: int) -> RawRun:
        bounds = lines.bounds[begin : end + 1]
        cut = replace(records if begin == 0 else rest, text=lines.text[bounds[0] : bounds[-1]])
        return RawRun(cut, bounds - bounds[0], positions[begin:end])

    # What was found around the lines belongs to the first run, which may have none of them.
    rest, begin = replace(records, issues=(), overwritten=0), 0
    if rest != records and (not len(positions) or any(each.begin == 0 for each in containers)):
        yield run(0, 0)
    for container in containers:
        if container.begin > begin:
            yield run(begin, container.begin)
        yield from container.runs
        begin = container.end
    if begin < len(positions):
        yield run(begin, len(positions))


def issues_run(issues: Sequence[Issue]) -> list[RawRun]:
    """Return a run without lines for issues around records; none if there are none."""
    none = np.zeros(0, np.int64)
    records = Records(b"", in_page=False, strict=True, number=0, issues=tuple(issues))
    return [RawRun(records, np.zeros(1, np.int64), none)] if issues else []


def raw_table(runs: Iterable[RawRun], block: int, orders: pa.Table) -> pa.Table:
    """Return the raw texts of a block.

    Parameters
    ----------
    runs
        Its runs.
    block
        Number of the block in the file.
    orders
        Its orders, which have the ids; their positions ascend.
    """
    tables = [_run_table(run, block, number) for number, run in enumerate(runs)]
    table = pa.concat_tables([_SCHEMA.empty_table(), *tables])
    positions = table[POSITION].fill_null(0).to_numpy()
    with_order = orders[POSITION].to_numpy()
    row = np.searchsorted(with_order, positions)
    found = row < len(with_order)
    found[found] = with_order[row[found]] == positions[found]
    ids = orders[id_key(fact_order)].take(pa.array(row, mask=~found))
    return table.set_column(table.column_names.index(ORDER_ID), _SCHEMA.field(ORDER_ID), ids)


_SCHEMA: Final = raw_text_schema().remove(raw_text_schema().get_field_index(FILE))


def _run_table(run: RawRun, block: int, number: int) -> pa.Table:
    records, rows = run.records, len(run.positions)
    framing: dict[str, Any] = {"block": block, "run": number}
    for name in _FRAMED:
        if (value := getattr(records, name)) != getattr(_UNSET, name):
            framing[name] = value
    if records.issues:
        framing[_ISSUES] = [(issue.field, issue.code, issue.count) for issue in records.issues]
    if records.text and not records.text.endswith(b"\n"):
        framing[_LAST_LINE_IS_OPEN] = True
    if not rows:
        return _table([None], [None], json.dumps(framing))
    # A line end is one byte, and nowhere but at the end of a line.
    text = records.text.replace(b"\n", b"")
    offsets = run.bounds - np.arange(rows + 1)
    offsets[-1] = len(text)
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(text)]
    texts = pa.Array.from_buffers(pa.binary(), rows, buffers)
    positions = pa.array(run.positions, mask=run.positions == 0)
    return _table(positions, texts, json.dumps(framing))


def unreadable_row(error: Unreadable, position: int, block: int) -> pa.Table:
    """Return the row of the end of a file that can't be read further."""
    framing = {"block": block, "run": 0, _UNREADABLE: error.message}
    return _table([position], [error.raw], json.dumps(framing))


def _table(positions: Any, texts: Any, framing: str) -> pa.Table:
    rows = len(texts)
    columns = {
        POSITION: pa.array(positions, pa.int64()),
        ORDER_ID: pa.nulls(rows, pa.int64()),
        TEXT: pa.array(texts, pa.binary()),
        FRAMING: pa.repeat(pa.scalar(framing), rows),
    }
    return pa.table(columns, schema=_SCHEMA)


def records_by_file(tables: Iterable[pa.Table], files: int) -> Iterator[Iterator[Records]]:
    """Yield the records of each file, a block at a time, to be consumed before the next file's.

    Parameters
    ----------
    tables
        The raw texts of the files, in their order. A block is in one table.
    files
        Number of the files, which :data:`~orders_dask.contract.arrow.FILE` counts from 0.
    """
    blocks = (block for table in tables for block in _blocks(table))
    grouped = groupby(blocks, key=itemgetter(0))
    upcoming = next(grouped, None)
    for number in range(files):
        if upcoming is None or upcoming[0] != number:
            yield iter(())
            continue
        yield _readable(block for _, block in upcoming[1])
        upcoming = next(grouped, None)


def _readable(blocks: Iterator[Records | Unreadable]) -> Iterator[Records]:
    for block in blocks:
        if isinstance(block, Unreadable):
            raise block
        yield block


def _blocks(table: pa.Table) -> Iterator[tuple[int, Records | Unreadable]]:
    """Yield each block of a table with the number of its file."""
    files = table[FILE].to_numpy()
    codes = table[FRAMING].combine_chunks().dictionary_encode().indices.to_numpy()
    changes = np.flatnonzero((np.diff(files) != 0) | (np.diff(codes) != 0)) + 1
    bounds = [0, *changes.tolist(), len(files)] if len(files) else []
    texts = table[TEXT].combine_chunks()

    def run(cut: tuple[int, int]) -> tuple[int, int, Records | Unreadable]:
        begin, end = cut
        framing = json.loads(table[FRAMING][begin].as_py())
        file, block = int(files[begin]), framing.pop("block")
        return file, block, _records(texts[begin:end], framing)

    runs = map(run, pairwise(bounds))
    for (file, _), of_block in groupby(runs, key=itemgetter(0, 1)):
        parts = [records for _, _, records in of_block]
        yield file, parts[0] if len(parts) == 1 else _joined(parts)


def _joined(parts: Sequence[Records | Unreadable]) -> Records:
    """Return the runs of a block as one; only one that is a block by itself is not readable."""
    records = tuple(part for part in parts if isinstance(part, Records))
    number = sum(part.number for part in records)
    return Records(b"", in_page=False, strict=False, number=number, parts=records)


def _records(texts: pa.BinaryArray, framing: dict[str, Any]) -> Records | Unreadable:
    if message := framing.pop(_UNREADABLE, None):
        return Unreadable(message, texts[0].as_py())
    del framing["run"]
    is_open = framing.pop(_LAST_LINE_IS_OPEN, False)
    found = framing.pop(_ISSUES, ())
    issues = tuple(Issue(field, code, count, ()) for field, code, count in found)
    framed = {"in_page": False, "strict": False} | framing
    if not texts[0].is_valid:
        return Records(b"", number=0, issues=issues, **framed)
    if not is_open:  # an empty text behind the last one, which gives it its line end
        texts = pa.concat_arrays([texts, pa.array([b""])])
    together = pa.LargeListArray.from_arrays([0, len(texts)], texts)
    text = pc.binary_join(together, b"\n")[0].as_buffer().to_pybytes()
    return Records(text, number=text.count(b"\n") + is_open, issues=issues, **framed)
