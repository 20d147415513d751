"""Dimension rows of orders, and their deduplication to one row a key.

See docs/contract.md#dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Table

from orders_dask.contract.arrow import (
    FILE,
    ORDER_ROW,
    PART_NUMBER,
    POSITION,
    arrow_schema,
    flat_schemas,
)
from orders_dask.contract.dimension_tables import attributes
from orders_dask.contract.storage_tables import DIMENSION_SOURCES
from orders_dask.transform.resolve import VERSION, sort_indices


def dimension_rows(
    dimension: Table, staged: pa.Table, columns: Sequence[str] | None = None
) -> pa.Table:
    """Return the dimension rows of a staged table: one for each row that has the whole key.

    Parameters
    ----------
    dimension
        One of :data:`~orders_dask.contract.storage_tables.DIMENSION_ROWS`.
    staged
        Rows of the dimension's staged table
        (:data:`~orders_dask.contract.storage_tables.DIMENSION_SOURCES`).
    columns
        Columns of the dimension's schema (:func:`~orders_dask.contract.arrow.flat_schemas`) beside
        its key and :data:`~orders_dask.contract.arrow.ORDER_ROW`, which are always there; all by
        default.

    Returns
    -------
    pa.Table
        These columns, in the order of `staged`.
    """
    flat, key = flat_schemas()[dimension.name], dimension.info["key"]
    names = dict.fromkeys((ORDER_ROW, *key, *(columns or flat.names)))
    schema = pa.schema([flat.field(name) for name in names])
    source = {ORDER_ROW: ORDER_ROW, **DIMENSION_SOURCES[dimension.name].columns}
    rows = pa.table([staged[source[name]] for name in schema.names], schema=schema)
    return rows.filter(reduce(pc.and_, (rows[name].is_valid() for name in key)))


def sort_by_version(orders: pa.Table) -> pa.Table:
    """Return the orders of a part sorted for :func:`latest_per_key`: greatest version last."""
    return orders.take(sort_indices(orders, [VERSION, FILE, POSITION]))


def latest_per_key(dimension: Table, rows: pa.Table, orders: pa.Table) -> pa.Table:
    """Deduplicate dimension rows to one row a key.

    A key's row comes whole from the order with the greatest version that gives an attribute of the
    key; nulls included, but a row whose attributes are all null says nothing. Within an order it
    comes from the last line.

    Parameters
    ----------
    dimension
        One of :data:`~orders_dask.contract.storage_tables.DIMENSION_ROWS`.
    rows
        Its rows (:func:`dimension_rows`), without those of superseded orders.
    orders
        These orders, sorted by :func:`sort_by_version`: ``ORDER_ROW``, version, file and position
        at least, and :data:`~orders_dask.contract.arrow.PART_NUMBER` if they are of several parts.

    Returns
    -------
    pa.Table
        A row a key, of each part: the columns of the dimension's storage table without ``load_id``,
        and the part's number.
    """
    of_part = [PART_NUMBER] if PART_NUMBER in orders.column_names else []
    schema = pa.schema([field for field in arrow_schema(dimension) if field.name != "load_id"])
    order_rows = orders[ORDER_ROW].to_numpy()
    rank_by_order_row = np.empty(order_rows.max(initial=-1) + 1, np.int64)
    rank_by_order_row[order_rows] = np.arange(len(order_rows))
    rank = rank_by_order_row[rows[ORDER_ROW].to_numpy()]
    # Rank of the order and number of the row in one integer, for one pass over the keys alone. Rows
    # with an attribute rank above all others.
    combined = rank * rows.num_rows + np.arange(rows.num_rows)
    given = [rows[column.name].is_valid() for column in attributes(dimension)]
    if given:
        has_attribute = reduce(pc.or_, given).to_numpy()
        combined = combined + has_attribute * (rows.num_rows * len(order_rows))
    keys = rows.select(dimension.info["key"]).append_column("rank", pa.array(combined))
    for name in of_part:
        keys = keys.append_column(name, orders[name].take(pa.array(rank)))
    by_key = keys.group_by([*dimension.info["key"], *of_part], use_threads=False)
    # In the order of keys, for the index.
    sorted_keys = [(name, "ascending") for name in (*of_part, *dimension.info["key"])]
    greatest = by_key.aggregate([("rank", "max")]).sort_by(sorted_keys)["rank_max"].to_numpy()
    if not len(greatest):
        return schema.empty_table()
    row = greatest % rows.num_rows
    latest, order = rows.take(pa.array(row)), orders.take(pa.array(rank[row]))
    columns = [order[f.name] if f.name in order.column_names else latest[f.name] for f in schema]
    made = pa.table(columns, schema=schema)
    for name in of_part:
        made = made.append_column(name, order[name])
    return made
