"""What orders say of dimensions: the rows that carry a key, and the one of them that counts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Table

from orders_dask.contract.arrow import FILE, ORDER_ROW, POSITION, arrow_schema, flat_schemas
from orders_dask.contract.storage_tables import DIMENSION_SOURCES
from orders_dask.transform.resolve import VERSION, sort_indices


def dimension_rows(
    dimension: Table, staged: pa.Table, columns: Sequence[str] | None = None
) -> pa.Table:
    """Give what rows of a staged table say of a dimension: one for each of them that carries the whole key.

    Parameters
    ----------
    dimension
        One of :data:`~orders_dask.contract.storage_tables.DIMENSION_ROWS`.
    staged
        Rows of the table that carries it
        (:data:`~orders_dask.contract.storage_tables.DIMENSION_SOURCES`).
    columns
        Those of the dimension's schema (:func:`~orders_dask.contract.arrow.flat_schemas`) that are
        wanted beside its key and :data:`~orders_dask.contract.arrow.ORDER_ROW`; all by default.
    """
    flat, key = flat_schemas()[dimension.name], dimension.info["key"]
    names = dict.fromkeys((ORDER_ROW, *key, *(columns or flat.names)))
    schema = pa.schema([flat.field(name) for name in names])
    held = {ORDER_ROW: ORDER_ROW, **DIMENSION_SOURCES[dimension.name].columns}
    rows = pa.table([staged[held[name]] for name in schema.names], schema=schema)
    return rows.filter(reduce(pc.and_, (rows[name].is_valid() for name in key)))


def sort_by_version(orders: pa.Table) -> pa.Table:
    """Sort the orders of a part for :func:`latest_per_key`: the latest version comes last."""
    return orders.take(sort_indices(orders, [VERSION, FILE, POSITION]))


def latest_per_key(dimension: Table, rows: pa.Table, orders: pa.Table) -> pa.Table:
    """Reduce what orders say of a dimension to one row a key.

    A key's row comes whole, nulls included, from the greatest order that carries it, and within
    that from its last line.

    Parameters
    ----------
    dimension
        One of :data:`~orders_dask.contract.storage_tables.DIMENSION_ROWS`.
    rows
        What rows of orders that stand say of it (:func:`dimension_rows`).
    orders
        ``ORDER_ROW``, version, file and position of these orders at least, :func:`sort_by_version`.

    Returns
    -------
    pa.Table
        The columns of the dimension's storage table but for ``load_id``, a row a key.
    """
    schema = pa.schema([field for field in arrow_schema(dimension) if field.name != "load_id"])
    standing = orders[ORDER_ROW].to_numpy()
    ranks = np.empty(standing.max(initial=-1) + 1, np.int64)
    ranks[standing] = np.arange(len(standing))
    rank = ranks[rows[ORDER_ROW].to_numpy()]
    # The greatest rank of a key, then the last row: both in one number, for one pass over the keys
    # alone.
    place = rank * rows.num_rows + np.arange(rows.num_rows)
    keys = rows.select(dimension.info["key"]).append_column("place", pa.array(place))
    of_key = keys.group_by(dimension.info["key"], use_threads=False)
    greatest = of_key.aggregate([("place", "max")])["place_max"].to_numpy()
    if not len(greatest):
        return schema.empty_table()
    row = np.sort(greatest % rows.num_rows)
    best, by = rows.take(pa.array(row)), orders.take(pa.array(rank[row]))
    columns = [by[f.name] if f.name in by.column_names else best[f.name] for f in schema]
    return pa.table(columns, schema=schema)
