"""`orders-dask status`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from orders_dask.cli import output
from orders_dask.cli.app import command
from orders_dask.cli.options import JsonOutput, parse_date
from orders_dask.errors import SourceMissing

if TYPE_CHECKING:
    from orders_dask.ledger.timings import LoadTimings


@command()
def status(
    run_date: Annotated[
        date | None,
        typer.Option(
            parser=parse_date,
            metavar="DATE",
            help="Show where the time of this run date's load went, and what it cost.",
            show_default="all run dates",
        ),
    ] = None,
    json: JsonOutput = False,
) -> None:
    """Show a line per run date, its status and counts; of one run date, where its time went."""
    from orders_dask.ledger import queries
    from orders_dask.ledger.timings import load_timings
    from orders_dask.load.ready import ready_database
    from orders_dask.settings import load_settings

    settings = load_settings()
    database = ready_database(settings)
    if run_date is not None:
        _show_timings(load_timings(database, run_date, settings.prices), run_date, json)
        return
    rows = queries.status(database)
    _report_missing_columns(queries.dates_without(database, settings.keeps_raw))
    if json:
        output.result_json_rows(rows)
        return
    if not rows:
        output.message("No run date has a load yet: see `orders-dask run`.")
        return
    columns = (
        "run_date",
        "status",
        "orders",
        "lines",
        "superseded",
        "rejected",
        "files",
        "seconds",
        "message",
    )
    output.result_table([{name: getattr(row, name) for name in columns} for row in rows])
    latest = rows[-1] if rows else None
    if latest and latest.unknown_keys:
        keys = output.plural(len(latest.unknown_keys), "key")
        output.message(
            f"{latest.run_date} has {keys} that the contract doesn't know, such as "
            f"{latest.unknown_keys[0]}: see `orders-dask drift`."
        )


def _report_missing_columns(lacking: dict[str, list[date]]) -> None:
    """Print how many published run dates lack a column, and what gives it to them."""
    dates = {day for days in lacking.values() for day in days}
    if not dates:
        return
    first, *others = (name.partition(" ")[0] for name in lacking)
    named = f"{first} or {output.plural(len(others), 'other younger column')}" if others else first
    lack = f"{output.plural(len(dates), 'published run date')} lack{'s' if len(dates) == 1 else ''}"
    output.message(f"{lack} {named}: `orders-dask backfill --refresh all` fills them in.")


def _show_timings(timings: LoadTimings | None, run_date: date, json: bool) -> None:
    if timings is None:
        raise SourceMissing(f"Nothing was ever loaded for {run_date}: see `orders-dask status`.")
    if json:
        output.result_json(asdict(timings))
        return
    output.result_table(
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
            for each in timings.steps
        ]
    )
    output.result(str(timings))
    output.result(str(timings.cost))
