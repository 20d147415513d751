"""Fixtures of the orchestrators' tests. They need pytest and the standard library alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.orchestrators import recorder
from tests.orchestrators.shop import SHOP_TIMEZONE, Shop, export_settings, real_command, sandbox
from tests.orchestrators.slow_s3 import SlowServer, slow_s3_of


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Print the seconds of each case."""
    if report.when != "call":
        return None
    return report.outcome, report.outcome[0], f"{report.outcome.upper()} in {report.duration:.0f} s"


def is_setting(name: str) -> bool:
    """Return whether a variable of the user could lead a test to other services."""
    return name.startswith(("_PGSQL_", "_AWS_", "AWS_", "ORDERS_DASK_", "DASK_", "PG"))


@pytest.fixture(scope="session")
def command() -> str:
    """Return the path of the real command."""
    return real_command()


@pytest.fixture(scope="session")
def services(command: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Yield the settings of a sandbox; they are in the environment, with a recorder on PATH."""
    folder = tmp_path_factory.mktemp("recorder")
    wrapper = folder / "orders-dask"
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} {recorder.__file__} "$@"\n')
    wrapper.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        for name in filter(is_setting, list(os.environ)):
            patch.delenv(name)
        with sandbox(command) as settings:
            for name, value in settings.items():
                patch.setenv(name, value)
            patch.setenv("ORDERS_DASK_SHOP_TIMEZONE", SHOP_TIMEZONE)
            patch.setenv("REAL_ORDERS_DASK", command)
            # The programs of the orchestrator's own environment come first: servers start others.
            patch.setenv("PATH", f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}")
            yield settings


@pytest.fixture
def shop(services: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Return the shop of this test. Each test has run dates of its own."""
    return export_settings(services, tmp_path, monkeypatch)


@pytest.fixture
def slow_s3(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowServer]:
    """Make the S3 server slow for the commands that the test's orchestrator starts."""
    with slow_s3_of(monkeypatch) as slow:
        yield slow
