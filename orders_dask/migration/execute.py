"""Make changes while people read and runs load: each in a short transaction that is tried again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import psycopg2
from psycopg2.errors import LockNotAvailable, QueryCanceled
from sqlalchemy import Connection, Engine, func, select, text
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_random

from orders_dask.errors import DatabaseNotReady, ServiceUnavailable, SettingsError, TableInUse
from orders_dask.load.connect import driver_cursor
from orders_dask.load.error_translation import translate_error
from orders_dask.load.locks import Lock
from orders_dask.migration.changes import Change
from orders_dask.retry import log_first_retry

LOCK_TIMEOUT: Final = "60ms"
"""Longest wait for the locks of a change, during which new readers wait behind it.

With the change itself, such as four columns of 120 partitions, a reader waited for 0.15 s at most;
with 120 ms here, for 0.28 s.
"""

GIVE_UP_AFTER: Final = 600.0
"""Seconds for which a change is tried: longer than most reports."""

_OURS: Final = ("42601", "XX")
"""Codes of errors that nothing in a database explains: bad syntax, a fault of PostgreSQL."""


def execute(engine: Engine, change: Change) -> None:
    """Make a change, as soon as nobody holds a lock that it needs.

    Raises
    ------
    TableInUse
        Somebody has held one for ten minutes.
    SettingsError
        Something that is not ours is in the way: the message names it.
    ServiceUnavailable
        PostgreSQL broke off.
    """
    if change.concurrently:
        with engine.connect() as connection:
            outside = connection.execution_options(isolation_level="AUTOCOMMIT")
            _run_sql(outside, change, change.statements)
        return
    attempt = retry(
        retry=retry_if_exception_type(TableInUse),
        wait=wait_random(0.1, 1),
        stop=stop_after_delay(GIVE_UP_AFTER),
        before_sleep=log_first_retry,
        reraise=True,
    )(_try)
    try:
        attempt(engine, change)
    except TableInUse as error:
        raise TableInUse(
            f"The {change.description} can't be changed, for {_holders(engine, change)}: end that, "
            "then repeat `orders-dask migrate`."
        ) from error


def _try(engine: Engine, change: Change) -> None:
    """Make a change in one transaction; raise TableInUse if it gets no lock in time."""
    try:
        with engine.begin() as connection:
            # Nobody makes a partition meanwhile, which would lack what is added.
            connection.execute(select(func.pg_advisory_xact_lock(Lock.INIT, 0)))
            connection.execute(select(func.set_config("lock_timeout", LOCK_TIMEOUT, True)))
            if change.lock:
                # lock_timeout counts for each partition by itself, and this for all of them.
                connection.execute(select(func.set_config("statement_timeout", LOCK_TIMEOUT, True)))
                _run_sql(connection, change, [change.lock])
                connection.execute(select(func.set_config("statement_timeout", "0", True)))
            _run_sql(connection, change, change.statements)
            # Last, so that none begins before the commit: it would list what goes.
            if change.not_beside_dump and connection.execute(_DUMPS).first():
                raise TableInUse("A pg_dump runs, which may have listed what is to change.")
    except ServiceUnavailable as error:
        if isinstance(error.__cause__, LockNotAvailable | QueryCanceled):
            raise TableInUse(f"Others use what is to change: {change.description}.") from error
        raise


def _run_sql(connection: Connection, change: Change, statements: Sequence[str]) -> None:
    """Execute statements of a change."""
    cursor = driver_cursor(connection)
    try:
        for statement in statements:
            cursor.execute(statement)
    except psycopg2.Error as error:
        known = translate_error(error)
        if known and not isinstance(known, DatabaseNotReady):
            raise known from error
        if (error.pgcode or "XX").startswith(_OURS):
            raise
        detail = (error.diag.message_detail or "").partition("\n")[0].rstrip(".")
        reason = ": ".join(filter(None, (error.diag.message_primary, detail)))
        raise SettingsError(
            f"The {change.description} can't be changed, for PostgreSQL says {reason}: remove what "
            "is in the way, or give it another name, then repeat `orders-dask migrate`."
        ) from error


def _holders(engine: Engine, change: Change) -> str:
    """Return who holds locks on the tables of a change, or dumps what it removes."""
    with engine.connect() as connection:
        of = {"tables": list(change.locks), "dumps": change.not_beside_dump}
        rows = connection.execute(_HOLDERS, of).all()
    sessions = [
        f"process {row.pid} of user {row.usename}"
        + ("" if row.seconds is None else f" for {row.seconds:,} s")
        for row in rows
    ]
    return f"they are in use by {', '.join(sessions)}" if sessions else "it is in use"


# Only superusers and members of pg_read_all_stats see since when other users' sessions work.
_HOLDERS: Final = text(
    """
    select pid, usename, extract(epoch from now() - min(xact_start))::int as seconds
    from pg_locks join pg_stat_activity using (pid)
    where locktype = 'relation' and granted and pid <> pg_backend_pid()
      and database = (select oid from pg_database where datname = current_database())
      and (relation in (
        select to_regclass(name) from unnest(cast(:tables as text[])) name
        union all
        select inhrelid from pg_inherits join unnest(cast(:tables as text[])) name
          on inhparent = to_regclass(name))
        or :dumps and application_name = 'pg_dump')
    group by pid, usename order by 3 desc nulls last limit 3
    """
)

_DUMPS: Final = text(
    """
    select pid from pg_stat_activity
    where application_name = 'pg_dump' and datname = current_database()
    """
)
