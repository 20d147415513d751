"""The JSON reader: lines of text to raw orders, as many as it takes; the others are for the record- level rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orders_dask.contract.arrow import MONEY_TYPE, raw_schema
from orders_dask.contract.rules import CONTAINER_KEYS
from orders_dask.contract.values import ROUNDING_NOISE
from orders_dask.extract import json_scanner as scan
from orders_dask.extract.decode.suspects import needs_rules
from orders_dask.extract.json_scanner import Bytes, Cells, Ints, Plan
from orders_dask.extract.lines import Lines
from orders_dask.extract.records import MAX_RECORD_BYTES, Rows

_ELEMENT_FIELD: Final = 4
"""Elements of an array that there is room for to begin with, for each line; where that is too little it is doubled."""

_MAX_RECORD_VALUES: Final = 100_000
"""Elements that an array of a line may have; real orders have at most 500 lines. A record of 16 MiB
of ``{},`` took 1.5 GB of memory before it was left to the rules, who reject it."""

_NESTED: Final = 200
"""Levels of nesting that are followed. The rules know deeper ones."""

_KINDS: Final[dict[pa.DataType, int]] = {
    pa.int64(): scan.INTEGER,
    MONEY_TYPE: scan.AMOUNT,
    pa.bool_(): scan.FLAG,
    pa.string(): scan.TEXT,
    pa.null(): scan.FORBIDDEN,
}


def read_lines(lines: Lines, *, in_page: bool) -> tuple[pa.Table, Rows]:
    """Read the lines that are good orders, or need no more than what is done by column.

    Returns
    -------
    tuple
        A table of :func:`~orders_dask.contract.arrow.raw_schema`, and for each row the number of
        its line, ascending. The lines that are not there are for the rules.
    """
    # Outside pages and wrappers what has one of their keys is no order.
    forbidden = [] if in_page else [pa.field(name, pa.null()) for name in CONTAINER_KEYS]
    raw, taken = _read(lines, pa.struct([*raw_schema(), *forbidden]))
    good = ~needs_rules(raw, in_page=in_page, repaired=False)
    if not good.all():
        raw = raw.filter(pa.array(good))
    return raw.select(raw_schema().names), taken[good]


def read_repaired(lines: Sequence[bytes], positions: Sequence[int]) -> pa.Table:
    """Read records that the rules have written again: by their own promise there is nothing to find in them."""
    raw, taken = _read(Lines(b"".join(lines)), pa.struct(list(raw_schema())), most=MAX_RECORD_BYTES)
    left = np.ones(len(lines), bool)
    left[taken[~needs_rules(raw, in_page=True, repaired=True)]] = False
    if left.any():
        raise RuntimeError(
            f"The rules left record {positions[int(left.argmax())]} as it may not be."
        )
    return raw


def all_json(lines: Sequence[bytes]) -> bool:
    """Tell whether each line is one JSON value; False also where only Python's parser could tell."""
    _, cells = _scan(Lines(b"".join(lines)), _plan(None), _MAX_RECORD_VALUES)
    return bool(cells.rows[0] == len(lines))


def _read(
    lines: Lines, record: pa.StructType, most: int = _MAX_RECORD_VALUES
) -> tuple[pa.Table, Rows]:
    """Read the lines that are such records, and give the numbers of these."""
    plan = _plan(record)
    text, cells = _scan(lines, plan, most)
    orders = _Columns(text, plan, cells).array(record)
    raw = pa.Table.from_batches([pa.RecordBatch.from_struct_array(orders)])
    return raw, cells.lines[: len(orders)]


def _scan(lines: Lines, plan: Plan, most: int) -> tuple[Bytes, Cells]:
    """Scan lines, but for those in which an array has more elements than `most` and the room that there is."""
    text = np.frombuffer(lines.text if lines.text.endswith(b"\n") else lines.text + b"\n", np.uint8)
    bounds = np.append(lines.bounds[:-1], len(text))
    room = np.full(plan.nodes[:, scan.LEVEL].max(initial=0) + 1, _ELEMENT_FIELD * len(lines))
    room[0] = len(lines)
    cells, line, level = _cells(plan, room), 0, -1
    while line < len(lines):
        line, level = scan.scan(text, bounds, line, **plan._asdict(), **cells._asdict())
        if level >= 0 and room[level] - cells.rows[level] > most:
            line += 1
        elif level >= 0:
            room[level] *= 2
            cells = _grow(cells, plan, room)
    return text, cells


@cache
def _plan(record: pa.StructType | None) -> Plan:
    """Lay out what a record holds, its nodes in the order that :class:`_Columns` asks for them."""
    nodes: list[list[int]] = []
    keys = np.full((scan.SLOTS, 4), -1)
    names = bytearray()

    def add(kind: pa.DataType, level: int) -> int:
        node = len(nodes)
        nodes.append([_KINDS.get(kind, scan.OBJECT), level, -1])
        if pa.types.is_list(kind):
            nodes[node][scan.KIND] = scan.ARRAY
            nodes[node][scan.ELEMENT] = add(kind.value_type, next(levels))
        if pa.types.is_struct(kind):
            for item in kind:
                name = item.name.encode()
                slot = scan.slot(np.frombuffer(name, np.uint8), 0, len(name), node)
                while keys[slot, scan.PARENT] >= 0:
                    slot = (slot + 1) % scan.SLOTS
                begin = len(names)
                names.extend(name)
                keys[slot] = node, begin, len(names), add(item.type, level)
        return node

    levels = count(1)
    if record is not None:
        add(record, 0)
    decimals = MONEY_TYPE.scale
    noise = -ROUNDING_NOISE.adjusted() - decimals
    return Plan(
        np.array(nodes, np.int64).reshape(-1, 3),
        keys,
        np.frombuffer(names, np.uint8),
        decimals,
        noise,
    )


def _cells(plan: Plan, capacity: Ints) -> Cells:
    """Give empty cells. What is not written to takes no memory."""
    sizes = capacity[plan.nodes[:, scan.LEVEL]]
    ends = np.cumsum(sizes)
    number = int(sizes.sum())
    return Cells(
        base=ends - sizes,
        capacity=capacity.copy(),
        rows=np.zeros_like(capacity),
        rows_before=np.zeros_like(capacity),
        stack=np.zeros((_NESTED, 3), np.int64),
        state=np.zeros(number, np.uint8),
        first=np.zeros(number, np.int64),
        second=np.zeros(number, np.int64),
        lines=np.zeros(capacity[0], np.int64),
    )


def _grow(cells: Cells, plan: Plan, capacity: Ints) -> Cells:
    """Give the same cells with more room."""
    larger = _cells(plan, capacity)
    larger.rows[:] = cells.rows
    larger.lines[:] = cells.lines
    for level, old, new in zip(plan.nodes[:, scan.LEVEL], cells.base, larger.base, strict=True):
        rows = cells.rows[level]
        for column in ("state", "first", "second"):
            getattr(larger, column)[new : new + rows] = getattr(cells, column)[old : old + rows]
    return larger


@dataclass
class _Columns:
    """Cells as Arrow arrays, node by node in the order of :func:`_plan`."""

    text: Bytes
    plan: Plan
    cells: Cells
    nodes: Iterator[int] = field(default_factory=count)

    def array(self, kind: pa.DataType) -> pa.Array:
        """Give the array of the next node."""
        node = next(self.nodes)
        rows = int(self.cells.rows[self.plan.nodes[node, scan.LEVEL]])
        begin = int(self.cells.base[node])
        column = slice(begin, begin + rows)
        first, second = self.cells.first[column], self.cells.second[column]
        given = self.cells.state[column] == scan.PRESENT
        valid = None if given.all() else _bits(given)
        if pa.types.is_struct(kind):
            inner = [self.array(item.type) for item in kind]
            return pa.Array.from_buffers(kind, rows, [valid], children=inner)
        if pa.types.is_list(kind):
            buffers = [valid, pa.py_buffer(_offsets(first, given))]
            return pa.Array.from_buffers(
                kind, rows, buffers, children=[self.array(kind.value_type)]
            )
        if kind == pa.string():
            offsets = _offsets(second, given)
            data = np.empty(offsets[-1], np.uint8)
            scan.copy_texts(self.text, first, offsets, data)
            buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(data)]
        elif kind == MONEY_TYPE:
            buffers = [valid, pa.py_buffer(np.column_stack((first, second)))]
        elif kind == pa.bool_():
            buffers = [valid, _bits(first != 0)]
        elif kind == pa.null():
            return pa.nulls(rows)
        else:
            buffers = [valid, pa.py_buffer(first.copy())]  # for the cells are much larger
        return pa.Array.from_buffers(kind, rows, buffers)


def _bits(flags: NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(flags, bitorder="little"))


def _offsets(sizes: Ints, given: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Give where each list or text begins in what they hold, and where the last ends."""
    offsets = np.zeros(len(sizes) + 1, np.int32)
    np.cumsum(np.where(given, sizes, 0), out=offsets[1:])
    return offsets
