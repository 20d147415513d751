"""Inspect a run date, without a cluster: its dump, the fingerprint, and what is published.

A run date is up to date if its published load has the fingerprint of the dump as it is now. See
docs/contract.md#contract-version.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Final

from sqlalchemy import Engine

from orders_dask.checks.comparison import Finding
from orders_dask.contract.versions import DECODER_VERSION
from orders_dask.errors import (
    DataRefused,
    LoadHeld,
    OrdersDaskError,
    RunDateLocked,
    SettingsError,
    SourceMissing,
)
from orders_dask.extract.discover import Dump, discover, discover_dump
from orders_dask.extract.records import Split
from orders_dask.jobs.raw_texts import raw_splits
from orders_dask.ledger.queries import (
    FILES_HASH_LENGTH,
    LoadStatus,
    held_loads,
    held_or_discarded,
    published_load,
    published_loads,
    reviewed_loads,
)
from orders_dask.load.schema import ready_database
from orders_dask.monitoring import telemetry
from orders_dask.pipeline.load_scope import failure_message
from orders_dask.pipeline.progress import StepTimer, no_progress
from orders_dask.pipeline.results import Outcome, RunResult
from orders_dask.retry import retry_transient, retry_until_found
from orders_dask.settings import Settings, load_settings

INSPECT_THREADS: Final = 4
"""Run dates that are listed at once: what counts is latency."""

MAX_INSPECTED: Final = 64
"""Run dates that are inspected together."""


@dataclass(frozen=True)
class Inspection:
    """The state of a run date: its dump, and what is published.

    Attributes
    ----------
    splits
        Splits of the dump, in the order of the listing; of a dump that is gone, those of the raw
        texts that are kept.
    left_out
        Names of objects beside it that are no dump by convention.
    fingerprint
        Hash of all that decides what a load of the dump would contain.
    published
        The published load; None if there is none.
    held_or_discarded
        The load of just this dump that is held, or was discarded or rolled back; None if there is
        none.
    """

    splits: list[Split]
    left_out: list[str]
    fingerprint: str
    published: LoadStatus | None
    held_or_discarded: LoadStatus | None

    @property
    def is_up_to_date(self) -> bool:
        """Whether what is published is of the dump as it is now."""
        return bool(self.published and self.published.fingerprint == self.fingerprint)

    @property
    def texts_of(self) -> int | None:
        """Id of the load whose raw texts are read in place of the dump; None if it is there."""
        is_missing = any(split.raw_url is not None for split in self.splits)
        return self.published.load_id if self.published and is_missing else None


def yesterday(settings: Settings) -> date:
    """Return the default run date: yesterday in the shop's time zone."""
    return datetime.now(settings.zone).date() - timedelta(days=1)


def date_range(start: date, end: date) -> list[date]:
    """Return the run dates from `start` to `end`, both included.

    Raises
    ------
    SettingsError
        The range is empty.
    """
    if end < start:
        raise SettingsError(
            f"The range from {start} to {end} is empty: its end lies before its start."
        )
    return [start + timedelta(days=n) for n in range((end - start).days + 1)]


def latest_dates(days: int, settings: Settings) -> list[date]:
    """Return the latest run dates, up to yesterday in the shop's time zone, in order."""
    end = yesterday(settings)
    return date_range(end - timedelta(days=days - 1), end)


def wait_for_source(run_date: date, settings: Settings, seconds: float) -> None:
    """Wait until the dump has a file for a run date.

    Parameters
    ----------
    run_date
        Date of the dump.
    settings
        Settings of the run.
    seconds
        Longest time to wait; 0 for no wait.

    Raises
    ------
    SourceMissing
        There is none yet.
    ServiceUnavailable
        S3 can't be reached, still.
    DatabaseNotReady
        ``orders-dask init`` has not been run, which is better known before the wait.
    """
    ready_database(settings)
    find = retry_until_found(discover, seconds)
    find(settings.source, run_date, settings.block_size)


def all_up_to_date(
    run_dates: Sequence[date], *, settings: Settings | None = None
) -> list[RunResult] | None:
    """Return the results of run dates if there is nothing to do for any of them.

    Returns
    -------
    list of RunResult or None
        One per run date, ``up_to_date`` or ``missing``; None if any of them has to be loaded or
        could not be inspected.
    """
    settings = settings or load_settings()
    database = ready_database(settings)
    results: list[RunResult] = []
    for some in chunks(run_dates):
        inspected = inspect_run_dates(some, settings, database)
        ended = results_without_work(inspected, database)
        if len(ended) < len(some):
            return None
        results += (ended[run_date] for run_date in some)
    return results


def chunks(run_dates: Sequence[date]) -> Iterator[Sequence[date]]:
    """Yield the run dates some at a time, few at first: the first one may tell enough."""
    start, size = 0, INSPECT_THREADS
    while start < len(run_dates):
        yield run_dates[start : start + size]
        start, size = start + size, MAX_INSPECTED


def inspect_run_dates(
    run_dates: Sequence[date], settings: Settings, database: Engine
) -> dict[date, Inspection | OrdersDaskError]:
    """Inspect several run dates, as :func:`inspect_run_date` does each.

    Returns
    -------
    dict
        By run date, its inspection, or why it could not be inspected.

    Raises
    ------
    SettingsError
        A setting is wrong: a cluster would not change it.
    """
    with telemetry.span("inspect", run_dates=len(run_dates)):
        published = retry_transient(published_loads)(database, run_dates)
        listing = partial(_list_dump, settings=settings)
        with ThreadPoolExecutor(INSPECT_THREADS, thread_name_prefix="run-date") as pool:
            found = dict(zip(run_dates, pool.map(listing, run_dates), strict=True))
        dumps = {day: dump for day, dump in found.items() if isinstance(dump, Dump)}
        prints = {day: _fingerprint(dump.splits, settings) for day, dump in dumps.items()}
        reviewed = retry_transient(reviewed_loads)(database, prints)
    return {
        day: Inspection(*dump, prints[day], published.get(day), reviewed.get(day))
        if isinstance(dump, Dump)
        else dump
        for day, dump in found.items()
    }


def _list_dump(run_date: date, settings: Settings) -> Dump | OrdersDaskError:
    try:
        return discover_dump(settings.source, run_date, settings.block_size)
    except SettingsError:
        raise
    except OrdersDaskError as error:
        return error


def results_without_work(
    inspected: Mapping[date, Inspection | OrdersDaskError], database: Engine
) -> dict[date, RunResult]:
    """Return the results of run dates for which there is nothing to do."""
    results: dict[date, RunResult] = {}
    up_to_date = {}
    for run_date, inspection in inspected.items():
        timer = StepTimer(run_date, no_progress)
        if isinstance(inspection, SourceMissing):
            results[run_date] = result_of_error(run_date, inspection)
        elif isinstance(inspection, OrdersDaskError):
            continue  # the run raises it, after its retries
        elif inspection.is_up_to_date and inspection.published:
            up_to_date[run_date] = inspection.published
        elif inspection.held_or_discarded:
            try:
                results[run_date] = result_of_held_or_discarded(inspection.held_or_discarded, timer)
            except LoadHeld as error:
                results[run_date] = result_of_error(run_date, error)
    held = held_loads(database, up_to_date) if up_to_date else {}
    for run_date, published in up_to_date.items():
        timer = StepTimer(run_date, no_progress)
        results[run_date] = up_to_date_result(published, held.get(run_date), timer)
    return results


def inspect_run_date(
    run_date: date,
    settings: Settings,
    database: Engine,
    timer: StepTimer,
    *,
    raw_if_missing: bool = False,
) -> Inspection:
    """Return the splits and the fingerprint of a run date's dump, and its published load.

    Parameters
    ----------
    run_date, settings, database
        The run date, and where it is.
    timer
        Times the listing.
    raw_if_missing
        Whether the raw texts of the published load do instead of a dump without any file.

    Raises
    ------
    SourceMissing
        The dump has no file for the run date.
    """
    published = published_load(database, run_date)
    with timer.step("discover"):
        try:
            splits, left_out = discover_dump(settings.source, run_date, settings.block_size)
            fingerprint = _fingerprint(splits, settings)
        except SourceMissing:
            if not (raw_if_missing and published):
                raise
            splits = raw_splits(published, settings, database)
            if not splits:
                raise
            left_out = []
            fingerprint = published.fingerprint[:FILES_HASH_LENGTH] + _hash_of_reading(settings)
    held = held_or_discarded(database, run_date, fingerprint)
    return Inspection(splits, left_out, fingerprint, published, held)


def dump_fingerprint(run_date: date, settings: Settings) -> str:
    """Return the fingerprint that a load of a run date's dump would have.

    Raises
    ------
    SourceMissing
        The dump has no file for the run date.
    """
    return _fingerprint(discover(settings.source, run_date, settings.block_size), settings)


def _fingerprint(splits: Sequence[Split], settings: Settings) -> str:
    """Return the hash of the files, and behind it that of all else that decides what is loaded.

    What somebody decided about files counts also after an upgrade, or with other settings.
    """
    files = {file.name: file.etag for split in splits for file in split.files}
    return _hash(list(files.items())) + _hash_of_reading(settings)


def _hash_of_reading(settings: Settings) -> str:
    return _hash([DECODER_VERSION, settings.shop_timezone, settings.record])


def _hash(content: Sequence[object]) -> str:
    return sha256(json.dumps(content).encode()).hexdigest()[:FILES_HASH_LENGTH]


def result_of_error(run_date: date, error: Exception) -> RunResult:
    """Return the result of a run date that ended with an error, a fault of ours included."""
    if not isinstance(error, OrdersDaskError):
        message = (
            f"{failure_message(error)} `orders-dask run --run-date {run_date} --debug` shows it."
        )
        return RunResult(run_date, "failed", message=message, exit_code=1)
    outcome: Outcome = "failed"
    if isinstance(error, DataRefused):
        outcome = "refused"
    elif isinstance(error, LoadHeld):
        outcome = "held"
    elif isinstance(error, RunDateLocked):
        outcome = "locked"
    elif isinstance(error, SourceMissing):
        outcome = "missing"
    return RunResult(run_date, outcome, message=str(error), exit_code=error.exit_code)


def up_to_date_result(
    published: LoadStatus, held: LoadStatus | None, timer: StepTimer
) -> RunResult:
    """Return the result of a run date that is up to date, with what is held of it."""
    result = result_from_ledger("up_to_date", published, timer)
    if held is None:
        return result
    message = (
        f"Load {held.load_id} of other files is held still: `orders-dask discard --run-date "
        f"{held.run_date}` drops it."
    )
    return replace(result, message=message)


def result_of_held_or_discarded(load: LoadStatus, timer: StepTimer) -> RunResult:
    """Return the result of a run date whose dump was loaded before, and somebody decided against.

    Raises
    ------
    LoadHeld
        That load is held, and nobody has accepted or discarded it yet.
    """
    if load.status == "held":
        raise LoadHeld(str(load.message))
    decision = "rolled back" if load.status == "unpublished" else "discarded"
    message = (
        f"Load {load.load_id} of these files was {decision}: `orders-dask run --force --run-date "
        f"{load.run_date}` loads them again."
    )
    return RunResult(load.run_date, "discarded", message=message, seconds=timer.total)


def result_from_ledger(
    outcome: Outcome, load: LoadStatus, timer: StepTimer, findings: Sequence[Finding] = ()
) -> RunResult:
    """Return the result of a run date with the counts of a load in the ledger."""
    return RunResult(
        load.run_date,
        outcome,
        load_id=load.load_id,
        files=load.files,
        orders=load.orders,
        lines=load.lines,
        superseded=load.superseded,
        rejected=load.rejected,
        seconds=timer.total,
        warnings=tuple(f"{finding.message} ({finding.check_name})" for finding in findings),
        unknown_keys=load.unknown_keys,
    )
