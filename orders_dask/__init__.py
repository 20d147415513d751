"""Load raw order dumps from S3 into PostgreSQL: typed, normalised, published by run date.

:func:`fetch` fetches the orders of a run date from the shop, :func:`run` loads a run date and
:func:`backfill` a range of them, on the Dask cluster of :func:`connect` or any other.
:func:`read_orders` and :func:`read_staged` return lazy Dask DataFrames. :class:`Settings` come from
the environment. Every error is an :class:`OrdersDaskError` (:mod:`orders_dask.errors`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from orders_dask.errors import (
    ClusterLost,
    DatabaseNotReady,
    DataRefused,
    FetchIncomplete,
    LeaseLost,
    LoadHeld,
    LoadNotActive,
    NothingToRestore,
    OrdersDaskError,
    OutcomeUnknown,
    PartitionInUse,
    ReconciliationError,
    RunCancelled,
    RunDateLocked,
    SchedulerEnded,
    ServiceUnavailable,
    SettingsError,
    SourceMissing,
    StoredObjectChanged,
    TerminalError,
    TransientError,
    VersionMismatch,
    WorkersDied,
)

if TYPE_CHECKING:
    from orders_dask.cluster.connect import connect
    from orders_dask.cost import Cost
    from orders_dask.jobs.backfill import backfill
    from orders_dask.jobs.daily import daily, overdue
    from orders_dask.jobs.diff import diff
    from orders_dask.jobs.fetch import fetch, fetch_range
    from orders_dask.jobs.prune import prune
    from orders_dask.jobs.replay import replay
    from orders_dask.jobs.report import report
    from orders_dask.jobs.review import accept, discard
    from orders_dask.jobs.rollback import rollback
    from orders_dask.jobs.run import run
    from orders_dask.jobs.unpublish import unpublish
    from orders_dask.ledger.queries import LoadStatus
    from orders_dask.ledger.rejects import RejectedRecord
    from orders_dask.order_api.fetch_date import FetchResult
    from orders_dask.order_api.settings import FetchSettings, load_fetch_settings
    from orders_dask.pipeline.progress import Progress
    from orders_dask.pipeline.results import (
        Plan,
        PruneResult,
        ReplayResult,
        RollbackResult,
        RunResult,
        UnpublishResult,
    )
    from orders_dask.publish.diff import DiffResult, MoneyDiff, OrderDiff, RowCountDiff
    from orders_dask.read import read_orders, read_staged
    from orders_dask.settings import Settings, load_settings

__all__ = [
    "ClusterLost",
    "Cost",
    "DataRefused",
    "DatabaseNotReady",
    "DiffResult",
    "FetchIncomplete",
    "FetchResult",
    "FetchSettings",
    "LeaseLost",
    "LoadHeld",
    "LoadNotActive",
    "LoadStatus",
    "MoneyDiff",
    "NothingToRestore",
    "OrderDiff",
    "OrdersDaskError",
    "OutcomeUnknown",
    "PartitionInUse",
    "Plan",
    "Progress",
    "PruneResult",
    "ReconciliationError",
    "RejectedRecord",
    "ReplayResult",
    "RollbackResult",
    "RowCountDiff",
    "RunCancelled",
    "RunDateLocked",
    "RunResult",
    "SchedulerEnded",
    "ServiceUnavailable",
    "Settings",
    "SettingsError",
    "SourceMissing",
    "StoredObjectChanged",
    "TerminalError",
    "TransientError",
    "UnpublishResult",
    "VersionMismatch",
    "WorkersDied",
    "accept",
    "backfill",
    "connect",
    "daily",
    "diff",
    "discard",
    "fetch",
    "fetch_range",
    "load_fetch_settings",
    "load_settings",
    "overdue",
    "prune",
    "read_orders",
    "read_staged",
    "replay",
    "report",
    "rollback",
    "run",
    "unpublish",
]

_MODULE_OF = {
    "Cost": "orders_dask.cost",
    "DiffResult": "orders_dask.publish.diff",
    "FetchResult": "orders_dask.order_api.fetch_date",
    "FetchSettings": "orders_dask.order_api.settings",
    "LoadStatus": "orders_dask.ledger.queries",
    "MoneyDiff": "orders_dask.publish.diff",
    "OrderDiff": "orders_dask.publish.diff",
    "Plan": "orders_dask.pipeline.results",
    "Progress": "orders_dask.pipeline.progress",
    "PruneResult": "orders_dask.pipeline.results",
    "RejectedRecord": "orders_dask.ledger.rejects",
    "ReplayResult": "orders_dask.pipeline.results",
    "RollbackResult": "orders_dask.pipeline.results",
    "RowCountDiff": "orders_dask.publish.diff",
    "RunResult": "orders_dask.pipeline.results",
    "Settings": "orders_dask.settings",
    "UnpublishResult": "orders_dask.pipeline.results",
    "accept": "orders_dask.jobs.review",
    "backfill": "orders_dask.jobs.backfill",
    "connect": "orders_dask.cluster.connect",
    "daily": "orders_dask.jobs.daily",
    "diff": "orders_dask.jobs.diff",
    "discard": "orders_dask.jobs.review",
    "fetch": "orders_dask.jobs.fetch",
    "fetch_range": "orders_dask.jobs.fetch",
    "load_fetch_settings": "orders_dask.order_api.settings",
    "load_settings": "orders_dask.settings",
    "overdue": "orders_dask.jobs.daily",
    "prune": "orders_dask.jobs.prune",
    "read_orders": "orders_dask.read",
    "read_staged": "orders_dask.read",
    "replay": "orders_dask.jobs.replay",
    "report": "orders_dask.jobs.report",
    "rollback": "orders_dask.jobs.rollback",
    "run": "orders_dask.jobs.run",
    "unpublish": "orders_dask.jobs.unpublish",
}
"""Modules of names that are imported on use: Pydantic, Dask and others take up to 3 s."""


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'orders_dask' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
