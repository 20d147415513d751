"""Arrow schemas, derived from the declarations in :mod:`orders_dask.contract.order_tables`.

The same data has three kinds of schemas:

raw
    The schema that the JSON reader reads: nested as in the dump, timestamps and days as text.
typed
    The schema that decode returns: nested as in the dump, amounts as ``decimal128(22, 4)``, rates
    as ``decimal128(18, 8)``, timestamps as ``timestamp[us, UTC]``.
staged
    The schemas that normalise returns: the contract's flat tables, led by :data:`ORDER_ROW`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import pyarrow as pa
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Integer,
    Numeric,
    SmallInteger,
    Table,
    Text,
)
from sqlalchemy.types import TypeEngine

from orders_dask.contract.columns import MONEY, RATE, path_within_order, source_paths
from orders_dask.contract.dimension_tables import DIMENSIONS
from orders_dask.contract.order_tables import FACTS, LOCAL_DATES, SELECTED, fact_order
from orders_dask.contract.sources import Source
from orders_dask.contract.storage_tables import DIMENSION_ROWS, STAGED, order_version

MONEY_TYPE: Final = pa.decimal128(MONEY.precision, MONEY.scale)
RATE_TYPE: Final = pa.decimal128(RATE.precision, RATE.scale)
TIMESTAMP_TYPE: Final = pa.timestamp("us", tz="UTC")
DAY_TYPE: Final = pa.date32()
PRESENCE_TYPE: Final = pa.int8()

SUM_TYPE: Final = pa.decimal128(38, MONEY.scale)
"""Type of sums of amounts, which PostgreSQL's ``numeric`` has more room for."""

PART_NUMBER: Final = "part_number"
"""Number of a row's part, where rows of several parts are in one table."""

ORDER_ROW: Final = "order_row"
"""Column of every staged table: the row of its order in the part's ``fact_order``, from 0."""

POSITION: Final = fact_order.c.source_position.name
"""Number of the record in its file, from 1.

In a part of a byte range it is counted from the first record of the range.
"""

FILE: Final = fact_order.c.source_file_id.name
"""File of a record. In a stage part: index of the file in the part's record, from 0.

The load replaces it by the ledger's id of the file.
"""

_TYPES: Final[tuple[tuple[type[TypeEngine[Any]], pa.DataType], ...]] = (
    (BigInteger, pa.int64()),
    (SmallInteger, PRESENCE_TYPE),
    (Integer, pa.int32()),
    (DateTime, TIMESTAMP_TYPE),
    (Date, DAY_TYPE),
    (Boolean, pa.bool_()),
    (Text, pa.string()),
)


def arrow_type(kind: TypeEngine[Any]) -> pa.DataType:
    """Return the Arrow type of a column's SQL type. See docs/contract.md#types."""
    if isinstance(kind, Numeric):
        return SUM_TYPE if kind.precision is None else pa.decimal128(kind.precision, kind.scale)
    return next(arrow for sql, arrow in _TYPES if isinstance(kind, sql))


def arrow_schema(table: Table) -> pa.Schema:
    """Return the Arrow schema of a table of the contract: the same columns in the same order."""
    return pa.schema(
        [pa.field(c.name, arrow_type(c.type), nullable=bool(c.nullable)) for c in table.c]
    )


def paths() -> Iterator[tuple[str, pa.DataType]]:
    """Yield every path within an order that the contract reads, with its typed Arrow type.

    ``[]`` ends the name of an array: ``line_items[].tax_lines[].price``,
    ``payment_gateway_names[]``.
    """
    for table in (*FACTS, *DIMENSIONS):
        for column in table.c:
            for path, kind in source_paths(column):
                yield path_within_order(table, path), arrow_type(kind)


def _nested(typed_paths: list[tuple[str, pa.DataType]]) -> list[pa.Field]:
    """Return the nested fields of dotted paths and their types, in order of first mention."""
    paths_by_key: dict[str, list[tuple[str, pa.DataType]]] = {}
    for path, kind in typed_paths:
        key, _, rest = path.partition(".")
        paths_by_key.setdefault(key, []).append((rest, kind))
    fields = []
    for key, inner in paths_by_key.items():
        kind = inner[0][1] if inner[0][0] == "" else pa.struct(_nested(inner))
        fields.append(pa.field(key.removesuffix("[]"), pa.list_(kind) if "[]" in key else kind))
    return fields


def selected_field(column: Column[Any]) -> str:
    """Return the field of decoded records that has the values of a column that are selected."""
    source: Source = column.info["custom"]
    return f"{source.text} {column.name}"  # no key has brackets


@cache
def typed_schema() -> pa.Schema:
    """Return the nested schema of decoded orders, without the columns that decode computes."""
    return pa.schema(_nested(list(dict(paths()).items())))


@cache
def decoded_schema() -> pa.Schema:
    """Return the schema of decoded orders: typed, with local days, offset and position."""
    order = arrow_schema(fact_order)
    computed = (fact_order.c.created_utc_offset_min.name, POSITION)
    return pa.schema(
        [*_with_local_dates(typed_schema(), ""), *(order.field(name) for name in computed)]
    )


def _with_local_dates(fields: pa.Schema | pa.StructType, records: str) -> list[pa.Field]:
    """Return the fields of the records at a path, with what decode adds in and behind them."""
    prefix = records and f"{records}."
    typed = [pa.field(f.name, _decoded(f.type, prefix + f.name)) for f in fields]
    dates = (pa.field(name, DAY_TYPE) for name in LOCAL_DATES.get(records, ()))
    selected = (
        pa.field(selected_field(column), arrow_type(column.type))
        for column in SELECTED.get(records, ())
    )
    return [*typed, *dates, *selected]


def _decoded(kind: pa.DataType, path: str) -> pa.DataType:
    """Return the type of decoded values at a path of a typed Arrow type."""
    if pa.types.is_struct(kind):
        return pa.struct(_with_local_dates(kind, path))
    if pa.types.is_list(kind):
        return pa.list_(_decoded(kind.value_type, f"{path}[]"))
    return kind


def _raw(kind: pa.DataType) -> pa.DataType:
    """Return the type that the JSON reader uses for values of a typed Arrow type."""
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, _raw(f.type)) for f in kind])
    if pa.types.is_list(kind):
        return pa.list_(_raw(kind.value_type))
    return pa.string() if kind in (TIMESTAMP_TYPE, DAY_TYPE) else kind


@cache
def raw_schema() -> pa.Schema:
    """Return the nested schema that the JSON reader reads."""
    return pa.schema([pa.field(f.name, _raw(f.type)) for f in typed_schema()])


@cache
def staged_schemas() -> dict[str, pa.Schema]:
    """Return the schemas of the staged tables by name.

    The tables are :data:`~orders_dask.contract.storage_tables.STAGED`.
    """
    return {table.name: flat_schemas()[table.name] for table in STAGED}


@cache
def flat_schemas() -> dict[str, pa.Schema]:
    """Return the schema of every table that orders are flattened to, by the table's name.

    Facts and dimension rows have the columns of their storage tables, led by :data:`ORDER_ROW`.
    ``run_date`` and ``load_id`` are missing: the load adds them. Dimension rows are one an order
    that has the key (variants: one a line). They lack version, file and position, which are those
    of their order.
    """
    order_row = pa.field(ORDER_ROW, pa.int64(), nullable=False)
    added_by_load = {fact_order.c.run_date.name, fact_order.c.load_id.name}
    order_columns = {order_version.c.version_at.name, FILE, POSITION}
    schemas = {}
    for table in (*FACTS, *DIMENSION_ROWS):
        left_out = added_by_load | (order_columns if table in DIMENSION_ROWS else set())
        fields = [f for f in arrow_schema(table) if f.name not in left_out]
        schemas[table.name] = pa.schema([order_row, *fields])
    return schemas


@cache
def key_schema() -> pa.Schema:
    """Return the schema of a part's key file: id, version, file and position of each order."""
    return pa.schema(
        [
            arrow_schema(fact_order).field(fact_order.c.order_id.name),
            arrow_schema(order_version).field(order_version.c.version_at.name),
            pa.field(FILE, pa.int64(), nullable=False),
            pa.field(POSITION, pa.int64(), nullable=False),
        ]
    )
