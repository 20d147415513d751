"""`orders-dask backfill`."""

from __future__ import annotations

import time
from datetime import date
from functools import partial
from typing import Annotated

import typer

from orders_dask.cli import output
from orders_dask.cli.app import command
from orders_dask.cli.cluster import command_settings, load_run_dates
from orders_dask.cli.monitoring import Metrics, monitored
from orders_dask.cli.options import (
    DryRun,
    Force,
    JsonOutput,
    MaxParallel,
    Missing,
    SchedulerAddress,
    Source,
    Workers,
    exit_code,
    parse_date,
)
from orders_dask.errors import SettingsError


@command()
def backfill(
    start: Annotated[
        date | None,
        typer.Option("--from", parser=parse_date, metavar="DATE", help="First run date."),
    ] = None,
    end: Annotated[
        date | None,
        typer.Option("--to", parser=parse_date, metavar="DATE", help="Last run date."),
    ] = None,
    last: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=36_500,
            metavar="DAYS",
            help="The latest days up to yesterday in the shop's zone, in place of --from and --to.",
        ),
    ] = None,
    refresh: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN|all",
            help="Load published run dates that lack a younger column or table, all of them or of "
            "a range.",
        ),
    ] = None,
    missing: Missing = "report",
    max_parallel: MaxParallel = 2,
    source: Source = None,
    scheduler: SchedulerAddress = None,
    workers: Workers = None,
    force: Force = False,
    dry_run: DryRun = False,
    metrics: Metrics = None,
    json: JsonOutput = False,
) -> None:
    """Load and publish a range of run dates; dates without a file are listed as missing.

    The exit code is the highest of the run dates', but 4 (to be repeated) counts more than 5.
    """
    given = (start is not None, end is not None, last is not None)
    ranges = [(True, True, False), (False, False, True)]
    if given not in (ranges if refresh is None else [*ranges, (False, False, False)]):
        raise SettingsError("Give --from and --to, or --last.")
    began = time.monotonic()
    settings = command_settings(source, scheduler, workers)

    from orders_dask.jobs.backfill import refresh_dates
    from orders_dask.jobs.dates import date_range, latest_dates

    run_dates = []
    if start and end:
        run_dates = date_range(start, end)
    elif last:
        run_dates = latest_dates(last, settings)
    if refresh is not None:
        between = (run_dates[0], run_dates[-1]) if run_dates else None
        find = partial(refresh_dates, refresh, settings=settings, between=between)
        run_dates = found = find(corrected=True)
        if found and not force:
            run_dates = find()
        if left_out := len(found) - len(run_dates):
            output.message(
                f"{output.plural(left_out, 'run date')} left out, for the dump lacks corrections "
                "that were replayed: --force loads them without."
            )
        elif not found:
            output.message("No published run date lacks it.")
        if not run_dates:
            if json:
                output.result_json_rows([])
            return
    with monitored("backfill", settings, None if dry_run else metrics) as results:
        results += load_run_dates(
            run_dates,
            settings,
            scheduler,
            workers,
            force=force or refresh is not None,
            dry_run=dry_run,
            max_parallel=max_parallel,
        )
        output.run_results(results, time.monotonic() - began, json)
        raise typer.Exit(exit_code(results, missing))
