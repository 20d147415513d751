"""Version 6 called tables and columns by the field's names; nothing else changed."""

from __future__ import annotations

from typing import Final

from orders_dask.migration.changes import Change
from orders_dask.migration.steps.step import Step

_DIMENSIONS: Final = ("customer", "user", "location", "device", "app", "product_variant")

_COLUMNS: Final = {
    "orders_ops.installed": {
        "contract": "contract_version",
        "leaf": "partition_width",
        "views": "views_hash",
        "installation": "database_id",
    },
    "orders_ops.storage_leaf": {"watch": "wait_for", "leaving": "draining"},
    "orders_ops.load_run": {
        "holder": "run_by",
        "read_at": "source_read_at",
        "replaces": "replaced_load_id",
        "reversible": "can_roll_back",
        "left_at": "unpublished_at",
        "seconds": "step_seconds",
        "costs": "step_metrics",
    },
    "orders_ops.rejected_record": {
        "of_order": "order_raw",
        "mended": "corrected_raw",
        "replayed_in": "replay_load_id",
    },
    "orders_ops.data_issue": {"values": "value_count"},
    "orders_store.order_version": {"version": "version_at"},
    **{f"orders_store.dim_{name}": {"version": "version_at"} for name in _DIMENSIONS},
}
"""New name by old one, by table."""

_RENAMED_TABLES: Final = ("orders_ops.installed", "orders_ops.storage_leaf")

_RENAMED: Final = (
    "alter table orders_ops.installed rename to schema_info",
    "alter table orders_ops.schema_info rename constraint installed_pkey to schema_info_pkey",
    "alter sequence orders_ops.installed_contract_seq rename to schema_info_contract_version_seq",
    "alter table orders_ops.storage_leaf rename to storage_partition",
    "alter table orders_ops.storage_partition"
    " rename constraint storage_leaf_pkey to storage_partition_pkey",
    "alter table orders_ops.load_run drop constraint status",  # version 7 makes it anew
    "drop function orders_store.make_leaf(date)",
)

_STATEMENTS: Final = (
    *(
        f"alter table {table} rename column {old} to {new}"
        for table, renamed in _COLUMNS.items()
        for old, new in renamed.items()
    ),
    *_RENAMED,
    "update orders_ops.load_run set status = 'unpublished' where status = 'withdrawn'",
    "update orders_ops.load_run set status = 'comparison' where status = 'compared'",
)

_UNLESS_DONE: Final = """
do $$ begin
    if to_regclass('orders_ops.installed') is not null then
        {};
    end if;
end $$"""

STEP: Final = Step(
    6,
    Change(
        "names of tables and columns",
        (_UNLESS_DONE.format(";\n        ".join(_STATEMENTS)),),
        # All at once: else readers of one would wait for each of the others, too.
        locks=tuple(name for name in _COLUMNS if name not in _RENAMED_TABLES),
        not_beside_dump=True,
    ),
)
