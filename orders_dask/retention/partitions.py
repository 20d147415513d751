"""Freeing leaves of the fact storage in which nothing is published any more, without any reader waiting.

::

    kept ──(its last run date is dropped)──▶ draining ──(who might still read it has ended)──▶ detached ──▶ gone

A transaction that began before a run date was dropped may still read it: ``storage_partition.draining``
has those that ran afterwards. Once they are gone, each table is detached with ``CONCURRENTLY``,
which waits without a lock for all who hold its parent, and dropped. What takes a lock of its own on
a leaf waits for it only where nobody holds the leaf, and briefly: meanwhile others would wait
behind it. Killed anywhere, the next call goes on from what the catalogs say.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from psycopg2 import sql
from psycopg2.errors import LockNotAvailable
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Table,
    delete,
    func,
    select,
    text,
    update,
)

from orders_dask.contract.columns import STORE
from orders_dask.contract.ledger_tables import load_run, schema_info, storage_partition
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.storage_tables import published
from orders_dask.errors import PartitionInUse, ServiceUnavailable
from orders_dask.ledger.leases import ACTIVE
from orders_dask.load.connect import driver_cursor
from orders_dask.load.error_translation import translating_errors
from orders_dask.load.locks import Lock
from orders_dask.load.owners import owner_of
from orders_dask.load.partitions import PartitionWidth, covers, is_attached, partition_name

LOCK_TIMEOUT: Final = "10ms"
"""How long a lock on a leaf is waited for: the longest that anybody waits behind it."""

FINALIZE_TIMEOUT: Final = "50ms"
"""How long FINALIZE waits for each older snapshot: readers of the leaf may wait behind it, and with
5 s one of them ran into a deadlock with it, for which PostgreSQL looks after 1 s."""

POLL_SECONDS: Final = 0.1
"""Seconds between two looks."""


def mark_for_drop(engine: Engine, before: date) -> None:
    """Mark the leaves whose run dates all lie before a date, and of which none is published, as to be freed."""
    old = select(storage_partition.c.first_date).where(
        storage_partition.c.end_date <= before, storage_partition.c.draining.is_(None)
    )
    with engine.connect() as connection:
        with connection.begin():
            leaves = connection.scalars(old.where(_without_published())).all()
        for first in leaves:
            _mark(connection, first)


def _mark(connection: Connection, first: date) -> None:
    kept = storage_partition.c.first_date == first, storage_partition.c.draining.is_(None)
    with connection.begin():
        # Whoever makes sure of the leaf at this moment is about to load into it.
        lock = func.pg_try_advisory_xact_lock(Lock.PARTITION, first.toordinal())
        if not connection.scalar(select(lock)):
            return
        if (
            connection.scalar(
                select(storage_partition.c.first_date).where(*kept, _without_published())
            )
            is None
        ):
            return
        # A statement of its own: whoever still sees a run date of it as published runs now.
        running = connection.execute(_RUNNING).all()
        draining = [transaction.virtualxid for transaction in running]
        connection.execute(update(storage_partition).where(*kept).values(draining=draining))


def _without_published() -> ColumnElement[bool]:
    """Say of a leaf that nothing in it is published or about to be."""
    seen = select(published).where(covers(published.c.run_date)).exists()
    active = select(load_run).where(covers(load_run.c.run_date), load_run.c.status.in_(ACTIVE))
    return ~seen & ~active.exists()


_RUNNING: Final = text(
    """ select virtualxid, pid from pg_locks join pg_stat_activity using (pid) where locktype =
    'virtualxid' and granted and datname = current_database() and pid <> pg_backend_pid() order by
    pid """
)


@dataclass(frozen=True)
class DroppedPartitions:
    """What was freed.

    Attributes
    ----------
    partitions
        The first date of each leaf that is gone.
    bytes
        What they held.
    waiting
        What is in the way of the others, a sentence for people; None where none is left.
    """

    partitions: tuple[date, ...] = ()
    bytes: int = 0
    waiting: str | None = None


def drop_marked(engine: Engine, timeout: float) -> DroppedPartitions:
    """Free the leaves that are marked, one after another, until one is in use for too long.

    Parameters
    ----------
    timeout
        Seconds to wait for those who are in the way, in all.
    """
    deadline = time.monotonic() + timeout
    leaves: list[date] = []
    size = 0
    # Not in transactions: DETACH CONCURRENTLY makes its own. The locks are the session's, and end
    # with it.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as session:
        marked = select(storage_partition).where(storage_partition.c.draining.is_not(None))
        rows = session.execute(marked.order_by(storage_partition.c.first_date)).all()
        if not rows:
            return DroppedPartitions()
        owner = owner_of(session, FACTS[0])
        if owner and not owner.ours:
            return DroppedPartitions(
                waiting=f"Only the owner of the tables frees partitions: run `orders-dask prune` as {owner.name}."
            )
        if not session.scalar(select(func.pg_try_advisory_lock(Lock.DROP_PARTITIONS, 0))):
            return DroppedPartitions(waiting="Another command is freeing partitions.")
        leaf: PartitionWidth = session.execute(select(schema_info.c.partition_width)).scalar_one()
        # A table has one leaf at the most that is half detached, and that one has to go first.
        for row in sorted(rows, key=lambda row: is_attached(session, leaf, row.first_date)):
            try:
                freed = _drop(session, leaf, row, deadline)
            except PartitionInUse as error:
                return DroppedPartitions(tuple(leaves), size, str(error))
            if freed is not None:
                leaves.append(row.first_date)
                size += freed
    return DroppedPartitions(tuple(leaves), size)


def _drop(session: Connection, width: PartitionWidth, row: Row[Any], deadline: float) -> int | None:
    """Free one leaf, in all fact tables: bytes that it held, or None where it is kept after all."""
    _await_readers(session, row.first_date, row.draining, deadline)
    lock = Lock.PARTITION, row.first_date.toordinal()
    if not session.scalar(select(func.pg_try_advisory_lock(*lock))):
        return None  # a run is making sure of it
    freed = _drop_locked(session, width, row, deadline)
    session.execute(select(func.pg_advisory_unlock(*lock)))
    return freed


def _drop_locked(
    session: Connection, width: PartitionWidth, row: Row[Any], deadline: float
) -> int | None:
    first = row.first_date
    # With the very list that was waited for: it may have been kept, and marked again, meanwhile.
    marked = storage_partition.c.first_date == first, storage_partition.c.draining == row.draining
    if (
        session.scalar(select(storage_partition.c.first_date).where(*marked, _without_published()))
        is None
    ):
        return None
    gone = (
        update(load_run)
        .where(select(storage_partition).where(*marked, covers(load_run.c.run_date)).exists())
        .where(load_run.c.pruned_at.is_(None), load_run.c.status.not_in(ACTIVE))
    )
    session.execute(gone.values(pruned_at=func.clock_timestamp()))
    size = sum(_remove(session, fact, width, first, deadline) for fact in FACTS)
    session.execute(delete(storage_partition).where(*marked))
    return size


def _await_readers(
    session: Connection, first: date, draining: Sequence[str], deadline: float
) -> None:
    """Wait until those have ended who may still see what was published in the leaf."""
    while True:
        running = session.execute(_RUNNING)
        pids = [transaction.pid for transaction in running if transaction.virtualxid in draining]
        if not pids:
            return
        _wait_before(first, pids, deadline)


def _wait_before(first: date, pids: Sequence[int], deadline: float) -> None:
    if time.monotonic() > deadline:
        raise PartitionInUse(
            f"The partitions that begin on {first} wait for the end of transactions of the PostgreSQL processes "
            f"{', '.join(map(str, pids))}: the next `orders-dask prune` frees them."
        )
    time.sleep(POLL_SECONDS)


def _remove(
    session: Connection, fact: Table, width: PartitionWidth, first: date, deadline: float
) -> int:
    """Detach and drop one table: bytes that it held, 0 where it was gone."""
    size, name = 0, partition_name(fact, width, first)
    of_leaf = {"schema": STORE, "name": name}
    names = {"parent": sql.Identifier(STORE, fact.name), "leaf": sql.Identifier(STORE, name)}
    while (state := session.execute(_STATE, of_leaf).one_or_none()) is not None:
        size = state.size
        holders = session.scalars(_HOLDERS, {"leaf": state.oid}).all()
        if state.pending is False or not holders:
            statement, limit = _STEPS[state.pending]
            if _try_ddl(session, statement.format(**names), limit):
                continue
            holders = holders or [transaction.pid for transaction in session.execute(_RUNNING)]
        _wait_before(first, holders, deadline)
    return size


_STATE: Final = text(
    """ select c.oid, inhdetachpending as pending, pg_total_relation_size(c.oid) as size from
    pg_class c join pg_namespace n on n.oid = relnamespace left join pg_inherits on inhrelid = c.oid
    where nspname = :schema and relname = :name """
)

# A pg_dump first lists all tables and locks them by name afterwards: one that is gone by then makes
# it fail.
_HOLDERS: Final = text(
    """
    select pid from pg_locks
    where locktype = 'relation' and relation = cast(:leaf as oid) and pid <> pg_backend_pid()
      and database = (select oid from pg_database where datname = current_database())
    union
    select pid from pg_stat_activity
    where application_name = 'pg_dump' and datname = current_database()
    order by pid
    """
)

_STEPS: Final = {
    False: (sql.SQL("alter table {parent} detach partition {leaf} concurrently"), LOCK_TIMEOUT),
    True: (sql.SQL("alter table {parent} detach partition {leaf} finalize"), FINALIZE_TIMEOUT),
    None: (sql.SQL("drop table {leaf}"), LOCK_TIMEOUT),
}
"""What comes next, and how long it waits, where a detach is not begun, is pending, or is done."""


def _try_ddl(session: Connection, statement: sql.Composable, lock_timeout: str) -> bool:
    """Execute a statement of DDL; False where a lock was not to be had in time."""
    session.execute(select(func.set_config("lock_timeout", lock_timeout, False)))
    try:
        with translating_errors():
            driver_cursor(session).execute(statement)
    except ServiceUnavailable as error:
        if isinstance(error.__cause__, LockNotAvailable):
            return False
        raise
    return True
