"""What a run sends to the workers, also to those that join later, and how a task starts there.

Workers of a local cluster, and those that are reached over TLS, are sent the client's settings.
Others read their own environment: passwords must not travel in clear text.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from distributed import Client, LocalCluster, Worker, WorkerPlugin, default_client, get_worker

from orders_dask.cluster.connection_errors import translate_cluster_errors
from orders_dask.cluster.task_calls import task_of
from orders_dask.cluster.versions import check_versions, installed_versions, version_error
from orders_dask.errors import (
    OrdersDaskError,
    SchedulerEnded,
    ServiceUnavailable,
    SettingsError,
)
from orders_dask.settings import Settings, load_settings

if TYPE_CHECKING:
    from orders_dask.contract.declaration import Declaration

P = ParamSpec("P")
T = TypeVar("T")

PROFILER_IS_SAFE: Final = sys.version_info >= (3, 11, 12)
"""Whether Dask's profiler can't deadlock the process.

See https://github.com/python/cpython/issues/106883.
"""

_SENT_VARIABLES: Final = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
)
"""Variables of botocore that are sent with the settings.

Not those that name a file or a profile, which need not be there on another machine. Nor AWS
credentials: they would stay in the environment of a worker that others use too, and expire there.
"""


_SET_BY_RUNS: Final[set[str]] = set()
"""Variables of this worker that a run has set: all its runs have to agree on them."""


class RunPlugin(WorkerPlugin):
    """Holds what a run sends to each worker, and why a worker can't take part.

    Dask keeps it on the scheduler and gives it to workers that join later.

    Parameters
    ----------
    name
        Name of the plugin, see :func:`plugin_name`.
    versions
        Versions that the client runs, see :data:`~orders_dask.cluster.versions.VERSIONED_PACKAGES`.
    settings
        Settings of the client; None if the worker reads its own environment. Their repr masks the
        password.
    database
        Name of the client's database, which is that of every worker.
    declaration
        The tables that the client has declared (:mod:`orders_dask.contract.declaration`).
    variables
        Environment variables for botocore. Those that the worker has itself count more.
    is_local
        Whether the cluster is on the client's machine, so that errors need not name the worker.
    """

    error: OrdersDaskError | None = None
    """Error of each task on this worker: other versions, or settings that are missing here."""

    idempotent = False  # a password that was rotated replaces the one before

    def __init__(
        self,
        name: str,
        versions: Mapping[str, str],
        settings: Settings | None,
        database: str,
        declaration: Declaration,
        variables: Mapping[str, str],
        *,
        is_local: bool,
    ) -> None:
        self.name = name
        self.versions = versions
        self.settings = settings
        self.database = database
        self.declaration = declaration
        self.variables = variables
        self.is_local = is_local

    def setup(self, worker: Worker) -> None:
        """Check the worker, set the variables that it lacks, and stop an unsafe profiler."""
        where = f"worker {worker.address}"
        for name in _SENT_VARIABLES:
            if not os.environ.get(name) and name in self.variables:
                os.environ[name] = self.variables[name]
                _SET_BY_RUNS.add(name)
            elif name in _SET_BY_RUNS and os.environ[name] != self.variables.get(name):
                self.error = SettingsError(
                    f"On {where} another run has set {name}: set it there, or restart the worker."
                )
        if not self.settings and (problem := _settings_problem(self.database)):
            self.error = SettingsError(f"In the environment of {where}: {problem}")
        self.error = (
            _declaration_error(self.declaration, {where: _declared_on_worker()}) or self.error
        )
        # Other errors may follow from other versions.
        self.error = version_error(self.versions, {where: installed_versions()}) or self.error
        if not PROFILER_IS_SAFE and (profiler := worker.periodic_callbacks.pop("profile", None)):
            # A worker that starts up starts all that is left. Clusters that users start themselves
            # run the profiler. On Python 3.11 nothing else in Dask reads other threads' frames.
            profiler.stop()


def plugin_name(settings: Settings) -> str:
    """Return a name that runs with the same settings share.

    Runs with other settings may use the cluster at the same time, each with a plugin of its own.
    The password is not part of the name.
    """
    return f"orders_dask.run-{sha256(settings.model_dump_json().encode()).hexdigest()[:16]}"


def current_client() -> Client | None:
    """Return Dask's current client; None if there is none."""
    try:
        current: Client = default_client()
    except ValueError:
        return None
    return current


def prepare_client(client: Client, settings: Settings) -> Client:
    """Return a client with its workers prepared for a run.

    Parameters
    ----------
    client
        The client.
    settings
        Settings for its workers.

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
    if not isinstance(client, Client) or client.asynchronous or client.status != "running":
        raise SettingsError(
            "The Dask client is closed, asynchronous or no distributed.Client: pass one that is "
            "connected and synchronous."
        )
    with translate_cluster_errors():
        check_versions(client)
        prepare_workers(client, settings)
    return client


def prepare_workers(client: Client, settings: Settings) -> None:
    """Send versions to all workers, and settings if the cluster is local or reached over TLS.

    Workers that join later are sent the same. A worker that can't take part fails its tasks.

    Parameters
    ----------
    client
        Client of the cluster.
    settings
        Settings of the run.

    Raises
    ------
    SettingsError
        Settings are missing or malformed in the environment of a worker that is there now, or
        another run has set other ones.
    """
    protocol = client.scheduler_info(n_workers=0)["address"].partition("://")[0]
    is_local = isinstance(client.cluster, LocalCluster)
    is_safe = is_local or protocol in ("inproc", "tls")
    variables = {name: os.environ[name] for name in _SENT_VARIABLES if os.environ.get(name)}
    declaration = _declared()
    on_workers = client.run(_declared_on_worker)
    workers = {f"worker {address}": each for address, each in sorted(on_workers.items())}
    if differing := _declaration_error(declaration, workers):
        raise differing
    plugin = RunPlugin(
        plugin_name(settings),
        installed_versions(),
        settings if is_safe else None,
        settings.pgsql_database,
        declaration,
        variables if is_safe else {},
        is_local=is_local,
    )
    client.register_plugin(plugin)
    for error in client.run(_error_on, plugin.name).values():
        if error:
            raise error


def call_task(plugin_name: str, task: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a task on this worker, and name the worker in errors of its settings and services.

    Parameters
    ----------
    plugin_name
        Name of the run's plugin.
    task
        The task.
    args, kwargs
        Arguments of the task.

    Raises
    ------
    SchedulerEnded
        The worker lacks the run's plugin: the scheduler was restarted.
    VersionMismatch
        The worker runs other versions than the client.
    SettingsError
        The worker lacks settings or has another database, or the task raised it.
    """
    address = get_worker().address
    plugin = _plugin_on(get_worker(), plugin_name)
    if plugin is None:
        raise SchedulerEnded(
            f"Worker {address} lacks what this run sent to all: either the scheduler was restarted "
            "meanwhile, so give the same command again, or the worker runs another orders_dask."
        )
    if plugin.error:
        raise plugin.error
    try:
        with task_of(plugin.settings):
            return task(*args, **kwargs)
    except (SettingsError, ServiceUnavailable) as error:
        if plugin.is_local:
            raise
        raise type(error)(f"On worker {address}: {error}") from error


def _plugin_on(worker: Worker, name: str) -> RunPlugin | None:
    """Return a run's plugin; None where it could not be set up, as with other versions."""
    plugin = worker.plugins.get(name)
    return plugin if isinstance(plugin, RunPlugin) else None


def _error_on(name: str, dask_worker: Worker) -> OrdersDaskError | None:
    """Return why a worker can't take part in a run, or None. Dask passes it as `dask_worker`."""
    plugin = _plugin_on(dask_worker, name)
    return plugin.error if plugin else None


def _declared() -> Declaration:
    """Return the tables that this process has declared."""
    from orders_dask.contract.declaration import declared  # late: a worker may have declared badly

    return declared()


def _declared_on_worker() -> Declaration | SettingsError:
    """Return the tables that this process has declared, or why it can't declare them."""
    try:
        return _declared()
    except SettingsError as error:
        return error


def _declaration_error(
    client: Declaration, workers: Mapping[str, Declaration | SettingsError]
) -> SettingsError | None:
    """Return an error of workers that have declared other tables than the client, or None."""
    from orders_dask.contract.declaration import difference  # late, as above

    declarations = {}
    for worker, declaration in workers.items():
        if isinstance(declaration, SettingsError):
            return SettingsError(f"On {worker}: {declaration}")
        declarations[worker] = declaration
    return difference(client, declarations)


def _settings_problem(database: str) -> str | None:
    """Return what is wrong with this process's settings, such as another database, or None."""
    try:
        settings = load_settings()
    except SettingsError as error:
        return str(error)
    if settings.pgsql_database != database:
        return f"_PGSQL_DATABASE is {settings.pgsql_database}, and {database} on the client."
    return None
