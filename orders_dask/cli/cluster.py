"""The settings and the Dask client of a command that works on a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING

from orders_dask.cli import output
from orders_dask.errors import OrdersDaskError, SettingsError

if TYPE_CHECKING:
    from distributed import Client

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
    settings: Settings, scheduler: str | None, workers: int | None, *, needed: bool = True
) -> Iterator[Client | None]:
    """Connect to the cluster and print its dashboard's URL; yield None if it is not `needed`."""
    if not needed:
        yield None
        return
    from orders_dask.cluster.connect import connect

    with connect(settings, scheduler, workers, without_pandas=True) as client:
        output.message(f"Dashboard: {client.dashboard_link}")
        yield client


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
    from orders_dask.jobs.inspect import result_of_error

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
    from orders_dask.jobs.inspect import all_up_to_date

    ended = None if force or dry_run else all_up_to_date(run_dates, settings=settings)
    if ended is None:
        with (
            command_client(settings, scheduler, workers, needed=not dry_run) as client,
            output.progress() as listener,
        ):
            from orders_dask.jobs.backfill import load_dates

            ended = load_dates(
                run_dates,
                settings=settings,
                client=client,
                force=force,
                dry_run=dry_run,
                max_parallel=max_parallel,
                listener=listener,
            )
    return ended
