"""Code of before goes on loading and reading on a database that was migrated: tests/data/README.md."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from distributed import Client
from sqlalchemy import Engine, text

from orders_dask.contract.versions import CONTRACT_VERSION
from orders_dask.jobs.migrate import migrate
from orders_dask.jobs.rollback import rollback
from orders_dask.jobs.run import run
from orders_dask.ledger.queries import status
from orders_dask.load.ready import ensure_ready
from orders_dask.load.schema import initialise
from orders_dask.settings import Settings
from tests.support.builders import lines, order
from tests.support.old_databases import DATA
from tests.support.services import as_user
from tests.support.types import Put

FIRST, SECOND, THIRD = (date(2026, 3, day) for day in (1, 2, 3))

OlderCode = Callable[..., str]


@pytest.fixture
def older_code(tmp_path: Path, environment: dict[str, str]) -> OlderCode:
    """Return a function that calls the command line of version 9."""
    with tarfile.open(DATA / "code-version-9.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")

    def call(*arguments: str, **login: str) -> str:
        ended = subprocess.run(
            [sys.executable, "-c", "from orders_dask.cli import main; main()", *arguments],
            cwd=tmp_path,
            env={**os.environ, **environment, **login, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    return call


@pytest.mark.long
@pytest.mark.slow
def test_older_code_loads_and_reads_on_a_migrated_database(
    older_code: OlderCode,
    owner: Engine,
    owner_login: dict[str, str],
    settings: Settings,
    client: Client,
    put: Put,
) -> None:
    def query(statement: str) -> list[tuple[Any, ...]]:
        # Not the fixture, which makes the tables by the code of now.
        with owner.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]

    settings = settings.model_copy(update={"source": f"{settings.source}{{run_date}}/"})
    older = {"_AWS_S3_URL_SOURCE": settings.source}
    for day in (FIRST, SECOND, THIRD):
        put(f"dump/{day}/a.json", lines(order(day.day), order(9)))
    older_code("init", "--roles", **owner_login)
    older_code("run", "--run-date", str(FIRST), **older)
    assert query("select count(*) from orders.order_current") == [(2,)]

    migrate(settings=as_user(settings, owner_login))
    assert query("select contract_version from orders_ops.schema_info") == [(CONTRACT_VERSION,)]

    older_code("run", "--run-date", str(SECOND), **older)
    assert f"{SECOND}   published" in older_code("status", **older)
    older_code("rollback", "--run-date", str(FIRST), **older)
    assert query("select count(*) from orders.order_current") == [(2,)]

    ensure_ready(owner)
    assert initialise(owner) == []
    assert run(FIRST, settings=settings, client=client, force=True).outcome == "published"
    assert run(THIRD, settings=settings, client=client).outcome == "published"
    rollback(THIRD, settings=settings)
    assert [load.run_date for load in status(owner) if load.status == "published"] == [
        FIRST,
        SECOND,
    ]
