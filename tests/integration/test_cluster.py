"""Commands on a local or a running cluster, and the errors of either."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Timer
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from dask import config
from distributed import Client, LocalCluster, Worker
from pydantic import SecretStr
from sqlalchemy import Engine

from orders_dask.cluster import connect as connect_module
from orders_dask.cluster import submit
from orders_dask.cluster.clients import given_client, resolve_client
from orders_dask.cluster.connect import connect
from orders_dask.cluster.submit import map_bounded
from orders_dask.cluster.task_calls import TaskCall, task_settings
from orders_dask.cluster.workers import (
    PROFILER_IS_SAFE,
    plugin_name,
    prepare_workers,
)
from orders_dask.errors import ClusterLost, ServiceUnavailable, SettingsError, VersionMismatch
from orders_dask.settings import Settings
from tests.support import REPOSITORY
from tests.support.builders import DAY, lines, order
from tests.support.commands import start
from tests.support.dask_processes import dask
from tests.support.types import Put, Query
from tests.support.waiting import until

MINE = Settings(
    pgsql_hostname="db.example.com",
    pgsql_user="client",
    pgsql_pass=SecretStr("correct horse"),
    pgsql_database="shop",
    source="s3://bucket/{run_date}/",
)
THEIRS = {
    "_PGSQL_HOSTNAME": "db.example.com",
    "_PGSQL_USER": "worker",
    "_PGSQL_PASS": "battery staple",
    "_PGSQL_DATABASE": "shop",
    "_AWS_S3_URL_SOURCE": "s3://bucket/{run_date}/",
}


@contextlib.contextmanager
def scheduler(folder: Path, port: str = "0") -> Iterator[str]:
    """Run a scheduler without workers, by default on a free port, and yield its address."""
    scheduler_file = folder / "scheduler.json"
    scheduler_file.unlink(missing_ok=True)
    options = ("--host", "127.0.0.1", "--port", port, "--dashboard-address", "127.0.0.1:0")
    with dask(folder, "scheduler", *options, "--scheduler-file", str(scheduler_file)):
        until(
            lambda: scheduler_file.exists() and scheduler_file.read_text(), otherwise="no scheduler"
        )
        yield json.loads(scheduler_file.read_text())["address"]


@contextlib.contextmanager
def worker(folder: Path, address: str, **environment: str) -> Iterator[None]:
    """Run a worker until the block ends."""
    with dask(folder, "worker", address, "--nthreads", "1", "--no-dashboard", **environment):
        yield


def run_task(client: Client, task: Callable[[], Any], settings: Settings = MINE) -> Any:
    """Run one task as the steps do, and return its result."""
    [(_, result)] = map_bounded(
        client,
        task,
        [TaskCall("a task", ())],
        step="work",
        key_suffix=uuid4().hex,
        max_in_flight=1,
        settings=settings,
        stop=Event(),
    )
    return result


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a running cluster whose worker has settings of its own."""
    folder = tmp_path_factory.mktemp("cluster")
    with scheduler(folder) as address, worker(folder, address, **THEIRS):
        yield address


def test_a_running_cluster_works_and_goes_on_when_the_command_ends(running: str) -> None:
    for _ in range(2):
        with connect(MINE, running) as client:
            assert client.submit(os.getpid, pure=False).result(timeout=30) != os.getpid()
            assert client.dashboard_link.startswith("http://127.0.0.1:")


def test_the_address_of_a_running_cluster_may_be_a_setting(running: str) -> None:
    with connect(MINE.model_copy(update={"scheduler_address": running})) as client:
        assert client.scheduler_info(n_workers=0)["address"] == running


def test_settings_do_not_travel_in_clear_text_to_a_running_cluster(running: str) -> None:
    with connect(MINE, running) as client:
        prepare_workers(client, MINE)
        found = run_task(client, task_settings)
    assert found.pgsql_user == "worker", "the worker's own environment counts"


def test_each_run_on_a_cluster_has_its_own_settings_and_the_latest_password() -> None:
    other = MINE.model_copy(update={"pgsql_database": "other"})
    rotated = MINE.model_copy(update={"pgsql_pass": SecretStr("battery staple")})
    with connect(MINE, workers=1) as client:
        for settings in (MINE, other, rotated):
            prepare_workers(client, settings)
        assert run_task(client, task_settings, other) == other
        assert run_task(client, task_settings, MINE) == rotated


def test_a_local_cluster_profiles_only_where_that_can_not_stop_a_process() -> None:
    with connect(MINE, workers=1) as client:
        enabled = client.run(config.get, "distributed.worker.profile.enabled")
    assert {*enabled.values()} == {sys.version_info >= (3, 11, 12)}


def test_workers_of_a_cluster_of_ones_own_profile_only_where_that_can_not_stop_a_process() -> None:
    # No task runs before the profiler is off, so that it can't stop the worker of this test.
    with (
        config.set({"distributed.worker.profile.enabled": True}),
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as own,
        Client(own) as client,
    ):
        assert [*client.run(_has_profiler).values()] == [True], "the default of Dask"
        resolve_client(client, MINE)
        for which in ("the running worker", "a later worker"):
            assert [*client.run(_has_profiler).values()] == [PROFILER_IS_SAFE], which
            client.submit(_sleep, pure=False).result(timeout=60)
            assert (client.profile()["count"] > 0) is PROFILER_IS_SAFE, which
            client.restart()


def _has_profiler(dask_worker: Worker) -> bool:
    return "profile" in dask_worker.periodic_callbacks


def _sleep() -> None:
    time.sleep(0.5)


def test_workers_of_a_local_cluster_do_not_import_pandas_for_pyarrow() -> None:
    with connect(MINE, workers=1, without_pandas=True) as client:
        imported = client.submit(_imports_pandas_for_an_array).result(timeout=30)
    assert not imported, "pyarrow took 0.4 s and 40 MB of the worker for pandas"


def _imports_pandas_for_an_array() -> bool:
    pa.array([1])
    return "pandas" in sys.modules


def test_the_dashboard_works_without_pandas() -> None:
    program = """
import sys
import pyarrow as pa
from orders_dask.cluster import block_pandas
block_pandas.block()
pa.array([1])
import distributed.dashboard.scheduler
from bokeh.document import Document
from bokeh.models import ColumnDataSource
document = Document()
document.add_root(ColumnDataSource({"x": [1]}))
document.to_json()
assert "pandas" not in sys.modules, "it was imported"
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_preloads_that_users_configured_for_workers_are_loaded_too() -> None:
    theirs = {"distributed.worker.preload": "import sys; sys.preloaded_by_user = True"}
    with config.set(theirs), connect(MINE, workers=1) as client:
        loaded = client.submit(_has_preloaded).result(timeout=30)
    assert loaded


def _has_preloaded() -> bool:
    return hasattr(sys, "preloaded_by_user")


def test_local_clusters_run_side_by_side_without_a_warning() -> None:
    with connect(MINE, workers=1) as one, connect(MINE, workers=1) as two:
        assert one.dashboard_link != two.dashboard_link
        assert len(two.nthreads()) == 1


def test_a_running_cluster_is_reached_from_a_notebook(running: str) -> None:
    async def cell() -> str:
        with connect(MINE, running) as client:  # a notebook's cell runs in an event loop
            return str(client.scheduler_info(n_workers=0)["address"])

    assert asyncio.run(cell()) == running


def test_a_certificate_that_can_not_be_read_is_a_settings_error(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.pem")
    with (
        config.set(
            {
                "distributed.comm.tls.ca-file": missing,
                "distributed.comm.tls.client.cert": missing,
                "distributed.comm.tls.client.key": missing,
            }
        ),
        pytest.raises(SettingsError, match=r"TLS certificate or key can't be read"),
        connect(MINE, "tls://127.0.0.1:1"),
    ):
        pass


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect_module, "CONNECT_SECONDS", 0.5)
    with (
        pytest.raises(ClusterLost, match=re.escape("answers at tcp://127.0.0.1:1:")),
        connect(MINE, "tcp://127.0.0.1:1"),
    ):
        pass


@pytest.mark.parametrize("address", ["nonsense", "tls://127.0.0.1:1", "carrier-pigeon://a:1"])
def test_an_address_that_can_not_be_used_is_a_settings_error(address: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(address)), connect(MINE, address):
        pass


def test_a_peer_that_is_no_scheduler_is_given_up_and_can_be_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connect_module, "CONNECT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts, and never says anything
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(ClusterLost, match="No Dask scheduler answers"), connect(MINE, address):
            pass
    assert time.monotonic() - began < 10, "Dask's own timeout ends with the connection"


def test_a_local_cluster_where_encryption_is_required_is_a_settings_error() -> None:
    with (
        config.set({"distributed.comm.require-encryption": True}),
        pytest.raises(SettingsError, match="a local cluster has no TLS"),
        connect(MINE, workers=1),
    ):
        pass


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"scheduler": "tcp://127.0.0.1:1", "workers": 2}, "Give scheduler or workers"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_a_cluster_that_can_not_be_is_a_settings_error(
    arguments: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SettingsError, match=sentence), connect(MINE, **arguments):
        pass


def test_a_client_that_is_closed_or_none_is_a_settings_error() -> None:
    closed = Client(processes=False, n_workers=1, dashboard_address="127.0.0.1:0")
    closed.close()
    for client in (closed, "tcp://127.0.0.1:8786"):
        with pytest.raises(SettingsError, match="closed, asynchronous or no"):
            resolve_client(client, MINE)  # type: ignore[arg-type]


def test_a_client_that_gives_up_in_the_middle_is_transient_and_no_wrong_setting() -> None:
    with Client(processes=False, n_workers=1, dashboard_address="127.0.0.1:0") as client:
        connecting = given_client(None)
        assert connecting(MINE, False) is client, "the current one"
    with (
        Client(processes=False, n_workers=1, dashboard_address="127.0.0.1:0"),
        pytest.raises(ClusterLost, match="no new one answers"),
    ):
        connecting(MINE, False)  # not with another current one


def test_tcp_where_encryption_is_required_is_a_settings_error(running: str) -> None:
    with (
        config.set({"distributed.comm.require-encryption": True}),
        pytest.raises(SettingsError, match=rf"{re.escape(running)}: encryption required"),
        connect(MINE, running),
    ):
        pass


def test_a_cluster_that_stays_without_workers_is_named(tmp_path: Path) -> None:
    with (
        scheduler(tmp_path) as address,
        connect(MINE, address) as client,
        pytest.raises(ClusterLost, match=f"{re.escape(address)} had no worker for 0.5 s"),
    ):
        run_task(client, os.getpid, MINE.model_copy(update={"workers_timeout": 0.5}))


@pytest.mark.slow
def test_a_scheduler_that_dies_while_a_worker_is_awaited_is_named(tmp_path: Path) -> None:
    with scheduler(tmp_path) as address, connect(MINE, address) as client:
        kill = Timer(2, os.kill, (client.run_on_scheduler(os.getpid), signal.SIGKILL))
        kill.start()
        with pytest.raises(ClusterLost, match="The Dask scheduler was lost"):
            run_task(client, os.getpid)


def test_an_adaptive_cluster_without_workers_gets_one_and_falls_back_to_none(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "POLL_SECONDS", 0.1)  # less than any worker needs to start
    with (
        LocalCluster(n_workers=0, threads_per_worker=2, dashboard_address="127.0.0.1:0") as own,
        Client(own) as client,
    ):
        own.adapt(minimum=0, maximum=2, interval="100ms", wait_count=5)
        resolve_client(client, MINE)
        assert run_task(client, task_settings) == MINE, "a worker that comes later is prepared"
        until(lambda: not client.nthreads(), otherwise="the cluster keeps its idle worker")
    assert "has no worker: waiting up to 300 s for one" in caplog.text


def test_tasks_after_a_restart_of_the_scheduler_are_transient_errors(running: str) -> None:
    with connect(MINE, running) as client:
        resolve_client(client, MINE)
        client.unregister_worker_plugin(plugin_name(MINE))  # as a scheduler that began anew
        with pytest.raises(ClusterLost, match="the scheduler was restarted meanwhile"):
            run_task(client, os.getpid)


def test_a_worker_that_comes_later_without_settings_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in THEIRS:
        monkeypatch.delenv(variable, raising=False)
    with scheduler(tmp_path) as address, connect(MINE, address) as client:
        resolve_client(client, MINE)
        with (
            worker(tmp_path, address),
            pytest.raises(
                SettingsError, match=r"environment of worker tcp://127\S+: _PGSQL_HOSTNAME"
            ),
        ):
            run_task(client, os.getpid)


def test_a_worker_with_another_database_in_its_environment_is_named(running: str) -> None:
    other = MINE.model_copy(update={"pgsql_database": "other"})
    with connect(MINE, running) as client:
        client.wait_for_workers(1, timeout=60)
        with pytest.raises(
            SettingsError,
            match=r"environment of worker tcp://127\S+: _PGSQL_DATABASE is shop, and other on",
        ):
            resolve_client(client, other)


def test_an_error_of_a_service_names_the_worker_of_a_running_cluster(running: str) -> None:
    with connect(MINE, running) as client:
        resolve_client(client, MINE)
        with pytest.raises(ServiceUnavailable, match=r"^On worker tcp://127\S+: S3 is away\.$"):
            run_task(client, lose_s3)
    with connect(MINE, workers=1) as client:
        resolve_client(client, MINE)
        with pytest.raises(ServiceUnavailable, match=r"^S3 is away\.$"):
            run_task(client, lose_s3)


def lose_s3() -> None:
    raise ServiceUnavailable("S3 is away.")


def install_other_versions(folder: Path) -> None:
    """Make a Python with this folder in PYTHONPATH take other versions for installed.

    `importlib.metadata` searches there first.
    """
    for package in ("orders_dask", "pyarrow"):
        metadata = folder / f"{package}-99.9.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {package}\nVersion: 99.9\n"
        )


def test_a_worker_that_comes_later_with_another_version_is_named(tmp_path: Path) -> None:
    install_other_versions(tmp_path)
    with scheduler(tmp_path) as address, connect(MINE, address) as client:
        resolve_client(client, MINE)
        with (
            worker(tmp_path, address, **THEIRS, PYTHONPATH=str(tmp_path)),
            pytest.raises(VersionMismatch, match=r"pyarrow is \S+ on .* 99\.9 on worker tcp://127"),
        ):
            run_task(client, os.getpid)


def test_a_worker_with_another_version_is_named_with_both_versions(tmp_path: Path) -> None:
    install_other_versions(tmp_path)
    with (
        scheduler(tmp_path) as address,
        worker(tmp_path, address, PYTHONPATH=str(tmp_path)),
    ):
        with Client(address) as client:
            client.wait_for_workers(1, timeout=60)
        with pytest.raises(VersionMismatch) as caught, connect(MINE, address):
            pass
    message = str(caught.value)
    assert re.search(r"orders_dask is \S.* on the client and 99\.9 on worker tcp://127", message)
    assert re.search(r"pyarrow is \d\S* on the client and 99\.9 on worker tcp://127", message)
    assert "distributed is" not in message
    assert "the scheduler" not in message


INTERRUPTED = """
import sys, time
from pydantic import SecretStr
from orders_dask.cluster.connect import connect
from orders_dask.settings import load_settings

if __name__ == "__main__":
    with connect(load_settings(), workers=2) as client:
        print(*client.run(__import__("os").getpid).values(), flush=True)
        client.submit(time.sleep, 300).result()
"""


def test_ctrl_c_ends_a_local_cluster_at_once_and_quietly(tmp_path: Path) -> None:
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    with subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, **THEIRS, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as process:
        assert process.stdout
        assert process.stderr
        workers = [int(pid) for pid in process.stdout.readline().split()]
        time.sleep(0.5)  # so that the task has begun
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        err = process.stderr.read()
        process.wait()
    assert time.monotonic() - began < 60, "it waited for the task, which takes five minutes"
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert err.count("Traceback") == 1, f"only the client hears Ctrl-C:\n{err}"
    assert len(workers) == 2
    for pid in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize("command", ["run", "backfill"])
def test_work_goes_on_with_a_new_scheduler_at_the_address_of_one_that_died(
    command: str, tmp_path: Path, owner: Engine, query: Query, put: Put, settings: Settings
) -> None:
    put(f"dump/{DAY}/a.ndjson", lines(*(order(number) for number in range(1, 100))))
    source = f"{settings.source}{{run_date}}/"
    dates = ("--run-date", str(DAY)) if command == "run" else ("--from", str(DAY), "--to", str(DAY))
    waiting = "select count(*) from pg_locks where not granted"
    with contextlib.ExitStack() as first, owner.connect() as connection:
        address = first.enter_context(scheduler(tmp_path))
        first.enter_context(worker(tmp_path, address))
        connection.exec_driver_sql("lock table orders_store.fact_order in share mode")
        size = "100MB" if command == "backfill" else "4kB"  # a batch, or several parts
        loading = start(
            *(command, *dates, "--source", source, "--scheduler", address),
            ORDERS_DASK_BLOCK_SIZE=size,
        )
        until(lambda: query(waiting)[0][0], otherwise="nothing is loaded")
        with Client(address) as client:
            os.kill(client.run_on_scheduler(os.getpid), signal.SIGKILL)
    port = address.rpartition(":")[2]
    with scheduler(tmp_path, port) as address, worker(tmp_path, address):
        out, err = loading.communicate(timeout=120)
    assert loading.returncode == 0, err
    assert "published: 99 orders" in out
    assert query("select count(*) from orders.order_current") == [(99,)]
