"""A run date from its dump to its publication, and a range of them: the steps in their order."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from functools import partial
from hashlib import sha256
from threading import Event
from typing import Final

from distributed import Client, default_client
from sqlalchemy import Engine

from orders_dask import stage, steps
from orders_dask.attempt import Work, loading
from orders_dask.cluster import carry_settings, check_versions
from orders_dask.contract.tables import CONTRACT, fact_order_line
from orders_dask.errors import (
    DataRefused,
    OrdersDaskError,
    SettingsError,
    SourceMissing,
)
from orders_dask.extract.decode import DECODER
from orders_dask.extract.discover import discover
from orders_dask.extract.records import Split
from orders_dask.load.connect import engine
from orders_dask.load.publish import publish
from orders_dask.load.report import LoadStatus, load_status, published_load
from orders_dask.load.schema import ensure_ready
from orders_dask.patience import again, in_turn, patiently
from orders_dask.results import Clock, Listener, Outcome, Plan, RunResult, silent
from orders_dask.settings import Settings, load_settings

LOOKS: Final = 4
"""Run dates that are looked at at once: each costs some 0.07 s, half of it latency."""


def run(
    run_date: date | None = None,
    *,
    settings: Settings | None = None,
    client: Client | None = None,
    force: bool = False,
    dry_run: bool = False,
    listener: Listener | None = None,
) -> RunResult:
    """Bring one run date from its dump to its publication.

    Parameters
    ----------
    run_date
        The date of the dump; yesterday in the shop's zone by default.
    settings
        From the environment by default. The workers of a cluster on this machine, or over TLS, get the same; others
        read their own environment.
    client
        The Dask client to work with; the current one by default, as in other Dask libraries.
    force
        Load and publish it also where its files, contract and settings are those that are published.
    dry_run
        Only say what would be done (:class:`~orders_dask.results.Plan`); no client is needed.
    listener
        Called with each step's progress.

    Returns
    -------
    RunResult
        ``published``, ``up to date`` or, in a dry run, ``planned``.

    Raises
    ------
    SettingsError
        A setting is missing or malformed, or there is no client.
    DatabaseNotReady
        ``orders-dask init`` has not been run.
    DataRefused
        Too much was rejected, a file could not be read or is missing, or the books don't balance. What was published
        before stands.
    TransientError
        A service can't be reached, another run holds the run date, or a file changed meanwhile.
    """
    settings = settings or load_settings()
    run_date = run_date or datetime.now(settings.zone).date() - timedelta(days=1)
    stop = Event()
    result: RunResult = again(stop)(_run)(
        run_date,
        settings,
        None if dry_run else usable_client(client, settings),
        ready_database(settings),
        force=force,
        listener=listener or silent,
        stop=stop,
    )
    return result


def backfill(
    start: date,
    end: date,
    *,
    settings: Settings | None = None,
    client: Client | None = None,
    force: bool = False,
    dry_run: bool = False,
    dates_in_flight: int = 2,
    listener: Listener | None = None,
) -> list[RunResult]:
    """Bring a range of run dates from their dumps to their publications, several at a time.

    A date that fails does not stop the others: its result says why. One that another run holds is waited for.

    Parameters
    ----------
    start, end
        First and last run date.
    dates_in_flight
        Run dates that are worked on at once.
    settings, client, force, dry_run, listener
        As in :func:`run`.

    Returns
    -------
    list of RunResult
        One a run date, in order; ``missing`` for a date without a file.

    Raises
    ------
    SettingsError
        A setting is missing or malformed, there is no client, or the range is empty.
    """
    run_dates = _range(start, end)
    settings = settings or load_settings()
    client = None if dry_run else usable_client(client, settings)
    copies = max(1, settings.copy_connections // dates_in_flight)
    stop = Event()
    one = partial(
        in_turn(stop)(again(stop)(_run)),
        settings=settings.model_copy(update={"copy_connections": copies}),
        client=client,
        database=ready_database(settings),
        force=force,
        listener=listener or silent,
        stop=stop,
    )
    with ThreadPoolExecutor(dates_in_flight, thread_name_prefix="run-date") as pool:
        try:
            return list(pool.map(partial(_as_result, one), run_dates))
        except BaseException:
            # Ctrl-C: the dates in flight stop at their next look, those that wait never begin.
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def settled(start: date, end: date, *, settings: Settings | None = None) -> list[RunResult] | None:
    """Say how a range of run dates stands, if there is nothing to do: no cluster is needed to find that out.

    Returns
    -------
    list of RunResult or None
        One a run date, ``up to date`` or ``missing``; None if for any of them there is work, or something in the way.
    """
    settings = settings or load_settings()
    look = partial(_settled, settings=settings, database=ready_database(settings))
    found = []
    with ThreadPoolExecutor(LOOKS, thread_name_prefix="run-date") as pool:
        for result in pool.map(look, _range(start, end)):
            if result is None:
                pool.shutdown(wait=False, cancel_futures=True)
                return None
            found.append(result)
    return found


def _settled(run_date: date, settings: Settings, database: Engine) -> RunResult | None:
    clock = Clock(run_date, silent)
    try:
        _, fingerprint, standing = looked(run_date, settings, database, clock)
    except SourceMissing as error:
        return RunResult(run_date, "missing", message=str(error))
    except OrdersDaskError:  # the run itself will say it
        return None
    if standing and standing.fingerprint == fingerprint:
        return standing_result("up to date", standing, clock)
    return None


def looked(
    run_date: date, settings: Settings, database: Engine, clock: Clock
) -> tuple[list[Split], str, LoadStatus | None]:
    """Discover a run date: its splits, what tells whether they are published already, and what is."""
    with clock.step("discover"):
        splits = discover(settings.source, run_date, settings.block_size)
    return splits, _fingerprint(splits, settings), published_load(database, run_date)


def _range(start: date, end: date) -> list[date]:
    if end < start:
        raise SettingsError(
            f"The range from {start} to {end} is empty: its end lies before its start."
        )
    return [start + timedelta(days=n) for n in range((end - start).days + 1)]


def _as_result(one: Callable[[date], RunResult], run_date: date) -> RunResult:
    """Turn the error of one run date into its result."""
    try:
        return one(run_date)
    except SourceMissing as error:
        return RunResult(run_date, "missing", message=str(error))
    except OrdersDaskError as error:
        outcome: Outcome = "refused" if isinstance(error, DataRefused) else "failed"
        return RunResult(run_date, outcome, message=str(error), exit_code=error.exit_code)


def _run(
    run_date: date,
    settings: Settings,
    client: Client | None,
    database: Engine,
    *,
    force: bool,
    listener: Listener,
    stop: Event,
) -> RunResult:
    """Take one run date through the steps; without a client only say what would be done."""
    clock = Clock(run_date, listener)
    splits, fingerprint, standing = looked(run_date, settings, database, clock)
    if standing and standing.fingerprint == fingerprint and not force:
        return standing_result("up to date", standing, clock)
    if client is None:
        return _planned(run_date, splits, settings, standing, clock)
    work = Work(settings, client, database, clock, stop)
    with loading(work, run_date, standing, fingerprint) as load:
        parts = steps.decoded(load, splits)
        steps.loaded(load, parts)
        with clock.step("publish"):
            steps.verified(load, parts)
            publish(load.lease, load.load_id)
        ended = patiently(load_status)(database, load.load_id)
    return standing_result("published", ended, clock)


def standing_result(outcome: Outcome, load: LoadStatus, clock: Clock) -> RunResult:
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
        seconds=clock.total,
    )


def _fingerprint(splits: Sequence[Split], settings: Settings) -> str:
    """Hash all that decides what a run date's tables hold."""
    files = {file.name: file.etag for split in splits for file in split.files}
    decides = json.dumps([CONTRACT, DECODER, settings.shop_timezone, *files.items()])
    return sha256(decides.encode()).hexdigest()


def _planned(
    run_date: date,
    splits: Sequence[Split],
    settings: Settings,
    standing: LoadStatus | None,
    clock: Clock,
) -> RunResult:
    """Say what a run would read and replace, and what of it is staged already."""
    zone = settings.shop_timezone
    urls = [stage.part_url(settings.stage_url, run_date, split, zone) for split in splits]
    staged = [part for part in stage.find_parts(urls) if part]
    sizes = {file.name: file.size for split in splits for file in split.files}
    plan = Plan(
        files=len(sizes),
        bytes=sum(sizes.values()),
        tasks=len(splits),
        staged=len(staged),
        staged_orders=sum(part.orders for part in staged),
        staged_lines=sum(part.rows.get(fact_order_line.name, 0) for part in staged),
        replaces=standing.load_id if standing else None,
        replaced_orders=standing.orders if standing else 0,
        replaced_lines=standing.lines if standing else 0,
    )
    return RunResult(
        run_date,
        "planned",
        files=plan.files,
        seconds=clock.total,
        message=str(plan),
        plan=plan,
    )


def usable_client(client: Client | None, settings: Settings) -> Client:
    """Give the client to work with, else the current one, as every Dask library does; its workers get the settings."""
    try:
        client = client or default_client()
    except ValueError:
        raise SettingsError(
            "There is no Dask client: make one with dask.distributed.Client(), or pass client=."
        ) from None
    check_versions(client)
    carry_settings(client, settings)
    return client


def ready_database(settings: Settings) -> Engine:
    """Give the engine of the database, which must be initialised."""
    database = engine(settings)
    patiently(ensure_ready)(database)
    return database
