"""Arrow schemas, derived from the one declaration in :mod:`orders_dask.contract.tables`.

Three stages of the same data:

raw
    What the JSON reader is told to read: nested as in the dump, instants as text.
typed
    What decode gives: nested as in the dump, amounts as ``decimal128(22, 4)``, instants as
    ``timestamp[us, UTC]``.
staged
    What normalise gives: flat tables, those of the contract with :data:`ORDER_ROW` in front.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import pyarrow as pa
from sqlalchemy import BigInteger, Boolean, Date, DateTime, Integer, Numeric, Table, Text
from sqlalchemy.types import TypeEngine

from orders_dask.contract.order_tables import DIMENSIONS, FACTS, fact_order
from orders_dask.contract.storage_tables import DIMENSION_ROWS, STAGED, order_version

MONEY_TYPE: Final = pa.decimal128(22, 4)
TIMESTAMP_TYPE: Final = pa.timestamp("us", tz="UTC")

ORDER_ROW: Final = "order_row"
"""Column of every staged table: the row, from 0, that its order has in the part's ``fact_order``."""

POSITION: Final = fact_order.c.source_position.name
"""Number of the record in its file; in a part that is a byte range, counted from the range's first record."""

FILE: Final = fact_order.c.source_file_id.name
"""In a stage part: index of the file in the part's record, from 0. The load puts the ledger's id in its place."""

_TYPES: Final[tuple[tuple[type[TypeEngine[Any]], pa.DataType], ...]] = (
    (BigInteger, pa.int64()),
    (Integer, pa.int32()),
    (Numeric, MONEY_TYPE),
    (DateTime, TIMESTAMP_TYPE),
    (Date, pa.date32()),
    (Boolean, pa.bool_()),
    (Text, pa.string()),
)


def arrow_type(kind: TypeEngine[Any]) -> pa.DataType:
    """Give the Arrow type of a column's SQL type (the table under *Types* in the contract)."""
    return next(arrow for sql, arrow in _TYPES if isinstance(kind, sql))


def arrow_schema(table: Table) -> pa.Schema:
    """Give the Arrow schema of a table of the contract: the same columns in the same order."""
    return pa.schema(
        [pa.field(c.name, arrow_type(c.type), nullable=bool(c.nullable)) for c in table.c]
    )


def paths() -> Iterator[tuple[str, pa.DataType]]:
    """Give every path that the contract reads, from the order, with its typed Arrow type.

    ``[]`` ends the name of an array: ``line_items[].tax_lines[].price``,
    ``payment_gateway_names[]``.
    """
    for table in (*FACTS, *DIMENSIONS):
        prefix = table.info["records"] and table.info["records"] + "."
        for column in table.c:
            if column.info["source"]:
                yield prefix + column.info["source"], arrow_type(column.type)
            for path, kind in column.info["reads"].items():
                yield prefix + path, arrow_type(kind)


def _nested(entries: list[tuple[str, pa.DataType]]) -> list[pa.Field]:
    """Build the fields that hold `entries`, in order of first mention."""
    below: dict[str, list[tuple[str, pa.DataType]]] = {}
    for path, kind in entries:
        head, _, rest = path.partition(".")
        below.setdefault(head, []).append((rest, kind))
    fields = []
    for head, inner in below.items():
        kind = inner[0][1] if inner[0][0] == "" else pa.struct(_nested(inner))
        fields.append(pa.field(head.removesuffix("[]"), pa.list_(kind) if "[]" in head else kind))
    return fields


@cache
def typed_schema() -> pa.Schema:
    """Give the nested schema of decoded orders, without their position."""
    return pa.schema(_nested(list(dict(paths()).items())))


@cache
def decoded_schema() -> pa.Schema:
    """Give the schema of decoded orders: typed, with their position and what `created_at` said of its zone."""
    order = arrow_schema(fact_order)
    written = (fact_order.c.created_local_date, fact_order.c.created_utc_offset_min)
    return pa.schema(
        [*typed_schema(), *(order.field(c.name) for c in written), order.field(POSITION)]
    )


def _raw(kind: pa.DataType) -> pa.DataType:
    """Give the type that the JSON reader reads `kind` as."""
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, _raw(f.type)) for f in kind])
    if pa.types.is_list(kind):
        return pa.list_(_raw(kind.value_type))
    return pa.string() if kind == TIMESTAMP_TYPE else kind


@cache
def raw_schema() -> pa.Schema:
    """Give the nested schema that the JSON reader is told."""
    return pa.schema([pa.field(f.name, _raw(f.type)) for f in typed_schema()])


@cache
def staged_schemas() -> dict[str, pa.Schema]:
    """Return the schema of each staged table (:data:`~orders_dask.contract.storage_tables.STAGED`) by name."""
    return {table.name: flat_schemas()[table.name] for table in STAGED}


@cache
def flat_schemas() -> dict[str, pa.Schema]:
    """Give the schema of every table that orders are flattened to, by the table's name.

    Facts and what is said of dimensions have the columns of their storage tables without
    ``run_date`` and ``load_id`` (the load gives them), with :data:`ORDER_ROW` first. What is said
    of dimensions stands a row an order (variants: a line) that carries the key, and without
    version, file and position, which are its order's.
    """
    order_row = pa.field(ORDER_ROW, pa.int64(), nullable=False)
    given_by_load = {fact_order.c.run_date.name, fact_order.c.load_id.name}
    of_order = {order_version.c.version_at.name, FILE, POSITION}
    schemas = {}
    for table in (*FACTS, *DIMENSION_ROWS):
        given = given_by_load | (of_order if table in DIMENSION_ROWS else set())
        fields = [f for f in arrow_schema(table) if f.name not in given]
        schemas[table.name] = pa.schema([order_row, *fields])
    return schemas


@cache
def key_schema() -> pa.Schema:
    """Give the schema of a part's key file: what decides which version wins, a row an order of the part."""
    return pa.schema(
        [
            arrow_schema(fact_order).field(fact_order.c.order_id.name),
            arrow_schema(order_version).field(order_version.c.version_at.name),
            pa.field(FILE, pa.int64(), nullable=False),
            pa.field(POSITION, pa.int64(), nullable=False),
        ]
    )
