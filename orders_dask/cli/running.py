"""Commands that load and publish, and that tell what stands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from orders_dask.cli import output as screen
from orders_dask.cli.app import Json, Workers, a_date, command
from orders_dask.errors import OrdersDaskError, SettingsError, SourceMissing

if TYPE_CHECKING:
    from distributed import Client
    from sqlalchemy import Engine

    from orders_dask.settings import Settings

Source = Annotated[
    str | None,
    typer.Option(help="URL of the dump, instead of _AWS_S3_URL_SOURCE.", show_default=False),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        help="Address of a running Dask scheduler, instead of a cluster on this machine.",
        show_default="DASK_SCHEDULER_ADDRESS, where it is set",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Load and publish also what is up to date.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


@command()
def init(
    roles: Annotated[
        bool,
        typer.Option(
            "--roles",
            help="Make the roles orders_loader and orders_reader, too, and grant them what each needs.",
        ),
    ] = False,
) -> None:
    """Create or complete schemas, tables and views; safe to repeat."""
    from orders_dask.load.connect import engine
    from orders_dask.load.schema import initialise
    from orders_dask.settings import load_settings

    settings = load_settings()
    for warning in initialise(engine(settings), settings.leaf, roles=roles):
        screen.note(f"Warning: {warning}")
    screen.result(f"Database {settings.pgsql_database} on {settings.pgsql_hostname} is ready.")


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


def settings_of(source: str | None, scheduler: str | None, workers: int | None) -> Settings:
    """Read the settings of a command that works on a cluster."""
    if scheduler and workers:
        raise SettingsError("Give --scheduler or --workers: a running cluster has its own workers.")
    from orders_dask.settings import load_settings

    return load_settings(source=source)


@contextmanager
def cluster_of(
    settings: Settings, scheduler: str | None, workers: int | None, *, needed: bool = True
) -> Iterator[Client | None]:
    """Connect to the cluster, where one is needed, and say where its dashboard is."""
    if not needed:
        yield None
        return
    from orders_dask.cluster.connect import connect

    with connect(settings, scheduler, workers) as client:
        screen.note(f"Dashboard: {client.dashboard_link}")
        yield client


@command()
def status(
    run_date: Annotated[
        date | None,
        typer.Option(
            parser=a_date,
            metavar="DATE",
            help="Show where the time of this run date's load went.",
            show_default="all run dates",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Show a line a run date: its state, and what it holds; of one run date also where its time went."""
    from orders_dask.ledger import queries as report
    from orders_dask.load.connect import engine
    from orders_dask.settings import load_settings

    database = engine(load_settings())
    if run_date is not None:
        _show_times(database, run_date, json)
        return
    rows = report.status(database)
    if json:
        screen.result_json_rows(rows)
        return
    columns = (
        "run_date",
        "state",
        "orders",
        "lines",
        "superseded",
        "rejected",
        "files",
        "seconds",
        "message",
    )
    screen.result_table([{name: getattr(row, name) for name in columns} for row in rows])


def _show_times(database: Engine, run_date: date, json: bool) -> None:
    from orders_dask.ledger.timings import load_times

    times = load_times(database, run_date)
    if times is None:
        raise SourceMissing(f"Nothing was ever loaded for {run_date}: see `orders-dask status`.")
    if json:
        screen.result_json(asdict(times))
        return
    screen.result_table(
        [
            {
                "step": each.step,
                "seconds": each.seconds,
                "share": f"{each.share:.0%}",
                "cpu_seconds": each.cpu_seconds,
                "orders/s": each.orders_per_second,
                "MB": each.megabytes,
                "MB/s": each.megabytes_per_second,
            }
            for each in times.steps
        ]
    )
    screen.result(str(times))
