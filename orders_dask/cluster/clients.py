"""The client of a run: a given one, Dask's current one, or none, and then this process does all.

Dask is imported only for a cluster: it takes longer than a small run date.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Final

from orders_dask.cluster.in_process import map_in_process
from orders_dask.cluster.task_calls import MapTasks
from orders_dask.settings import Settings

if TYPE_CHECKING:
    from distributed import Client

LOG: Final = logging.getLogger("orders_dask")

Connect = Callable[[Settings, bool], "Client | None"]
"""Returns the client for work, with its workers prepared; None if this process does it.

It is called with the settings of the work, and whether it is small.
"""


def resolve_client(client: Client | None, settings: Settings) -> Client | None:
    """Return the given client or Dask's current one, with its workers prepared for a run.

    Parameters
    ----------
    client
        Client to use; None for the current one.
    settings
        Settings for its workers.

    Returns
    -------
    Client or None
        None if there is no client: then this process does the tasks.

    Raises
    ------
    SettingsError
        The client can't be used, or settings are missing or malformed in a worker's own
        environment.
    VersionMismatch
        Client, scheduler and workers run different versions.
    ClusterLost
        The scheduler, or a worker that it still lists, can't be reached.
    """
    if client is None and "distributed" not in sys.modules:
        return None
    from orders_dask.cluster.workers import current_client, prepare_client

    client = client or current_client()
    return prepare_client(client, settings) if client else None


def given_client(client: Client | None) -> Connect:
    """Return what prepares a given client, or Dask's current one (:func:`resolve_client`)."""

    def connect(settings: Settings, is_small: bool) -> Client | None:
        prepared = resolve_client(client, settings)
        if prepared is None and not is_small:
            LOG.warning(
                "There is no Dask client: this process does all, a task at a time. "
                "orders_dask.connect() starts a cluster."
            )
        return prepared

    return connect


def preparing_once(
    connect: Connect, settings: Settings, is_small: bool
) -> Callable[[], Client | None]:
    """Return what returns the client of a job, with the workers of each new scheduler prepared."""
    client = connect(settings, is_small)
    prepared = _scheduler_of(client)

    def current() -> Client | None:
        nonlocal client, prepared
        if _scheduler_of(client) != prepared:
            client = connect(settings, is_small)
            prepared = _scheduler_of(client)
        return client

    return current


def _scheduler_of(client: Client | None) -> str | None:
    """Return the id of a client's scheduler; None while it has none."""
    if client is None or client.status != "running":
        return None
    return str(client.scheduler_info(n_workers=0)["id"])


def map_tasks(client: Client | None, settings: Settings, stop: Event) -> MapTasks:
    """Return what calls tasks on the workers of a client, or in this process without one."""
    if client is None:
        return partial(map_in_process, settings=settings, stop=stop)
    from orders_dask.cluster.submit import map_bounded

    return partial(map_bounded, client, settings=settings, stop=stop)
