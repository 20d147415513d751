"""Sessions of PostgreSQL: engine, timeouts, snapshots and cursors of the driver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg2
from sqlalchemy import Connection, Engine, NullPool, create_engine, event

from orders_dask.errors import ServiceUnavailable, SettingsError
from orders_dask.load.error_translation import translate_for_sqlalchemy
from orders_dask.load.login import can_rotate, forget_login, read_login
from orders_dask.settings import Settings

APPLICATION_NAME: Final = "orders_dask"
"""The ``application_name`` of every session in ``pg_stat_activity``."""

_LIBPQ_OPTIONS: Final[dict[str, Any]] = {
    "connect_timeout": 10,
    # A dead server or network is noticed within 75 s, in idle sessions too.
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 15,
    "keepalives_count": 3,
    "tcp_user_timeout": 75_000,
}

# Keepalives of the server: until it notices that a run's host is dead, the run date stays locked.
_SERVER_OPTIONS: Final = (
    "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=15 -c tcp_keepalives_count=3"
)

# A timeout that a server or database sets for its users would end the session of a lease, which is
# idle while workers load, and long publishes. pg_dump switches timeouts off too. Older servers lack
# some of them (PostgreSQL 14 and 17 added two).
# libpq applies PGTZ over the time zone in the options. Types are compared by the names that
# format_type gives, which quote_all_identifiers would quote.
_SESSION: Final = """
    select set_config('timezone', 'UTC', false), set_config('quote_all_identifiers', 'off', false)
    union all
    select set_config(name, '0', false), null from pg_settings
    where setting <> '0' and name in (
      'statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout',
      'idle_session_timeout', 'transaction_timeout')
"""

# libpq gives no error code for a refused connection, only the server's message. If that is not in
# English, the error counts as transient and the connection is retried in vain.
_WRONG_PASSWORD: Final = ("authentication failed", "no password supplied")

_REFUSALS: Final = (
    *_WRONG_PASSWORD,
    "no pg_hba.conf entry",
    "does not exist",
    "is not permitted to log in",
    "permission denied",
    # Encryption: the server wants another kind, or a certificate or key file is unusable.
    "was required",
    "encryption required",
    "channel binding required",
    "certificate",
    "private key file",
    "definition of service",  # PGSERVICE
    "server is not in hot standby mode",  # PGTARGETSESSIONATTRS
)


def engine(settings: Settings) -> Engine:
    """Return an engine for the database of the settings, without connecting yet.

    Every connection is a session of its own (no pool), READ COMMITTED, in UTC. libpq reads
    ``PGSSLMODE``, ``PGSSLROOTCERT`` and its other variables from the environment. The password is
    in no URL or repr of the engine.

    Returns
    -------
    Engine
        It raises errors of this package where
        :func:`~orders_dask.load.error_translation.translate_error` knows one. A connection that the
        server refuses because of a setting raises SettingsError. Any other failure to connect
        raises ServiceUnavailable.
    """
    key = tuple(getattr(settings, name) for name in _OF_SESSIONS)
    if key not in _ENGINES:
        _ENGINES[key] = _new_engine(settings)
    return _ENGINES[key]


_OF_SESSIONS: Final = (
    "pgsql_hostname",
    "pgsql_port",
    "pgsql_user",
    "pgsql_pass",
    "pgsql_pass_file",
    "pgsql_secret",
    "pgsql_auth",
    "pgsql_database",
    "ssl_mode",
)
"""The settings that sessions depend on."""

_ENGINES: Final[dict[tuple[Any, ...], Engine]] = {}
"""The engines of this process, by these settings: a new one asks the server six questions."""


def _new_engine(settings: Settings) -> Engine:
    address = f"{settings.pgsql_hostname}:{settings.pgsql_port}"
    encryption: dict[str, Any] = {"sslmode": settings.ssl_mode} if settings.ssl_mode else {}

    def connect() -> psycopg2.extensions.connection:
        user, password = read_login(settings)
        try:
            session: psycopg2.extensions.connection = psycopg2.connect(
                host=settings.pgsql_hostname,
                hostaddr="",  # else PGHOSTADDR would be another server
                port=settings.pgsql_port,
                user=user,
                password=password or None,  # None: libpq uses its own
                dbname=settings.pgsql_database,
                application_name=APPLICATION_NAME,
                client_encoding="utf8",
                options=_SERVER_OPTIONS,
                **_LIBPQ_OPTIONS,
                **encryption,
            )
            session.autocommit = True  # else that is three round trips
            with session.cursor() as cursor:
                cursor.execute(_SESSION)
            session.autocommit = False
        except psycopg2.OperationalError as error:
            reason = _reason(error)
            is_refused = any(wrong in reason for wrong in _REFUSALS)
            if is_refused and can_rotate(settings):
                # It may have been rotated just now, and the next attempt reads the new one.
                forget_login()
                is_refused = not any(wrong in reason for wrong in _WRONG_PASSWORD)
            raise (SettingsError if is_refused else ServiceUnavailable)(
                f"PostgreSQL at {address} gave user {user} no connection to "
                f"database {settings.pgsql_database} ({reason}): check that the server runs, "
                "PGSSLMODE and the _PGSQL_* settings."
            ) from error
        return session

    new = create_engine(
        "postgresql+psycopg2://",
        creator=connect,
        poolclass=NullPool,
        isolation_level="READ COMMITTED",
        use_native_hstore=False,  # three round trips fewer
        hide_parameters=True,  # errors don't show people's data
    )
    event.listen(new, "handle_error", translate_for_sqlalchemy)
    return new


def _reason(error: psycopg2.OperationalError) -> str:
    """Return libpq's message about the last address that it tried.

    Hints and other addresses are on lines of their own.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    tried = [line.partition(" failed: ")[2] for line in lines if " failed: " in line]
    return (tried or lines)[-1].removeprefix("FATAL:  ")


def driver_cursor(connection: Connection) -> psycopg2.extensions.cursor:
    """Return a psycopg2 cursor in the open transaction of `connection`, for COPY and composed DDL.

    It raises the driver's errors: use it inside
    :func:`~orders_dask.load.error_translation.translating_errors`.
    """
    session: Any = connection.connection.driver_connection
    cursor: psycopg2.extensions.cursor = session.cursor()
    return cursor


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """Yield a connection in a REPEATABLE READ transaction: all its statements see one snapshot."""
    repeatable = engine.execution_options(isolation_level="REPEATABLE READ")
    with repeatable.begin() as connection:
        yield connection
