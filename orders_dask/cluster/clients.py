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
from orders_dask.cluster.task_calls import MapTasks, raise_if_stopped
from orders_dask.errors import ClusterLost
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
    """Return what prepares a given client, or Dask's current one (:func:`resolve_client`).

    It is the same client at each call, also when Dask has another current one by then.
    """
    used, is_first = client, True

    def connect(settings: Settings, is_small: bool) -> Client | None:
        nonlocal used, is_first
        if is_first or used is not None:
            used = resolve_client(used if is_first else reconnected(used), settings)
        is_first = False
        if used is None and not is_small:
            LOG.warning(
                "There is no Dask client: this process does all, a task at a time. "
                "orders_dask.connect() starts a cluster."
            )
        return used

    return connect


def reconnected(client: Client | None, stop: Event | None = None) -> Client | None:
    """Return a client that was connected before, and wait while it looks for a new scheduler.

    Parameters
    ----------
    client
        The client, if there is one.
    stop
        Ends the wait when it is set.

    Raises
    ------
    ClusterLost
        None came, and the client gave up.
    RunCancelled
        `stop` was set.
    """
    if client is None or client.status == "running":
        return client
    if client.status == "connecting":
        LOG.warning("The Dask scheduler was lost: waiting for a new one at its address.")
    stop = stop or Event()
    while client.status == "connecting":
        raise_if_stopped(stop)
        stop.wait(0.1)
    if client.status != "running":
        raise ClusterLost(
            "The Dask scheduler was lost, and no new one answers at its address: see that it runs, "
            "then give the same command again."
        )
    return client


def preparing_once(
    connect: Connect, settings: Settings, is_small: bool, stop: Event
) -> Callable[[], Client | None]:
    """Return what returns the client of a job, with the workers of each new scheduler prepared."""
    client = connect(settings, is_small)
    prepared = _scheduler_of(client)

    def current() -> Client | None:
        nonlocal prepared
        if client is not None and _scheduler_of(reconnected(client, stop)) != prepared:
            connect(settings, is_small)
            prepared = _scheduler_of(client)
        return client

    return current


def _scheduler_of(client: Client | None) -> str | None:
    """Return the id of a client's scheduler; None without a client."""
    return None if client is None else str(client.scheduler_info(n_workers=0)["id"])


def map_tasks(client: Client | None, settings: Settings, stop: Event) -> MapTasks:
    """Return what calls tasks on the workers of a client, or in this process without one."""
    if client is None:
        return partial(map_in_process, settings=settings, stop=stop)
    from orders_dask.cluster.submit import map_bounded

    return partial(map_bounded, client, settings=settings, stop=stop)
