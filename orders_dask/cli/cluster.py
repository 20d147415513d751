"""The settings and the Dask client of a command that works on a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date
from functools import cache
from typing import TYPE_CHECKING

from orders_dask.cli import output
from orders_dask.cli.progress import shown_progress
from orders_dask.errors import OrdersDaskError, SettingsError

if TYPE_CHECKING:
    from distributed import Client

    from orders_dask.cluster.clients import Connect
    from orders_dask.pipeline.results import RunResult
    from orders_dask.settings import Settings


def command_settings(source: str | None, scheduler: str | None, workers: int | None) -> Settings:
    """Return the settings of a command that works on a cluster.

    Parameters
    ----------
    source
        URL of the dump; from the environment by default.
    scheduler, workers
        Cluster options of the command, of which at most one may be given.

    Raises
    ------
    SettingsError
        Both are given, or a setting is missing or malformed.
    """
    if scheduler and workers:
        raise SettingsError("Give --scheduler or --workers: a running cluster has its own workers.")
    from orders_dask.settings import load_settings

    return load_settings(source=source)


@contextmanager
def command_client(
    settings: Settings, scheduler: str | None, workers: int | None
) -> Iterator[Client]:
    """Connect to the cluster, and print its dashboard's URL."""
    from orders_dask.cluster.connect import connect

    with connect(settings, scheduler, workers, without_pandas=True) as client:
        output.message(f"Dashboard: {client.dashboard_link}")
        yield client


@contextmanager
def connecting(settings: Settings, scheduler: str | None, workers: int | None) -> Iterator[Connect]:
    """Yield what connects to the cluster once there is work that needs one, until the end.

    Small work is done in this process, unless the command or the settings name a cluster.
    """
    from orders_dask.cluster.clients import reconnected, resolve_client

    is_named = bool(scheduler or workers or settings.scheduler_address)
    with ExitStack() as stack:

        @cache
        def client() -> Client:
            return stack.enter_context(command_client(settings, scheduler, workers))

        @cache
        def say_little() -> None:
            output.message("Little data: no cluster, and so no dashboard, is started for it.")

        def connect(settings: Settings, is_small: bool) -> Client | None:
            if is_named or not is_small:
                return resolve_client(reconnected(client()), settings)
            say_little()
            return None

        yield connect


def load_run_dates(
    run_dates: Sequence[date],
    settings: Settings,
    scheduler: str | None,
    workers: int | None,
    *,
    force: bool = False,
    dry_run: bool = False,
    max_parallel: int,
) -> list[RunResult]:
    """Load run dates, on a cluster only if there is something to do, and send alerts on them.

    Parameters
    ----------
    run_dates, settings
        The run dates, and the settings of the command.
    scheduler, workers
        Cluster options of the command.
    force, dry_run, max_parallel
        As in :func:`orders_dask.jobs.backfill.backfill`.
    """
    from orders_dask.jobs.alert import alert_results
    from orders_dask.jobs.results import result_of_error

    try:
        ended = _load(run_dates, settings, scheduler, workers, force, dry_run, max_parallel)
    except OrdersDaskError as error:  # nothing was loaded: there is no database or no cluster
        if not dry_run:
            alert_results([result_of_error(run_dates[-1], error)], settings)
        raise
    if not dry_run:
        alert_results(ended, settings)
    return ended


def _load(
    run_dates: Sequence[date],
    settings: Settings,
    scheduler: str | None,
    workers: int | None,
    force: bool,
    dry_run: bool,
    max_parallel: int,
) -> list[RunResult]:
    from orders_dask.jobs.load_dates import load_dates

    with (
        connecting(settings, scheduler, workers) as connect,
        shown_progress() as listener,
    ):
        return load_dates(
            connect,
            run_dates,
            settings,
            force=force,
            dry_run=dry_run,
            max_parallel=max_parallel,
            listener=listener,
        )
