"""Inspect a run date, without a cluster: its dump, the fingerprint, and what is published.

A run date is up to date if its published load has the fingerprint of the dump as it is now. See
docs/contract.md#contract-version.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import partial
from hashlib import sha256
from typing import Final

from sqlalchemy import Engine

from orders_dask.contract.versions import DECODER_VERSION
from orders_dask.errors import (
    LoadHeld,
    OrdersDaskError,
    SettingsError,
    SourceMissing,
)
from orders_dask.extract.discover import Dump, discover, discover_dump, list_once
from orders_dask.extract.records import Split
from orders_dask.extract.source.listing import Listing
from orders_dask.jobs.results import (
    result_of_error,
    result_of_held_or_discarded,
    up_to_date_result,
)
from orders_dask.ledger.queries import (
    FILES_HASH_LENGTH,
    LoadStatus,
    held_loads,
    held_or_discarded,
    published_load,
    published_loads,
    reviewed_loads,
)
from orders_dask.load.ready import ready_database
from orders_dask.monitoring import telemetry
from orders_dask.pipeline.progress import StepTimer, no_progress
from orders_dask.pipeline.results import RunResult
from orders_dask.retry import retry_transient, retry_until_found
from orders_dask.settings import Settings

INSPECT_THREADS: Final = 4
"""Run dates that are listed at once: what counts is latency."""

MAX_INSPECTED: Final = 64
"""Run dates that are inspected together."""

MAX_SMALL_BYTES: Final = 4 << 20
"""Bytes of small dumps, as stored: one task decodes them in a second, and a cluster starts in 3."""

MAX_SMALL_FILES: Final = 64
"""Files of a small dump."""


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
    def bytes(self) -> int:
        """Bytes of the dump, as stored."""
        return sum(split.size for split in self.splits)

    @property
    def is_small(self) -> bool:
        """Whether it is little data (:func:`is_small`), so that it can go with others."""
        return is_small(self.splits)

    @property
    def is_up_to_date(self) -> bool:
        """Whether what is published is of the dump as it is now."""
        return bool(self.published and self.published.fingerprint == self.fingerprint)

    @property
    def texts_of(self) -> int | None:
        """Id of the load whose raw texts are read in place of the dump; None if it is there."""
        is_missing = any(split.raw_url is not None for split in self.splits)
        return self.published.load_id if self.published and is_missing else None


def is_small(splits: Sequence[Split]) -> bool:
    """Return whether one task does a dump in a second, so that no cluster is worth its start.

    Raw texts that are kept are never small.
    """
    if len(splits) != 1:
        return False
    [split] = splits
    is_whole = split.start is None and split.raw_url is None
    return is_whole and split.size <= MAX_SMALL_BYTES and len(split.files) <= MAX_SMALL_FILES


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
        list_url = list_once(settings.source, run_dates)
        listing = partial(_list_dump, settings=settings, list_url=list_url)
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


def _list_dump(
    run_date: date, settings: Settings, list_url: Callable[[str], Listing]
) -> Dump | OrdersDaskError:
    try:
        return discover_dump(settings.source, run_date, settings.block_size, list_url)
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
            from orders_dask.jobs.raw_texts import raw_splits  # late: it imports the stage

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
