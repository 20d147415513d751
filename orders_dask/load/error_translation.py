"""Translate PostgreSQL's errors to ours; what is unknown is a fault of ours and stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg2
from sqlalchemy import ExceptionContext

from orders_dask.errors import (
    DatabaseNotReady,
    OrdersDaskError,
    ServiceUnavailable,
    SettingsError,
)

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_TRANSIENT: Final = (
    "08",  # the connection broke
    "40",  # rolled back: serialisation failure, deadlock
    "53",  # out of connections, memory, locks or disk
    "55P03",  # lock_timeout
    "57",  # cancelled, shut down or crashed
)

_MISSING: Final = ("3F000", "42P01")  # no such schema, no such table

# Not null, a check, or no partition: ours are only broken by tables that somebody has changed.
_CONSTRAINTS: Final = ("23502", "23514")

_NO_PRIVILEGE: Final = "42501"

_READ_ONLY: Final = "25006"


def translate_for_sqlalchemy(context: ExceptionContext) -> OrdersDaskError | None:
    """Return the error that SQLAlchemy raises in place of the driver's; None: the driver's."""
    error = context.original_exception
    return translate_error(error) if isinstance(error, psycopg2.Error) else None


@contextmanager
def translating_errors() -> Iterator[None]:
    """Translate errors of statements that run on a cursor of the driver."""
    try:
        yield
    except psycopg2.Error as error:
        known = translate_error(error)
        if known is None:
            raise
        raise known from error


def translate_error(error: psycopg2.Error) -> OrdersDaskError | None:
    """Return the transient or terminal error for one of the driver; None for a fault of ours."""
    code = error.pgcode
    reason = (
        error.diag.message_primary or str(error).strip() or type(error).__name__
    ).splitlines()[0]
    # Errors without a code are of libpq or psycopg2: the session has ended.
    disconnected = code is None and isinstance(
        error, psycopg2.OperationalError | psycopg2.InterfaceError
    )
    if disconnected or (code and code.startswith(_TRANSIENT)):
        return ServiceUnavailable(f"PostgreSQL broke off ({reason}): try again.")
    if code in _MISSING:
        return DatabaseNotReady(f"PostgreSQL says {reason}: run `orders-dask init`.")
    if code in _CONSTRAINTS:
        # Without the row that PostgreSQL shows, which is personal data.
        return SettingsError(
            f"PostgreSQL says {reason}: a partition was taken away, or a column or constraint was "
            "added, that orders_dask doesn't know; undo that, or report it if nobody did that."
        )
    if code == _READ_ONLY:
        return SettingsError(
            f"PostgreSQL says {reason}: name a primary server in _PGSQL_HOSTNAME, and let the "
            "database be written."
        )
    if code == _NO_PRIVILEGE:
        return SettingsError(
            f"PostgreSQL says {reason}: grant it to the user in _PGSQL_USER, or take another user."
        )
    return None
