"""The JSON reader: lines of text to raw orders, as many as it takes; the others are for the record-level rules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from orders_dask.contract.arrow import raw_schema
from orders_dask.extract.raw import reader_schema
from orders_dask.extract.records import BLANKS
from orders_dask.extract.suspects import Lines, Rows, suspects

_PIECE: Final = 320
"""Lines that are read at once: a refusal has those before it read again. At 0.1% bad records each line of a whole block
was read 2.7 times, and in these pieces 1.16 times."""

_SMALL: Final = 20
"""Lines of the pieces that one is cut into, once, which is refused without a row's name."""

# Costs, in lines read by the reader: what a call costs whatever its size, and what the rules cost for a line.
_CALL: Final = 40
_JUDGING: Final = 8
_CREDIT: Final = 2
"""Lines that may be read in vain before any was taken, for each line of the block."""

_ROW: Final = re.compile(r"in row (\d+)$")
_NUMBERS_BY_NAME: Final = "NaN|Inf"


def read_lines(lines: Lines, *, enveloped: bool) -> tuple[pa.Table, Rows]:
    """Read the lines that are good orders, or need no more than what is done by column.

    Returns
    -------
    tuple
        A table of :func:`~orders_dask.contract.arrow.raw_schema`, and for each row the number of its line, ascending.
        The lines that are not there are for the rules.
    """
    clean = ~lines.suspects(enveloped)
    pieces = list(_pieces(lines.where(clean), enveloped))
    tables = [reader_schema(enveloped).empty_table(), *(table for _, table in pieces)]
    raw = pa.concat_tables(tables).combine_chunks()
    taken = np.concatenate([np.zeros(0, np.int64), *(numbers for numbers, _ in pieces)])
    good = ~suspects(raw, enveloped=enveloped, judged=False)
    if not good.all():
        raw = raw.filter(pa.array(good))
    return raw.select(raw_schema().names), np.flatnonzero(clean)[taken[good]]


def read_judged(lines: Sequence[bytes], positions: Sequence[int]) -> pa.Table:
    """Read records that the rules have written again: by their own promise there is nothing to find in them."""
    whole = Lines(b"".join(lines))
    table = _parse(whole, 0, len(whole), enveloped=True).combine_chunks()
    marked = np.flatnonzero(suspects(table, enveloped=True, judged=True))
    if marked.size:
        raise RuntimeError(f"The rules left record {positions[marked[0]]} as it may not be.")
    return table


def are_json(lines: Sequence[bytes]) -> bool:
    """Tell whether each line is one JSON value; False also where only Python's parser could tell."""
    # Inside of an object the reader takes any value. What begins with a bracket can't close that object and open
    # another unseen: between the two there would be a comma, which is no document.
    text = b"".join([b'{"value":%b}\n' % line.strip(BLANKS) for line in lines])
    if pc.match_substring_regex(pa.array([text], pa.large_binary()), _NUMBERS_BY_NAME)[0].as_py():
        return False
    try:
        rows = _read_json(pa.py_buffer(text), pa.schema({"": pa.null()})).num_rows
    except pa.ArrowInvalid:
        return False
    return bool(rows == len(lines))


def _pieces(lines: Lines, enveloped: bool) -> Iterator[tuple[Rows, pa.Table]]:
    """Read lines in pieces that the reader takes; each comes with the numbers of its lines.

    A refusal that names a row costs that line: those before it are known to parse. Any other has the piece cut in
    small ones, once, and then costs what is left. As soon as more was read in vain than the rules would have cost, they
    get the rest.
    """
    work = _cut(0, len(lines), _PIECE)
    credit = _CREDIT * len(lines) + _CALL
    while work and credit > 0:
        begin, end = work.pop()
        if begin == end:
            continue
        try:
            table = _parse(lines, begin, end, enveloped)
        except pa.ArrowInvalid as refusal:
            credit -= _CALL
            if row := _ROW.search(str(refusal)):
                named = min(begin + int(row[1]), end - 1)
                work += [(named + 1, end), (begin, named)]
                credit -= named - begin
            else:
                credit -= end - begin
                if end - begin > _SMALL:
                    work += _cut(begin, end, _SMALL)
        else:
            yield np.arange(begin, end), table
            credit += (end - begin) * _JUDGING - _CALL


def _cut(begin: int, end: int, size: int) -> list[tuple[int, int]]:
    """Cut a span of lines into pieces, the last of them first."""
    return [(at, min(at + size, end)) for at in range(begin, end, size)][::-1]


def _parse(lines: Lines, begin: int, end: int, enveloped: bool) -> pa.Table:
    table = _read_json(lines.span(begin, end), reader_schema(enveloped))
    if table.num_rows != end - begin:
        raise pa.ArrowInvalid("A line holds more than one document.")
    return table


def _read_json(text: pa.Buffer, schema: pa.Schema) -> pa.Table:
    return pj.read_json(
        pa.BufferReader(text),
        # One block of its own: a block that ends within the text would cut a record in two.
        read_options=pj.ReadOptions(use_threads=False, block_size=text.size + 16),
        parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )
