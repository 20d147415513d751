"""From a load whose parts are copied to the load that readers see: seal, verify, publish.

::

    loading ──seal──▶ sealed ──verify──▶ verified ──publish──▶ published
    verified ──a check──▶ held ──accept──▶ published, ──discard──▶ discarded
    published ──publish of a later load──▶ replaced
    published ──rollback, unpublish──▶ unpublished
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import Any, Final, Literal

from psycopg2 import sql
from sqlalchemy import (
    ARRAY,
    Connection,
    Engine,
    Update,
    func,
    literal,
    select,
    text,
    update,
)

from orders_dask.contract.columns import DATE, ID, STORE
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
from orders_dask.publish import dimensions, pointer
from orders_dask.publish.pointer import PublishPlan
from orders_dask.publish.review import Review

SEAL_TIMEOUT: Final = 1.0
"""Seconds to wait for tasks that still copy: all parts are loaded by then, so they are zombies."""

READERS_TIMEOUT: Final = 60.0
"""Seconds to wait for transactions that began before a new partition was attached."""

STATISTICS_TARGET: Final = 10
"""Statistics target of ANALYZE: 0.08 s for the widest table; the default of 100 takes 1.5 s."""


def seal(lease: Lease, load_id: int) -> None:
    """Seal a load: no task can copy a part into it any more.

    Raises
    ------
    LoadNotActive
        The load is not ``loading``.
    """
    with lease.transaction() as connection:
        lock_out_copies(connection, [load_id], SEAL_TIMEOUT)
        transition(connection, load_id, "loading", "sealed")


def precompute(database: Engine, run_date: date, load_id: int) -> PublishPlan:
    """Refresh the planner's statistics, and precompute the orders that have other versions.

    The load is sealed. This uses a session of its own, so the load can be verified meanwhile.
    """
    with database.connect() as connection:
        analyse(connection)
        with connection.begin():
            return pointer.precompute(connection, {run_date: load_id})


def publish(
    lease: Lease,
    load_id: int,
    plan: PublishPlan | None = None,
    accepted: Review | None = None,
) -> None:
    """Publish a verified load of the lease's run date, in place of the one published until now.

    One transaction that writes rows only: readers see all of it or nothing, and nobody waits. The
    load that was published before becomes ``replaced`` and keeps its rows, so a rollback can
    publish it again.

    Parameters
    ----------
    lease
        The lease of the run date.
    load_id
        The load.
    plan
        What :func:`precompute` returned; without it, it is computed under the publish lock.
    accepted
        Who accepted the load, if it is not verified but ``held``.

    Raises
    ------
    LoadNotActive
        The load is not ``verified`` (or ``held``), or another run took the run date over.
    PartitionInUse
        Transactions from before a new partition was attached still run after
        :data:`READERS_TIMEOUT`; the message names their processes.
    ServiceUnavailable
        PostgreSQL broke off; the publish was not done, or that could not be found out.
    """
    loads = {lease.run_date: load_id}
    await_readers(lease.connection, [lease.run_date])
    with pointer.confirm_commit(lease, load_id, "published"), lease.transaction() as connection:
        pointer.lock_publishing(connection)
        if accepted:
            publish_loads(connection, loads, "held", plan, accepted.values)
        else:
            publish_loads(connection, loads, "verified", plan)


def publish_loads(
    connection: Connection,
    loads: Mapping[date, int],
    status: Literal["loading", "verified", "held"],
    plan: PublishPlan | None = None,
    values: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Publish loads in the open transaction, which holds the publish lock.

    Parameters
    ----------
    connection
        The transaction, of the session that holds the leases of their run dates.
    loads
        The loads by run date.
    status
        The status that all of them have: ``loading`` if this transaction has locked their copies
        out.
    plan
        What :func:`precompute` returned.
    values
        Other columns of their rows in the ledger.

    Raises
    ------
    LoadNotActive
        A load has another status.
    """
    _check_publishable(connection, loads, status)
    connection.execute(select(func.set_config(*WORK_MEM, True)))
    replaced = pointer.set_published(connection, loads, "replaced", plan)
    dimensions.replace(connection, loads, replaced)
    now = func.clock_timestamp()
    former = [replaced.get(run_date) for run_date in loads]
    ids = literal([*loads.values()], ARRAY(ID)), literal(former, ARRAY(ID))
    of_loads = func.unnest(*ids).table_valued("load_id", "replaced").render_derived()
    connection.execute(
        update(load_run)
        .where(load_run.c.load_id == of_loads.c.load_id)
        .values(
            published_at=now,
            finished_at=now,
            replaced_load_id=of_loads.c.replaced,
            can_roll_back=True,
            message=None,
            **values,
        )
    )
    connection.execute(_discard_others(loads))


def _discard_others(loads: Mapping[date, int]) -> Update:
    """Return the statement that discards what is held of the run dates of published loads."""
    ids, dates = literal([*loads.values()], ARRAY(ID)), literal([*loads], ARRAY(DATE))
    of_loads = func.unnest(ids, dates).table_valued("load_id", "run_date").render_derived()
    held = load_run.c.run_date == of_loads.c.run_date, load_run.c.status == "held"
    message = func.format("Load %s came later.", of_loads.c.load_id)
    return update(load_run).where(*held).values(status="discarded", message=message)


def discard(lease: Lease, load_id: int, review: Review) -> None:
    """Discard a held load: nobody will see it.

    Raises
    ------
    LoadNotActive
        The load is not held.
    """
    with lease.transaction() as connection:
        discarded = _discard_held(lease.run_date).where(load_run.c.load_id == load_id)
        reason = f"By {review.by}" + (f": {review.because}" if review.because else ".")
        values = review.values | {load_run.c.message.name: reason}
        if not connection.execute(discarded.values(values)).rowcount:
            raise LoadNotActive(f"Load {load_id} is not held any more: see `orders-dask status`.")


def discard_earlier(connection: Connection, run_date: date, load_id: int) -> None:
    """Discard the held loads of a run date that a later one, which is held too, replaces."""
    earlier = _discard_held(run_date).where(load_run.c.load_id < load_id)
    connection.execute(earlier.values(message=f"Load {load_id} came later."))


def _discard_held(run_date: date) -> Update:
    """Return the statement that discards the held loads of a run date."""
    held = load_run.c.run_date == run_date, load_run.c.status == "held"
    return update(load_run).where(*held).values(status="discarded")


def _check_publishable(connection: Connection, loads: Mapping[date, int], status: str) -> None:
    """Lock the rows of loads, and raise unless each has the status."""
    having = load_run.c.load_id.in_(loads.values()), load_run.c.status == status
    rows = (
        select(load_run.c.run_date, load_run.c.load_id).where(*having).order_by(load_run.c.load_id)
    )
    ready = {run_date: load_id for run_date, load_id in connection.execute(rows.with_for_update())}
    for run_date, load_id in loads.items():
        if ready.get(run_date) != load_id:
            raise LoadNotActive(
                f"Load {load_id} of {run_date} can't be published: it is not {status}, or another "
                "run took over; see `orders-dask status`."
            )


def await_readers(connection: Connection, run_dates: Sequence[date]) -> None:
    """Wait for the transactions that began before the partitions of run dates were attached.

    They may not see a partition, and so would see a publish without its facts.

    Raises
    ------
    PartitionInUse
        Some still run after :data:`READERS_TIMEOUT`.
    """
    day = func.unnest(literal(run_dates, ARRAY(DATE))).column_valued("day")
    of_dates = select(day).where(covers(day)).exists()
    deadline = time.monotonic() + READERS_TIMEOUT
    while True:
        with connection.begin():
            lists = connection.scalars(select(storage_partition.c.wait_for).where(of_dates))
            wait_for = [each for some in lists for each in some or ()]
            if not wait_for:
                return
            pids = connection.scalars(_STILL_RUNNING, {"wait_for": wait_for}).all()
            if not pids:
                connection.execute(update(storage_partition).where(of_dates).values(wait_for=[]))
                return
        if time.monotonic() > deadline:
            raise PartitionInUse(
                f"Run date {run_dates[0]} waits for transactions that began before its partitions "
                f"were made, of the PostgreSQL processes {', '.join(map(str, pids))}: end them, "
                "then run it again."
            )
        time.sleep(0.2)


_STILL_RUNNING: Final = text(
    """
    select pid from pg_locks
    where locktype = 'virtualxid' and virtualxid = any(:wait_for) order by pid
    """
)


def analyse(connection: Connection) -> None:
    """Refresh the statistics of parents that grew or shrank; autovacuum never does it for parents.

    Before PostgreSQL 18, ANALYZE of a parent also analyses every partition, so it is left out.
    """
    if (connection.dialect.server_version_info or ()) < (18,):
        return
    with connection.begin():
        changed = connection.scalars(_CHANGED, {"schema": STORE, "facts": [f.name for f in FACTS]})
        parents = [sql.SQL("only {}").format(sql.Identifier(STORE, name)) for name in changed]
        if not parents:
            return
        connection.execute(
            select(func.set_config("default_statistics_target", str(STATISTICS_TARGET), True))
        )
        with translating_errors():
            driver_cursor(connection).execute(
                sql.SQL("analyze {}").format(sql.SQL(", ").join(parents))
            )


# Parents that shrank or grew clearly since the last ANALYZE: by a tenth, autovacuum's own
# threshold, a backfill of small days took 13 ms of each for it. `reltuples` is -1 before the first.
# ANALYZE locks them in this order, which has to be that of `make_partition`: both take SHARE UPDATE
# EXCLUSIVE, and crosswise they would deadlock.
_CHANGED: Final = text(
    """
    select parent.relname from pg_class parent join pg_namespace n on n.oid = relnamespace
    where nspname = :schema and relname = any(:facts)
      and (
        select coalesce(sum(pg_stat_get_live_tuples(inhrelid)), 0) from pg_inherits
        where inhparent = parent.oid
      ) not between 0.7 * reltuples and 1.5 * reltuples
    order by relname
    """
)
