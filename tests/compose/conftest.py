"""The image and a running project of the compose file, for all tests of this folder."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from orders_dask.cli.demo import DEFECTS
from orders_dask.sandbox.services import free_ports
from tests.compose.stack import DAYS, IMAGE, WITH_TLS, Contents, Expected, Stack, docker
from tests.support import REPOSITORY


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Show how long a test took beside its name."""
    if report.when != "call":
        return None
    return report.outcome, report.outcome[0], f"{report.outcome} in {report.duration:.0f} s"


@pytest.fixture(scope="session")
def image() -> str:
    """Build the image by the Dockerfile and return its name."""
    if subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.fail(
            "No Docker engine answers: `make test-compose` starts one, or says why it can't."
        )
    docker("build", "--quiet", "--network=host", f"--tag={IMAGE}", str(REPOSITORY), timeout=900)
    return IMAGE


@pytest.fixture(scope="session")
def running(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Yield a project that is up, and take all of it away at the end."""
    names = ("POSTGRES_PORT", "S3_PORT", "DASHBOARD_PORT")
    ports = dict(zip(names, map(str, islice(free_ports(), 3)), strict=True))
    project = f"orders-dask-test-{uuid.uuid4().hex[:8]}"
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(REPOSITORY / "docker-compose.yml", folder)
    shutil.copytree(REPOSITORY / "deploy" / "compose", folder / "deploy" / "compose")
    variables = {"COMPOSE_PROJECT_NAME": project, "ORDERS_DASK_IMAGE": image, "WORKERS": "2"}
    secret = uuid.uuid4().hex
    secrets = write_secrets(folder, secret)
    stack = Stack(folder, variables | ports | {"SECRETS_DIR": str(secrets)}, secret)
    try:
        stack.up()
        yield stack
    finally:
        every = replace(stack, files=WITH_TLS)
        every.compose("--profile=*", "down", "--volumes", "--remove-orphans", "--timeout=5")


def write_secrets(folder: Path, secret: str) -> Path:
    """Write a folder of secrets with one secret for all services, and return it."""
    secrets = folder / "secrets"
    shutil.copytree(REPOSITORY / "deploy" / "compose" / "secrets", secrets)
    (secrets / "_PGSQL_PASS").write_text(f"{secret}\n")
    for name in ("aws-credentials", "s3.json"):
        text = (secrets / name).read_text()
        changed = re.sub(
            r"((?:secret_access_key = |secretKey\": \"))orders", rf"\g<1>{secret}", text
        )
        assert changed != text
        (secrets / name).write_text(changed)
    return secrets


@pytest.fixture(scope="session")
def demo(running: Stack) -> str:
    """Run the demo, which loads three days, and return what it shows."""
    return running.compose("run", "--rm", "--no-TTY", "demo")


@pytest.fixture(scope="session")
def expected(running: Stack, demo: str) -> Expected:
    """Write the dump of the demo once more, and return what a load of it must find."""
    made = running.orders(
        *("generate", "s3://orders", "--json", "--start", DAYS[0], "--days", "3"),
        *("--orders", "3000", "--defects", str(DEFECTS)),
    )
    return {day["run_date"]: day for day in json.loads(made)["days"]}


@pytest.fixture(scope="session")
def undisturbed(running: Stack, demo: str) -> Contents:
    """Return what the views hold after a load that nothing disturbed."""
    return running.contents()


@pytest.fixture
def stack(running: Stack, undisturbed: Contents) -> Stack:
    """Return the project with all of it up, two workers, and the three days loaded."""
    running.up()
    running.has_workers(2)
    return running
