"""Fixtures on the real services, which start only for tests that ask for them."""

from __future__ import annotations

import os
import secrets
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from dask import config
from psycopg2 import sql
from sqlalchemy import Engine, NullPool, create_engine

from orders_dask.cluster.workers import PROFILER_IS_SAFE
from orders_dask.contract import table_groups
from orders_dask.extract.decode.compile_once import ensure_compiled
from orders_dask.load.schema import initialise
from orders_dask.sandbox import Sandbox, sandbox

# Rewritten, so that a failed assertion of a helper shows the values, as in a test.
pytest.register_assert_rewrite("tests.support")
from tests.support.services import administer, is_setting, server_of  # noqa: E402

# They run in environments of their own: `make test-orchestrators`.
collect_ignore = ["orchestrators"]

# As in the product's own clusters: on some Pythons the profiler can hang a process.
config.set({"distributed.worker.profile.enabled": PROFILER_IS_SAFE})

# A shell that runs the tests in the background makes them and their children ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests record by ``record_property("measured", sentence)``."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, sentence in report.user_properties:
            if name == "measured":
                terminalreporter.write_line(f"{report.nodeid}: {sentence}")


@pytest.fixture(scope="session", autouse=True)
def compiled_reader() -> None:
    """Compile the reader once: in a fresh clone, it takes longer than the timeout of some tests.

    From then on this process reads little text by it too."""
    ensure_compiled()


@pytest.fixture(scope="session")
def services() -> Iterator[Sandbox]:
    """Yield a PostgreSQL and an S3 server for this test process.

    Each xdist worker has its own, for 1.5 s of CPU. Sharing one would be more complex."""
    with sandbox() as box:
        yield box


@pytest.fixture(scope="session")
def logins(services: Sandbox) -> dict[str, dict[str, str]]:
    """Return, by role, the settings with a user who has the role."""
    made = {}
    for role in ("orders_loader", "orders_reader"):
        user, password = f"{role}_of_tests", secrets.token_hex(16)
        administer(
            services.environment,
            sql.SQL("create role {} nologin").format(sql.Identifier(role)),
            sql.SQL("create role {} login password {} in role {}").format(
                sql.Identifier(user), sql.Literal(password), sql.Identifier(role)
            ),
        )
        made[role] = services.environment | {"_PGSQL_USER": user, "_PGSQL_PASS": password}
    return made


@pytest.fixture(scope="session")
def loader(logins: dict[str, dict[str, str]]) -> dict[str, str]:
    """Return the settings with a user who has the role of the loader alone."""
    return logins["orders_loader"]


@pytest.fixture(scope="session")
def reader(logins: dict[str, dict[str, str]]) -> dict[str, str]:
    """Return the settings with a user who has the role of the reader alone."""
    return logins["orders_reader"]


@contextmanager
def database_of(services: Sandbox, template: str = "template1") -> Iterator[str]:
    """Yield the URL, for psycopg2 and SQLAlchemy, of a new copy of a database."""
    name = f"test_{uuid.uuid4().hex}"
    made = sql.Identifier(name)
    create = sql.SQL("create database {} template {} strategy file_copy")
    administer(services.environment, create.format(made, sql.Identifier(template)))
    yield f"{server_of(services.environment)}{name}"
    administer(services.environment, sql.SQL("drop database {} with (force)").format(made))


def owner_of(url: str) -> Engine:
    """Return an engine for the owner of a database."""
    return create_engine(url.replace("postgresql:", "postgresql+psycopg2:"), poolclass=NullPool)


@pytest.fixture(scope="session")
def initialised_template(services: Sandbox) -> Iterator[str]:
    """Yield the name of a database as `init` makes it: a copy takes a sixth of an `init`."""
    with database_of(services) as url:
        initialise(owner_of(url), roles=True)
        yield url.rpartition("/")[2]


@pytest.fixture
def database(services: Sandbox, request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the URL of a database for this test: empty, or initialised if it asks for that."""
    if "warehouse" in request.fixturenames:
        copied = database_of(services, request.getfixturevalue("initialised_template"))
    else:
        copied = database_of(services)
    with copied as url:
        yield url


@pytest.fixture
def fresh(services: Sandbox) -> Iterator[Engine]:
    """Yield an engine for the owner of another database, which is empty."""
    with database_of(services) as url:
        yield owner_of(url)


@pytest.fixture
def bucket_prefix(services: Sandbox) -> str:
    """Return a prefix in the bucket for this test: ``s3://orders/<unique>/``."""
    return f"{services.environment['_AWS_S3_URL_SOURCE']}test-{uuid.uuid4().hex}/"


@pytest.fixture
def source(bucket_prefix: str) -> str:
    """Return the prefix for the dump of this test."""
    return f"{bucket_prefix}dump/"


@pytest.fixture
def environment(
    loader: dict[str, str],
    database: str,
    bucket_prefix: str,
    source: str,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, str]:
    """Return all settings for this test's database, dump and stage, with the loader as user.

    ``os.environ`` has exactly these settings too.
    """
    settings = loader | {
        "_PGSQL_DATABASE": database.rpartition("/")[2],
        "_AWS_S3_URL_SOURCE": source,
        "ORDERS_DASK_STAGE_URL": f"{bucket_prefix}stage/",
        table_groups.VARIABLE: ",".join(table_groups.ACTIVE_GROUPS),
    }
    for name in os.environ:
        if is_setting(name):
            monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return settings
