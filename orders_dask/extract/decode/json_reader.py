"""The JSON reader: turn lines into raw orders, and leave what isn't good to the rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orders_dask.contract.arrow import MONEY_TYPE, PRESENCE_TYPE, RATE_TYPE, raw_schema
from orders_dask.contract.envelopes import CONTAINER_KEYS, DELETION_KEYS, Envelope, Path
from orders_dask.contract.known_keys import KnownObject, known_keys
from orders_dask.contract.record_keys import DRAFT_KEYS
from orders_dask.contract.values import ROUNDING_NOISE
from orders_dask.extract import json_scanner
from orders_dask.extract.decode import enveloped
from orders_dask.extract.decode.schema_drift import NO_UNKNOWN_KEYS, UnknownKeys
from orders_dask.extract.decode.suspects import needs_rules
from orders_dask.extract.json_scanner import Bytes, Cells, Ints, Plan
from orders_dask.extract.lines import Lines
from orders_dask.extract.records import MAX_RECORD_BYTES, Rows

_INITIAL_ELEMENTS: Final = 4
"""Elements of an array that there is space for at first, per line. It is doubled when needed."""

_INITIAL_UNKNOWN_KEYS: Final = 16
"""Unknown keys that there is space for at first, per line."""

_MAX_ARRAY_ELEMENTS: Final = 100_000
"""Maximum elements of an array. A hostile record of 16 MiB, ``{},{},…``, took 1.5 GB of memory."""

_MAX_LEVELS: Final = 200
"""Maximum levels of nesting. Deeper lines are left to the rules."""

_KINDS: Final[dict[pa.DataType, int]] = {
    pa.int64(): json_scanner.INTEGER,
    MONEY_TYPE: json_scanner.DECIMAL,
    RATE_TYPE: json_scanner.DECIMAL,
    pa.bool_(): json_scanner.BOOLEAN,
    pa.string(): json_scanner.TEXT,
    PRESENCE_TYPE: json_scanner.PRESENCE,
    pa.null(): json_scanner.FORBIDDEN,
}


def read_lines(
    lines: Lines, *, in_page: bool, envelope: Envelope | None = None
) -> tuple[pa.Table, Rows, UnknownKeys]:
    """Read the lines that are good orders, or need only what is done by column.

    Parameters
    ----------
    lines
        Lines of JSON, or not.
    in_page
        Every object is an order.
    envelope
        What stands around the order in each record; None for nothing.

    Returns
    -------
    tuple
        A table of :func:`~orders_dask.contract.arrow.raw_schema`; for each row the number of its
        line, ascending; and the unknown keys of the rows. All other lines are for the rules.
    """
    # Outside of pages and wrappers, an object with one of their keys is not an order.
    forbidden = [] if in_page else [pa.field(name, pa.null()) for name in CONTAINER_KEYS]
    order = pa.struct([*raw_schema(), *forbidden])
    if envelope is None:
        raw, taken, unknown_keys = _read(lines, order)
        unknown_keys = unknown_keys.of_lines(taken)
    else:
        raw, taken, unknown_keys = _read_enveloped(lines, order, envelope)
    good = ~needs_rules(raw, repaired=False)
    if not good.all():
        raw = raw.filter(pa.array(good))
        unknown_keys = unknown_keys.of_lines(np.flatnonzero(good))
    return _without_marks(raw.select(raw_schema().names)), taken[good], unknown_keys


def _without_marks(raw: pa.Table) -> pa.Table:
    """Null the keys that only :func:`needs_rules` looks at, as the rules do: none is stored."""
    for name in (*DRAFT_KEYS, *DELETION_KEYS):
        nulls = pa.nulls(raw.num_rows, raw.schema.field(name).type)
        raw = raw.set_column(raw.column_names.index(name), name, nulls)
    return raw


def _read_enveloped(
    lines: Lines, order: pa.StructType, envelope: Envelope
) -> tuple[pa.Table, Rows, UnknownKeys]:
    """Read the orders of lines that all have them at the same path, as objects or as texts."""
    form = enveloped.form_of(lines, envelope)
    if form is None:
        return pa.schema(order).empty_table(), np.zeros(0, np.int64), NO_UNKNOWN_KEYS
    record = enveloped.schema(form, order)
    raw, taken, unknown_keys = _read(lines, record, None if form.in_text else form.path)
    values, good = enveloped.orders(raw, form)
    taken = taken[good]
    if not form.in_text:
        return values, taken, unknown_keys.of_lines(taken)
    raw, numbers, unknown_keys = _read(enveloped.lines_of(values), order)
    return raw, taken[numbers], unknown_keys.of_lines(numbers)


def read_repaired(lines: Sequence[bytes], positions: Sequence[int]) -> pa.Table:
    """Read lines that the rules wrote. They promise that there is nothing to find in them.

    Parameters
    ----------
    lines
        One record each.
    positions
        The position of each record, for the error message.
    """
    raw, taken, _ = _read(
        Lines(b"".join(lines)), pa.struct(list(raw_schema())), max_elements=MAX_RECORD_BYTES
    )
    bad = np.ones(len(lines), bool)
    bad[taken[~needs_rules(raw, repaired=True)]] = False
    if bad.any():
        raise RuntimeError(
            f"The rules left record {positions[int(bad.argmax())]} as it may not be."
        )
    return raw


def all_json(lines: Sequence[bytes]) -> bool:
    """Return whether each line is one JSON value; False also if only Python's parser can tell."""
    _, cells = _scan(Lines(b"".join(lines)), _plan(None, None)[0], _MAX_ARRAY_ELEMENTS)
    return bool(cells.rows[0] == len(lines))


def _read(
    lines: Lines,
    record: pa.StructType,
    order: Path | None = (),
    max_elements: int = _MAX_ARRAY_ELEMENTS,
) -> tuple[pa.Table, Rows, UnknownKeys]:
    """Read the lines that have the schema `record`, with the order at the path `order`.

    Returns
    -------
    tuple
        Their values, their line numbers, and the unknown keys of the order, by line number.
    """
    plan, prefixes = _plan(record, order)
    text, cells = _scan(lines, plan, max_elements)
    orders = _Columns(text, plan, cells).array(record)
    raw = pa.Table.from_batches([pa.RecordBatch.from_struct_array(orders)])
    unknown_keys = UnknownKeys(text, cells.unknown_keys[: cells.rows[-1]], prefixes)
    return raw, cells.lines[: len(orders)], unknown_keys


def _scan(lines: Lines, plan: Plan, max_elements: int) -> tuple[Bytes, Cells]:
    """Scan lines into cells, and grow these when needed.

    Lines with an array that has more than `max_elements` elements are skipped, if growing would be
    needed.
    """
    text = np.frombuffer(lines.text if lines.text.endswith(b"\n") else lines.text + b"\n", np.uint8)
    bounds = np.append(lines.bounds[:-1], len(text))
    levels = plan.nodes[:, json_scanner.LEVEL].max(initial=0) + 1
    per_line = np.array([1, *[_INITIAL_ELEMENTS] * (levels - 1), _INITIAL_UNKNOWN_KEYS])
    capacity = per_line * len(lines)
    cells, line, level = _cells(plan, capacity), 0, -1
    while line < len(lines):
        line, level = json_scanner.scan(text, bounds, line, **plan._asdict(), **cells._asdict())
        if level >= 0 and capacity[level] - cells.rows[level] > max_elements:
            line += 1
        elif level >= 0:
            capacity[level] *= 2
            cells = _grow(cells, plan, capacity)
    return text, cells


@cache
def _plan(record: pa.StructType | None, order: Path | None) -> tuple[Plan, Mapping[int, str]]:
    """Return the plan for a record schema, with nodes in the order that :class:`_Columns` needs.

    Also return what the paths of an object's keys begin with, by its node: those of the objects
    within the order, which stands at the path `order`.
    """
    nodes: list[list[int]] = []
    keys = np.full((json_scanner.SLOTS, 4), json_scanner.UNKNOWN)
    names = bytearray()
    prefixes: dict[int, str] = {}

    def add(kind: pa.DataType, level: int, known: KnownObject | None, path: Path) -> int:
        node = len(nodes)
        nodes.append([_KINDS.get(kind, json_scanner.OBJECT), level, -1, -1, -1])
        if pa.types.is_decimal(kind):
            nodes[node][json_scanner.WHOLE_DIGITS] = kind.precision - kind.scale
            nodes[node][json_scanner.DECIMALS] = kind.scale
        known = known_keys() if path == order else known
        if pa.types.is_list(kind):
            nodes[node][json_scanner.KIND] = json_scanner.ARRAY
            element = add(kind.value_type, next(levels), known, (*path, "[]"))
            nodes[node][json_scanner.ELEMENT] = element
        if pa.types.is_struct(kind):
            others = dict(known.keys) if known else {}
            for item in kind:
                inner = others.pop(item.name, None)
                add_key(node, item.name, add(item.type, level, inner, (*path, item.name)))
            if known and not known.is_free:  # else nobody counts the keys that are not known
                look_at(node, known.prefix, others)
        return node

    def look_at(node: int, prefix: str, others: Mapping[str, KnownObject | None]) -> None:
        """Add the known keys of an object that are not read."""
        prefixes[node] = prefix
        for name, inner in others.items():
            child = json_scanner.UNKNOWN
            if inner is not None:
                child = next(without_cells)
                look_at(child, inner.prefix, inner.keys)
            add_key(node, name, child)

    def add_key(node: int, key: str, child: int) -> None:
        name = key.encode()
        slot = json_scanner.slot(np.frombuffer(name, np.uint8), 0, len(name), node)
        while keys[slot, json_scanner.PARENT] != json_scanner.UNKNOWN:
            slot = (slot + 1) % json_scanner.SLOTS
        begin = len(names)
        names.extend(name)
        keys[slot] = node, begin, len(names), child

    levels, without_cells = count(1), count(json_scanner.UNKNOWN - 1, -1)
    if record is not None:
        add(record, 0, None, ())
    plan = Plan(
        np.array(nodes, np.int64).reshape(-1, 5),
        keys,
        np.frombuffer(names, np.uint8),
        -ROUNDING_NOISE.adjusted(),
    )
    return plan, prefixes


def _cells(plan: Plan, capacity: Ints) -> Cells:
    """Return empty cells. Zeroed pages that are never written to take no memory."""
    sizes = capacity[plan.nodes[:, json_scanner.LEVEL]]
    ends = np.cumsum(sizes)
    number = int(sizes.sum())
    return Cells(
        base=ends - sizes,
        capacity=capacity.copy(),
        rows=np.zeros_like(capacity),
        rows_before=np.zeros_like(capacity),
        stack=np.zeros((_MAX_LEVELS, 3), np.int64),
        state=np.zeros(number, np.uint8),
        first=np.zeros(number, np.int64),
        second=np.zeros(number, np.int64),
        lines=np.zeros(capacity[0], np.int64),
        unknown_keys=np.zeros((capacity[-1], 3), np.int32),
    )


def _grow(cells: Cells, plan: Plan, capacity: Ints) -> Cells:
    """Return the same cells with more capacity."""
    larger = _cells(plan, capacity)
    larger.rows[:] = cells.rows
    larger.lines[:] = cells.lines
    larger.unknown_keys[: len(cells.unknown_keys)] = cells.unknown_keys
    for level, old, new in zip(
        plan.nodes[:, json_scanner.LEVEL], cells.base, larger.base, strict=True
    ):
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
        """Return the array of the next node."""
        node = next(self.nodes)
        rows = int(self.cells.rows[self.plan.nodes[node, json_scanner.LEVEL]])
        begin = int(self.cells.base[node])
        column = slice(begin, begin + rows)
        first, second = self.cells.first[column], self.cells.second[column]
        present = self.cells.state[column] == json_scanner.PRESENT
        valid = None if present.all() else _bits(present)
        if pa.types.is_struct(kind):
            inner = [self.array(item.type) for item in kind]
            return pa.Array.from_buffers(kind, rows, [valid], children=inner)
        if pa.types.is_list(kind):
            buffers = [valid, pa.py_buffer(_offsets(first, present))]
            return pa.Array.from_buffers(
                kind, rows, buffers, children=[self.array(kind.value_type)]
            )
        if kind == pa.string():
            offsets = _offsets(second, present)
            data = np.empty(offsets[-1], np.uint8)
            json_scanner.copy_texts(self.text, first, offsets, data)
            buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(data)]
        elif pa.types.is_decimal(kind):
            buffers = [valid, pa.py_buffer(np.column_stack((first, second)))]
        elif kind == PRESENCE_TYPE:
            buffers = [valid, pa.py_buffer(first.astype(np.int8))]
        elif kind == pa.bool_():
            buffers = [valid, _bits(first != 0)]
        elif kind == pa.null():
            return pa.nulls(rows)
        else:
            buffers = [valid, pa.py_buffer(first.copy())]  # a copy, so that the cells can be freed
        return pa.Array.from_buffers(kind, rows, buffers)


def _bits(flags: NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(flags, bitorder="little"))


def _offsets(sizes: Ints, present: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the Arrow offsets of lists or texts from their sizes."""
    offsets = np.zeros(len(sizes) + 1, np.int32)
    np.cumsum(np.where(present, sizes, 0), out=offsets[1:])
    return offsets
