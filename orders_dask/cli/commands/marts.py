"""`orders-dask marts`."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated

import typer

from orders_dask.cli import output
from orders_dask.cli.app import app, with_error_handling
from orders_dask.cli.options import JsonOutput
from orders_dask.errors import ReconciliationError, SettingsError

group = typer.Typer()
app.add_typer(group, name="marts")


def _parse_month(text: str) -> date:
    if re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", text) and text >= "0001":
        return date.fromisoformat(f"{text}-01")
    raise typer.BadParameter(f"{text!r} is not a month such as 2026-03")


@group.callback()
@with_error_handling
def marts() -> None:
    """Check and rebuild the sums of sales that each publish changes."""


@group.command("check")
@with_error_handling
def check(
    month: Annotated[
        date | None,
        typer.Option(
            parser=_parse_month, metavar="YYYY-MM", help="By default that of the latest run date."
        ),
    ] = None,
    all_days: Annotated[
        bool, typer.Option("--all", help="All of history, which takes its time.")
    ] = False,
    json: JsonOutput = False,
) -> None:
    """Add up a month from its orders, and compare with what was stored."""
    if month and all_days:
        raise SettingsError("--month and --all exclude each other: give one of them.")

    from orders_dask.jobs.marts import check_marts

    found = check_marts(month, all_days=all_days)
    if json:
        output.result_json(found)
    elif found.differences:
        for mart in dict.fromkeys(each.mart for each in found.differences):
            rows = [
                {**each.key, "figure": each.figure, "stored": each.stored, "counted": each.counted}
                for each in found.differences
                if each.mart == mart
            ]
            output.result_table(rows, title=mart)
    days = f"{found.month:%Y-%m}" if found.month else "all days"
    if found.differences:
        raise ReconciliationError(
            f"The stored sums of {days} differ from what their orders add up to, in "
            f"{output.plural(len(found.differences), 'figure')}: run `orders-dask marts rebuild`."
        )
    if not json:
        output.result(f"The sums of {days} are what their orders add up to.")


@group.command("rebuild")
@with_error_handling
def rebuild() -> None:
    """Count every published load anew, and add up the counts."""
    from orders_dask.jobs.marts import rebuild_marts

    loads = rebuild_marts(progress=_print_progress)
    output.result(f"Added up {output.plural(loads, 'published load')}.")


def _print_progress(done: int, loads: int) -> None:
    if done % 100 == 0:
        output.message(f"{done:,} of {loads:,} loads are counted.")
