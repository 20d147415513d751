"""`orders-dask init`."""

from __future__ import annotations

from typing import Annotated

import typer

from orders_dask.cli import output
from orders_dask.cli.app import command


@command()
def init(
    roles: Annotated[
        bool,
        typer.Option(
            "--roles",
            help="Make the roles orders_loader and orders_reader, too, and grant them what each "
            "needs.",
        ),
    ] = False,
) -> None:
    """Create or complete schemas, tables and views; safe to repeat."""
    from orders_dask.load.connect import engine
    from orders_dask.load.schema import initialise
    from orders_dask.settings import load_settings

    settings = load_settings()
    for warning in initialise(engine(settings), settings.partition_width, roles=roles):
        output.message(f"Warning: {warning}")
    output.result(f"Database {settings.pgsql_database} on {settings.pgsql_hostname} is ready.")
