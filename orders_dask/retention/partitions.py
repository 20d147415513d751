"""Drop partitions of the fact storage without a published run date, while no reader waits.

::

    attached ──mark_for_drop──▶ draining ──(its readers have ended)──▶ detached ──▶ dropped

A transaction that began before a run date was unpublished may still read it.
``storage_partition.draining`` lists the transactions that ran when the partition was marked. Once
they have ended, each table is detached with ``CONCURRENTLY`` and dropped. The detach waits, without
a lock, for all sessions that have locked the parent. Statements that lock the partition run only
while no session holds it, and with a short lock timeout, because others would wait behind them. If
the process is killed, the next call reads the catalogs and goes on.
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
from orders_dask.ledger.leases import UNDECIDED
from orders_dask.load.connect import driver_cursor
from orders_dask.load.error_translation import translating_errors
from orders_dask.load.locks import Lock
from orders_dask.load.owners import owner_of
from orders_dask.load.partitions import (
    PartitionWidth,
    covers,
    facts_turned_off,
    is_attached,
    partition_name,
)

LOCK_TIMEOUT: Final = "10ms"
"""Lock timeout on a partition: the longest that anybody waits behind it."""

FINALIZE_TIMEOUT: Final = "50ms"
"""Lock timeout of FINALIZE: with 5 s a reader that waited behind it ran into a deadlock."""

POLL_SECONDS: Final = 0.1
"""Seconds between two polls for readers."""


def mark_for_drop(engine: Engine, before: date) -> None:
    """Mark the partitions that end before a date and contain no published run date."""
    old = select(storage_partition.c.first_date).where(
        storage_partition.c.end_date <= before, storage_partition.c.draining.is_(None)
    )
    with engine.connect() as connection:
        with connection.begin():
            first_dates = connection.scalars(old.where(_without_published())).all()
        for first in first_dates:
            _mark(connection, first)


def _mark(connection: Connection, first: date) -> None:
    unmarked = storage_partition.c.first_date == first, storage_partition.c.draining.is_(None)
    with connection.begin():
        # A run that holds the lock is about to load into the partition.
        lock = func.pg_try_advisory_xact_lock(Lock.PARTITION, first.toordinal())
        if not connection.scalar(select(lock)):
            return
        if (
            connection.scalar(
                select(storage_partition.c.first_date).where(*unmarked, _without_published())
            )
            is None
        ):
            return
        # A statement of its own: a transaction that still sees one of its dates published runs now.
        running = connection.execute(_RUNNING).all()
        draining = [transaction.virtualxid for transaction in running]
        connection.execute(update(storage_partition).where(*unmarked).values(draining=draining))


def _without_published() -> ColumnElement[bool]:
    """Return the condition that a partition contains no load that is or may be published."""
    visible = select(published).where(covers(published.c.run_date)).exists()
    undecided = select(load_run).where(
        covers(load_run.c.run_date), load_run.c.status.in_(UNDECIDED)
    )
    return ~visible & ~undecided.exists()


_RUNNING: Final = text(
    """
    select virtualxid, pid from pg_locks join pg_stat_activity using (pid)
    where locktype = 'virtualxid' and granted and datname = current_database()
      and pid <> pg_backend_pid()
    order by pid
    """
)


@dataclass(frozen=True)
class DroppedPartitions:
    """The partitions that were dropped.

    Attributes
    ----------
    partitions
        The first date of each dropped partition.
    bytes
        Their size.
    waiting
        What is in the way of dropping the other marked ones, as a sentence; None if none is left.
    """

    partitions: tuple[date, ...] = ()
    bytes: int = 0
    waiting: str | None = None


def drop_marked(engine: Engine, timeout: float) -> DroppedPartitions:
    """Drop the marked partitions, one after another, until one is in use at the timeout.

    Parameters
    ----------
    engine
        Engine of the database.
    timeout
        Seconds to wait for sessions that are in the way, in all.
    """
    deadline = time.monotonic() + timeout
    dropped: list[date] = []
    size = 0
    # No transaction: DETACH CONCURRENTLY can't run in one. The advisory locks are the session's.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as session:
        marked = select(storage_partition).where(storage_partition.c.draining.is_not(None))
        rows = session.execute(marked.order_by(storage_partition.c.first_date)).all()
        if not rows:
            return DroppedPartitions()
        owner = owner_of(session, FACTS[0])
        if owner and not owner.ours:
            return DroppedPartitions(
                waiting="Only the owner of the tables frees partitions: run `orders-dask prune` as "
                f"{owner.name}."
            )
        if not session.scalar(select(func.pg_try_advisory_lock(Lock.DROP_PARTITIONS, 0))):
            return DroppedPartitions(waiting="Another command frees partitions, or migrates.")
        width: PartitionWidth = session.execute(select(schema_info.c.partition_width)).scalar_one()
        # A table has at most one partition with a pending detach, which has to be finalized first.
        for row in sorted(rows, key=lambda row: is_attached(session, width, row.first_date)):
            try:
                dropped_bytes = _drop(session, width, row, deadline)
            except PartitionInUse as error:
                return DroppedPartitions(tuple(dropped), size, str(error))
            if dropped_bytes is not None:
                dropped.append(row.first_date)
                size += dropped_bytes
    return DroppedPartitions(tuple(dropped), size)


def _drop(session: Connection, width: PartitionWidth, row: Row[Any], deadline: float) -> int | None:
    """Drop a partition of all fact tables; return its size in bytes, or None if it is kept."""
    _await_readers(session, row.first_date, row.draining, deadline)
    lock = Lock.PARTITION, row.first_date.toordinal()
    if not session.scalar(select(func.pg_try_advisory_lock(*lock))):
        return None  # a run is about to load into it
    size = _drop_locked(session, width, row, deadline)
    session.execute(select(func.pg_advisory_unlock(*lock)))
    return size


def _drop_locked(
    session: Connection, width: PartitionWidth, row: Row[Any], deadline: float
) -> int | None:
    first = row.first_date
    # With the list of transactions that was waited for: meanwhile a load may have kept the
    # partition, and another prune marked it with a new list.
    marked = storage_partition.c.first_date == first, storage_partition.c.draining == row.draining
    if (
        session.scalar(select(storage_partition.c.first_date).where(*marked, _without_published()))
        is None
    ):
        return None
    of_loads = (
        update(load_run)
        .where(select(storage_partition).where(*marked, covers(load_run.c.run_date)).exists())
        .where(load_run.c.pruned_at.is_(None), load_run.c.status.not_in(UNDECIDED))
    )
    session.execute(of_loads.values(pruned_at=func.clock_timestamp()))
    facts = (*FACTS, *facts_turned_off(session))
    size = sum(_remove(session, fact, width, first, deadline) for fact in facts)
    session.execute(delete(storage_partition).where(*marked))
    return size


def _await_readers(
    session: Connection, first: date, draining: Sequence[str], deadline: float
) -> None:
    """Wait for the end of the transactions that may still see a load in the partition."""
    while True:
        running = session.execute(_RUNNING)
        pids = [transaction.pid for transaction in running if transaction.virtualxid in draining]
        if not pids:
            return
        _wait_before(first, pids, deadline)


def _wait_before(first: date, pids: Sequence[int], deadline: float) -> None:
    if time.monotonic() > deadline:
        raise PartitionInUse(
            f"The partitions that begin on {first} wait for the end of transactions of the "
            f"PostgreSQL processes {', '.join(map(str, pids))}: the next `orders-dask prune` frees "
            "them."
        )
    time.sleep(POLL_SECONDS)


def _remove(
    session: Connection, fact: Table, width: PartitionWidth, first: date, deadline: float
) -> int:
    """Detach and drop one table; return its size in bytes, 0 if it was dropped before."""
    size, name = 0, partition_name(fact, width, first)
    parameters = {"schema": STORE, "name": name}
    names = {"parent": sql.Identifier(STORE, fact.name), "partition": sql.Identifier(STORE, name)}
    while (state := session.execute(_STATE, parameters).one_or_none()) is not None:
        size = state.size
        holders = session.scalars(_HOLDERS, {"partition": state.oid}).all()
        if state.pending is False or not holders:
            statement, limit = _STEPS[state.pending]
            if _try_ddl(session, statement.format(**names), limit):
                continue
            holders = holders or [transaction.pid for transaction in session.execute(_RUNNING)]
        _wait_before(first, holders, deadline)
    return size


_STATE: Final = text(
    """
    select c.oid, inhdetachpending as pending, pg_total_relation_size(c.oid) as size
    from pg_class c join pg_namespace n on n.oid = relnamespace
    left join pg_inherits on inhrelid = c.oid
    where nspname = :schema and relname = :name
    """
)

# pg_dump lists all tables and locks them by name later: it fails if one was dropped meanwhile.
_HOLDERS: Final = text(
    """
    select pid from pg_locks
    where locktype = 'relation' and relation = cast(:partition as oid) and pid <> pg_backend_pid()
      and database = (select oid from pg_database where datname = current_database())
    union
    select pid from pg_stat_activity
    where application_name = 'pg_dump' and datname = current_database()
    order by pid
    """
)

_STEPS: Final = {
    False: (
        sql.SQL("alter table {parent} detach partition {partition} concurrently"),
        LOCK_TIMEOUT,
    ),
    True: (sql.SQL("alter table {parent} detach partition {partition} finalize"), FINALIZE_TIMEOUT),
    None: (sql.SQL("drop table {partition}"), LOCK_TIMEOUT),
}
"""Next statement and lock timeout, by whether a detach is pending; None: it is done."""


def _try_ddl(session: Connection, statement: sql.Composable, lock_timeout: str) -> bool:
    """Execute a DDL statement; return False if it did not get a lock in time."""
    session.execute(select(func.set_config("lock_timeout", lock_timeout, False)))
    try:
        with translating_errors():
            driver_cursor(session).execute(statement)
    except ServiceUnavailable as error:
        if isinstance(error.__cause__, LockNotAvailable):
            return False
        raise
    return True
