"""The Dask cluster of a command: a local one, or one that is already running.

Workers read the settings from their own environment. They are sent settings
(:func:`send_settings`) only if the cluster is local or the connection is TLS: the password must not
travel in clear text.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from typing import Any, Final

import dask
from dask.system import CPU_COUNT
from distributed import (
    Client,
    LocalCluster,
    Security,
    Worker,
    WorkerPlugin,
    default_client,
    get_worker,
)
from distributed.comm import core
from distributed.versions import VersionMismatchWarning

from orders_dask.cluster import block_pandas
from orders_dask.errors import ClusterLost, SettingsError, VersionMismatch
from orders_dask.settings import Settings, load_settings

VERSIONED_PACKAGES: Final = ("orders_dask", "dask", "distributed", "pyarrow")
"""Packages that need the same version everywhere, as does Python's minor version."""

PROFILER_IS_SAFE: Final = sys.version_info >= (3, 11, 12)
"""Whether Dask's profiler can't deadlock the process.

See https://github.com/python/cpython/issues/106883.
"""

CONNECT_SECONDS: Final = 10
"""Seconds to wait for a scheduler to answer."""

WORKER_SECONDS: Final = 30
"""Seconds to wait for the first worker: one takes about 3 s to start on a busy machine."""


@contextmanager
def connect(
    settings: Settings, scheduler: str | None = None, workers: int | None = None
) -> Iterator[Client]:
    """Connect to a Dask cluster, and shut down cleanly at the end, also on Ctrl-C.

    Parameters
    ----------
    settings
        Settings of the command. Their ``scheduler_address`` is used if neither `scheduler` nor
        `workers` is given.
    scheduler
        Address of a running scheduler, such as ``tcp://10.0.0.5:8786``.
    workers
        Number of worker processes of a local cluster; by default one per core, each with one
        thread and an equal share of the memory.

    Yields
    ------
    Client
        Client of the cluster.

    Raises
    ------
    SettingsError
        The address is not valid.
    ClusterLost
        No scheduler answers at the address, or it has no workers.
    VersionMismatch
        Client, scheduler and workers run different versions.
    """
    address = scheduler or (None if workers else settings.scheduler_address)
    with _connect_running(address) if address else _start_local(workers or CPU_COUNT) as client:
        check_versions(client)
        yield client


@contextmanager
def _start_local(workers: int) -> Iterator[Client]:
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
                    # Dask's value returns large buffers to the system at once, so they are faulted
                    # in again: searching text took 9.0 us per order with it, 2.6 without.
                    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
                    # The heap of each thread never shrinks: 70 MB less per worker.
                    "distributed.nanny.pre-spawn-environ.MALLOC_ARENA_MAX": 1,
                    # Arrow can reuse memory that NumPy freed, and vice versa: 40 MB less.
                    "distributed.nanny.pre-spawn-environ.ARROW_DEFAULT_MEMORY_POOL": "system",
                    "distributed.worker.preload": _preloads(),
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
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        yield stack.enter_context(Client(cluster))


def _preloads() -> list[str]:
    """Return the preload modules of workers: the user's configured ones, and ours."""
    configured: str | list[str] = dask.config.get("distributed.worker.preload") or []
    return [*([configured] if isinstance(configured, str) else configured), block_pandas.__name__]


@contextmanager
def _connect_running(address: str) -> Iterator[Client]:
    """Connect to a running scheduler, and wait until it has a worker."""
    # First without a client: one that can't connect can't be closed either, and complains when
    # Python exits.
    try:
        asyncio.run(_check_reachable(address))
    except (ValueError, TypeError) as error:  # not an address, or TLS without certificates
        raise SettingsError(f"Can't use the Dask scheduler {address}: {error}.") from error
    except OSError as error:
        raise ClusterLost(
            f"No Dask scheduler answers at {address}: is it running, and is that its address?"
        ) from error
    with ExitStack() as stack:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VersionMismatchWarning)  # check_versions raises instead
            client = stack.enter_context(Client(address, timeout=CONNECT_SECONDS))
        # A lost scheduler raises ClusterLost. The client would log a traceback as well.
        for name in ("distributed.client", "distributed.comm"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            client.wait_for_workers(1, timeout=WORKER_SECONDS)
        except TimeoutError as error:
            raise ClusterLost(
                f"The Dask scheduler at {address} has no workers after {WORKER_SECONDS} s: "
                f"start some with 'dask worker {address}'."
            ) from error
        yield client


async def _check_reachable(address: str) -> None:
    """Open a connection to a scheduler and close it again."""
    security = Security().get_connection_args("client")
    connection = await core.connect(address, timeout=CONNECT_SECONDS, **security)
    await connection.close()


def check_versions(client: Client) -> None:
    """Check that client, scheduler and workers run the same versions of :data:`VERSIONED_PACKAGES`.

    Raises
    ------
    VersionMismatch
        They don't. The message names the differing packages, their versions, and where they run.
    """
    versions: Any = client.get_versions(packages=VERSIONED_PACKAGES)
    processes = {"the scheduler": versions["scheduler"]} | {
        f"worker {address}": worker for address, worker in sorted(versions["workers"].items())
    }
    here = _versions(versions["client"])
    differing: dict[tuple[str, str], list[str]] = defaultdict(list)
    for process, report in processes.items():
        for package, version in _versions(report).items():
            if version != here[package]:
                differing[package, version].append(process)
    if differing:
        differences = "; ".join(
            f"{package} is {here[package]} here and {version} on {_join(names)}"
            for (package, version), names in differing.items()
        )
        raise VersionMismatch(
            f"The cluster runs other versions: {differences}. Install the same everywhere."
        )


def _versions(report: Mapping[str, Any]) -> dict[str, str]:
    """Return the versions that must be the same, from the report of one process."""
    packages = report["packages"]
    python = ".".join(packages["python"].split(".")[:2])
    return {"python": python} | {
        name: packages[name] or "not installed" for name in VERSIONED_PACKAGES
    }


def _join(names: list[str]) -> str:
    """Return at most three names, and how many more there are."""
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")


class SettingsPlugin(WorkerPlugin):
    """Holds the client's settings on a worker.

    Parameters
    ----------
    settings
        Settings of the client. Their repr masks the password.
    """

    name = "orders_dask.settings"
    idempotent = False  # the settings of the latest run replace those before

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def setup(self, worker: Worker) -> None:
        """Do nothing: :func:`worker_settings` reads the attribute."""


def send_settings(client: Client, settings: Settings) -> None:
    """Send the settings to the workers, if the cluster is local or the connection is encrypted.

    Other workers read their own environment.

    Parameters
    ----------
    client
        Client of the cluster.
    settings
        Settings of the run.

    Raises
    ------
    SettingsError
        Settings are missing or malformed in the environment of a worker.
    """
    protocol = client.scheduler_info(n_workers=0)["address"].partition("://")[0]
    if isinstance(client.cluster, LocalCluster) or protocol in ("inproc", "tls"):
        client.register_plugin(SettingsPlugin(settings))
        return
    for worker, problem in client.run(_problem_on_this_worker).items():
        if problem:
            raise SettingsError(f"In the environment of worker {worker}: {problem}")


def resolve_client(client: Client | None, settings: Settings) -> Client:
    """Return the given client or Dask's current one, with versions checked and settings sent.

    Parameters
    ----------
    client
        Client to use; None for the current one.
    settings
        Settings for its workers.

    Raises
    ------
    SettingsError
        There is no client, or settings are missing or malformed in a worker's own environment.
    VersionMismatch
        Client, scheduler and workers run different versions.
    """
    try:
        client = client or default_client()
    except ValueError:
        raise SettingsError(
            "There is no Dask client: make one with dask.distributed.Client(), or pass client=."
        ) from None
    check_versions(client)
    if sys.version_info < (3, 12):  # the workers may run another patch release than we do
        client.register_plugin(UnprofiledPlugin())
    send_settings(client, settings)
    return client


class UnprofiledPlugin(WorkerPlugin):
    """Stops Dask's profiler on a worker where it may deadlock, see :data:`PROFILER_IS_SAFE`.

    Clusters that users start themselves run the profiler. On Python 3.11 nothing else in Dask reads
    the frames of other threads.
    """

    name = "orders_dask.unprofiled"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        """Remove the profiler from the periodic callbacks: a worker that starts up starts these."""
        profiler = worker.periodic_callbacks.pop("profile", None) if not PROFILER_IS_SAFE else None
        if profiler:
            profiler.stop()


def _problem_on_this_worker() -> str | None:
    """Return the error of this process's settings, or None."""
    try:
        load_settings()
    except SettingsError as error:
        return str(error)
    return None


def worker_settings() -> Settings:
    """Return the settings sent to the worker that runs this task, else those of its environment.

    Raises
    ------
    SettingsError
        A setting is missing or malformed.
    """
    try:
        plugins = get_worker().plugins
    except ValueError:  # not a worker
        plugins = {}
    plugin = plugins.get(SettingsPlugin.name)
    return plugin.settings if isinstance(plugin, SettingsPlugin) else load_settings()
