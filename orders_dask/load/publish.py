"""From a load whose parts are copied to what readers see: sealed, verified, published.

::

    loading ──seal──▶ sealed ──verify──▶ verified ──publish──▶ published ──(a later publish)──▶ replaced
"""

from __future__ import annotations

import time
from datetime import date
from typing import Final

from psycopg2 import sql
from sqlalchemy import (
    Connection,
    Table,
    case,
    false,
    func,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert

from orders_dask.contract.tables import (
    DIMENSIONS,
    FACTS,
    SAID,
    STORE,
    attributes,
    load_run,
    published,
    storage_leaf,
)
from orders_dask.errors import LoadWithdrawn, StillInUse
from orders_dask.load.connect import driver_cursor, explaining
from orders_dask.load.ledger import Lease, advance
from orders_dask.load.locks import Lock, close_load

SEAL_PATIENCE: Final = 1.0
"""Seconds that the seal gives to tasks that still copy: all parts are there by then, so they are zombies."""

PUBLISHABLE: Final = ("verified", "replaced", "withdrawn")
"""Statuses from which a load may be published; the latter two were published before."""

READERS_PATIENCE: Final = 60.0
"""Seconds that a publish into a new leaf waits for transactions that began before the leaf was attached."""

STATISTICS: Final = 10
"""Statistics target of what is analysed: 0.08 s for the widest table, where the default of 100 takes 1.5 to 2 s."""


def seal(lease: Lease, load_id: int) -> None:
    """See to it that nothing can be copied into the load any more.

    Raises
    ------
    LoadWithdrawn
        The load is not ``loading``.
    """
    with lease.transaction() as connection:
        close_load(connection, load_id, SEAL_PATIENCE)
        advance(connection, load_id, "loading", "sealed")


def publish(lease: Lease, load_id: int) -> None:
    """Let readers see a verified load in place of what they see now for its run date.

    One transaction, of rows only: readers see all of it or nothing, and nobody waits. A load that was replaced or
    withdrawn is published again in the same way. What was published before stays in the storage, ``replaced``.

    Raises
    ------
    LoadWithdrawn
        The load is not verified, or another run took the run date over.
    StillInUse
        Transactions from before a new leaf went on too long; the message names their processes.
    """
    run_date = lease.run_date
    _await_readers(lease.connection, run_date)
    _analyse(lease.connection)
    with lease.transaction() as connection:
        # A statement of its own: the next one's snapshot is taken when the lock is there.
        connection.execute(select(func.pg_advisory_xact_lock(Lock.PUBLISH, 0)))
        _check_publishable(connection, run_date, load_id)
        for dimension, said in zip(DIMENSIONS, SAID, strict=True):
            connection.execute(_upsert(dimension, said, run_date, load_id))
        replaced = connection.scalar(
            select(published.c.load_id).where(published.c.run_date == run_date)
        )
        run = update(load_run)
        connection.execute(run.where(load_run.c.load_id == replaced).values(status="replaced"))
        now = func.clock_timestamp()
        connection.execute(
            run.where(load_run.c.load_id == load_id).values(
                status="published",
                published_at=now,
                finished_at=func.coalesce(load_run.c.finished_at, now),
            )
        )
        gate = insert(published).values(run_date=run_date, load_id=load_id)
        connection.execute(
            gate.on_conflict_do_update(
                index_elements=[published.c.run_date], set_={"load_id": gate.excluded.load_id}
            )
        )
        connection.execute(_SUPERSEDE, {"loads": [load_id, replaced]})


def _check_publishable(connection: Connection, run_date: date, load_id: int) -> None:
    """Lock the load's row, and check that the load may be published."""
    ready = (
        load_run.c.load_id == load_id,
        load_run.c.run_date == run_date,
        load_run.c.status.in_(PUBLISHABLE),
    )
    if connection.scalar(select(load_run.c.load_id).where(*ready).with_for_update()) is None:
        raise LoadWithdrawn(
            f"Load {load_id} of {run_date} can't be published: it is not verified, or another run took over; "
            "see `orders-dask status`."
        )


def _upsert(dimension: Table, said: Table, run_date: date, load_id: int) -> Insert:
    """Bring what a load said of a dimension into it.

    Of the load's rows for a key, the one of the greatest (version, file, position) counts. Its attributes stand, as
    a whole, if it has any and no later run date gave some.
    """
    order = (
        said.c.version.desc().nulls_last(),
        said.c.source_file_id.desc(),
        said.c.source_position.desc(),
    )
    key = [said.c[name] for name in dimension.info["key"]]
    place = func.row_number().over(partition_by=key, order_by=order).label("place")
    ranked = select(said, place).where(said.c.load_id == load_id).subquery()

    names = [c.name for c in attributes(dimension)]
    says_any = or_(false(), *(ranked.c[name].is_not(None) for name in names))
    this = literal(run_date)
    rows = (
        select(
            *(ranked.c[name] for name in (*dimension.info["key"], *names)),
            case((says_any, this)),
            this,
            this,
        )
        .where(ranked.c.place == 1)
        .order_by(*(ranked.c[name] for name in dimension.info["key"]))
    )
    new = insert(dimension).from_select(
        [*dimension.info["key"], *names, "attributes_run_date", "first_seen", "last_seen"], rows
    )
    had, given = dimension.c, new.excluded
    stands = given.attributes_run_date >= func.coalesce(
        had.attributes_run_date, given.attributes_run_date
    )
    return new.on_conflict_do_update(
        index_elements=list(dimension.primary_key),
        set_={
            **{name: case((stands, given[name]), else_=had[name]) for name in names},
            "attributes_run_date": func.greatest(
                had.attributes_run_date, given.attributes_run_date
            ),
            "first_seen": func.least(had.first_seen, given.first_seen),
            "last_seen": func.greatest(had.last_seen, given.last_seen),
        },
        where=or_(stands, this < had.first_seen, this > had.last_seen),
    )


# After the flip of the gate: which versions of the orders that came or went are not current. The shape keeps it
# the size of a day: index probes for each order; as a plain join it scanned all of history.
_SUPERSEDE: Final = text(
    """
    with touched as materialized (
      select distinct order_id from orders_store.order_version where load_id = any(:loads)
    ),
    ranked as materialized (
      select r.order_id, r.run_date from touched t cross join lateral (
        select v.order_id, v.run_date,
               row_number() over (order by v.version desc nulls last, v.run_date desc) as place
        from orders_store.order_version v
        where v.order_id = t.order_id
          and exists (select from orders_store.published p where p.load_id = v.load_id)
      ) r where r.place > 1
    ),
    was as materialized (
      select w.* from touched t cross join lateral (
        select s.ctid as at, s.order_id, s.run_date from orders_store.order_superseded s
        where s.order_id = t.order_id offset 0
      ) w
    ),
    gone as (
      delete from orders_store.order_superseded where ctid = any(array(
        select w.at from was w where not exists (
          select from ranked r where r.order_id = w.order_id and r.run_date = w.run_date)))
    )
    insert into orders_store.order_superseded (order_id, run_date)
    select order_id, run_date from ranked on conflict do nothing
    """
)


def _await_readers(connection: Connection, run_date: date) -> None:
    """Wait for the transactions that may not see the run date's leaf, because they began before it was attached."""
    holds = storage_leaf.c.first_date <= run_date, run_date < storage_leaf.c.end_date
    deadline = time.monotonic() + READERS_PATIENCE
    while True:
        with connection.begin():
            watch = connection.scalar(select(storage_leaf.c.watch).where(*holds))
            if not watch:
                return
            pids = connection.scalars(_STILL_THERE, {"watch": watch}).all()
            if not pids:
                connection.execute(update(storage_leaf).where(*holds).values(watch=[]))
                return
        if time.monotonic() > deadline:
            raise StillInUse(
                f"Run date {run_date} waits for transactions that began before its partitions were made, of the "
                f"PostgreSQL processes {', '.join(map(str, pids))}: end them, then run it again."
            )
        time.sleep(0.2)


_STILL_THERE: Final = text(
    "select pid from pg_locks where locktype = 'virtualxid' and virtualxid = any(:watch) order by pid"
)


def _analyse(connection: Connection) -> None:
    """Give the planner the statistics of the parents, which autovacuum never does.

    Before PostgreSQL 18 that would analyse every leaf of the whole history, so there it is left out.
    """
    if (connection.dialect.server_version_info or ()) < (18,):
        return
    parents = sql.SQL(", ").join(
        sql.SQL("only {}").format(sql.Identifier(STORE, fact.name)) for fact in FACTS
    )
    with connection.begin(), explaining():
        connection.execute(
            select(func.set_config("default_statistics_target", str(STATISTICS), True))
        )
        driver_cursor(connection).execute(sql.SQL("analyze {}").format(parents))
