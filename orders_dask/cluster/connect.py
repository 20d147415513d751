"""Connect to the Dask cluster of a run: a local one, or one that is already running."""

from __future__ import annotations

import asyncio
import logging
import signal
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from typing import Final

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster, Security
from distributed.comm import core
from distributed.versions import VersionMismatchWarning

from orders_dask.cluster import block_pandas
from orders_dask.cluster.connection_errors import translate_cluster_errors
from orders_dask.cluster.versions import check_versions
from orders_dask.cluster.workers import PROFILER_IS_SAFE
from orders_dask.errors import ClusterLost, SettingsError
from orders_dask.settings import Settings, load_settings

CONNECT_SECONDS: Final = 10
"""Seconds to wait for a scheduler to answer."""

RECONNECT_SECONDS: Final = 60
"""Seconds to wait for a new scheduler at the address of one that was lost."""


@contextmanager
def connect(
    settings: Settings | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
    *,
    without_pandas: bool = False,
) -> Iterator[Client]:
    """Connect to a Dask cluster, and shut down cleanly at the end, also on Ctrl-C.

    The local cluster is the one that the commands start: one thread per worker, tuned for memory.

    Parameters
    ----------
    settings
        Settings; from the environment by default. Their ``scheduler_address`` is used if neither
        `scheduler` nor `workers` is given.
    scheduler
        Address of a running scheduler, such as ``tcp://10.0.0.5:8786``. It may have no workers yet.
    workers
        Number of worker processes of a local cluster; by default one per core, each with one
        thread and an equal share of the memory.
    without_pandas
        Whether workers of a local cluster can't import pandas, which saves each 40 MB. They can't
        compute DataFrames then.

    Yields
    ------
    Client
        Client of the cluster.

    Raises
    ------
    SettingsError
        The address is not valid, the cluster can't be encrypted as Dask's configuration demands, or
        both `scheduler` and `workers` are given.
    ClusterLost
        No scheduler answers at the address.
    VersionMismatch
        Client, scheduler and workers run different versions.
    """
    if scheduler and workers is not None:
        raise SettingsError("Give scheduler or workers: a running cluster has its own workers.")
    if workers is not None and workers < 1:
        raise SettingsError(f"workers is {workers}: a cluster needs one or more.")
    if not (scheduler or workers):
        scheduler = (settings or load_settings()).scheduler_address
    cluster = (
        _connect_running(scheduler)
        if scheduler
        else _start_local(workers or CPU_COUNT, without_pandas)
    )
    with cluster as client:
        with translate_cluster_errors():
            check_versions(client)
        yield client


@contextmanager
def _start_local(workers: int, without_pandas: bool) -> Iterator[Client]:
    """Start a local cluster."""
    with ExitStack() as stack:
        # Ctrl-C reaches the whole process group. Threads and processes that start here inherit the
        # mask, so only this process receives it, and then stops the workers. The resource tracker
        # is started first: the thread that starts it ends up with Ctrl-C unblocked.
        resource_tracker.ensure_running()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        stack.enter_context(
            dask.config.set(
                {
                    "distributed.worker.profile.enabled": PROFILER_IS_SAFE,
                    # Interval of the event loop check. The default of 20 ms costs 0.11 of a core.
                    "distributed.admin.tick.interval": "500ms",
                    # The last messages with each worker, tasks and all: some 35 KB a part. With the
                    # default of 1,000 a scheduler grew to 1.8 GB with 64 workers.
                    "distributed.admin.low-level-log-length": 20,
                    # Dask's value returns large buffers to the system at once, so they are faulted
                    # in again: searching text took 9.0 us per order with it, 2.6 without.
                    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
                    # The heap of each thread never shrinks: 70 MB less per worker.
                    "distributed.nanny.pre-spawn-environ.MALLOC_ARENA_MAX": 1,
                    # Arrow can reuse memory that NumPy freed, and vice versa: 40 MB less.
                    "distributed.nanny.pre-spawn-environ.ARROW_DEFAULT_MEMORY_POOL": "system",
                    "distributed.worker.preload": _preloads(without_pandas),
                }
            )
        )
        try:
            cluster = stack.enter_context(
                LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    dashboard_address="127.0.0.1:0",  # any free port, for parallel commands
                    silence_logs=logging.CRITICAL,  # a failed task raises its error here, once
                )
            )
        except RuntimeError as error:
            # Its processes talk over tcp:// on this machine's own address.
            if dask.config.get("distributed.comm.require-encryption"):
                raise SettingsError(
                    "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION is set, and a local cluster has no "
                    "TLS: name a tls:// scheduler in DASK_SCHEDULER_ADDRESS, or unset it."
                ) from error
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        yield stack.enter_context(Client(cluster))


def _preloads(without_pandas: bool) -> list[str]:
    """Return the preload modules of workers: the user's configured ones, and ours."""
    configured: str | list[str] = dask.config.get("distributed.worker.preload") or []
    ours = [block_pandas.__name__] if without_pandas else []
    return [*([configured] if isinstance(configured, str) else configured), *ours]


@contextmanager
def _connect_running(address: str) -> Iterator[Client]:
    """Connect to a running scheduler."""
    # First without a client: one that can't connect can't be closed either, and complains when
    # Python exits.
    try:
        # In a thread, for a notebook has an event loop in its own. At a signal or error it is left
        # to itself, not waited for.
        thread = ThreadPoolExecutor(1)
        try:
            thread.submit(asyncio.run, _check_reachable(address)).result()
        finally:
            thread.shutdown(wait=False)
    # Not an address, TLS without certificates, or encryption is required and this isn't TLS.
    except (ValueError, TypeError, RuntimeError) as error:
        raise SettingsError(f"Can't use the Dask scheduler {address}: {error}.") from error
    except OSError as error:
        raise ClusterLost(
            f"No Dask scheduler answers at {address}: is it running, and is that its address?"
        ) from error
    with warnings.catch_warnings(), translate_cluster_errors():
        warnings.simplefilter("ignore", VersionMismatchWarning)  # check_versions raises instead
        client = Client(address, timeout=RECONNECT_SECONDS)
    # A lost scheduler raises ClusterLost. The client would log a traceback as well.
    for name in ("distributed.batched", "distributed.client", "distributed.comm"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with client:
        yield client


async def _check_reachable(address: str) -> None:
    """Open a connection to a scheduler and close it again."""
    try:
        security = Security().get_connection_args("client")
    except OSError as error:
        raise ValueError(f"a TLS certificate or key can't be read ({error})") from error
    # Dask's timeout ends with the connection: a peer that is no scheduler may never shake hands.
    async with asyncio.timeout(CONNECT_SECONDS):
        connection = await core.connect(address, timeout=CONNECT_SECONDS, **security)
        await connection.close()
