"""From a load whose parts are copied to what readers see: sealed, verified, published.

::

    loading ──seal──▶ sealed ──verify──▶ verified ──publish──▶ published ──(a later publish)──▶ replaced
                                                               published ──(rollback, drop)───▶ unpublished
"""

from __future__ import annotations

import time
from datetime import date
from typing import Final

from psycopg2 import sql
from sqlalchemy import (
    Connection,
    Engine,
    func,
    select,
    text,
    update,
)

from orders_dask.contract.columns import STORE
from orders_dask.contract.ledger_tables import load_run, storage_partition
from orders_dask.contract.order_tables import FACTS
from orders_dask.errors import LoadNotActive, PartitionInUse
from orders_dask.ledger.leases import Lease
from orders_dask.ledger.loads import transition
from orders_dask.load.connect import driver_cursor
from orders_dask.load.error_translation import translating_errors
from orders_dask.load.locks import lock_out_copies
from orders_dask.load.partitions import covers
from orders_dask.load.planner import WORK_MEM
from orders_dask.publish import dimensions
from orders_dask.publish import pointer as gate
from orders_dask.publish.pointer import PublishPlan

SEAL_TIMEOUT: Final = 1.0
"""Seconds that the seal gives to tasks that still copy: all parts are there by then, so they are zombies."""

READERS_TIMEOUT: Final = 60.0
"""Seconds that a publish into a new leaf waits for transactions that began before the leaf was attached."""

STATISTICS_TARGET: Final = 10
"""Statistics target of what is analysed: 0.08 s for the widest table, where the default of 100 takes 1.5 to 2 s."""


def seal(lease: Lease, load_id: int) -> None:
    """See to it that nothing can be copied into the load any more.

    Raises
    ------
    LoadWithdrawn
        The load is not ``loading``.
    """
    with lease.transaction() as connection:
        lock_out_copies(connection, load_id, SEAL_TIMEOUT)
        transition(connection, load_id, "loading", "sealed")


def precompute(database: Engine, run_date: date, load_id: int) -> PublishPlan:
    """Do beforehand what a publish can: the planner's statistics, and the look for orders that have other versions.

    The load is sealed. It takes a session of its own, so that the load can be verified meanwhile.
    """
    with database.connect() as connection:
        _analyse(connection)
        with connection.begin():
            return gate.precompute(connection, run_date, load_id)


def publish(lease: Lease, load_id: int, plan: PublishPlan | None = None) -> None:
    """Let readers see a verified load in place of what they see now for its run date.

    One transaction, of rows only: readers see all of it or nothing, and nobody waits. What was
    published before stays in the storage, ``replaced``, and what is overwritten of the dimensions
    is kept, so a rollback can bring both back.

    Parameters
    ----------
    plan
        What :func:`precompute` found out; without it this looks while others wait for their turn.

    Raises
    ------
    LoadWithdrawn
        The load is not verified, or another run took the run date over.
    StillInUse
        Transactions from before a new leaf went on too long; the message names their processes.
    """
    run_date = lease.run_date
    _await_readers(lease.connection, run_date)
    with gate.confirm_commit(lease, load_id, "published"), lease.transaction() as connection:
        gate.lock_publishing(connection)
        _check_publishable(connection, run_date, load_id)
        connection.execute(select(func.set_config(*WORK_MEM, True)))
        dimensions.upsert(connection, run_date, load_id)
        replaced = gate.set_published(connection, run_date, load_id, "replaced", plan)
        now = func.clock_timestamp()
        connection.execute(
            update(load_run)
            .where(load_run.c.load_id == load_id)
            .values(
                published_at=now, finished_at=now, replaced_load_id=replaced, can_roll_back=True
            )
        )


def _check_publishable(connection: Connection, run_date: date, load_id: int) -> None:
    """Lock the load's row, and check that the load may be published."""
    ready = (
        load_run.c.load_id == load_id,
        load_run.c.run_date == run_date,
        load_run.c.status == "verified",
    )
    if connection.scalar(select(load_run.c.load_id).where(*ready).with_for_update()) is None:
        raise LoadNotActive(
            f"Load {load_id} of {run_date} can't be published: it is not verified, or another run took over; "
            "see `orders-dask status`."
        )


def _await_readers(connection: Connection, run_date: date) -> None:
    """Wait for the transactions that may not see the run date's leaf, because they began before it was attached."""
    holds = covers(run_date)
    deadline = time.monotonic() + READERS_TIMEOUT
    while True:
        with connection.begin():
            wait_for = connection.scalar(select(storage_partition.c.wait_for).where(holds))
            if not wait_for:
                return
            pids = connection.scalars(_STILL_RUNNING, {"wait_for": wait_for}).all()
            if not pids:
                connection.execute(update(storage_partition).where(holds).values(wait_for=[]))
                return
        if time.monotonic() > deadline:
            raise PartitionInUse(
                f"Run date {run_date} waits for transactions that began before its partitions were made, of the "
                f"PostgreSQL processes {', '.join(map(str, pids))}: end them, then run it again."
            )
        time.sleep(0.2)


_STILL_RUNNING: Final = text(
    "select pid from pg_locks where locktype = 'virtualxid' and virtualxid = any(:wait_for) order by pid"
)


def _analyse(connection: Connection) -> None:
    """Give the planner the statistics of the parents, which autovacuum never does, where they grew or shrank.

    Before PostgreSQL 18 that would analyse every leaf of the whole history, so there it is left
    out.
    """
    if (connection.dialect.server_version_info or ()) < (18,):
        return
    with connection.begin():
        grown = connection.scalars(_GROWN, {"schema": STORE, "facts": [f.name for f in FACTS]})
        parents = [sql.SQL("only {}").format(sql.Identifier(STORE, name)) for name in grown]
        if not parents:
            return
        connection.execute(
            select(func.set_config("default_statistics_target", str(STATISTICS_TARGET), True))
        )
        with translating_errors():
            driver_cursor(connection).execute(
                sql.SQL("analyze {}").format(sql.SQL(", ").join(parents))
            )


# By a tenth since they were last analysed, as autovacuum has it of a table; `reltuples` is -1 of
# one that never was.
_GROWN: Final = text(
    """
    select parent.relname from pg_class parent join pg_namespace n on n.oid = relnamespace
    where nspname = :schema and relname = any(:facts)
      and (select coalesce(sum(pg_stat_get_live_tuples(inhrelid)), 0) from pg_inherits where
      inhparent = parent.oid)
        not between 0.9 * reltuples and 1.1 * reltuples
    """
)
