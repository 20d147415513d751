"""The real services of the tests, and their users."""

from __future__ import annotations

from contextlib import closing

import psycopg2
from psycopg2 import sql
from pydantic import SecretStr

from orders_dask.sandbox import Sandbox
from orders_dask.settings import Settings


def server_of(box: Sandbox) -> str:
    """The URL of a sandbox's PostgreSQL, to which a database's name is to be added."""
    return "postgresql://{_PGSQL_USER}:{_PGSQL_PASS}@{_PGSQL_HOSTNAME}:{_PGSQL_PORT}/".format(
        **box.environment
    )


def administer(box: Sandbox, *statements: sql.Composable) -> None:
    """Execute what concerns the whole server, each in a transaction of its own."""
    with closing(psycopg2.connect(f"{server_of(box)}postgres")) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


def as_user(settings: Settings, login: dict[str, str]) -> Settings:
    """The same settings with another user."""
    user, password = login["_PGSQL_USER"], SecretStr(login["_PGSQL_PASS"])
    return settings.model_copy(update={"pgsql_user": user, "pgsql_pass": password})
