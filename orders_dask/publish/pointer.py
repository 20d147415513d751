"""The gate: which load readers see for each run date, and which of its versions are current."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

from sqlalchemy import Connection, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from orders_dask.contract.ledger_tables import load_run
from orders_dask.contract.storage_tables import published
from orders_dask.errors import NothingToRestore, ServiceUnavailable, TransientError
from orders_dask.ledger import leases
from orders_dask.ledger.leases import Lease
from orders_dask.load.locks import Lock
from orders_dask.retry import retry_transient


def lock_publishing(connection: Connection) -> None:
    """Wait until no other transaction publishes or takes back: from here to its end this one is alone at the gate.

    Dimensions, gate and superseded versions are written only after it: no two transactions wait for
    each other's rows.
    """
    # A statement of its own: the next one's snapshot is taken when the lock is there.
    connection.execute(select(func.pg_advisory_xact_lock(Lock.PUBLISH, 0)))


@dataclass(frozen=True)
class PublishPlan:
    """What a publish finds out before its turn, so that the turn is short.

    Attributes
    ----------
    orders
        The orders that come or go and have versions on other run dates, in whatever load: few.
    published
        The loads that readers saw before the look. Their rows, unlike those of later ones, were all
        there to be seen.
    """

    orders: list[int]
    published: list[int]


def precompute(connection: Connection, run_date: date, load_id: int) -> PublishPlan:
    """Look, before the turn, for the orders of a sealed load of which another version may be current."""
    # In this order: a load that is published was sealed before, so the second statement sees all of
    # its rows.
    seen = list(connection.scalars(select(published.c.load_id)))
    before = select(published.c.load_id).where(published.c.run_date == run_date)
    given = {"loads": [load_id, *connection.scalars(before)], "run_date": run_date}
    # Should the planner think the table small: by a scan each of its rows is compared with each of
    # the ids.
    connection.execute(select(func.set_config("enable_seqscan", "off", True)))
    return PublishPlan(list(connection.scalars(_OTHER_VERSIONS, given)), seen)


# The ids as an array, in whose order PostgreSQL walks the index (once, from 17 on), and either side
# of the run date by itself, so that no row of the load is fetched: 1.0 us an order where a probe
# for each took 2.3, and a plain join scanned all of history.
_OTHER_VERSIONS: Final = text(
    """
    with touched as materialized (
      select array(select order_id from orders_store.order_version where load_id = any(:loads)) as
      orders
    )
    select order_id from orders_store.order_version
    where order_id = any((select orders from touched)::bigint[]) and run_date < :run_date
    union
    select order_id from orders_store.order_version
    where order_id = any((select orders from touched)::bigint[]) and run_date > :run_date
    """
)


def set_published(
    connection: Connection,
    run_date: date,
    load_id: int | None,
    old_status: Literal["replaced", "unpublished"],
    plan: PublishPlan | None = None,
) -> int | None:
    """Let readers see a load for its run date, or none, from the commit of the open transaction on.

    It flips the gate, moves both loads to their statuses, and finds anew which versions are not
    current. The transaction has taken its turn (:func:`lock_publishing`).

    Parameters
    ----------
    load_id
        The load to be seen; None for a run date without any.
    old_status
        The status of the load that was seen until now.
    plan
        What was found out before the turn; without it every order that comes or goes is looked at
        now.

    Returns
    -------
    int or None
        The load that was seen until now, if there was one.

    Raises
    ------
    NotKept
        The load to be seen was pruned.
    """
    seen = published.c.run_date == run_date
    before = connection.scalar(select(published.c.load_id).where(seen))
    run = update(load_run)
    connection.execute(
        run.where(load_run.c.load_id == before).values(
            status=old_status, unpublished_at=func.clock_timestamp()
        )
    )
    if load_id is None:
        connection.execute(delete(published).where(seen))
    else:
        whole = load_run.c.load_id == load_id, load_run.c.pruned_at.is_(None)
        shown = run.where(*whole).values(status="published", unpublished_at=None)
        if not connection.execute(shown).rowcount:
            raise NothingToRestore(
                f"Load {load_id} of {run_date} was pruned: nobody can see it any more."
            )
        gate = insert(published).values(run_date=run_date, load_id=load_id)
        connection.execute(
            gate.on_conflict_do_update(
                index_elements=[published.c.run_date], set_={"load_id": gate.excluded.load_id}
            )
        )
    loads = [each for each in (load_id, before) if each is not None]
    look = (
        {"looked_at": loads, "orders": [], "published": None}
        if plan is None
        else {"looked_at": [], **vars(plan)}
    )
    connection.execute(_SUPERSEDE, {"loads": loads, **look})
    return before


# After the flip of the gate: which versions of the orders that came or went are not current.
# Touched are the orders of the loads to be looked at now, what was foreseen, and what loads that
# were published since have in common with these (none where the list of those published before is
# null). The shape keeps it the size of a day: index probes for each order; as a plain join it
# scanned all of history.
_SUPERSEDE: Final = text(
    """
    with touched as materialized (
      select order_id from orders_store.order_version where load_id = any(cast(:looked_at as
      bigint[])) union select unnest(cast(:orders as bigint[])) union select since.order_id from
      orders_store.published p join orders_store.order_version since on since.load_id = p.load_id
      where p.load_id <> all(cast(:published as bigint[])) and p.load_id <> all(:loads) and exists (
        select from orders_store.order_version v
        where v.order_id = since.order_id and v.load_id = any(:loads))
    ),
    ranked as materialized (
      select r.order_id, r.run_date from touched t cross join lateral (
        select v.order_id, v.run_date,
               row_number() over (order by v.version_at desc nulls last, v.run_date desc) as place
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


@contextmanager
def confirm_commit(
    lease: Lease, load_id: int, status: Literal["published", "unpublished"]
) -> Iterator[None]:
    """Tell a commit whose answer was lost from one that failed.

    A session that breaks while it commits leaves open whether it did. That is certain once another
    session has got the run date, for the first one held it until its end.

    Parameters
    ----------
    load_id, status
        What the commit makes of which load: where it did, the error doesn't leave the ``with``
        block.
    """
    try:
        yield
    except ServiceUnavailable:
        if not (lease.connection.invalidated and _has_status(lease, load_id, status)):
            raise


def _has_status(lease: Lease, load_id: int, status: str) -> bool:
    with suppress(TransientError):
        return bool(_status(lease, load_id) == status)
    return False


@retry_transient
def _status(lease: Lease, load_id: int) -> str | None:
    """Hold the run date in another session, and read the status of the load."""
    with (
        leases.acquire_lease(lease.connection.engine, lease.run_date) as again,
        again.transaction() as connection,
    ):
        now = select(load_run.c.status).where(load_run.c.load_id == load_id)
        status: str | None = connection.scalar(now)
    return status
