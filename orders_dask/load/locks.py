"""Advisory locks, and terminating sessions of dead runs that still hold one.

Sessions take them in one of these orders, so there is no deadlock: run date, load, publish; run
date, partition, init; drop, partition; migration, drop; migration, init; migration,
publish; publish, count. See docs/architecture.md#locks.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final

from psycopg2.errors import LockNotAvailable
from sqlalchemy import ARRAY, Connection, Executable, Integer, func, literal, select, text

from orders_dask.contract.columns import ID
from orders_dask.errors import ServiceUnavailable


class Lock(IntEnum):
    """First key of each kind of advisory lock: arbitrary numbers that others hardly use."""

    # Second key 0: one change of the schema at a time.
    INIT = 1_704_201_000
    # Second key the date's ordinal: the lease, held by a run's session while it works on the date.
    RUN_DATE = 1_704_201_001
    # Second key the load_id: shared by the transaction of each part, exclusive for the seal.
    LOAD = 1_704_201_002
    # Second key 0: one publish, rollback, unpublish or load of names at a time.
    PUBLISH = 1_704_201_003
    # Second key the ordinal of its first date: shared to keep a partition, exclusive to drop it.
    PARTITION = 1_704_201_004
    # Second key 0: one session drops partitions at a time, none during a migration.
    DROP_PARTITIONS = 1_704_201_005
    # Second key 0: one migration at a time, for as long as it takes.
    MIGRATION = 1_704_201_006
    # Second key the load_id: one session adds up the sales of a load at a time.
    COUNT = 1_704_201_007


ATTEMPTS: Final = 20
"""Attempts to terminate the holders of a load's lock; one was enough in every trial."""

_TERMINATE: Final = text(
    """
    select pg_terminate_backend(pid) from pg_locks
    where locktype = 'advisory' and classid = :class and objid = any(:loads) and objsubid = 2
      and mode = 'ShareLock' and granted and pid <> pg_backend_pid()
      and database = (select oid from pg_database where datname = current_database())
    """
)


def try_lock(connection: Connection, seconds: float, statement: Executable) -> bool:
    """Execute a statement that takes a lock, in the open transaction; return whether it got it.

    Parameters
    ----------
    connection
        With an open transaction, which stays usable after a timeout.
    seconds
        Timeout, more than 0.
    statement
        The statement.
    """
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


def lock_out_copies(connection: Connection, load_ids: Sequence[int], timeout: float) -> None:
    """Lock loads exclusively until the open transaction ends, so that no part is being copied.

    After `timeout` the sessions of parts that are still being copied are terminated, because no
    timeout of PostgreSQL ends a COPY that waits for its client. Parts that begin later wait for the
    end of the transaction. Then they find that their load is not ``loading`` any more.

    Parameters
    ----------
    connection
        With an open transaction that moves the loads to another status.
    load_ids
        The loads.
    timeout
        Seconds to wait for parts that are being copied, more than 0.

    Raises
    ------
    ServiceUnavailable
        The sessions could not be terminated.
    """
    load = func.unnest(literal(load_ids, ARRAY(ID))).column_valued("load")
    exclusive: Executable = select(func.pg_advisory_xact_lock(Lock.LOAD, load.cast(Integer)))
    for attempt in range(ATTEMPTS):
        if try_lock(connection, timeout if attempt == 0 else 0.5, exclusive):
            return
        holders: dict[str, Any] = {"class": int(Lock.LOAD), "loads": [*load_ids]}
        connection.execute(_TERMINATE, holders)
    raise ServiceUnavailable(
        f"Sessions of PostgreSQL still copy into load {load_ids[0]} and can't be terminated: "
        "end them (pg_locks names them), then try again."
    )
