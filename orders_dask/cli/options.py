"""Options that several commands take."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer

from orders_dask.errors import LoadHeld, SettingsError
from orders_dask.pipeline.results import RunResult


def parse_date(text: str) -> date:
    """Parse a date of the command line: ISO 8601, ``yesterday``, or ``-7d`` for a week ago.

    *Today* is that of the shop's time zone.
    """
    back = 1 if text == "yesterday" else 0 if text == "today" else None
    if match := re.fullmatch(r"-(\d{1,6})d", text):
        back = int(match[1])
    try:
        return date.fromisoformat(text) if back is None else _today() - timedelta(days=back)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is not a date such as 2017-10-30, yesterday or -7d"
        ) from None


def _today() -> date:
    """Return today's date in the shop's time zone."""
    from orders_dask.settings import shop_zone

    try:
        return datetime.now(shop_zone()).date()
    except SettingsError as error:
        raise typer.BadParameter(str(error)) from error


def parse_duration(text: str) -> float:
    """Parse a duration of the command line into seconds."""
    from orders_dask.setting_values import parse_seconds

    try:
        return float(str(parse_seconds(text)))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a duration such as 30s, 5m or 3h") from None


def exit_code(ended: Sequence[RunResult], missing: Literal["report", "fail"]) -> int:
    """Return the highest exit code of run dates; that of missing ones counts if they `fail`.

    A code to repeat (4) counts more than that of a held date (5), which may last for days.
    """
    failed = (each for each in ended if each.outcome != "missing" or missing == "fail")
    codes = (each.exit_code for each in failed)
    return max(codes, key=lambda code: 3.5 if code == LoadHeld.exit_code else code, default=0)


JsonOutput = Annotated[
    bool, typer.Option("--json", help="Write JSON, and nothing else, to stdout.")
]

Workers = Annotated[
    int | None,
    typer.Option(
        min=1, help="Worker processes of a cluster on this machine.", show_default="one a core"
    ),
]

DataFolder = Annotated[
    Path | None,
    typer.Option(
        help="Folder that keeps database and bucket for the next time.",
        show_default="a temporary one",
        file_okay=False,
    ),
]

Source = Annotated[
    str | None,
    typer.Option(help="URL of the dump, instead of _AWS_S3_URL_SOURCE.", show_default=False),
]

SchedulerAddress = Annotated[
    str | None,
    typer.Option(
        help="Address of a running Dask scheduler, instead of a cluster on this machine.",
        show_default="DASK_SCHEDULER_ADDRESS, where it is set",
    ),
]

Missing = Annotated[
    Literal["report", "fail"],
    typer.Option(help="Whether a date without a file is only reported, or fails (code 6)."),
]

MaxParallel = Annotated[int, typer.Option(min=1, help="Run dates to work on at once.")]

Fetch = Annotated[
    bool, typer.Option("--fetch", help="First fetch from the shop what was not fetched before.")
]

Force = Annotated[bool, typer.Option("--force", help="Load and publish also what is up to date.")]

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]

Because = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Why, for the ledger.", show_default=False)
]

HeldLoad = Annotated[
    int | None,
    typer.Option(
        "--load",
        metavar="ID",
        help="The load that is meant.",
        show_default="whichever is held now",
    ),
]

RunDate = Annotated[
    date, typer.Option("--run-date", parser=parse_date, metavar="DATE", help="The run date.")
]
