"""Advisory locks: who may do what, and how those that are dead are put out.

They are taken in this order, so nobody waits in a circle: run date, load, publish; run date, leaf,
init; free, leaf.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

from psycopg2.errors import LockNotAvailable
from sqlalchemy import Connection, Executable, func, select, text

from orders_dask.errors import ServiceUnavailable


class Lock(IntEnum):
    """The first key of each kind of advisory lock; arbitrary numbers that nothing else is likely to use."""

    INIT = 1_704_201_000  # second key 0: changes the schema
    RUN_DATE = (
        1_704_201_001  # second key the date's ordinal: held by a run's session while it works
    )
    LOAD = (
        1_704_201_002  # second key the load: shared by each part's transaction, exclusive to seal
    )
    PUBLISH = 1_704_201_003  # second key 0: one publish at a time
    # Second key the ordinal of its first date: shared to see that it is there, exclusive to drop it.
    PARTITION = 1_704_201_004
    FREE = 1_704_201_005  # second key 0: one at a time frees leaves


ATTEMPTS: Final = 20
"""How often the holders of a load are terminated; once was enough in every trial."""

_TERMINATE: Final = text(
    """
    select pg_terminate_backend(pid) from pg_locks
    where locktype = 'advisory' and classid = :class and objid = :load and objsubid = 2
      and mode = 'ShareLock' and granted and pid <> pg_backend_pid()
      and database = (select oid from pg_database where datname = current_database())
    """
)


def try_lock(connection: Connection, seconds: float, statement: Executable) -> bool:
    """Execute a statement that takes a lock, inside the open transaction; say whether it got the lock in time."""
    try:
        with connection.begin_nested():
            limit = f"{round(seconds * 1000)}ms"
            connection.execute(select(func.set_config("lock_timeout", limit, True)))
            connection.execute(statement)
            connection.execute(select(func.set_config("lock_timeout", "0", True)))
    except ServiceUnavailable as error:
        if isinstance(error.__cause__, LockNotAvailable):
            return False
        raise
    return True


def lock_out_copies(connection: Connection, load_id: int, timeout: float) -> None:
    """Take a load's lock exclusively until the open transaction ends: no part is being copied, and none will begin.

    Parts that are still being copied get `timeout` seconds; then their sessions are terminated,
    for no timeout of PostgreSQL ends a COPY that waits for its client. Parts that come now wait
    until the transaction ends, and then find that the load is not ``loading`` any more.

    Raises
    ------
    ServiceUnavailable
        The sessions could not be terminated.
    """
    exclusive: Executable = select(func.pg_advisory_xact_lock(Lock.LOAD, load_id))
    for attempt in range(ATTEMPTS):
        if try_lock(connection, timeout if attempt == 0 else 0.5, exclusive):
            return
        holders: dict[str, Any] = {"class": int(Lock.LOAD), "load": load_id}
        connection.execute(_TERMINATE, holders)
    raise ServiceUnavailable(
        f"Sessions of PostgreSQL still copy into load {load_id} and can't be terminated: "
        "end them (pg_locks names them), then try again."
    )
