"""Fixtures on the real services. Nothing is started for tests that ask for none of them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from psycopg2 import sql

from orders_dask.sandbox import Sandbox, sandbox


@pytest.fixture(scope="session")
def services() -> Iterator[Sandbox]:
    """A PostgreSQL and an S3 server for this test process.

    Each xdist worker has its own: it costs 1.5 s of CPU once, less than what sharing one would cost in complexity.
    """
    with sandbox() as box:
        yield box


@pytest.fixture
def database(services: Sandbox) -> Iterator[str]:
    """The URL of an empty database that only this test uses, for psycopg2 and SQLAlchemy alike."""
    name = f"test_{uuid.uuid4().hex}"
    settings = services.environment
    server = "postgresql://{_PGSQL_USER}:{_PGSQL_PASS}@{_PGSQL_HOSTNAME}:{_PGSQL_PORT}/".format(
        **settings
    )

    def administer(statement: str) -> None:
        with closing(psycopg2.connect(f"{server}postgres")) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql.SQL(statement).format(sql.Identifier(name)))

    administer("create database {} strategy file_copy")
    yield f"{server}{name}"
    administer("drop database {} with (force)")


@pytest.fixture
def bucket_prefix(services: Sandbox) -> str:
    """A place in the bucket that only this test uses: ``s3://orders/<unique>/``."""
    return f"{services.environment['_AWS_S3_URL_SOURCE']}test-{uuid.uuid4().hex}/"


@pytest.fixture
def source(bucket_prefix: str) -> str:
    """Where this test puts its dump."""
    return f"{bucket_prefix}dump/"


@pytest.fixture
def environment(
    services: Sandbox,
    database: str,
    bucket_prefix: str,
    source: str,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, str]:
    """All settings for this test's own database, dump and stage; they are also set in ``os.environ``, and no others."""
    settings = services.environment | {
        "_PGSQL_DATABASE": database.rpartition("/")[2],
        "_AWS_S3_URL_SOURCE": source,
        "ORDERS_DASK_STAGE_URL": f"{bucket_prefix}stage/",
    }
    for name in os.environ:
        if name.startswith(("_PGSQL_", "_AWS_", "AWS_", "ORDERS_DASK_", "DASK_", "PG")):
            monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return settings
