"""Load and publish a range of run dates, several at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial
from threading import Event
from typing import Any, Final

from distributed import Client
from sqlalchemy import Engine

from orders_dask.checks.run import Checks, load_checks
from orders_dask.cluster.workers import resolve_client
from orders_dask.contract.raw_text import raw_columns
from orders_dask.contract.storage_tables import STORED_COLUMNS
from orders_dask.errors import OrdersDaskError, RunCancelled, SettingsError
from orders_dask.jobs.batch import (
    MAX_BATCH_BYTES,
    MAX_BATCH_DATES,
    load_together,
    may_go_with_others,
)
from orders_dask.jobs.inspect import (
    Inspection,
    chunks,
    date_range,
    inspect_run_dates,
    result_of_error,
    results_without_work,
)
from orders_dask.jobs.run import run_once
from orders_dask.ledger.queries import dates_without
from orders_dask.ledger.replay import corrected_records
from orders_dask.load.schema import ready_database
from orders_dask.monitoring import telemetry
from orders_dask.pipeline.load_scope import failure_message
from orders_dask.pipeline.progress import Listener, no_progress
from orders_dask.pipeline.results import RunResult
from orders_dask.retry import retry_run, wait_for_lock
from orders_dask.settings import Settings, load_settings
from orders_dask.urls import names_run_date

LOG: Final = logging.getLogger("orders_dask")

MIN_BATCH_DATES: Final = 8
"""Run dates of a batch, where there are as many: below that, what a batch costs itself shows."""


def backfill(
    start: date,
    end: date,
    *,
    settings: Settings | None = None,
    client: Client | None = None,
    force: bool = False,
    dry_run: bool = False,
    max_parallel: int = 2,
    listener: Listener | None = None,
) -> list[RunResult]:
    """Load and publish a range of run dates, several at a time.

    A date that fails does not stop the others: its result has the message. A date that another run
    has locked is waited for.

    Parameters
    ----------
    start, end
        First and last run date.
    settings, client, force, dry_run, listener
        As in :func:`orders_dask.jobs.run.run`. The listener is called from several threads.
    max_parallel
        Number of run dates to work on at once.

    Returns
    -------
    list of RunResult
        One per run date, in order; ``missing`` for a date without a file.

    Raises
    ------
    SettingsError
        A setting is missing or malformed, there is no client, the range is empty, or the source has
        no ``{run_date}`` and there are several.
    DatabaseNotReady
        ``orders-dask init`` has not been run.
    """
    return load_dates(
        date_range(start, end),
        settings=settings or load_settings(),
        client=client,
        force=force,
        dry_run=dry_run,
        max_parallel=max_parallel,
        listener=listener,
    )


def refresh_dates(
    column: str,
    *,
    settings: Settings | None = None,
    between: tuple[date, date] | None = None,
    corrected: bool = False,
) -> list[date]:
    """Return the published run dates whose loads lack a column: their force is to give it to them.

    Parameters
    ----------
    column
        A column such as ``fact_order.note`` or ``note``, a table such as ``fact_order``, ``raw``
        for the raw texts if they are to be kept, or ``all``.
    settings
        Settings; from the environment by default.
    between
        First and last run date; all by default.
    corrected
        Whether those count with records that were corrected and replayed: the dump has them as
        they were.

    Raises
    ------
    SettingsError
        No column or table has the name.
    DatabaseNotReady
        ``orders-dask init`` or ``orders-dask migrate`` has not been run.
    """
    settings = settings or load_settings()
    declared = (*STORED_COLUMNS, *raw_columns(settings.keeps_raw))
    wanted = {name for name in declared if column in ("all", *_names_of(name))}
    if not wanted:
        raise SettingsError(
            f"There is no column or table {column!r}: name one as fact_order.note, or all."
        )
    database = ready_database(settings)
    lacking = dates_without(database, settings.keeps_raw)
    dates = {day for name in wanted for day in lacking.get(name, ())}
    if not corrected:
        dates = dates.difference(corrected_records(database))
    return sorted(day for day in dates if between is None or between[0] <= day <= between[1])


def _names_of(stored_column: str) -> tuple[str, ...]:
    """Return what people may call a column of the storage, its table included."""
    name = stored_column.partition(" ")[0]
    table, _, column = name.partition(".")
    return name, table, column


def load_dates(
    run_dates: Sequence[date],
    *,
    settings: Settings,
    client: Client | None = None,
    force: bool = False,
    dry_run: bool = False,
    max_parallel: int = 2,
    listener: Listener | None = None,
) -> list[RunResult]:
    """Load and publish run dates, in their order, as :func:`backfill` does.

    Parameters
    ----------
    run_dates
        The run dates.
    settings, client, force, dry_run, max_parallel, listener
        As in :func:`backfill`.
    """
    if len(run_dates) > 1 and not names_run_date(settings.source):
        raise SettingsError(
            f"_AWS_S3_URL_SOURCE has no {{run_date}}, so each of {len(run_dates):,} run dates "
            "would get the same files: put {run_date} into it, or load one with `orders-dask run`."
        )
    copies = max(1, settings.copy_connections // max_parallel)
    settings = settings.model_copy(update={"copy_connections": copies})
    client = None if dry_run else resolve_client(client, settings)
    database = ready_database(settings)
    checks = load_checks(settings, database)
    stop = Event()
    shared: dict[str, Any] = {
        "settings": settings,
        "client": client,
        "database": database,
        "checks": checks,
        "listener": listener or no_progress,
        "stop": stop,
    }
    run_one = partial(wait_for_lock(retry_run(run_once, stop), stop), force=force, **shared)
    load = telemetry.in_context(partial(_load_some, run_one, partial(load_together, **shared)))
    results: dict[date, RunResult] = {}
    with ThreadPoolExecutor(max_parallel, thread_name_prefix="run-date") as pool:
        try:
            # A dry run looks at each by itself.
            size = 1 if dry_run else _batch_size(len(run_dates), max_parallel)
            loading = []
            for item in _work(run_dates, settings, database, checks, size, force, results):
                loading.append(pool.submit(load, item))
            for loaded in loading:
                results |= loaded.result()
            return [results[run_date] for run_date in run_dates]
        except BaseException:
            # Ctrl-C: dates in flight stop at their next check, queued ones never start.
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _batch_size(run_dates: int, max_parallel: int) -> int:
    """Return the number of run dates of a batch: two or more batches for each thread, if it can."""
    return min(MAX_BATCH_DATES, max(MIN_BATCH_DATES, -(-run_dates // (2 * max_parallel))))


Work = Mapping[date, Inspection | None]
"""Run dates that are loaded one after another; those with an inspection together."""


def _work(
    run_dates: Sequence[date],
    settings: Settings,
    database: Engine,
    checks: Checks,
    size: int,
    force: bool,
    results: dict[date, RunResult],
) -> Iterator[Work]:
    """Yield the work, in the order of the run dates, and put the results of all others in a dict.

    What can't be inspected now is work too: that is retried.
    """
    batch: dict[date, Inspection | None] = {}
    bytes_left = MAX_BATCH_BYTES
    for some in chunks(run_dates):
        inspected = _inspected(some, settings, database) if size > 1 else {}
        if not force:
            results |= results_without_work(inspected, database)
        for day in some:
            inspection = inspected.get(day)
            if day in results:
                continue
            if not isinstance(inspection, Inspection) or not may_go_with_others(inspection, checks):
                yield {day: None}
                continue
            bytes_left -= inspection.splits[0].size
            if batch and (len(batch) == size or bytes_left < 0):
                yield batch
                batch, bytes_left = {}, MAX_BATCH_BYTES - inspection.splits[0].size
            batch[day] = inspection
    if batch:
        yield batch


def _inspected(
    run_dates: Sequence[date], settings: Settings, database: Engine
) -> Mapping[date, Inspection | OrdersDaskError]:
    """Inspect run dates; if that fails, none of them: each is retried by itself."""
    try:
        return inspect_run_dates(run_dates, settings, database)
    except OrdersDaskError:
        return {}


def _load_some(
    run_one: Callable[[date], RunResult],
    together: Callable[[Mapping[date, Inspection]], dict[date, RunResult]],
    work: Work,
) -> dict[date, RunResult]:
    """Load the run dates of some work: together where that can be, then one after another."""
    inspected = {day: inspection for day, inspection in work.items() if inspection}
    results: dict[date, RunResult] = {}
    if inspected:
        try:
            results = together(inspected)
        except RunCancelled as error:
            return {day: result_of_error(day, error) for day in work}
        except Exception as error:  # noqa: BLE001
            # Each date by itself says what it is, a wrong setting or a fault of ours included.
            LOG.warning(
                "Run dates %s to %s go one by one: %s",
                min(work),
                max(work),
                failure_message(error),
            )
    return {day: results.get(day) or _as_result(run_one, day) for day in work}


def _as_result(run_one: Callable[[date], RunResult], run_date: date) -> RunResult:
    """Return the result of one run date, also if it ends with an error."""
    try:
        return run_one(run_date)
    except Exception as error:  # noqa: BLE001
        # A fault of ours in one date stops no other one either.
        return result_of_error(run_date, error)
