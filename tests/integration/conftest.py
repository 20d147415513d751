"""Fixtures for whole runs: a Dask cluster, an initialised database, and ways to put dumps into the bucket."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import pytest
import s3fs
from distributed import Client, LocalCluster
from sqlalchemy import Engine, text

from orders_dask.load.connect import engine
from orders_dask.load.schema import initialise
from orders_dask.sandbox import Sandbox
from orders_dask.settings import Settings, load_settings


@pytest.fixture(scope="session")
def client(services: Sandbox) -> Iterator[Client]:
    """A cluster of two worker processes that know this test process's S3 server."""
    with (
        patch.dict(os.environ, services.environment),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def settings(environment: dict[str, str]) -> Settings:
    """The settings of this test."""
    return load_settings()


@pytest.fixture
def warehouse(settings: Settings) -> Engine:
    """This test's database, initialised."""
    made = engine(settings)
    initialise(made)
    return made


@pytest.fixture
def put(environment: dict[str, str]) -> Callable[[str, bytes], None]:
    """Put a file into this test's part of the bucket: ``put("dump/a.json", b"...")``."""

    def put(name: str, content: bytes) -> None:
        prefix = environment["_AWS_S3_URL_SOURCE"].removesuffix("dump/")
        s3fs.S3FileSystem().pipe_file(prefix + name, content)

    return put


@pytest.fixture
def query(warehouse: Engine) -> Callable[..., list[tuple[Any, ...]]]:
    """Ask this test's database: ``query("select ...")``."""

    def query(statement: str, **values: Any) -> list[tuple[Any, ...]]:
        with warehouse.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement), values)]

    return query
