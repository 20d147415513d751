"""The settings of a command that works on a cluster, and its client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orders_dask.cli import output as screen
from orders_dask.errors import SettingsError

if TYPE_CHECKING:
    from distributed import Client

    from orders_dask.settings import Settings


def command_settings(source: str | None, scheduler: str | None, workers: int | None) -> Settings:
    """Read the settings of a command that works on a cluster."""
    if scheduler and workers:
        raise SettingsError("Give --scheduler or --workers: a running cluster has its own workers.")
    from orders_dask.settings import load_settings

    return load_settings(source=source)


@contextmanager
def command_client(
    settings: Settings, scheduler: str | None, workers: int | None, *, needed: bool = True
) -> Iterator[Client | None]:
    """Connect to the cluster, where one is needed, and say where its dashboard is."""
    if not needed:
        yield None
        return
    from orders_dask.cluster.connect import connect

    with connect(settings, scheduler, workers) as client:
        screen.message(f"Dashboard: {client.dashboard_link}")
        yield client
