"""Report on run dates as one HTML file: what came, whether it is normal, and what is off."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final

from orders_dask.checks.run import days_before
from orders_dask.jobs.daily import last_due
from orders_dask.jobs.dates import date_range, yesterday
from orders_dask.load.ready import ready_database
from orders_dask.reporting.collect import collect
from orders_dask.reporting.page import render
from orders_dask.retry import retry_transient
from orders_dask.settings import Settings, load_settings

DAYS: Final = 30
"""Run dates of a report on the latest."""

DAYS_TO_A_RUN_DATE: Final = 60
"""Run dates of a report on one: eight weeks to compare it with, and some more."""


def report(
    run_date: date | None = None,
    *,
    days: int | None = None,
    settings: Settings | None = None,
    samples: bool = False,
) -> str:
    """Return a report on run dates: an HTML page without scripts, that loads nothing.

    Every number in it is the ledger's.

    Parameters
    ----------
    run_date
        The run date that it ends with; yesterday by default.
    days
        Number of run dates; 60 to a given `run_date` by default, else 30.
    settings
        Settings; from the environment by default.
    samples
        Whether samples of bad values, which are personal data, are shown as they are; otherwise
        their letters and digits are masked.

    Raises
    ------
    DatabaseNotReady
        ``orders-dask init`` has not been run.
    ServiceUnavailable
        PostgreSQL can't be reached.
    """
    settings = settings or load_settings()
    end = run_date or yesterday(settings)
    days = days or (DAYS_TO_A_RUN_DATE if run_date else DAYS)
    first = days_before(end, timedelta(days=days - 1))
    database = ready_database(settings)
    data = retry_transient(collect)(database, date_range(first, end), last_due(settings))
    return render(data, settings, datetime.now(UTC), samples=samples)
