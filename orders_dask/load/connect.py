"""Connections to PostgreSQL, and which of its errors may pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg2
from sqlalchemy import (
    Connection,
    Engine,
    NullPool,
    create_engine,
    event,
)

from orders_dask.errors import (
    ServiceUnavailable,
    SettingsError,
)
from orders_dask.load.error_translation import (
    translate_for_sqlalchemy,
)
from orders_dask.settings import Settings

APPLICATION_NAME: Final = "orders_dask"
"""What ``pg_stat_activity.application_name`` shows of every session."""


_LIBPQ_OPTIONS: Final[dict[str, Any]] = {
    "connect_timeout": 10,
    # A dead server or network is noticed within 75 s, also while nothing is sent and while nothing
    # is acknowledged.
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 15,
    "keepalives_count": 3,
    "tcp_user_timeout": 75_000,
}


# The same from the other side: a run whose host died holds its run date until the server notices.
# Instants come back in UTC.
_SERVER_OPTIONS: Final = (
    "-c timezone=UTC"
    " -c tcp_keepalives_idle=30 -c tcp_keepalives_interval=15 -c tcp_keepalives_count=3"
)


# What a server or database sets for its users would end a run whose session waits for the workers,
# and publishes that take longer; pg_dump does the same. Some came with PostgreSQL 14 and 17.
_NO_TIMEOUTS: Final = """
    select set_config(name, '0', false) from pg_settings where setting <> '0' and name in ('statement_timeout',
      'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout')
"""


# libpq gives no code for a connection that was refused, only the server's words. A server that
# speaks another language is asked a few times more than would help.
_REFUSALS: Final = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
    "is not permitted to log in",
    "permission denied",
    # What libpq is told of encryption does not go with the server, or with the files that it names.
    "was required",
    "encryption required",
    "channel binding required",
    "certificate",
    "private key file",
)


def engine(settings: Settings) -> Engine:
    """Make the engine for the database of the settings; nothing is contacted yet.

    Every connection is a session of its own (no pool), READ COMMITTED, in UTC. ``PGSSLMODE``,
    ``PGSSLROOTCERT`` and what else libpq reads from the environment are honoured. The password is
    in no URL or repr of the engine.

    Returns
    -------
    Engine
        Its errors are those of this package where :func:`explained` knows one. A connection that
        the server refuses for what the settings say is a SettingsError, any other that is not to be
        had a ServiceUnavailable.
    """
    address = f"{settings.pgsql_hostname}:{settings.pgsql_port}"

    def connect() -> psycopg2.extensions.connection:
        try:
            session: psycopg2.extensions.connection = psycopg2.connect(
                host=settings.pgsql_hostname,
                port=settings.pgsql_port,
                user=settings.pgsql_user,
                password=settings.pgsql_pass.get_secret_value() or None,  # else libpq's own
                dbname=settings.pgsql_database,
                application_name=APPLICATION_NAME,
                client_encoding="utf8",
                options=_SERVER_OPTIONS,
                **_LIBPQ_OPTIONS,
            )
            with session, session.cursor() as cursor:
                cursor.execute(_NO_TIMEOUTS)
        except psycopg2.OperationalError as error:
            reason = _reason(error)
            kind = (
                SettingsError if any(wrong in reason for wrong in _REFUSALS) else ServiceUnavailable
            )
            raise kind(
                f"PostgreSQL at {address} gave user {settings.pgsql_user} no connection to database "
                f"{settings.pgsql_database} ({reason}): check that the server runs, PGSSLMODE and the _PGSQL_* "
                "settings."
            ) from error
        return session

    made = create_engine(
        "postgresql+psycopg2://",
        creator=connect,
        poolclass=NullPool,
        isolation_level="READ COMMITTED",
        hide_parameters=True,  # errors don't show people's data
    )
    event.listen(made, "handle_error", translate_for_sqlalchemy)
    return made


def _reason(error: psycopg2.OperationalError) -> str:
    """Give what libpq says of the last address it tried: hints and further addresses stand on lines of their own."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    tried = [line.partition(" failed: ")[2] for line in lines if " failed: " in line]
    return (tried or lines)[-1].removeprefix("FATAL:  ")


def driver_cursor(connection: Connection) -> psycopg2.extensions.cursor:
    """Give a cursor of the driver's own, in the open transaction of `connection`, for COPY and composed DDL.

    What it raises is the driver's: use it inside :func:`explaining`.
    """
    session: Any = connection.connection.driver_connection
    cursor: psycopg2.extensions.cursor = session.cursor()
    return cursor


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that sees the database as it stands now, until the end of the ``with`` block."""
    repeatable = engine.execution_options(isolation_level="REPEATABLE READ")
    with repeatable.begin() as connection:
        yield connection
