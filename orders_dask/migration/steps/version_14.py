"""Version 14 has the sums of sales of a load by part, so a key occurs once a part."""

from __future__ import annotations

from typing import Final

from orders_dask.migration.changes import Change
from orders_dask.migration.steps.step import Step

_DROP_INDEXES: Final = """
drop index if exists orders_store.load_sales_day_key, orders_store.load_sales_customer_key
"""

STEP: Final = Step(
    14,
    Change(
        "indexes by which a load has each day and customer once",
        (_DROP_INDEXES,),
        not_beside_dump=True,
    ),
)
