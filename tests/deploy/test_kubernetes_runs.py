"""The containers' commands of deploy/kubernetes, with their environment, run as processes.

What a container adds, the image and its read-only root, is tried with Docker (`make test-compose`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pytest

from orders_dask.errors import SourceMissing
from orders_dask.sandbox.services import free_ports
from tests.support import REPOSITORY
from tests.support.manifests import (
    MANIFESTS,
    Manifest,
    command_line,
    environment_of,
    operated,
    pods,
    render,
)
from tests.support.secret_files import secret_files, without_secrets
from tests.support.waiting import until

BIN: Final = Path(sys.executable).parent


@pytest.fixture(scope="module")
def objects() -> list[Manifest]:
    rendered = [
        each
        for overlay in ("example", "example/init", "example/migrate", "example/backfill")
        for each in render(MANIFESTS / overlay)
    ]
    [cluster] = [each for each in rendered if each["kind"] == "DaskCluster"]
    return rendered + operated(cluster)


@pytest.fixture
def secrets(daily: dict[str, str], tmp_path: Path) -> Path:
    """Return a folder as the Secret `orders-dask` is mounted."""
    return mounted(daily, tmp_path / "orders-dask")


def mounted(environment: Mapping[str, str], folder: Path) -> Path:
    folder.mkdir()
    for name, content in secret_files(environment).items():
        (folder / name).write_text(content)
    return folder


def process_of(
    objects: list[Manifest],
    kind: str,
    name: str,
    secrets: Path,
    services: Mapping[str, str],
) -> tuple[list[str], dict[str, str]]:
    """Return the command line and the environment of a container of ours.

    It differs from the manifest in nothing but the addresses of the test's own services, and the
    folder of the secrets.
    """
    [pod] = [
        pod
        for each in objects
        if each["kind"] == kind and each["metadata"]["name"].startswith(name)
        for pod in pods(each)
    ]
    [container] = pod["spec"]["containers"]
    variables = environment_of(container, objects)
    command = command_line(container, variables)
    for mount in container["volumeMounts"]:
        if mount["name"] == "secrets":
            variables = {
                name: value.replace(mount["mountPath"], str(secrets))
                for name, value in variables.items()
            }
            variables |= without_secrets(services)
            variables["PGSSLMODE"] = "disable"  # the wheel's PostgreSQL has no TLS
    return command, {"PATH": f"{BIN}:{os.defpath}", **variables}


def run(command: list[str], environment: dict[str, str], code: int = 0) -> Any:
    """Run a command to its end and return what it wrote, as JSON if it is JSON."""
    ended = subprocess.run(
        command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == code, ended.stderr
    return json.loads(ended.stdout) if "--json" in command else ended.stdout


@pytest.fixture
def initialised(objects: list[Manifest], owner: dict[str, str], tmp_path: Path) -> None:
    """Run the Job that creates the tables, with the Secret of their owner."""
    secrets = mounted(owner, tmp_path / "orders-dask-owner")
    run(*process_of(objects, "Job", "orders-dask-init", secrets, owner))


@pytest.mark.slow
@pytest.mark.usefixtures("initialised")
def test_the_daily_job_loads_seven_days_and_is_to_be_repeated_for_a_late_one(
    objects: list[Manifest],
    secrets: Path,
    daily: dict[str, str],
    put_days: Callable[..., None],
    last_seven: list[str],
) -> None:
    command, variables = process_of(objects, "CronJob", "orders-dask-daily", secrets, daily)
    variables["ORDERS_DASK_SHOP_TIMEZONE"] = "UTC"

    put_days(*last_seven[:-1])
    late = run(command, variables, code=SourceMissing.exit_code)
    assert [day["outcome"] for day in late] == ["published"] * 6 + ["missing"]

    put_days(*last_seven)
    loaded = run(command, variables)
    assert [day["outcome"] for day in loaded] == ["up_to_date"] * 6 + ["published"]


@contextmanager
def started(
    command: list[str], environment: dict[str, str], output: Path
) -> Iterator[subprocess.Popen[str]]:
    """Run a process for as long as the block lasts."""
    with output.open("w") as file:
        process = subprocess.Popen(
            command, env=environment, cwd=REPOSITORY, stdout=file, stderr=file, text=True
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.mark.slow
@pytest.mark.usefixtures("initialised")
def test_a_backfill_runs_on_a_cluster_that_the_operator_scales_from_none(
    objects: list[Manifest],
    secrets: Path,
    daily: dict[str, str],
    put_days: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from dask_kubernetes.operator.controller import controller

    put_days("2026-01-01")
    port, dashboard = islice(free_ports(), 2)

    async def scheduler_address(*_: object, port_name: str = "tcp-comm", **__: object) -> str:
        return f"tcp://127.0.0.1:{dashboard if port_name == 'http-dashboard' else port}"

    # The one thing that Kubernetes would answer: where the Service of the scheduler is.
    monkeypatch.setattr(controller, "get_scheduler_address", scheduler_address)

    def wanted() -> int:
        """Return the number of workers that the operator would start, in its own words."""
        return int(asyncio.run(controller.get_desired_workers("scheduler", "orders")))

    def container(kind: str, name: str, *, at: dict[str, str]) -> tuple[list[str], dict[str, str]]:
        command, variables = process_of(objects, kind, name, secrets, daily)
        variables["DASK_SCHEDULER_ADDRESS"] = f"tcp://127.0.0.1:{port}"
        return [at.get(each, each) for each in command], variables

    scheduler = container(
        "Deployment", "orders-dask-scheduler", at={"8786": f"{port}", ":8787": f":{dashboard}"}
    )
    worker = container("Deployment", "orders-dask-default-worker", at={":8788": ":0"})
    backfill = container("Job", "orders-dask-backfill", at={"2026-10-31": "2026-01-02"})

    with started(*scheduler, tmp_path / "scheduler"):
        until(lambda: listens(dashboard), otherwise="the scheduler doesn't answer")
        assert wanted() == 0
        with started(*backfill, tmp_path / "backfill") as job:
            until(lambda: wanted() == 1, otherwise="no worker is wanted")
            with started(*worker, tmp_path / "worker") as process:
                assert job.wait(timeout=120) == 0, (tmp_path / "backfill").read_text()
                until(lambda: wanted() == 0, otherwise="the worker is still wanted")
                retired = controller.retire_workers(
                    1, "scheduler", "orders-dask-default", "orders", logging.getLogger()
                )
                assert asyncio.run(retired) == ["orders-dask-default-worker-0123456789"]
                assert process.wait(timeout=60) == 0, (tmp_path / "worker").read_text()


def listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
