"""`orders-dask report`."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from orders_dask.cli import output
from orders_dask.cli.app import command
from orders_dask.cli.options import parse_date
from orders_dask.cli.report_file import write_report


@command()
def report(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The HTML file to write.")],
    run_date: Annotated[
        date | None,
        typer.Option(
            parser=parse_date,
            metavar="DATE",
            help="The run date that it ends with.",
            show_default="yesterday in the shop's zone",
        ),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=400,
            help="Number of run dates, up to --run-date or yesterday.",
            show_default="60 of a run date, else 30",
        ),
    ] = None,
    samples: Annotated[
        bool, typer.Option("--samples", help="Show samples of bad values: personal data.")
    ] = False,
) -> None:
    """Write a report on run dates as one HTML file: what came, and whether it is normal."""
    from orders_dask.jobs import report as job

    write_report(out, job.report(run_date, days=days, samples=samples))
    output.result(f"Wrote {out}.")
