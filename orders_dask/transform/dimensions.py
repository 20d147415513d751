"""What orders say of dimensions: the rows that carry a key, and the one of them that counts."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Table

from orders_dask.contract.arrow import FILE, ORDER_ROW, POSITION, arrow_schema, flat_schemas
from orders_dask.contract.tables import carrier
from orders_dask.transform.resolve import VERSION, ascending


def rows_of(dimension: Table, staged: pa.Table) -> pa.Table:
    """Give what rows of a staged table say of a dimension: one for each of them that carries the whole key.

    Parameters
    ----------
    dimension
        One of :data:`~orders_dask.contract.tables.SAID`.
    staged
        Rows of the table that carries it (:func:`~orders_dask.contract.tables.carrier`), with
        :data:`~orders_dask.contract.arrow.ORDER_ROW`.

    Returns
    -------
    pa.Table
        With the dimension's schema of :func:`~orders_dask.contract.arrow.flat_schemas`.
    """
    schema = flat_schemas()[dimension.name]
    held = {ORDER_ROW: ORDER_ROW, **carrier(dimension).columns}
    rows = staged.select([held[name] for name in schema.names])
    whole = reduce(pc.and_, (rows[held[name]].is_valid() for name in dimension.info["key"]))
    return pa.table(rows.filter(whole).columns, schema=schema)


def ranked(orders: pa.Table) -> pa.Table:
    """Sort the orders of a part for :func:`said`: the one whose word on a dimension counts most comes last."""
    return orders.take(ascending(orders, [VERSION, FILE, POSITION]))


def said(dimension: Table, rows: pa.Table, orders: pa.Table) -> pa.Table:
    """Reduce what orders say of a dimension to one row a key.

    A key's row comes whole, nulls included, from the greatest order that carries it, and within that from its last
    line.

    Parameters
    ----------
    dimension
        One of :data:`~orders_dask.contract.tables.SAID`.
    rows
        What rows of orders say of it (:func:`rows_of`).
    orders
        ``ORDER_ROW``, version, file and position of the orders that stand, :func:`ranked`. Rows of other orders count
        for nothing.

    Returns
    -------
    pa.Table
        The columns of the dimension's storage table but for ``load_id``, a row a key.
    """
    schema = pa.schema([field for field in arrow_schema(dimension) if field.name != "load_id"])
    standing, of_row = orders[ORDER_ROW].to_numpy(), rows[ORDER_ROW].to_numpy()
    ranks = np.full(max(standing.max(initial=-1), of_row.max(initial=-1)) + 1, -1)
    ranks[standing] = np.arange(len(standing))
    rank = ranks[of_row]
    # The greatest rank of a key, then the last row: both in one number, for one pass over the keys alone.
    place = rank * rows.num_rows + np.arange(rows.num_rows)
    keys = rows.select(dimension.info["key"]).append_column("place", pa.array(place))
    greatest = (
        keys.filter(pa.array(rank >= 0))
        .group_by(dimension.info["key"], use_threads=False)
        .aggregate([("place", "max")])["place_max"]
        .to_numpy()
    )
    if not len(greatest):
        return schema.empty_table()
    row = np.sort(greatest % rows.num_rows)
    best, by = rows.take(pa.array(row)), orders.take(pa.array(rank[row]))
    columns = [by[f.name] if f.name in by.column_names else best[f.name] for f in schema]
    return pa.table(columns, schema=schema)
