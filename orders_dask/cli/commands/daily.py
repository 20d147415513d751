"""`orders-dask daily` and `orders-dask fresh`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from orders_dask.cli import output
from orders_dask.cli.app import command
from orders_dask.cli.cluster import command_settings, load_run_dates
from orders_dask.cli.fetching import fetch_first, greatest
from orders_dask.cli.monitoring import Metrics, monitored
from orders_dask.cli.options import (
    DryRun,
    Fetch,
    JsonOutput,
    MaxParallel,
    Missing,
    SchedulerAddress,
    Source,
    Workers,
    exit_code,
)
from orders_dask.errors import OrdersDaskError, SourceMissing
from orders_dask.pipeline.results import LOOKBACK, Beyond


@command()
def daily(
    lookback: Annotated[
        int,
        typer.Option(
            min=1,
            max=36_500,
            metavar="DAYS",
            help="Days up to yesterday whose dumps may still come or change.",
        ),
    ] = LOOKBACK,
    beyond: Annotated[
        Beyond,
        typer.Option(help="What becomes of older run dates whose files have changed."),
    ] = "report",
    missing: Missing = "fail",
    fetch: Fetch = False,
    max_parallel: MaxParallel = 2,
    source: Source = None,
    scheduler: SchedulerAddress = None,
    workers: Workers = None,
    dry_run: DryRun = False,
    metrics: Metrics = None,
    json: JsonOutput = False,
) -> None:
    """Load what is missing up to yesterday, and what has changed in the latest days.

    The exit code is the highest of the run dates', but 4 (to be repeated) counts more than 5.
    """
    began = time.monotonic()
    settings = command_settings(source, scheduler, workers)

    from orders_dask.jobs import daily as job
    from orders_dask.jobs.alert import alert_results
    from orders_dask.jobs.dates import yesterday
    from orders_dask.jobs.results import result_of_error

    file = None if dry_run else metrics
    with monitored("daily", settings, file, expect_dump=missing == "fail") as results:
        try:
            plan = job.plan_daily(settings, lookback, beyond)
            unfetched = fetch_first(plan.run_dates, source) if fetch and not dry_run else 0
        except OrdersDaskError as error:
            results.append(result_of_error(yesterday(settings), error))
            alert_results(results, settings)
            raise
        ended = load_run_dates(
            plan.run_dates, settings, scheduler, workers, dry_run=dry_run, max_parallel=max_parallel
        )
        results += job.daily_results(plan, ended, settings)
        output.run_results(results, time.monotonic() - began, json)
        raise typer.Exit(greatest([exit_code(results, missing), unfetched]))


@command()
def fresh(
    last: Annotated[
        int, typer.Option(min=1, max=36_500, metavar="DAYS", help="Latest run dates to look at.")
    ] = LOOKBACK,
    missing: Missing = "fail",
    json: JsonOutput = False,
) -> None:
    """Find out whether the run dates that are due are published; if not, the exit code is 6."""
    from orders_dask.jobs.alert import alert_overdue
    from orders_dask.jobs.daily import overdue
    from orders_dask.settings import load_settings

    settings = load_settings()
    late = overdue(settings=settings, last=last, expect_dump=missing == "fail")
    alert_overdue(late, settings)
    if json:
        output.result_json([str(run_date) for run_date in late])
    elif not late:
        output.result("Every run date that is due is published.")
    if late:
        raise SourceMissing(
            f"Not published, though due: {', '.join(map(str, late))}. See `orders-dask status`."
        )
