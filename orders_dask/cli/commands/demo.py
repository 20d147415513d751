"""`orders-dask demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from orders_dask.cli.app import command
from orders_dask.cli.commands.sandbox import remove_service_variables
from orders_dask.cli.options import DataFolder, Workers


@command()
def demo(
    orders: Annotated[int, typer.Option(min=100, help="Orders of each of the three days.")] = 3_000,
    workers: Workers = None,
    data: DataFolder = None,
) -> None:
    """Generate three days with every kind of defect, load them in a sandbox and show the result."""
    from orders_dask.cli.demo import show

    remove_service_variables()
    show(orders, workers, data)
