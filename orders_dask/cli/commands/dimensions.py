"""`orders-dask dimensions load`."""

from __future__ import annotations

from typing import Annotated

import typer

from orders_dask.cli import output
from orders_dask.cli.app import app, with_error_handling
from orders_dask.cli.options import JsonOutput

group = typer.Typer()
app.add_typer(group, name="dimensions")


@group.callback()
@with_error_handling
def dimensions() -> None:
    """Names of locations, staff and apps, which no order has."""


@group.command("load")
@with_error_handling
def load(
    file: Annotated[
        str, typer.Argument(help="JSON as the Admin API gives it, or CSV: a path or URL.")
    ],
    json: JsonOutput = False,
) -> None:
    """Put names of locations, staff or apps into their dimensions."""
    from orders_dask.jobs.dimension_names import load_names

    counts = load_names(file)
    if json:
        output.result_json(counts)
        return
    for dimension, count in counts.items():
        output.result(f"{dimension}: {output.plural(count, 'name')}")
