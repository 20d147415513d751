"""Load and publish one run date, if there is anything to do.

What loads is imported when there is: a run date that is up to date takes less time than that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import cache
from threading import Event
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from orders_dask.cluster.clients import Connect, given_client
from orders_dask.errors import OrdersDaskError
from orders_dask.jobs.dates import yesterday
from orders_dask.jobs.inspect import Inspection, inspect_run_date, wait_for_source
from orders_dask.jobs.results import (
    describe_result,
    result_of_error,
    result_of_held_or_discarded,
    up_to_date_result,
)
from orders_dask.ledger.queries import held_load
from orders_dask.load.ready import ready_database
from orders_dask.monitoring import telemetry
from orders_dask.pipeline.progress import Listener, Progress, StepTimer, no_progress
from orders_dask.pipeline.results import RunResult
from orders_dask.retry import retry_run
from orders_dask.settings import Settings, load_settings

if TYPE_CHECKING:
    from distributed import Client

    from orders_dask.checks.run import Checks
    from orders_dask.pipeline.load_scope import RunContext


def run(
    run_date: date | None = None,
    *,
    settings: Settings | None = None,
    client: Client | None = None,
    force: bool = False,
    dry_run: bool = False,
    wait_seconds: float = 0,
    listener: Listener | None = None,
) -> RunResult:
    """Load and publish one run date.

    It is idempotent: a run date that is up to date is left alone. Transient errors are retried with
    backoff.

    Parameters
    ----------
    run_date
        Date of the dump; yesterday in the shop's time zone by default.
    settings
        Settings; from the environment by default. Workers of a local cluster, or over TLS, are sent
        the same settings. Others read their own environment.
    client
        Dask client; the current one by default, as in other Dask libraries. Without any, this
        process does the work, a task at a time, which is quickest for a small run date.
    force
        Load and publish also a run date that is up to date. If its dump has no file any more, and
        the raw texts of the published load are kept, they are read instead.
    dry_run
        Only return what a run would do (:class:`~orders_dask.pipeline.results.Plan`). This needs no
        client.
    wait_seconds
        Longest time to wait for the first file of the run date.
    listener
        Called with the progress of each step.

    Returns
    -------
    RunResult
        ``published``, ``up_to_date``, ``discarded`` or, in a dry run, ``planned``.

    Raises
    ------
    SettingsError
        A setting is missing or malformed, or the client can't be used.
    DatabaseNotReady
        ``orders-dask init`` has not been run.
    DataRefused
        Too much was rejected, a file could not be read, or the control totals are not reconciled.
        What was published before stands. See docs/contract.md#refusal.
    LoadHeld
        A check holds the load. What was published before stands. See docs/checks.md.
    SourceMissing
        There is no file for the run date yet.
    TransientError
        A service can't be reached, another run has locked the run date, or a file changed
        meanwhile.
    """
    settings = settings or load_settings()
    return run_with(
        given_client(client),
        run_date,
        settings,
        force=force,
        dry_run=dry_run,
        wait_seconds=wait_seconds,
        listener=listener,
    )


def run_with(
    connect: Connect,
    run_date: date | None,
    settings: Settings,
    *,
    force: bool = False,
    dry_run: bool = False,
    wait_seconds: float = 0,
    listener: Listener | None = None,
) -> RunResult:
    """Load and publish one run date, as :func:`run` does, with a client only if it needs one.

    Parameters
    ----------
    connect
        Returns the client once there is work.
    run_date, settings, force, dry_run, wait_seconds, listener
        As in :func:`run`.
    """
    run_date = run_date or yesterday(settings)
    if wait_seconds:
        wait_for_source(run_date, settings, wait_seconds)
    database = ready_database(settings)
    checks = checks_of(settings, database)
    return retry_run(run_once)(
        run_date,
        settings,
        connect,
        database,
        checks,
        force=force,
        dry_run=dry_run,
        listener=listener or no_progress,
    )


def checks_of(settings: Settings, database: Engine) -> Callable[[], Checks]:
    """Return what loads the checks at its first call: who has nothing to check needs none.

    Those that a setting changes are loaded now, so that a mistake in one is always found.
    """

    @cache
    def checks() -> Checks:
        from orders_dask.checks.run import load_checks

        return load_checks(settings, database)

    if settings.checks_folder or settings.check_severities or settings.check_thresholds:
        checks()
    return checks


def run_once(
    run_date: date,
    settings: Settings,
    connect: Connect,
    database: Engine,
    checks: Callable[[], Checks],
    *,
    force: bool,
    dry_run: bool = False,
    by_itself: bool = False,
    listener: Listener,
    stop: Event | None = None,
) -> RunResult:
    """Load and publish one run date, without retries; in a dry run only plan that.

    Parameters
    ----------
    run_date, settings, connect, force, dry_run, listener
        As in :func:`run_with`.
    database
        Engine of the initialised database.
    checks
        Returns the checks.
    by_itself
        Whether even a small run date goes through the steps of a large one.
    stop
        Event that cancels the run.
    """
    timer = StepTimer(run_date, no_progress)  # where there is nothing to do, nobody is told of it
    with telemetry.span("run date", run_date=str(run_date)):
        try:
            inspection = inspect_run_date(run_date, settings, database, timer, raw_if_missing=force)
            result = None if force else _without_work(inspection, database, timer)
            if not result and dry_run:
                from orders_dask.jobs.load_one import plan_load

                result = plan_load(run_date, inspection, settings, timer)
            elif not result:
                from orders_dask.pipeline.load_scope import RunContext

                client = connect(settings, inspection.is_small)
                timer.listener = listener
                listener(Progress(run_date, "discover", 1, 1))
                context = RunContext(settings, client, database, timer, stop or Event())
                result = _load(run_date, inspection, context, checks(), by_itself, force)
        except OrdersDaskError as error:
            telemetry.describe(outcome=result_of_error(run_date, error).outcome)
            raise
        describe_result(result)
        return result


def _without_work(inspection: Inspection, database: Engine, timer: StepTimer) -> RunResult | None:
    """Return the result of a run date for which there is nothing to do, else None."""
    if inspection.published and inspection.is_up_to_date:
        held = held_load(database, inspection.published.run_date)
        unchanged = up_to_date_result(inspection.published, held, timer)
        return replace(unchanged, left_out=tuple(inspection.left_out))
    if inspection.held_or_discarded:
        return result_of_held_or_discarded(inspection.held_or_discarded, timer)
    return None


def _load(
    run_date: date,
    inspection: Inspection,
    context: RunContext,
    checks: Checks,
    by_itself: bool,
    force: bool,
) -> RunResult:
    """Load a run date, a small one as a batch of one: that takes fewer statements and requests."""
    from orders_dask.jobs.batch import load_small
    from orders_dask.jobs.load_one import is_staged, load_one

    use_staged = force and is_staged(run_date, inspection, context.settings)
    if inspection.is_small and not (checks.own or by_itself or use_staged):
        ended = load_small({run_date: inspection}, context, checks, no_progress).get(run_date)
        if ended:
            telemetry.describe(load_id=ended.load_id)
            if ended.error:
                raise ended.error
            return ended.result
    return load_one(run_date, inspection, context, checks)
