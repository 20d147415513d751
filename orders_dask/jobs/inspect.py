"""How a run date stands: what its dump holds now, and what of it is published. No cluster is needed to tell."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Final

from sqlalchemy import Engine

from orders_dask.contract.versions import CONTRACT_VERSION, DECODER_VERSION
from orders_dask.errors import DataRefused, OrdersDaskError, SettingsError, SourceMissing
from orders_dask.extract.discover import discover
from orders_dask.extract.records import Split
from orders_dask.ledger.queries import LoadStatus, published_load
from orders_dask.load.schema import ready_database
from orders_dask.pipeline.progress import StepTimer, no_progress
from orders_dask.pipeline.results import Outcome, RunResult
from orders_dask.settings import Settings, load_settings

INSPECT_THREADS: Final = 4
"""Run dates that are looked at at once: each costs some 0.07 s, half of it latency."""


def yesterday(settings: Settings) -> date:
    """Give the run date that is loaded where none is named: yesterday in the shop's zone."""
    return datetime.now(settings.zone).date() - timedelta(days=1)


def date_range(start: date, end: date) -> list[date]:
    """Give the run dates from `start` to `end`, both included.

    Raises
    ------
    SettingsError
        There is none.
    """
    if end < start:
        raise SettingsError(
            f"The range from {start} to {end} is empty: its end lies before its start."
        )
    return [start + timedelta(days=n) for n in range((end - start).days + 1)]


def all_up_to_date(
    run_dates: Sequence[date], *, settings: Settings | None = None
) -> list[RunResult] | None:
    """Say how run dates stand, if there is nothing to do for any.

    Returns
    -------
    list of RunResult or None
        One a run date, ``up_to_date`` or ``missing``; None if for any of them there is work, or
        something in the way.
    """
    settings = settings or load_settings()
    look = partial(_up_to_date, settings=settings, database=ready_database(settings))
    found = []
    with ThreadPoolExecutor(INSPECT_THREADS, thread_name_prefix="run-date") as pool:
        for result in pool.map(look, run_dates):
            if result is None:
                pool.shutdown(wait=False, cancel_futures=True)
                return None
            found.append(result)
    return found


def _up_to_date(run_date: date, settings: Settings, database: Engine) -> RunResult | None:
    clock = StepTimer(run_date, no_progress)
    try:
        _, fingerprint, standing = inspect_run_date(run_date, settings, database, clock)
    except SourceMissing as error:
        return missing_result(run_date, error)
    except SettingsError:  # needs no cluster to be told
        raise
    except OrdersDaskError:  # the run itself will say it
        return None
    if standing and standing.fingerprint == fingerprint:
        return result_from_ledger("up_to_date", standing, clock)
    return None


def inspect_run_date(
    run_date: date, settings: Settings, database: Engine, timer: StepTimer
) -> tuple[list[Split], str, LoadStatus | None]:
    """Discover a run date: its splits, what tells whether they are published already, and what is."""
    with timer.step("discover"):
        splits = discover(settings.source, run_date, settings.block_size)
    return splits, _fingerprint(splits, settings), published_load(database, run_date)


def _fingerprint(splits: Sequence[Split], settings: Settings) -> str:
    """Hash all that decides what a run date's tables hold."""
    files = {file.name: file.etag for split in splits for file in split.files}
    decides = json.dumps(
        [CONTRACT_VERSION, DECODER_VERSION, settings.shop_timezone, *files.items()]
    )
    return sha256(decides.encode()).hexdigest()


def missing_result(run_date: date, error: SourceMissing) -> RunResult:
    """Say that a run date of a range has no file."""
    return RunResult(run_date, "missing", message=str(error))


def result_of_error(run_date: date, error: OrdersDaskError) -> RunResult:
    """Say how a run date ended that an error ended."""
    outcome: Outcome = "refused" if isinstance(error, DataRefused) else "failed"
    return RunResult(run_date, outcome, message=str(error), exit_code=error.exit_code)


def result_from_ledger(outcome: Outcome, load: LoadStatus, timer: StepTimer) -> RunResult:
    """Say how a run date stands, from the ledger."""
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
    )
