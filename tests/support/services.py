"""URLs, clients and users of the real services of the tests."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

import psycopg2
from psycopg2 import sql
from pydantic import SecretStr
from s3fs import S3FileSystem

from orders_dask.settings import Settings


def is_setting(name: str) -> bool:
    """Return whether a variable may be a setting of the product, of its clients or of Dask."""
    return name.startswith(("_PGSQL_", "_AWS_", "AWS_", "ORDERS_DASK_", "DASK_", "PG"))


def server_of(environment: Mapping[str, str]) -> str:
    """Return the URL of the PostgreSQL server, without the name of a database."""
    return "postgresql://{_PGSQL_USER}:{_PGSQL_PASS}@{_PGSQL_HOSTNAME}:{_PGSQL_PORT}/".format(
        **environment
    )


def bucket_of(environment: Mapping[str, str]) -> S3FileSystem:
    """Return a file system on the S3 server, without a proxy."""
    return S3FileSystem(
        key=environment["AWS_ACCESS_KEY_ID"],
        secret=environment["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=environment["AWS_ENDPOINT_URL_S3"],
        client_kwargs={"region_name": environment["AWS_REGION"]},
        use_listings_cache=False,
        skip_instance_cache=True,
    )


def administer(environment: Mapping[str, str], *statements: sql.Composable) -> None:
    """Execute statements that concern the whole server, each in its own transaction."""
    with closing(psycopg2.connect(f"{server_of(environment)}postgres")) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


def as_user(settings: Settings, login: Mapping[str, str]) -> Settings:
    """Return the same settings with another user."""
    user, password = login["_PGSQL_USER"], SecretStr(login["_PGSQL_PASS"])
    return settings.model_copy(update={"pgsql_user": user, "pgsql_pass": password})
