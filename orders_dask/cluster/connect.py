"""The Dask cluster that a command works on: one of its own on this machine, or one that is running already.

Workers take their settings from their own environment. Only to a cluster on this machine, or over
TLS, are they carried (:func:`send_settings`): the password would otherwise travel in clear text.
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

from orders_dask.cluster import block_pandas as without_pandas
from orders_dask.errors import ClusterLost, SettingsError, VersionMismatch
from orders_dask.settings import Settings, load_settings

VERSIONED_PACKAGES: Final = ("orders_dask", "dask", "distributed", "pyarrow")
"""Packages whose versions must be the same everywhere, beside Python's own (3.11, say; 3.11.4 and 3.11.9 get along)."""

# Before 3.11.12 `sys._current_frames`, which Dask's profiler calls all the time, can stop the whole
# process for good: https://github.com/python/cpython/issues/106883. A worker of 199 cases of `make
# chaos` was stopped so.
PROFILER_IS_SAFE: Final = sys.version_info >= (3, 11, 12)

CONNECT_SECONDS: Final = 10
WORKER_SECONDS: Final = 30  # a worker takes some 3 s to start on a busy machine


@contextmanager
def connect(
    settings: Settings, scheduler: str | None = None, workers: int | None = None
) -> Iterator[Client]:
    """Connect to a Dask cluster, and leave it in good order at the end, also on Ctrl-C.

    Parameters
    ----------
    settings
        ``scheduler_address`` counts where neither of the others is given.
    scheduler
        Address of a running scheduler, such as ``tcp://10.0.0.5:8786``.
    workers
        Number of worker processes of a cluster on this machine; as many as it has cores by default,
        each with one thread and an even share of the memory.

    Raises
    ------
    SettingsError
        The address is none.
    ClusterLost
        Nobody answers at the address, or the scheduler has no workers.
    ClusterMismatch
        Client, scheduler and workers don't run the same versions.
    """
    address = scheduler or (None if workers else settings.scheduler_address)
    with _connect_running(address) if address else _start_local(workers or CPU_COUNT) as client:
        check_versions(client)
        yield client


@contextmanager
def _start_local(workers: int) -> Iterator[Client]:
    """Start a cluster on this machine."""
    with ExitStack() as stack:
        # Ctrl-C reaches the whole process group. The threads and processes that start here inherit
        # the mask, so it is this process alone that hears it, and then tells the workers to end.
        # The tracker is started first: whichever thread starts it comes out with Ctrl-C unblocked.
        resource_tracker.ensure_running()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        stack.enter_context(
            dask.config.set(
                {
                    "distributed.worker.profile.enabled": PROFILER_IS_SAFE,
                    # How often each process looks whether its event loop lags. At 20 ms the three
                    # of a cluster of two workers took 0.11 of a core while nothing ran; so 0.04.
                    "distributed.admin.tick.interval": "500ms",
                    # It would have malloc give each large buffer back to the system at once, to be
                    # faulted in again: to find a character in some MB of text took 9.0 us an order
                    # with it, 2.6 without.
                    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
                    # Each thread's own heap keeps what it once held: a worker took 70 MB more.
                    "distributed.nanny.pre-spawn-environ.MALLOC_ARENA_MAX": 1,
                    # What NumPy let go, Arrow can use, and the other way round: 40 MB less.
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
                    dashboard_address="127.0.0.1:0",  # any free port: several commands run side by side
                    silence_logs=logging.CRITICAL,  # a failed task is an error here, told once,
                )
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        yield stack.enter_context(Client(cluster))


def _preloads() -> list[str]:
    """Name what workers load before all else: what people configured, and ours."""
    configured: str | list[str] = dask.config.get("distributed.worker.preload") or []
    return [*([configured] if isinstance(configured, str) else configured), without_pandas.__name__]


@contextmanager
def _connect_running(address: str) -> Iterator[Client]:
    """Connect to a scheduler that is running, and wait until it has a worker."""
    # First without a client: one that can't connect can't be closed either, and says so when Python
    # ends.
    try:
        asyncio.run(_check_reachable(address))
    except (ValueError, TypeError) as error:  # no address, or TLS without certificates
        raise SettingsError(f"Can't use the Dask scheduler {address}: {error}.") from error
    except OSError as error:
        raise ClusterLost(
            f"No Dask scheduler answers at {address}: is it running, and is that its address?"
        ) from error
    with ExitStack() as stack:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VersionMismatchWarning)  # check_versions says more
            client = stack.enter_context(Client(address, timeout=CONNECT_SECONDS))
        # A scheduler that is lost is told by an error of ours; the client would write a traceback
        # besides.
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
    """Open a connection to a scheduler and close it."""
    security = Security().get_connection_args("client")
    connection = await core.connect(address, timeout=CONNECT_SECONDS, **security)
    await connection.close()


def check_versions(client: Client) -> None:
    """Check that client, scheduler and workers run the same versions of what they share.

    Raises
    ------
    ClusterMismatch
        Some don't: the message names each package with its versions, and who has which.
    """
    versions: Any = client.get_versions(packages=VERSIONED_PACKAGES)
    sides = {"the scheduler": versions["scheduler"]} | {
        f"worker {address}": worker for address, worker in sorted(versions["workers"].items())
    }
    here = _versions(versions["client"])
    others: dict[tuple[str, str], list[str]] = defaultdict(list)
    for side, told in sides.items():
        for package, version in _versions(told).items():
            if version != here[package]:
                others[package, version].append(side)
    if others:
        differences = (
            f"{package} is {here[package]} here and {version} on {_join(differing)}"
            for (package, version), differing in others.items()
        )
        raise VersionMismatch(
            f"The cluster runs other versions: {'; '.join(differences)}. Install the same everywhere."
        )


def _versions(told: Mapping[str, Any]) -> dict[str, str]:
    """Pick the versions that must be the same."""
    packages = told["packages"]
    python = ".".join(packages["python"].split(".")[:2])
    return {"python": python} | {
        name: packages[name] or "not installed" for name in VERSIONED_PACKAGES
    }


def _join(sides: list[str]) -> str:
    """Name at most three."""
    more = len(sides) - 3
    return ", ".join(sides[:3]) + (f" and {more} more" if more > 0 else "")


class SettingsPlugin(WorkerPlugin):
    """Gives a worker the settings of the client.

    Parameters
    ----------
    settings
        The client's; the password is masked in any repr.
    """

    name = "orders_dask.settings"
    idempotent = False  # the settings of the latest run count

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def setup(self, worker: Worker) -> None:
        """Do nothing: being there is enough."""


def send_settings(client: Client, settings: Settings) -> None:
    """Give the workers these settings, if their cluster is this process's own or the way to them is encrypted.

    The other workers have their own environment.

    Raises
    ------
    SettingsError
        In a worker's own environment some are missing or malformed.
    """
    protocol = client.scheduler_info(n_workers=0)["address"].partition("://")[0]
    if isinstance(client.cluster, LocalCluster) or protocol in ("inproc", "tls"):
        client.register_plugin(SettingsPlugin(settings))
        return
    for worker, problem in client.run(_problem_on_this_worker).items():
        if problem:
            raise SettingsError(f"In the environment of worker {worker}: {problem}")


def resolve_client(client: Client | None, settings: Settings) -> Client:
    """Give the client to work with, else the current one, as every Dask library does; its workers get the settings."""
    try:
        client = client or default_client()
    except ValueError:
        raise SettingsError(
            "There is no Dask client: make one with dask.distributed.Client(), or pass client=."
        ) from None
    check_versions(client)
    if sys.version_info < (3, 12):  # the workers' may be another patch release
        client.register_plugin(UnprofiledPlugin())
    send_settings(client, settings)
    return client


class UnprofiledPlugin(WorkerPlugin):
    """Ends Dask's profiler on a worker that it could stop for good, see :data:`PROFILER_IS_SAFE`.

    The workers of clusters that people made themselves have it. On Python 3.11 it is all that looks
    into other threads: Dask leaves out by itself what watches event loops there.
    """

    name = "orders_dask.unprofiled"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        """Take the profiler from what the worker calls again and again; one that starts would else start it."""
        profiler = worker.periodic_callbacks.pop("profile", None) if not PROFILER_IS_SAFE else None
        if profiler:
            profiler.stop()


def _problem_on_this_worker() -> str | None:
    """Say what is wrong with the settings of this process, if anything is."""
    try:
        load_settings()
    except SettingsError as error:
        return str(error)
    return None


def worker_settings() -> Settings:
    """Return the settings of the worker that runs this task: those that were carried to it, else its environment's.

    Raises
    ------
    SettingsError
        Some are missing or malformed.
    """
    try:
        plugins = get_worker().plugins
    except ValueError:  # not a worker
        plugins = {}
    carried = plugins.get(SettingsPlugin.name)
    return carried.settings if isinstance(carried, SettingsPlugin) else load_settings()
