"""`orders-dask run`."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from orders_dask.cli import output as screen
from orders_dask.cli.app import command
from orders_dask.cli.options import Json, Workers, a_date
from orders_dask.errors import OrdersDaskError

if TYPE_CHECKING:
    pass
from orders_dask.cli.cluster import cluster_of, settings_of
from orders_dask.cli.options import DryRun, Force, Scheduler, Source


@command()
def run(
    run_date: Annotated[
        date | None,
        typer.Option(
            parser=a_date,
            metavar="DATE",
            help="Run date to load.",
            show_default="yesterday in the shop's zone",
        ),
    ] = None,
    source: Source = None,
    scheduler: Scheduler = None,
    workers: Workers = None,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Load and publish one run date."""
    settings = settings_of(source, scheduler, workers)

    from orders_dask.jobs.inspect import ended_by, settled, yesterday

    run_date = run_date or yesterday(settings)
    try:
        found = None if force or dry_run else settled([run_date], settings=settings)
        if found and found[0].outcome == "up to date":
            [ended] = found
        else:
            with (
                cluster_of(settings, scheduler, workers, needed=not dry_run) as client,
                screen.progress() as listener,
            ):
                from orders_dask.jobs import run as job

                ended = job.run(
                    run_date,
                    settings=settings,
                    client=client,
                    force=force,
                    dry_run=dry_run,
                    listener=listener,
                )
    except OrdersDaskError as error:
        if json:
            screen.result_json(ended_by(run_date, error))
        raise
    if json:
        screen.result_json(ended)
    else:
        screen.result(screen.outcome(ended))
    raise typer.Exit(ended.exit_code)
