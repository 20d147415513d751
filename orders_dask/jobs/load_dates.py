"""Load and publish run dates: the small ones together, several of the others at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import chain
from threading import Event
from typing import TYPE_CHECKING, Final

from sqlalchemy import Engine

from orders_dask.cluster.clients import Connect, preparing_once
from orders_dask.errors import (
    OrdersDaskError,
    RunCancelled,
    SettingsError,
    StoredObjectChanged,
    failure_message,
)
from orders_dask.jobs.inspect import (
    MAX_SMALL_BYTES,
    Inspection,
    chunks,
    inspect_run_dates,
    results_without_work,
)
from orders_dask.jobs.results import result_of_error
from orders_dask.jobs.run import checks_of, run_once
from orders_dask.load.ready import ready_database
from orders_dask.monitoring import telemetry
from orders_dask.pipeline.progress import Listener, StepTimer, no_progress
from orders_dask.pipeline.results import RunResult
from orders_dask.retry import retry_run, wait_for_lock
from orders_dask.settings import Settings
from orders_dask.urls import names_run_date

if TYPE_CHECKING:
    from distributed import Client

    from orders_dask.checks.run import Checks

LOG: Final = logging.getLogger("orders_dask")

MAX_BATCH_DATES: Final = 32
"""Run dates of a batch: what it costs by itself is shared by all."""

MAX_BATCH_BYTES: Final = 16 << 20
"""Bytes of the dumps of a batch, as stored."""

MAX_SMALL_DATES: Final = 32
"""Small run dates that are not worth the start of a cluster: they take a tenth of a second each."""

MIN_BATCH_DATES: Final = 5
"""Run dates of a batch, where there are as many: below that, what a batch costs itself shows."""


def load_dates(
    connect: Connect,
    run_dates: Sequence[date],
    settings: Settings,
    *,
    force: bool = False,
    dry_run: bool = False,
    max_parallel: int = 2,
    listener: Listener | None = None,
) -> list[RunResult]:
    """Load and publish run dates in order, as :func:`orders_dask.jobs.backfill.backfill` does.

    Parameters
    ----------
    connect
        Returns the client once there is work.
    run_dates, settings
        The run dates, and the settings.
    force, dry_run, max_parallel, listener
        As in :func:`orders_dask.jobs.backfill.backfill`.
    """
    copies = max(1, settings.copy_connections // max_parallel)
    settings = settings.model_copy(update={"copy_connections": copies})
    database = ready_database(settings)
    checks = checks_of(settings, database)
    results: dict[date, RunResult] = {}
    size = _batch_size(len(run_dates), max_parallel)
    # A dry run looks at each by itself.
    inspect = None if dry_run else partial(_inspected, settings=settings, database=database)
    found = _work(run_dates, database, inspect, size, force, results)
    first, is_small = _take_small(found)
    if first:
        if len(run_dates) > 1 and not names_run_date(settings.source):
            raise SettingsError(
                f"_AWS_S3_URL_SOURCE has no {{run_date}}, so each of {len(run_dates):,} run dates "
                "would get the same files: put {run_date} into it, or load one with `orders-dask "
                "run`."
            )
        stop = Event()
        client = _none if dry_run else preparing_once(connect, settings, is_small, stop)
        if not dry_run and client() is None:
            max_parallel = 1  # a task at a time
        shown = listener or no_progress
        job = _Job(settings, client, database, checks, force, dry_run, shown, stop)
        results |= _load_all(job, chain(first, found), max_parallel)
    return [results[run_date] for run_date in run_dates]


def _none() -> None:
    """Return no client."""


@dataclass(frozen=True)
class _Job:
    """What the work on all run dates needs, and the event that stops it."""

    settings: Settings
    client: Callable[[], Client | None]
    database: Engine
    checks: Callable[[], Checks]
    force: bool
    dry_run: bool
    listener: Listener
    stop: Event


def _load_all(job: _Job, found: Iterable[Work], max_parallel: int) -> dict[date, RunResult]:
    """Load work as it is found, some of it at a time."""
    load = telemetry.in_context(partial(_load_some, job))
    results: dict[date, RunResult] = {}
    with ThreadPoolExecutor(max_parallel, thread_name_prefix="run-date") as pool:
        try:
            for loaded in [pool.submit(load, work) for work in found]:
                results |= loaded.result()
        except BaseException:
            # Ctrl-C: dates in flight stop at their next check, queued ones never start.
            job.stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results


def _batch_size(run_dates: int, max_parallel: int) -> int:
    """Return the run dates of a batch: few batches, and as many for each thread."""
    batches = max_parallel * -(-run_dates // (MAX_BATCH_DATES * max_parallel))
    worthwhile = max(1, run_dates // MIN_BATCH_DATES)
    return -(-run_dates // min(batches, worthwhile))


Work = Mapping[date, Inspection | None]
"""Run dates that are loaded one after another, or together: then each has an inspection."""


def _work(
    run_dates: Sequence[date],
    database: Engine,
    inspect: Callable[..., Mapping[date, Inspection | OrdersDaskError]] | None,
    size: int,
    force: bool,
    results: dict[date, RunResult],
) -> Iterator[Work]:
    """Yield the work, in the order of the run dates, and put the results of all others in a dict.

    What can't be inspected now is work too: that is retried.
    """
    batch: dict[date, Inspection | None] = {}
    bytes_left = MAX_BATCH_BYTES
    for number, some in enumerate(chunks(run_dates)):
        inspected = inspect(some, is_first=number == 0) if inspect else {}
        if not force:
            results |= results_without_work(inspected, database)
        for day in some:
            inspection = inspected.get(day)
            if day in results:
                continue
            if not isinstance(inspection, Inspection) or not inspection.is_small:
                yield {day: None}
                continue
            bytes_left -= inspection.bytes
            if batch and (len(batch) == size or bytes_left < 0):
                yield batch
                batch, bytes_left = {}, MAX_BATCH_BYTES - inspection.bytes
            batch[day] = inspection
    if batch:
        yield batch


def _inspected(
    run_dates: Sequence[date], *, is_first: bool, settings: Settings, database: Engine
) -> Mapping[date, Inspection | OrdersDaskError]:
    """Inspect run dates; if that fails, none of them: each is retried by itself.

    Before anything is loaded, a wrong setting ends all.
    """
    try:
        return inspect_run_dates(run_dates, settings, database)
    except OrdersDaskError as error:
        if is_first and isinstance(error, SettingsError):
            raise
        return {}


def _take_small(found: Iterator[Work]) -> tuple[list[Work], bool]:
    """Take work until there is too much for this process; return it, and whether that is all."""
    taken, size, dates = [], 0, 0
    for work in found:
        taken.append(work)
        inspections = [inspection for inspection in work.values() if inspection]
        size += sum(inspection.bytes for inspection in inspections)
        dates += len(work)
        is_much = size > MAX_SMALL_BYTES or dates > MAX_SMALL_DATES
        if len(inspections) < len(work) or is_much:
            return taken, False
    return taken, True


def _load_some(job: _Job, work: Work) -> dict[date, RunResult]:
    """Load the run dates of some work: together where that can be, then one after another."""
    inspected = {day: inspection for day, inspection in work.items() if inspection}
    results: dict[date, RunResult] = {}
    try:
        if inspected and not job.checks().own:
            results = retry_run(_load_together, job.stop)(job, inspected)
    except RunCancelled as error:
        return {day: result_of_error(day, error) for day in work}
    except Exception as error:  # noqa: BLE001
        # Each date by itself says what it is, a wrong setting or a fault of ours included.
        LOG.warning(
            "Run dates %s to %s go one by one: %s", min(work), max(work), failure_message(error)
        )
    return {day: results.get(day) or _load_alone(job, day) for day in work}


def _load_together(job: _Job, inspected: Mapping[date, Inspection]) -> dict[date, RunResult]:
    """Load run dates together, but for those that are forced and staged: their parts are used."""
    from orders_dask.jobs.batch import load_together
    from orders_dask.jobs.load_one import is_staged
    from orders_dask.pipeline.load_scope import RunContext

    to_decode = {
        day: inspection
        for day, inspection in inspected.items()
        if not (job.force and is_staged(day, inspection, job.settings))
    }
    if not to_decode:
        return {}
    timer = StepTimer(min(to_decode), no_progress)
    context = RunContext(job.settings, job.client(), job.database, timer, job.stop)
    try:
        return load_together(to_decode, context, job.checks(), job.listener)
    except StoredObjectChanged as error:
        LOG.warning("%s (Trying each run date by itself.)", error)
        return {}  # for which each is listed anew


def _load_alone(job: _Job, run_date: date) -> RunResult:
    """Return the result of one run date, also if it ends with an error."""
    try:
        return wait_for_lock(retry_run(run_once, job.stop), job.stop)(
            run_date,
            job.settings,
            lambda *_: job.client(),
            job.database,
            job.checks,
            force=job.force,
            dry_run=job.dry_run,
            by_itself=True,
            listener=job.listener,
            stop=job.stop,
        )
    except Exception as error:  # noqa: BLE001
        # A fault of ours in one date stops no other one either.
        return result_of_error(run_date, error)
