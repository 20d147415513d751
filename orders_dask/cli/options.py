"""Options that several commands take."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

import typer


def parse_date(text: str) -> date:
    """Parse a date of the command line."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a date such as 2017-10-30") from None


def parse_duration(text: str) -> float:
    """Parse a duration of the command line into seconds."""
    from orders_dask.settings import parse_seconds

    try:
        return float(str(parse_seconds(text)))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a duration such as 30s, 5m or 3h") from None


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

Force = Annotated[bool, typer.Option("--force", help="Load and publish also what is up to date.")]

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]

RunDate = Annotated[
    date, typer.Option("--run-date", parser=parse_date, metavar="DATE", help="The run date.")
]
