"""Flatten decoded orders into the contract's tables: Arrow in, Arrow out, no I/O.

The declaration (:mod:`orders_dask.contract.order_tables`) decides where a column's values come
from:

- A column with a ``source`` is read there, or at its ``fallback``. Texts of an array are joined,
  amounts are added up, of timestamps the last counts.
- A column of somebody's own that selects a value by its name was selected by decode.
- A column without one that the parent records have too, such as ``currency``, is copied from them.
- The few other columns are computed by :func:`_computed`, from the children that decode left.
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
    TIMESTAMP_TYPE,
    arrow_type,
    key_schema,
    selected_field,
    staged_schemas,
)
from orders_dask.contract.detail_tables import fact_line_discount
from orders_dask.contract.issue_codes import NulledCode
from orders_dask.contract.order_tables import FACTS, SELECTED, fact_order, fact_order_line
from orders_dask.contract.record_keys import has_ids
from orders_dask.contract.refund_tables import fact_refund, fact_refund_adjustment, fact_refund_line
from orders_dask.contract.rejects import MAX_SAMPLES, Issue
from orders_dask.contract.storage_tables import DIMENSION_ROWS, STAGED
from orders_dask.transform.dimensions import dimension_rows
from orders_dask.transform.nested import (
    Columns,
    Rows,
    count_by_row,
    explode,
    join_texts,
    max_by_row,
    null_where_missing,
    struct_field,
    sum_by_row,
)
from orders_dask.transform.refunds import refunded_amount, refunded_shipping, refunded_value

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
        Every staged table by name, with the schemas of
        :func:`~orders_dask.contract.arrow.staged_schemas` and the rows in source order. A dimension
        has a row for each record with the whole key.
    keys
        A row an order, in the same order, with :func:`~orders_dask.contract.arrow.key_schema`.
    issues
        Sums that do not fit their column, by the column's name. See docs/contract.md#sums.
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
        Row of each record's parent.
    order
        Row of each record's order.
    numbers
        Number of each record in its source array, from 1.
    """

    records: pa.StructArray
    parent: Rows
    order: Rows
    numbers: Rows


def normalise(orders: pa.Table, file: int | Rows, first_row: int) -> Normalised:
    """Flatten decoded orders into the staged tables and their keys.

    Parameters
    ----------
    orders
        Orders with :func:`~orders_dask.contract.arrow.decoded_schema`. A null element of an array
        of lines, refunds, refund lines or adjustments is a rejected child: it becomes no row, but
        is counted in the numbers of the others.
    file
        Index of their file in the part, or of the file of each, which becomes their
        ``source_file_id``.
    first_row
        :data:`~orders_dask.contract.arrow.ORDER_ROW` of the first of them: the number of orders
        before these in the part.

    Returns
    -------
    Normalised
        The tables, the keys, and the sums that do not fit.
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
        parent = columns[_FACT_BY_PATH[_parent_path(fact)].name]
        rows = levels[fact.info["records"]].parent
        columns[fact.name] |= _columns_from_parent(fact, parent, rows)
        if not has_ids(fact):
            numbers = levels[fact.info["records"]].numbers
            columns[fact.name][fact.info["key"][-1]] = pa.array(numbers)
    for name, computed in _computed(levels, columns).items():
        columns[name] |= computed

    issues = []
    for fact in FACTS:
        positions = columns[fact_order.name][POSITION].take(levels[fact.info["records"]].order)
        for name, values in columns[fact.name].items():
            if pa.types.is_decimal(values.type) and values.type != arrow_type(fact.c[name].type):
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
    """Return the path of a fact's parent records, ``""`` for orders."""
    path: str = fact.info["records"]
    return path.rpartition(".")[0]


def _levels(orders: pa.Table) -> dict[str, _Level]:
    """Return the records of every fact by path, parents before their children."""
    structs = orders.combine_chunks().to_struct_array()
    # There is one chunk, or none without orders. Combining a single chunk would copy it.
    records = structs.chunk(0) if structs.num_chunks == 1 else structs.combine_chunks()
    rows = np.arange(len(records))
    levels = {"": _Level(records, rows, rows, rows + 1)}
    for fact in FACTS[1:]:
        parent_path, path = _parent_path(fact), fact.info["records"]
        parent = levels[parent_path]
        key = path.removeprefix(f"{parent_path}.").removesuffix("[]")
        children = explode(struct_field(parent.records, key)).present()
        order = parent.order[children.lists]
        levels[path] = _Level(children.values, children.lists, order, children.numbers)
    return levels


def _source_columns(table: Table, records: pa.StructArray) -> Columns:
    """Return the columns of a table that are read from its records, or that decode added there."""
    added = {c.name: records.field(c.name) for c in table.c if c.info["local_date_of"]}
    if table in FACTS:
        selected = SELECTED.get(table.info["records"], ())
        added |= {c.name: records.field(selected_field(c)) for c in selected}
    return added | {c.name: _source_value(c, records) for c in table.c if c.info["source"]}


def _source_value(column: Column[Any], records: pa.StructArray) -> pa.Array:
    """Return the values at a column's source, else at its fallback."""
    values = _value_at(records, column.info["source"])
    fallback = column.info["fallback"]
    return pc.coalesce(values, _value_at(records, fallback)) if fallback else values


def _value_at(records: pa.StructArray, path: str) -> pa.Array:
    """Return the values at a path; of an array the joined texts, the sum, or the last timestamp."""
    path, array, rest = path.partition("[]")
    lists = struct_field(records, path)
    if not array:
        return lists
    elements = explode(lists)
    elements = elements._replace(values=struct_field(elements.values, rest.removeprefix(".")))
    if elements.values.type == MONEY_TYPE:
        return null_where_missing(sum_by_row(elements.values, elements.lists, len(lists)), lists)
    if elements.values.type == TIMESTAMP_TYPE:
        return max_by_row(elements, len(lists))
    return join_texts(elements, lists)


def _provenance(records: pa.StructArray, file: int | Rows) -> Columns:
    """Return the file of each order, and the columns that decode computed."""
    decoded = (fact_order.c.created_utc_offset_min.name, POSITION)
    return {FILE: pa.array(np.broadcast_to(file, len(records)), pa.int64())} | {
        name: records.field(name) for name in decoded
    }


def _columns_from_parent(fact: Table, parent: Columns, rows: Rows) -> Columns:
    """Copy the columns that a fact shares with its parent, such as the order's currency."""
    take = pa.array(rows)
    shared = [
        c.name
        for c in fact.c
        if c.name in parent
        and not (c.info["source"] or c.info["custom"] or c.info["local_date_of"])
    ]
    return {name: parent[name].take(take) for name in shared}


def _computed(levels: Mapping[str, _Level], columns: Mapping[str, Columns]) -> dict[str, Columns]:
    """Compute the columns without a source, by fact. Sums are wider than their column."""
    orders, lines, refunds = (
        levels[fact.info["records"]] for fact in (fact_order, fact_order_line, fact_refund)
    )
    line = columns[fact_order_line.name]
    size = len(orders.records)
    quantity = line["quantity"].cast(pa.decimal128(19, 0))
    # A product has up to 41 digits: the 76 of decimal256 are enough to add up any number of them.
    amounts = pc.multiply(
        line["price"].cast(pa.decimal256(22, 4)), quantity.cast(pa.decimal256(19, 0))
    )
    codes = explode(struct_field(orders.records, "discount_codes")).present()
    computed = {
        fact_order.name: {
            "line_count": pa.array(count_by_row(lines.order, size)),
            "unit_count": sum_by_row(quantity, lines.order, size),
            "gross_line_amount": sum_by_row(amounts, lines.order, size),
            "discount_code_count": pa.array(count_by_row(codes.lists, size)),
            "refund_count": pa.array(count_by_row(refunds.order, size)),
        },
        fact_order_line.name: {
            "line_number": pa.array(lines.numbers),
            "is_tip": struct_field(lines.records, "tip_payment_gateway").is_valid(),
        },
        fact_refund.name: _computed_of_refunds(levels, columns),
    }
    if fact_line_discount.name in columns:
        allocations = levels[fact_line_discount.info["records"]].records
        # From 0 in the dump, the place in the order from 1 here.
        indices = struct_field(allocations, "discount_application_index")
        numbers = pc.add(indices.cast(pa.decimal128(19, 0)), pa.scalar(Decimal(1)))
        computed[fact_line_discount.name] = {"discount_number": numbers}
    return computed


def _computed_of_refunds(levels: Mapping[str, _Level], columns: Mapping[str, Columns]) -> Columns:
    """Compute the columns of refunds without a source."""
    refunds = levels[fact_refund.info["records"]].records
    lines = levels[fact_refund_line.info["records"]]
    adjustments = levels[fact_refund_adjustment.info["records"]]
    adjustment = columns[fact_refund_adjustment.name]
    included = columns[fact_order.name]["taxes_included"].take(pa.array(lines.order))
    shipping = refunded_shipping(refunds, adjustment, adjustments.parent)
    return {
        "refunded_amount": refunded_amount(refunds, columns[fact_refund.name]),
        "refunded_shipping": shipping,
        "refunded_value": refunded_value(
            shipping,
            columns[fact_refund_line.name],
            lines.parent,
            included,
            adjustment,
            adjustments.parent,
        ),
    }


def _fit(
    column: Column[Any], values: pa.Array, positions: pa.Array
) -> tuple[pa.Array, list[Issue]]:
    """Cast sums to the type of their column; those that don't fit become null and an issue."""
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
    """Return the key file's rows of orders."""
    version = pc.coalesce(order["updated_at"], order["created_at"])
    schema = key_schema()
    columns = {**order, "version_at": version}
    return pa.table([columns[field.name] for field in schema], schema=schema)
