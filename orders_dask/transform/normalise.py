"""Decoded orders to the flat tables of the contract: Arrow in, Arrow out, nothing else.

Where a column's values come from follows from the declaration (:mod:`orders_dask.contract.tables`).
A column with a ``source`` is read there: the texts of an array are joined, its amounts added up.
Another column that the records above have under the same name, such as an order's ``currency``, is
copied from them. The few that are left are computed in :func:`_computed`, from children that the
order still has after decode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Column, Table

from orders_dask.contract.arrow import (
    FILE,
    MONEY_TYPE,
    ORDER_ROW,
    POSITION,
    arrow_type,
    decoded_schema,
    key_schema,
    staged_schemas,
)
from orders_dask.contract.issue_codes import NulledCode
from orders_dask.contract.order_tables import FACTS, fact_order, fact_order_line, fact_refund
from orders_dask.contract.rules import MAX_SAMPLES, Issue
from orders_dask.contract.storage_tables import DIMENSION_ROWS, STAGED
from orders_dask.transform.dimensions import dimension_rows
from orders_dask.transform.nested import (
    Rows,
    count_by_row,
    explode,
    join_texts,
    null_where_missing,
    struct_field,
    sum_by_row,
)

Columns = dict[str, pa.Array]

_FACT_BY_PATH: Final[Mapping[str, Table]] = {fact.info["records"]: fact for fact in FACTS}


class _Limits(NamedTuple):
    """The least and greatest value of a type, and the issue code of a sum beyond them."""

    code: NulledCode
    least: Decimal
    most: Decimal


_LIMITS: Final = {
    pa.int64(): _Limits("bad_integer", Decimal(-(2**63)), Decimal(2**63 - 1)),
    MONEY_TYPE: _Limits("bad_money", Decimal(1 - 10**22) / 10**4, Decimal(10**22 - 1) / 10**4),
}


@dataclass(frozen=True)
class Normalised:
    """The staged tables of some orders.

    Attributes
    ----------
    tables
        Every staged table by its name, with the schemas of
        :func:`~orders_dask.contract.arrow.staged_schemas`: a row a record, of a dimension a row a
        record that carries the whole key, in the order of the source.
    keys
        A row an order, in the same order, with :func:`~orders_dask.contract.arrow.key_schema`.
    issues
        Sums that did not fit their column, by the column's name.
    """

    tables: dict[str, pa.Table]
    keys: pa.Table
    issues: tuple[Issue, ...]


class _Level(NamedTuple):
    """The records at a path from the order.

    Attributes
    ----------
    records
        Structs, one a record; never null.
    parent
        For each, the row of the record that it is a child of.
    order
        For each, the row of its order.
    numbers
        For each, its place in its source array, from 1.
    """

    records: pa.StructArray
    parent: Rows
    order: Rows
    numbers: Rows


def normalise(orders: pa.Table, file: int, first_row: int) -> Normalised:
    """Flatten decoded orders into the staged tables and their keys.

    Parameters
    ----------
    orders
        Orders with :func:`~orders_dask.contract.arrow.decoded_schema`. A null element of an array
        of lines, refunds, refund lines or adjustments is a child that decode refused: it is no row,
        but keeps its place in the array.
    file
        Index of their file in the part: the ``source_file_id`` of all of them.
    first_row
        Number of orders before these in the part: their
        :data:`~orders_dask.contract.arrow.ORDER_ROW` counts from it.

    Returns
    -------
    Normalised
        The tables, the keys, and the sums that did not fit.
    """
    levels = _levels(orders)
    columns = {
        table.name: {
            ORDER_ROW: pa.array(levels[table.info["records"]].order + first_row),
            **_source_columns(table, levels[table.info["records"]].records),
        }
        for table in STAGED
    }
    columns[fact_order.name] |= _provenance(levels[""].records, file)
    for fact in FACTS[1:]:
        above = columns[_FACT_BY_PATH[_parent_path(fact)].name]
        columns[fact.name] |= _columns_from_parent(fact, above, levels[fact.info["records"]].parent)
    for name, computed in _computed(levels, columns).items():
        columns[name] |= computed

    issues = []
    for fact in FACTS:
        positions = columns[fact_order.name][POSITION].take(levels[fact.info["records"]].order)
        for name, values in columns[fact.name].items():
            if pa.types.is_decimal(values.type) and values.type != MONEY_TYPE:
                columns[fact.name][name], unfit = _fit(fact.c[name], values, positions)
                issues += unfit
    tables = {
        name: pa.table([columns[name][field.name] for field in schema], schema=schema)
        for name, schema in staged_schemas().items()
    }
    for dimension in (table for table in DIMENSION_ROWS if table.name in tables):
        tables[dimension.name] = dimension_rows(dimension, tables[dimension.name])
    return Normalised(tables, _keys(columns[fact_order.name]), tuple(issues))


def _parent_path(fact: Table) -> str:
    """Give the path of the records whose children the fact's are: ``""`` for orders."""
    above: str = fact.info["records"].rpartition(".")[0]
    return above


def _levels(orders: pa.Table) -> dict[str, _Level]:
    """Give the records of every fact by their path; a record stands before its children."""
    structs = orders.combine_chunks().to_struct_array()
    # Now there is one chunk, or none without orders; to combine one with itself would copy it.
    records = structs.chunk(0) if structs.num_chunks == 1 else structs.combine_chunks()
    rows = np.arange(len(records))
    levels = {"": _Level(records, rows, rows, rows + 1)}
    for fact in FACTS[1:]:
        above, path = _parent_path(fact), fact.info["records"]
        name = path.removeprefix(f"{above}.").removesuffix("[]")
        children = explode(struct_field(levels[above].records, name)).present()
        order = levels[above].order[children.lists]
        levels[path] = _Level(children.values, children.lists, order, children.places)
    return levels


def _source_columns(table: Table, records: pa.StructArray) -> Columns:
    """Read the columns that have a source from the table's records."""
    return {c.name: _source_value(c, records) for c in table.c if c.info["source"]}


def _source_value(column: Column[Any], records: pa.StructArray) -> pa.Array:
    path, array, rest = column.info["source"].partition("[]")
    values = struct_field(records, path)
    if not array:
        return values
    inside = explode(values)
    inside = inside._replace(values=struct_field(inside.values, rest.removeprefix(".")))
    if arrow_type(column.type) == MONEY_TYPE:
        return null_where_missing(sum_by_row(inside.values, inside.lists, len(values)), values)
    return join_texts(inside, values)


def _provenance(records: pa.StructArray, file: int) -> Columns:
    """Give where each order stood, and what decode made of its text."""
    made = [
        c.name for c in fact_order.c if not c.info["source"] and c.name in decoded_schema().names
    ]
    return {FILE: pa.repeat(pa.scalar(file, pa.int64()), len(records))} | {
        name: struct_field(records, name) for name in made
    }


def _columns_from_parent(fact: Table, parent: Columns, rows: Rows) -> Columns:
    """Copy the columns that a fact shares with the records above, such as the order's currency."""
    take = pa.array(rows)
    shared = [c.name for c in fact.c if not c.info["source"] and c.name in parent]
    return {name: parent[name].take(take) for name in shared}


def _computed(levels: Mapping[str, _Level], columns: Mapping[str, Columns]) -> dict[str, Columns]:
    """Compute what the declaration can't say; sums stay wide."""
    orders, lines, refunds = (
        levels[fact.info["records"]] for fact in (fact_order, fact_order_line, fact_refund)
    )
    line = columns[fact_order_line.name]
    size = len(orders.records)
    quantity = line["quantity"].cast(pa.decimal128(19, 0))
    # A product has up to 41 digits; of the 76, that leaves enough to add up any number of them.
    amounts = pc.multiply(
        line["price"].cast(pa.decimal256(22, 4)), quantity.cast(pa.decimal256(19, 0))
    )
    codes = pc.list_value_length(struct_field(orders.records, "discount_codes"))
    return {
        fact_order.name: {
            "line_count": pa.array(count_by_row(lines.order, size)),
            "unit_count": sum_by_row(quantity, lines.order, size),
            "gross_line_amount": sum_by_row(amounts, lines.order, size),
            "discount_code_count": codes.fill_null(0).cast(pa.int64()),
            "refund_count": pa.array(count_by_row(refunds.order, size)),
        },
        fact_order_line.name: {"line_number": pa.array(lines.numbers)},
        fact_refund.name: {
            "refunded_amount": _refunded(refunds.records, columns[fact_refund.name])
        },
    }


def _refunded(refunds: pa.StructArray, refund: Columns) -> pa.Array:
    """Add up the successful refund transactions; null where one has no amount or is not in the order's currency."""
    lists = struct_field(refunds, "transactions")
    given = explode(lists)
    succeeded = pc.and_(
        pc.equal(struct_field(given.values, "kind"), "refund"),
        pc.equal(struct_field(given.values, "status"), "success"),
    )
    given = given.where(succeeded.fill_null(False))
    currency = struct_field(given.values, "currency")
    same = pc.equal(currency, refund["currency"].take(pa.array(given.lists))).fill_null(False)
    amounts = pc.if_else(
        pc.or_(currency.is_null(), same), struct_field(given.values, "amount"), None
    )
    return null_where_missing(sum_by_row(amounts, given.lists, len(lists)), lists)


def _fit(
    column: Column[Any], values: pa.Array, positions: pa.Array
) -> tuple[pa.Array, list[Issue]]:
    """Give sums the type of their column; those that don't fit become null, and are counted."""
    kind = arrow_type(column.type)
    code, least, most = _LIMITS[kind]
    fits = pc.and_(
        pc.greater_equal(values, pa.scalar(least, values.type)),
        pc.less_equal(values, pa.scalar(most, values.type)),
    )
    unfit = pc.invert(fits).fill_null(False)
    count = unfit.true_count
    if not count:
        return values.cast(kind), []
    samples = zip(
        positions.filter(unfit)[:MAX_SAMPLES].to_pylist(),
        values.filter(unfit)[:MAX_SAMPLES].cast(pa.string()).to_pylist(),
        strict=True,
    )
    fitted = pc.if_else(fits, values, pa.scalar(None, values.type)).cast(kind)
    return fitted, [Issue(column.name, code, count, tuple(samples))]


def _keys(order: Columns) -> pa.Table:
    version = pc.coalesce(order["updated_at"], order["created_at"])
    schema = key_schema()
    columns = {**order, "version_at": version}
    return pa.table([columns[field.name] for field in schema], schema=schema)
