"""Fixtures for whole runs: a Dask cluster, an initialised database, and dumps in the bucket."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg2
import pytest
import s3fs
from distributed import Client, LocalCluster
from sqlalchemy import Engine, text

from orders_dask.contract.table_groups import ACTIVE_GROUPS, GROUPS
from orders_dask.jobs import prune
from orders_dask.load.connect import engine
from orders_dask.sandbox import Sandbox
from orders_dask.settings import Settings, load_settings
from tests.support.dumps import REAL
from tests.support.proxy import Loop, PostgresProxy
from tests.support.services import as_user
from tests.support.types import Put, Query
from tests.support.waiting import until

# Without its data, or its tables, a test is not collected, instead of skipped for ever.
collect_ignore = [
    *([] if REAL.exists() else ["test_real_dump.py"]),
    *([] if ACTIVE_GROUPS == GROUPS else ["test_detail_tables.py"]),
]


@pytest.fixture(scope="session")
def client(loader: dict[str, str]) -> Iterator[Client]:
    """Yield a client of two worker processes that know this test process's S3 server."""
    with (
        patch.dict(os.environ, loader),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def settings(environment: dict[str, str]) -> Settings:
    """Return the settings of this test."""
    return load_settings()


@pytest.fixture
def owner_login(services: Sandbox) -> dict[str, str]:
    """Return the variables that make a command run as the owner."""
    return {name: services.environment[name] for name in ("_PGSQL_USER", "_PGSQL_PASS")}


@pytest.fixture
def owner(owner_login: dict[str, str], settings: Settings) -> Engine:
    """Return an engine for the owner of the tables, for all that a loader may not do."""
    return engine(as_user(settings, owner_login))


@pytest.fixture
def warehouse(settings: Settings) -> Engine:
    """Return an engine for the loader of a database that is initialised: see `database`."""
    return engine(settings)


@pytest.fixture
def analyst(settings: Settings, warehouse: Engine, reader: dict[str, str]) -> Engine:
    """Return an engine for a user who reads what is published."""
    return engine(as_user(settings, reader))


@pytest.fixture
def put(environment: dict[str, str]) -> Put:
    """Return ``put("dump/a.json", b"...")``, which writes below this test's prefix."""

    def put(name: str, content: bytes) -> None:
        prefix = environment["_AWS_S3_URL_SOURCE"].removesuffix("dump/")
        s3fs.S3FileSystem().pipe_file(prefix + name, content)

    return put


@pytest.fixture
def query(warehouse: Engine, owner: Engine) -> Query:
    """Return ``query("select ...")``, which asks this test's database as the owner."""

    def query(statement: str, **values: Any) -> list[tuple[Any, ...]]:
        with owner.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement), values)]

    return query


@pytest.fixture
def proxy(settings: Settings) -> Iterator[PostgresProxy]:
    """Yield a proxy in front of PostgreSQL that injects faults on demand."""
    loop = Loop()
    with closing(loop), closing(PostgresProxy(loop, settings.pgsql_port)) as made:
        yield made


@pytest.fixture
def tomorrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `prune` take everything for old: objects in S3 can't be made older."""
    monkeypatch.setattr(prune, "cutoff", lambda days: datetime.now(UTC) + timedelta(days=1))


@pytest.fixture
def trusting(database: str, environment: dict[str, str]) -> Iterator[None]:
    """Make the server trust all who connect to this test's database."""
    connection = psycopg2.connect(database)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("select current_setting('hba_file')")
        [(path,)] = cursor.fetchall()
        rules = Path(path)
        rule = f"host {environment['_PGSQL_DATABASE']} all 127.0.0.1/32 trust\n"
        rules.write_text(rule + rules.read_text())
        cursor.execute("select pg_reload_conf()")
        try:
            _await_trust(environment)
            yield
        finally:
            rules.write_text(rules.read_text().replace(rule, ""))
            cursor.execute("select pg_reload_conf()")
    connection.close()


def _await_trust(environment: dict[str, str]) -> None:
    """Wait until the server has reloaded its rules."""
    address = (
        "host={_PGSQL_HOSTNAME} port={_PGSQL_PORT} user={_PGSQL_USER} dbname={_PGSQL_DATABASE}"
    )

    def is_trusted() -> bool:
        try:
            psycopg2.connect(address.format(**environment)).close()
        except psycopg2.OperationalError:
            return False
        return True

    until(is_trusted, 10, "the server still asks for a password")
