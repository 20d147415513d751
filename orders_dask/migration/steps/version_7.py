"""Version 7 knows loads that are held, and computes dimensions from what each load said."""

from __future__ import annotations

from typing import Final

from sqlalchemy import CheckConstraint, Connection, delete, select

from orders_dask.contract.dimension_tables import DIMENSIONS
from orders_dask.contract.ledger_tables import load_run
from orders_dask.contract.storage_tables import published
from orders_dask.migration.changes import Change
from orders_dask.migration.steps.step import Step
from orders_dask.publish import dimensions
from orders_dask.publish.pointer import lock_publishing

_STATUS: Final = next(
    each
    for each in load_run.constraints
    if isinstance(each, CheckConstraint) and each.name == "status"
)

_UNDO_TABLES: Final = tuple(
    f"{dimension}_{ending}"
    for dimension in ("customer", "user", "location", "device", "app", "product_variant")
    for ending in ("before", "undo")  # the name before version 6, and since
)


def _recompute_dimensions(connection: Connection) -> None:
    """Make the dimensions say what the published loads say."""
    lock_publishing(connection)
    for dimension in DIMENSIONS:
        connection.execute(delete(dimension))
    loads = select(published.c.run_date, published.c.load_id).order_by(published.c.run_date)
    for run_date, load_id in connection.execute(loads).all():
        dimensions.replace(connection, {run_date: load_id}, {})


STEP: Final = Step(
    7,
    Change(
        "statuses of loads, and dimensions without undo tables",
        (
            "alter table orders_ops.load_run drop constraint if exists status",
            f"alter table orders_ops.load_run add constraint status check ({_STATUS.sqltext})",
            *(f"drop table if exists orders_store.dim_{name}" for name in _UNDO_TABLES),
        ),
        not_beside_dump=True,
    ),
    _recompute_dimensions,
)
