"""`orders-dask backfill`."""

from __future__ import annotations

import time
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from orders_dask.cli import output as screen
from orders_dask.cli.app import command
from orders_dask.cli.options import Json, Workers, a_date

if TYPE_CHECKING:
    pass
from orders_dask.cli.cluster import cluster_of, settings_of
from orders_dask.cli.options import DryRun, Force, Scheduler, Source


@command()
def backfill(
    start: Annotated[
        date, typer.Option("--from", parser=a_date, metavar="DATE", help="First run date.")
    ],
    end: Annotated[
        date, typer.Option("--to", parser=a_date, metavar="DATE", help="Last run date.")
    ],
    dates_in_flight: Annotated[int, typer.Option(min=1, help="Run dates to work on at once.")] = 2,
    source: Source = None,
    scheduler: Scheduler = None,
    workers: Workers = None,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Load and publish a range of run dates; dates without a file are listed as missing."""
    began = time.monotonic()
    settings = settings_of(source, scheduler, workers)

    from orders_dask.jobs.inspect import date_range, settled

    run_dates = date_range(start, end)
    ended = None if force or dry_run else settled(run_dates, settings=settings)
    if ended is None:
        with (
            cluster_of(settings, scheduler, workers, needed=not dry_run) as client,
            screen.progress() as listener,
        ):
            from orders_dask.jobs import backfill as job

            ended = job.backfill(
                start,
                end,
                settings=settings,
                client=client,
                force=force,
                dry_run=dry_run,
                dates_in_flight=dates_in_flight,
                listener=listener,
            )
    if json:
        screen.result_json_rows(ended)
    else:
        for each in ended:
            screen.result(screen.outcome(each))
        screen.result(screen.outcomes(ended, time.monotonic() - began))
    raise typer.Exit(max(each.exit_code for each in ended))
