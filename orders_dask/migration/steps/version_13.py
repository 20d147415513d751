"""Version 13 stores sums of sales, which are counted once for what is published."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection, exists, select

from orders_dask.contract.columns import STORE
from orders_dask.contract.mart_tables import load_sales_day
from orders_dask.contract.storage_tables import published
from orders_dask.migration.changes import Change
from orders_dask.migration.steps.step import Step
from orders_dask.publish import marts


def _count_loads(connection: Connection) -> Iterator[Change]:
    """Yield the counts of published loads, each a transaction in which nobody waits."""
    counted = exists().where(load_sales_day.c.load_id == published.c.load_id)
    loads = select(published).where(~counted).order_by(published.c.run_date)
    for load in connection.execute(loads):
        call = f"select {STORE}.count_load({load.load_id})"
        yield Change(f"sums of sales of {load.run_date}", (call,), concurrently=True)


STEP: Final = Step(13, after=marts.rebuild, contents=_count_loads)
