"""Runs on clusters of the user's own: Dask Gateway, several threads, no nanny, TLS."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest
from dask import config
from distributed import Client, LocalCluster, Security, Worker
from sqlalchemy import Engine

import orders_dask
from orders_dask.cluster.clients import resolve_client
from orders_dask.cluster.workers import PROFILER_IS_SAFE, RunPlugin, plugin_name
from orders_dask.errors import SettingsError
from orders_dask.settings import Settings, without_service_variables
from orders_dask.synthetic import generate
from tests.support.types import Query
from tests.support.waiting import until

DAY = date(2026, 3, 1)

# Its default commands, dask-scheduler and dask-worker, are gone from distributed.
CONFIGURATION = """
c.Proxy.address = "127.0.0.1:{port}"
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.ClusterConfig.scheduler_cmd = [{python!r}, "-m", "dask", "scheduler"]
c.ClusterConfig.worker_cmd = [{python!r}, "-m", "dask", "worker"]
c.UnsafeLocalBackend.clusters_directory = {folder!r}
c.ClusterConfig.environment = {credentials!r}
"""


CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")

# In a process of its own: a Gateway that is collected after its event loop has ended complains.
PROGRAM = """
import sys
from datetime import date

import orders_dask
from dask_gateway import Gateway

if __name__ == "__main__":
    with Gateway(sys.argv[1], auth="basic") as gateway, gateway.new_cluster() as cluster:
        cluster.adapt(minimum=0, maximum=1)
        with cluster.get_client() as client:
            ended = orders_dask.run(date(2026, 3, 1), client=client)
            print(ended.outcome, ended.orders)
"""


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def gateway(environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """Yield the URL of a Gateway whose workers have no settings but AWS credentials."""
    port = free_port()
    configuration = tmp_path / "config.py"
    configuration.write_text(
        CONFIGURATION.format(
            port=port,
            python=sys.executable,
            folder=str(tmp_path / "clusters"),
            credentials={name: environment[name] for name in CREDENTIALS},
        )
    )
    log = tmp_path / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "dask_gateway_server", "-f", str(configuration)],
            cwd=tmp_path,
            env=without_service_variables(os.environ),
            stdout=output,
            stderr=output,
        ) as server,
    ):
        try:
            until(lambda: _answers(port), otherwise="the Gateway does not answer")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _answers(port: int) -> bool:
    with closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.long
def test_a_day_is_loaded_on_an_adaptive_gateway_cluster_that_begins_without_workers(
    gateway: str, warehouse: Engine, source: str, query: Query
) -> None:
    made = generate(source, start=DAY, days=1, orders=300)
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, gateway],
        env=os.environ | {"_AWS_S3_URL_SOURCE": made.source},
        capture_output=True,
        text=True,
        timeout=300,
    )
    orders = made.days[0].rows["fact_order"]
    assert ended.stdout == f"published {orders}\n", ended.stderr
    assert query("select count(*) from orders.order_current") == [(orders,)]


@pytest.mark.parametrize("processes", [True, False], ids=["a process", "this process"])
def test_a_day_is_loaded_by_workers_of_several_threads(
    settings: Settings, warehouse: Engine, source: str, query: Query, processes: bool
) -> None:
    made = generate(source, start=DAY, days=1, orders=600, files_per_day=6)
    settings = settings.model_copy(update={"source": made.source})
    # Without a process of their own workers have no nanny.
    options = {"processes": processes, "dashboard_address": "127.0.0.1:0"}
    with (
        config.set({"distributed.worker.profile.enabled": PROFILER_IS_SAFE}),
        LocalCluster(n_workers=1, threads_per_worker=4, **options) as cluster,
        Client(cluster) as client,
    ):
        ended = orders_dask.run(DAY, settings=settings, client=client)
    expected = made.days[0].rows
    assert (ended.orders, ended.lines) == (expected["fact_order"], expected["fact_order_line"])
    assert query("select count(*) from orders.order_current") == [(expected["fact_order"],)]


def test_workers_over_tls_are_given_what_they_lack_of_the_client(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with (
        config.set({"distributed.worker.profile.enabled": PROFILER_IS_SAFE}),
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            security=Security.temporary(),
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster.scheduler_address, security=cluster.security) as client,
    ):
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example.com")
        resolve_client(client, settings)
        [(region, endpoint, sent)] = client.run(_seen_by_worker, plugin_name(settings)).values()

        monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example.org")
        with pytest.raises(SettingsError, match="another run has set AWS_ENDPOINT_URL"):
            resolve_client(client, settings)
    assert endpoint == "https://s3.example.com", "it had none"
    assert region == "eu-central-1", "what a worker has counts more"
    assert sent == settings


def _seen_by_worker(
    name: str, dask_worker: Worker
) -> tuple[str | None, str | None, Settings | None]:
    plugin = dask_worker.plugins[name]
    assert isinstance(plugin, RunPlugin)
    return os.environ.get("AWS_REGION"), os.environ.get("AWS_ENDPOINT_URL"), plugin.settings
