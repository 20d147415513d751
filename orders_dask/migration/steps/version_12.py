"""Version 12 gives figures of sales the names that the field has for them (docs/sales.md)."""

from __future__ import annotations

from typing import Final

from orders_dask.migration.changes import Change
from orders_dask.migration.steps.step import Step

# A view that is replaced keeps its columns, so these are made anew, with the other views. Where a
# migration was killed after that, others read them already.
_DROP_OLD_VIEWS: Final = """
do $$ begin
    if exists (
        select from information_schema.columns
        where table_schema = 'orders' and table_name = 'order_summary'
            and column_name = 'gross_amount'
    ) then
        drop view if exists orders.daily_sales, orders.order_summary;
    end if;
end $$
"""

STEP: Final = Step(
    12,
    Change(
        "views order_summary and daily_sales, whose figures have other names",
        (_DROP_OLD_VIEWS,),
        not_beside_dump=True,
    ),
)
