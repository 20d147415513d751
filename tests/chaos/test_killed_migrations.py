"""A migration that is killed at any of its changes is completed by the next one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import date

import pytest
from sqlalchemy import Engine

from orders_dask.load.connect import engine
from orders_dask.load.partitions import ensure_partitions
from orders_dask.load.ready import ensure_ready
from orders_dask.load.schema import initialise
from orders_dask.sandbox import Sandbox
from orders_dask.settings import load_settings
from tests.support import REPOSITORY
from tests.support.catalogue import catalogue
from tests.support.old_databases import restore
from tests.support.services import as_user, bucket_of


@pytest.fixture
def version_5(services: Sandbox, environment: dict[str, str]) -> Engine:
    """Return the database of version 5 that is kept in tests/data, for its owner."""
    database = engine(as_user(load_settings(), services.environment))
    restore("version-5", database, bucket_of(services.environment))
    return database


@pytest.mark.chaos
@pytest.mark.parametrize("point", ["between", "commit", "finish"])
def test_a_migration_is_killed_at_every_change(
    point: str,
    version_5: Engine,
    services: Sandbox,
    environment: dict[str, str],
    fresh: Engine,
    record_property: Callable[[str, object], None],
) -> None:
    login = {name: services.environment[name] for name in ("_PGSQL_USER", "_PGSQL_PASS")}
    ended = subprocess.run(
        [sys.executable, "-m", "tests.chaos.migrating", point],
        cwd=REPOSITORY,
        env={**environment, **login},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    kills = int(ended.stdout.splitlines()[-1])
    record_property("measured", f"{kills} kills")
    assert kills > 10 or point == "finish", "it was hardly ever killed"
    ensure_ready(version_5)
    initialise(fresh, today=date(2026, 11, 1), roles=True)
    with fresh.connect() as connection:
        for month in (1, 2, 11, 12):
            ensure_partitions(connection, date(2026, month, 1))
    differs = catalogue(version_5) ^ catalogue(fresh)
    assert not differs, "\n".join(sorted(map(str, differs)))
