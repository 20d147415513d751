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
    """Create or complete schemas, tables and views, and compile the reader; safe to repeat."""
    from orders_dask.extract.decode.compile_once import ensure_compiled, is_to_compile
    from orders_dask.load.connect import engine
    from orders_dask.load.schema import initialise
    from orders_dask.settings import load_settings

    settings = load_settings()
    for warning in initialise(engine(settings), settings.partition_width, roles=roles):
        output.message(f"Warning: {warning}")
    if is_to_compile():
        output.message("Compiling the JSON reader for this machine, once: 10 s and more.")
        ensure_compiled()
    output.result(f"Database {settings.pgsql_database} on {settings.pgsql_hostname} is ready.")
