"""`orders-dask fetch`."""

from __future__ import annotations

import time
from collections import Counter
from datetime import date
from typing import Annotated

import typer

from orders_dask.cli import output
from orders_dask.cli.app import command
from orders_dask.cli.fetching import greatest, message_warnings, show_fetch
from orders_dask.cli.options import DryRun, JsonOutput, Source, parse_date
from orders_dask.cli.progress import fetching_progress
from orders_dask.errors import SettingsError


@command()
def fetch(
    run_date: Annotated[
        date | None,
        typer.Option(
            parser=parse_date,
            metavar="DATE",
            help="Run date to fetch.",
            show_default="yesterday in the shop's zone",
        ),
    ] = None,
    start: Annotated[
        date | None,
        typer.Option("--from", parser=parse_date, metavar="DATE", help="First run date."),
    ] = None,
    end: Annotated[
        date | None,
        typer.Option("--to", parser=parse_date, metavar="DATE", help="Last run date."),
    ] = None,
    source: Source = None,
    force: Annotated[
        bool, typer.Option("--force", help="Fetch once more what is there, and add it.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="List the orders of fetched dates, and add what came late."),
    ] = False,
    dry_run: DryRun = False,
    json: JsonOutput = False,
) -> None:
    """Fetch raw pages of Shopify's Order API into the dump, complete by the shop's own counts."""
    if (start is None) != (end is None) or (start and run_date):
        raise SettingsError("Give --run-date, or --from and --to.")
    if force + verify + dry_run > 1:
        raise SettingsError("Give one of --force, --verify and --dry-run.")
    began = time.monotonic()

    from orders_dask.jobs import fetch as job
    from orders_dask.jobs.dates import yesterday
    from orders_dask.order_api.settings import load_fetch_settings

    settings = load_fetch_settings(source=source)
    first = start or run_date or yesterday(settings)
    with fetching_progress() as listener:
        ended = job.fetch_range(
            first,
            end or first,
            settings=settings,
            force=force,
            dry_run=dry_run,
            verify=verify,
            listener=listener,
        )
    message_warnings(ended)
    if json:
        output.result_json_rows(ended)
    else:
        for each in ended:
            output.result(show_fetch(each))
        if len(ended) > 1:
            counted = Counter(each.outcome.replace("_", " ") for each in ended)
            outcomes = ", ".join(f"{number} {outcome}" for outcome, number in counted.items())
            orders = output.plural(sum(each.orders for each in ended), "order")
            output.result(f"{outcomes}: {orders} in {time.monotonic() - began:.1f} s")
    raise typer.Exit(greatest(each.exit_code for each in ended))
