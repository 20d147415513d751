"""What a run does about schema drift: record it, and refuse it if the settings say so.

See docs/contract.md#schema-drift.
"""

from __future__ import annotations

from datetime import date
from typing import Final

from orders_dask.contract.schema_drift import Drift
from orders_dask.errors import DataRefused
from orders_dask.ledger import loads
from orders_dask.pipeline.load_scope import OpenLoad
from orders_dask.settings import Settings

_NAMED: Final = 5
"""Unknown keys that a message names."""


def record_drift(load: OpenLoad, drift: Drift) -> None:
    """Write the unknown keys of a load to the ledger, unless the settings ignore them."""
    if load.context.settings.schema_drift != "ignore":
        loads.record_drift(load.lease, load.load_id, drift)


def check_drift(run_date: date, settings: Settings, drift: Drift) -> None:
    """Refuse the run if it has unknown keys and the settings refuse them.

    Raises
    ------
    DataRefused
        It has.
    """
    if settings.schema_drift == "refuse" and drift:
        raise DataRefused(
            f"The dump has keys that the contract doesn't know, and ORDERS_DASK_SCHEMA_DRIFT is "
            f"refuse: {name_keys(drift)}: see `orders-dask drift --run-date {run_date}`."
        )


def name_keys(drift: Drift) -> str:
    """Return the first paths, and how many others there are."""
    named, others = drift.paths[:_NAMED], len(drift.paths) - _NAMED
    at_least = "at least " if drift.more else ""
    return ", ".join(named) + (f" and {at_least}{others:,} more" if others > 0 else "")
