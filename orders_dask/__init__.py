"""Raw order dumps on S3 become typed, normalised, published run dates in PostgreSQL.

:func:`run` and :func:`backfill` do the whole of it; :func:`read_orders` and :func:`read_staged`
give lazy DataFrames; :class:`Settings` come from the environment; every error is an
:class:`OrdersDaskError` (:mod:`orders_dask.errors`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from orders_dask.errors import (
    ClusterLost,
    ClusterMismatch,
    DatabaseNotReady,
    DataRefused,
    LeaseLost,
    LoadWithdrawn,
    NotKept,
    OrdersDaskError,
    OutOfBalance,
    RunDateHeld,
    RunStopped,
    ServiceUnavailable,
    SettingsError,
    SourceChanged,
    SourceMissing,
    StillInUse,
    TerminalError,
    TransientError,
    Undecided,
    WorkersDied,
)
from orders_dask.pipeline.progress import Progress
from orders_dask.pipeline.results import Plan, ReplayResult, RunResult
from orders_dask.settings import Settings, load_settings

if TYPE_CHECKING:
    from orders_dask.jobs.backfill import backfill
    from orders_dask.jobs.diff import diff
    from orders_dask.jobs.prune import prune
    from orders_dask.jobs.replay import replay
    from orders_dask.jobs.rollback import rollback
    from orders_dask.jobs.run import run
    from orders_dask.jobs.unpublish import drop
    from orders_dask.read import read_orders, read_staged

__all__ = [
    "ClusterLost",
    "ClusterMismatch",
    "DataRefused",
    "DatabaseNotReady",
    "LeaseLost",
    "LoadWithdrawn",
    "NotKept",
    "OrdersDaskError",
    "OutOfBalance",
    "Plan",
    "Progress",
    "ReplayResult",
    "RunDateHeld",
    "RunResult",
    "RunStopped",
    "ServiceUnavailable",
    "Settings",
    "SettingsError",
    "SourceChanged",
    "SourceMissing",
    "StillInUse",
    "TerminalError",
    "TransientError",
    "Undecided",
    "WorkersDied",
    "backfill",
    "diff",
    "drop",
    "load_settings",
    "prune",
    "read_orders",
    "read_staged",
    "replay",
    "rollback",
    "run",
]

_HEAVY = {
    "backfill": "orders_dask.jobs.backfill",
    "diff": "orders_dask.jobs.diff",
    "drop": "orders_dask.jobs.unpublish",
    "prune": "orders_dask.jobs.prune",
    "replay": "orders_dask.jobs.replay",
    "rollback": "orders_dask.jobs.rollback",
    "run": "orders_dask.jobs.run",
    "read_orders": "orders_dask.read",
    "read_staged": "orders_dask.read",
}
"""What needs Dask and pandas, 3 s of imports: `orders-dask --help` does without."""


def __getattr__(name: str) -> Any:
    if name not in _HEAVY:
        raise AttributeError(f"module 'orders_dask' has no attribute {name!r}")
    return getattr(import_module(_HEAVY[name]), name)
