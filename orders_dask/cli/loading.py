"""Commands that load and publish, and that tell what stands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from orders_dask.cli import screen
from orders_dask.cli.command import Json, Workers, a_date, command
from orders_dask.errors import SettingsError

if TYPE_CHECKING:
    from distributed import Client

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
def init() -> None:
    """Create or complete schemas, tables and views; safe to repeat."""
    from orders_dask.load.connect import engine
    from orders_dask.load.schema import initialise
    from orders_dask.settings import load_settings

    settings = load_settings()
    for warning in initialise(engine(settings), settings.leaf):
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
    settings = _settings(source, scheduler, workers)
    with _cluster(settings, scheduler, workers) as client, screen.progress() as listener:
        from orders_dask import pipeline

        ended = pipeline.run(
            run_date,
            settings=settings,
            client=client,
            force=force,
            dry_run=dry_run,
            listener=listener,
        )
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
    settings = _settings(source, scheduler, workers)

    from orders_dask import pipeline

    ended = None if force or dry_run else pipeline.settled(start, end, settings=settings)
    if ended is None:
        with _cluster(settings, scheduler, workers) as client, screen.progress() as listener:
            ended = pipeline.backfill(
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


def _settings(source: str | None, scheduler: str | None, workers: int | None) -> Settings:
    if scheduler and workers:
        raise SettingsError("Give --scheduler or --workers: a running cluster has its own workers.")
    from orders_dask.settings import load_settings

    return load_settings(source=source)


@contextmanager
def _cluster(settings: Settings, scheduler: str | None, workers: int | None) -> Iterator[Client]:
    """Connect to the cluster, and say where its dashboard is."""
    from orders_dask.cluster import connect

    with connect(settings, scheduler, workers) as client:
        screen.note(f"Dashboard: {client.dashboard_link}")
        yield client


@command()
def status(json: Json = False) -> None:
    """Show a line a run date: its state, and what it holds."""
    from orders_dask.load import report
    from orders_dask.load.connect import engine
    from orders_dask.settings import load_settings

    rows = report.status(engine(load_settings()))
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


@command()
def rejects(
    run_date: Annotated[
        date | None,
        typer.Option(parser=a_date, metavar="DATE", help="Of this run date.", show_default="all"),
    ] = None,
    code: Annotated[
        str | None, typer.Option(help="With this code, such as bad_order_id.", show_default="all")
    ] = None,
    json: Json = False,
) -> None:
    """Show what was refused, why, and where it stands in which file."""
    from orders_dask.load import report
    from orders_dask.load.connect import engine
    from orders_dask.settings import load_settings

    rows = report.rejects(engine(load_settings()), run_date, code)
    if json:
        screen.result_json_rows(rows)
        return
    for row in rows:  # no table: there may be more of them than memory holds
        place = f"record {row.position}" + (f", {row.path}" if row.path else "")
        screen.result(f"{row.run_date}  {row.code}  {row.file}, {place}: {row.message}")
