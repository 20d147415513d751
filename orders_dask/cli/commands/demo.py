"""`orders-dask demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from orders_dask.cli.app import command
from orders_dask.cli.commands.sandbox import remove_service_variables
from orders_dask.cli.options import DataFolder, Workers
from orders_dask.errors import SettingsError


@command()
def demo(
    orders: Annotated[int, typer.Option(min=100, help="Orders of each of the three days.")] = 3_000,
    workers: Workers = None,
    data: DataFolder = None,
    use_settings: Annotated[
        bool,
        typer.Option(
            "--use-settings",
            help="Use the database, bucket and cluster of the settings, where nothing else is.",
        ),
    ] = False,
) -> None:
    """Generate three days with every kind of defect, load them in a sandbox and show the result."""
    from orders_dask.cli.demo import show_in_sandbox, show_with_settings

    if use_settings:
        if data:
            raise SettingsError("Give --data or --use-settings: --data is a sandbox's folder.")
        show_with_settings(orders, workers)
        return
    remove_service_variables()
    show_in_sandbox(orders, workers, data)
