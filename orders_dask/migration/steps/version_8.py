"""Version 8 records the columns that the rows of a load have."""

from __future__ import annotations

from typing import Final

from orders_dask.migration.changes import Change
from orders_dask.migration.steps.step import Step

# The columns of facts and dimensions as they are now, before anything is added.
_RECORD_COLUMNS: Final = """
update orders_ops.load_run set columns = (
    select jsonb_agg(relname || '.' || attname order by relname, attnum)
    from pg_attribute join pg_class c on c.oid = attrelid
    where relnamespace = 'orders_store'::regnamespace and attnum > 0 and not attisdropped
      and (relkind = 'p' or relname like 'dim\\_%')
)
where columns is null
"""

# Code of before goes on writing when counters of more facts are added.
_DEFAULTS: Final = ", ".join(
    f"alter column {fact}_rejected set default '0'"
    for fact in ("order", "order_line", "refund", "refund_line", "refund_adjustment")
)

STEP: Final = Step(
    8,
    Change(
        "columns of each load",
        (
            "alter table orders_ops.load_run add column if not exists columns jsonb",
            _RECORD_COLUMNS,
            f"alter table orders_ops.rejected_record {_DEFAULTS}",
        ),
    ),
)
