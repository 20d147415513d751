"""Version 12 gives figures of sales the names that the field has for them (docs/sales.md)."""

from __future__ import annotations

from typing import Final

from orders_dask.migration.changes import Change
from orders_dask.migration.steps.step import Step

STEP: Final = Step(
    12,
    # A view that is replaced keeps its columns, so these are made anew, with the other views.
    Change(
        "views order_summary and daily_sales, whose figures have other names",
        ("drop view if exists orders.daily_sales, orders.order_summary",),
    ),
)
