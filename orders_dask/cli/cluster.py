"""The settings and the Dask client of a command that works on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orders_dask.cli import output
from orders_dask.errors import SettingsError

if TYPE_CHECKING:
    from distributed import Client

    from orders_dask.settings import Settings


def command_settings(source: str | None, scheduler: str | None, workers: int | None) -> Settings:
    """Return the settings of a command that works on a cluster.

    Parameters
    ----------
    source
        URL of the dump; from the environment by default.
    scheduler, workers
        Cluster options of the command, of which at most one may be given.

    Raises
    ------
    SettingsError
        Both are given, or a setting is missing or malformed.
    """
    if scheduler and workers:
        raise SettingsError("Give --scheduler or --workers: a running cluster has its own workers.")
    from orders_dask.settings import load_settings

    return load_settings(source=source)


@contextmanager
def command_client(
    settings: Settings, scheduler: str | None, workers: int | None, *, needed: bool = True
) -> Iterator[Client | None]:
    """Connect to the cluster and print its dashboard's URL; yield None if it is not `needed`."""
    if not needed:
        yield None
        return
    from orders_dask.cluster.connect import connect

    with connect(settings, scheduler, workers, without_pandas=True) as client:
        output.message(f"Dashboard: {client.dashboard_link}")
        yield client
