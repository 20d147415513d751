"""The daily job: which run dates it loads, and whether those that are due are published."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import compress
from typing import TYPE_CHECKING

from orders_dask.cluster.clients import given_client
from orders_dask.errors import DataRefused, SourceMissing
from orders_dask.jobs.dates import date_range, latest_dates
from orders_dask.jobs.inspect import INSPECT_THREADS, dump_fingerprint
from orders_dask.jobs.load_dates import load_dates
from orders_dask.ledger.queries import published_dates
from orders_dask.load.ready import ready_database
from orders_dask.pipeline.progress import Listener
from orders_dask.pipeline.results import LOOKBACK, Beyond, RunResult
from orders_dask.retry import retry_transient
from orders_dask.settings import Settings, load_settings

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True)
class DailyPlan:
    """The run dates of a daily job.

    Attributes
    ----------
    run_dates
        Dates to load, or to find up to date, in order.
    changed
        Published dates before the look-back whose files have changed, and that are left alone.
    lookback
        First date of the look-back.
    """

    run_dates: Sequence[date]
    changed: Sequence[date]
    lookback: date


def daily(
    *,
    settings: Settings | None = None,
    client: Client | None = None,
    lookback: int = LOOKBACK,
    beyond: Beyond = "report",
    dry_run: bool = False,
    max_parallel: int = 2,
    listener: Listener | None = None,
) -> list[RunResult]:
    """Load whatever is missing up to yesterday, and what has changed in the latest days.

    Run dates are those of the look-back, and all since the first published one that are not
    published, in the shop's time zone. They are loaded oldest first. A date that a check holds, or
    whose data is refused, stops no other one. It may run at any time, twice at once, and after any
    pause.

    Parameters
    ----------
    settings, client, dry_run, max_parallel, listener
        As in :func:`orders_dask.jobs.backfill.backfill`.
    lookback
        Days up to yesterday whose dumps may still come or change.
    beyond
        What becomes of a published run date before these whose files have changed: ``report`` it as
        ``changed``, ``load`` it, or ``ignore`` it, which lists no files of these dates.

    Returns
    -------
    list of RunResult
        One per run date, in order. Dates without a file are left out before the look-back, and
        before the first published one.

    Raises
    ------
    SettingsError
        A setting is missing or malformed, or the client can't be used.
    DatabaseNotReady
        ``orders-dask init`` has not been run.
    """
    settings = settings or load_settings()
    plan = plan_daily(settings, lookback, beyond)
    ended = load_dates(
        given_client(client),
        plan.run_dates,
        settings,
        dry_run=dry_run,
        max_parallel=max_parallel,
        listener=listener,
    )
    return daily_results(plan, ended, settings)


def plan_daily(
    settings: Settings, lookback: int = LOOKBACK, beyond: Beyond = "report"
) -> DailyPlan:
    """Return the run dates of a daily job.

    Parameters
    ----------
    settings, lookback, beyond
        As in :func:`daily`.
    """
    published = published_dates(ready_database(settings))
    latest = latest_dates(lookback, settings)
    first = min(published, default=latest[0])
    older = date_range(first, latest[0] - timedelta(days=1)) if first < latest[0] else []
    never = [run_date for run_date in older if run_date not in published]
    before = [run_date for run_date in older if run_date in published]
    changed = [] if beyond == "ignore" else _changed(before, published, settings)
    if beyond == "load":
        return DailyPlan(sorted([*never, *changed, *latest]), [], latest[0])
    return DailyPlan([*never, *latest], changed, latest[0])


def daily_results(
    plan: DailyPlan, ended: Sequence[RunResult], settings: Settings
) -> list[RunResult]:
    """Return how the run dates of a daily job ended, those included that it left alone."""
    published = published_dates(ready_database(settings))
    first = min(published, default=plan.run_dates[-1])
    changed = [
        RunResult(
            run_date,
            "changed",
            message="Its files, or what decodes them, have changed: `orders-dask run --run-date "
            f"{run_date}` loads it.",
        )
        for run_date in plan.changed
    ]
    # Before the first dump that there ever was, none is missing; nor is one that did not come.
    expected = max(first, plan.lookback)
    # A dump that was deleted after it was published isn't, either.
    known = [_published_once(e) if e.run_date in published else e for e in ended]
    results = [*changed, *(e for e in known if e.outcome != "missing" or e.run_date >= expected)]
    return sorted(results, key=lambda result: result.run_date)


def _published_once(result: RunResult) -> RunResult:
    """Return the result of a published run date, whose dump may have been deleted since."""
    if result.outcome != "missing":
        return result
    message = "It is published, and its dump is gone."
    return replace(result, outcome="up_to_date", message=message, exit_code=0)


def _changed(
    run_dates: Sequence[date], published: dict[date, str], settings: Settings
) -> list[date]:
    """Return the run dates whose dump is there and is another one than what is published."""

    @retry_transient
    def has_changed(run_date: date) -> bool:
        try:
            return dump_fingerprint(run_date, settings) != published[run_date]
        except SourceMissing:  # dumps are deleted after some time
            return False
        except DataRefused:  # a run of it says why, of this date alone
            return True

    with ThreadPoolExecutor(INSPECT_THREADS, thread_name_prefix="run-date") as pool:
        return list(compress(run_dates, pool.map(has_changed, run_dates)))


def overdue(
    *,
    settings: Settings | None = None,
    last: int = LOOKBACK,
    expect_dump: bool = True,
    now: datetime | None = None,
) -> list[date]:
    """Return the run dates that should be published by now, and are not.

    A run date is due on the day after it at ``ORDERS_DASK_LATEST`` in the shop's time zone. Dates
    before the first published one are not.

    Parameters
    ----------
    settings
        Settings; from the environment by default.
    last
        Number of the latest due dates to look at.
    expect_dump
        Whether each date has a dump. Otherwise those without a file are left out, for which the
        files are listed.
    now
        The time, with a time zone; that of this machine by default.

    Raises
    ------
    DatabaseNotReady
        ``orders-dask init`` has not been run.
    ServiceUnavailable
        PostgreSQL can't be reached.
    """
    settings = settings or load_settings()
    due = last_due(settings, now)
    published = published_dates(ready_database(settings))
    first = max(min(published, default=due), due - timedelta(days=last - 1))
    run_dates = date_range(first, due) if first <= due else []
    late = [run_date for run_date in run_dates if run_date not in published]
    return late if expect_dump else [day for day in late if _has_dump(day, settings)]


def last_due(settings: Settings, now: datetime | None = None) -> date:
    """Return the last run date that should be published by now.

    Parameters
    ----------
    settings, now
        As in :func:`overdue`.
    """
    now = (now or datetime.now(settings.zone)).astimezone(settings.zone)
    return now.date() - timedelta(days=1 if now.time() >= settings.latest else 2)


@retry_transient
def _has_dump(run_date: date, settings: Settings) -> bool:
    try:
        dump_fingerprint(run_date, settings)
    except SourceMissing:
        return False
    except DataRefused:  # there is one, and it is damaged
        return True
    return True
