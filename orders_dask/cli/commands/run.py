"""`orders-dask run`."""

from __future__ import annotations

from datetime import date
from typing import Annotated

import typer

from orders_dask.cli import output
from orders_dask.cli.app import command
from orders_dask.cli.cluster import command_settings, connecting
from orders_dask.cli.fetching import fetch_one
from orders_dask.cli.monitoring import (
    Metrics,
    PerformanceReport,
    Report,
    monitored,
    performance_reported,
    writing_report,
)
from orders_dask.cli.options import (
    DryRun,
    Fetch,
    Force,
    JsonOutput,
    SchedulerAddress,
    Source,
    Workers,
    parse_date,
    parse_duration,
)
from orders_dask.cli.progress import shown_progress
from orders_dask.errors import SettingsError


@command()
def run(
    run_date: Annotated[
        date | None,
        typer.Option(
            parser=parse_date,
            metavar="DATE",
            help="Run date to load.",
            show_default="yesterday in the shop's zone",
        ),
    ] = None,
    source: Source = None,
    scheduler: SchedulerAddress = None,
    workers: Workers = None,
    wait: Annotated[
        float,
        typer.Option(
            "--wait-for-source",
            parser=parse_duration,
            metavar="DURATION",
            help="Longest time to wait for the first file of the run date, such as 3h.",
            show_default="no wait",
        ),
    ] = 0,
    fetch: Fetch = False,
    force: Force = False,
    dry_run: DryRun = False,
    metrics: Metrics = None,
    report: Report = None,
    performance_report: PerformanceReport = None,
    json: JsonOutput = False,
) -> None:
    """Load and publish one run date."""
    if fetch and wait:
        raise SettingsError("Give --fetch or --wait-for-source: a fetch is not waited for.")
    settings = command_settings(source, scheduler, workers)

    from orders_dask.jobs import run as job
    from orders_dask.jobs.alert import alert_results
    from orders_dask.jobs.dates import yesterday
    from orders_dask.jobs.results import result_of_error

    run_date = run_date or yesterday(settings)
    with (
        writing_report(run_date, settings, None if dry_run else report),
        monitored("run", settings, None if dry_run else metrics) as results,
    ):
        try:
            if fetch and not dry_run:
                fetch_one(run_date, source)
            with (
                connecting(settings, scheduler, workers) as connect,
                performance_reported(connect, None if dry_run else performance_report) as reported,
                shown_progress() as listener,
            ):
                ended = job.run_with(
                    reported,
                    run_date,
                    settings,
                    force=force,
                    dry_run=dry_run,
                    wait_seconds=wait,
                    listener=listener,
                )
        except Exception as error:
            failed = result_of_error(run_date, error)
            results.append(failed)
            if not dry_run:
                alert_results([failed], settings)
            if json:
                output.result_json(failed)
            raise
        if not dry_run:
            alert_results([ended], settings)
        results.append(ended)
        output.run_result(ended, json)
        raise typer.Exit(ended.exit_code)
