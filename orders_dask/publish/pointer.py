"""The published pointer: the load that readers see for a run date, and superseded versions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

from sqlalchemy import Connection, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from orders_dask.contract.ledger_tables import load_run
from orders_dask.contract.storage_tables import published
from orders_dask.errors import (
    NothingToRestore,
    OutcomeUnknown,
    ServiceUnavailable,
    TransientError,
)
from orders_dask.ledger import leases
from orders_dask.ledger.leases import Lease
from orders_dask.load.locks import Lock
from orders_dask.retry import retry_transient


def lock_publishing(connection: Connection) -> None:
    """Take the publish lock until the open transaction ends: one publish or rollback at a time.

    Dimensions, pointer, superseded versions and sums of sales are written under this lock only, so
    no two transactions wait for each other's rows.
    """
    # A statement of its own, so that the next one takes its snapshot under the lock.
    connection.execute(select(func.pg_advisory_xact_lock(Lock.PUBLISH, 0)))


@dataclass(frozen=True)
class PublishPlan:
    """What is precomputed before the publish lock is taken, so that the lock is held briefly.

    Attributes
    ----------
    orders
        Ids of orders of the incoming or outgoing load that have versions on other run dates, in
        whatever load: few.
    published
        The loads that were published before `orders` was computed, so it takes all of their rows
        into account. Loads that are published later are not taken into account.
    """

    orders: list[int]
    published: list[int]


def precompute(connection: Connection, loads: Mapping[date, int]) -> PublishPlan:
    """Precompute the orders of sealed loads, by run date, whose current version may be another."""
    # In this order: a published load was sealed before, so the later statement sees all its rows.
    published_loads = list(connection.scalars(select(published.c.load_id)))
    outgoing = select(published.c.load_id).where(published.c.run_date.in_(loads))
    parameters = {
        "loads": [*loads.values(), *connection.scalars(outgoing)],
        "first": min(loads),
        "last": max(loads),
    }
    # If the planner thought the table small, a scan would compare each row with each id.
    connection.execute(select(func.set_config("enable_seqscan", "off", True)))
    orders = list(connection.scalars(_OTHER_VERSIONS, parameters))
    connection.execute(text("set local enable_seqscan to default"))
    return PublishPlan(orders, published_loads)


# PostgreSQL walks the index in the order of the array of ids (once, from 17 on). Each side of the
# run dates is walked by itself, so no row of a single load is fetched: 1.0 us an order.
_OTHER_VERSIONS: Final = text(
    """
    with touched as materialized (
      select array(
        select order_id from orders_store.order_version where load_id = any(:loads)
      ) as orders
    )
    select order_id from orders_store.order_version
    where order_id = any((select orders from touched)::bigint[]) and run_date < :first
    union
    select order_id from orders_store.order_version
    where order_id = any((select orders from touched)::bigint[]) and run_date > :last
    union
    select order_id from orders_store.order_version
    where cast(:first as date) <> :last and run_date between :first and :last
      and order_id = any((select orders from touched)::bigint[])
    group by order_id having min(run_date) <> max(run_date)
    """
)


def published_loads(connection: Connection, run_dates: Collection[date]) -> dict[date, int]:
    """Return the loads that readers see for run dates, where they see one."""
    shown = select(published.c.run_date, published.c.load_id)
    of_dates = connection.execute(shown.where(published.c.run_date.in_(run_dates)))
    return {run_date: load_id for run_date, load_id in of_dates}


def set_published(
    connection: Connection,
    loads: Mapping[date, int | None],
    old_status: Literal["replaced", "unpublished"],
    plan: PublishPlan | None = None,
) -> dict[date, int]:
    """Make readers see loads for their run dates, or none, once the open transaction commits.

    This moves the pointers, moves all loads to their statuses, and recomputes which versions are
    superseded. The transaction holds the publish lock (:func:`lock_publishing`).

    Parameters
    ----------
    connection
        The transaction.
    loads
        The load to publish for each run date; None to publish none.
    old_status
        New status of the loads that were published until now.
    plan
        What :func:`precompute` returned. Without it, every order of all loads is examined now.

    Returns
    -------
    dict
        The loads that were published until now, by run date, where there was one.

    Raises
    ------
    NothingToRestore
        A load to publish was pruned.
    """
    # The triggers of sql/marts.sql change the sums of sales: with the pointer those of both loads,
    # by what was superseded until then; with the superseded versions those of these.
    before = published_loads(connection, loads)
    after = {run_date: load_id for run_date, load_id in loads.items() if load_id is not None}
    run = update(load_run)
    if before:
        connection.execute(
            run.where(load_run.c.load_id.in_(before.values())).values(
                status=old_status, unpublished_at=func.clock_timestamp()
            )
        )
    if without := [run_date for run_date in before if run_date not in after]:
        connection.execute(delete(published).where(published.c.run_date.in_(without)))
    if after:
        whole = load_run.c.load_id.in_(after.values()), load_run.c.pruned_at.is_(None)
        publish = run.where(*whole).values(status="published", unpublished_at=None)
        found = {*connection.scalars(publish.returning(load_run.c.load_id))}
        for run_date, load_id in after.items():
            if load_id not in found:
                raise NothingToRestore(
                    f"Load {load_id} of {run_date} was pruned: nobody can see it any more."
                )
        rows = [{"run_date": run_date, "load_id": load_id} for run_date, load_id in after.items()]
        row = insert(published).values(rows)
        connection.execute(
            row.on_conflict_do_update(
                index_elements=[published.c.run_date], set_={"load_id": row.excluded.load_id}
            )
        )
    changed = [*after.values(), *before.values()]
    planned = (
        {"unplanned": changed, "orders": [], "published": None}
        if plan is None
        else {"unplanned": [], **vars(plan)}
    )
    connection.execute(_SUPERSEDE, {"loads": changed, **planned})
    return before


# After the pointer moved: recompute the superseded versions of the touched orders. `touched`:
# orders of the loads without a plan, precomputed ones, and those that the loads share with any load
# published since the precomputation (none if :published is null). Index probes for each order: as a
# plain join it scanned all of history.
_SUPERSEDE: Final = text(
    """
    with touched as materialized (
      select order_id from orders_store.order_version
      where load_id = any(cast(:unplanned as bigint[]))
      union
      select unnest(cast(:orders as bigint[]))
      union
      select since.order_id
      from orders_store.published p join orders_store.order_version since
        on since.load_id = p.load_id
      where p.load_id <> all(cast(:published as bigint[])) and p.load_id <> all(:loads)
        and exists (
          select from orders_store.order_version v
          where v.order_id = since.order_id and v.load_id = any(:loads))
    ),
    superseded as materialized (
      select r.order_id, r.run_date from touched t cross join lateral (
        select v.order_id, v.run_date,
               row_number() over (order by v.version_at desc nulls last, v.run_date desc) as rank
        from orders_store.order_version v
        where v.order_id = t.order_id
          and exists (select from orders_store.published p where p.load_id = v.load_id)
      ) r where r.rank > 1
    ),
    listed as materialized (
      select l.* from touched t cross join lateral (
        select s.ctid as at, s.order_id, s.run_date from orders_store.order_superseded s
        where s.order_id = t.order_id offset 0
      ) l
    ),
    deleted as (
      delete from orders_store.order_superseded where ctid = any(array(
        select l.at from listed l where not exists (
          select from superseded s where s.order_id = l.order_id and s.run_date = l.run_date)))
    )
    insert into orders_store.order_superseded (order_id, run_date)
    select order_id, run_date from superseded on conflict do nothing
    """
)


@contextmanager
def confirm_commit(
    lease: Lease,
    load_id: int,
    status: str | Collection[str],
    unknown: OutcomeUnknown | None = None,
) -> Iterator[None]:
    """Find out whether the commit was done, if its answer is lost.

    A session that breaks during its commit may have committed or not. A new session that acquires
    the lease knows: the old session has ended, because it held the lease until its end. If the
    commit was done, the error is suppressed.

    Parameters
    ----------
    lease
        The lease whose session commits in the ``with`` block.
    load_id, status
        The load, and its status after the commit, or those that it may have.
    unknown
        Error to raise if no new session could find out; by default that of the broken session.

    Raises
    ------
    ServiceUnavailable
        The commit was not done, or `unknown` is None and that could not be found out.
    OutcomeUnknown
        It could not be found out, and `unknown` is given.
    """
    try:
        yield
    except ServiceUnavailable as error:
        if not lease.connection.invalidated:
            raise
        statuses = [status] if isinstance(status, str) else status
        committed = _has_status(lease, load_id, statuses)
        if committed is None and unknown:
            raise unknown from error
        if not committed:
            raise


def _has_status(lease: Lease, load_id: int, statuses: Collection[str]) -> bool | None:
    """Return whether a load has one of some statuses; None if that could not be found out."""
    with suppress(TransientError):
        return _status(lease, load_id) in statuses
    return None


@retry_transient
def _status(lease: Lease, load_id: int) -> str | None:
    """Return a load's status, read in a new session that has acquired the lease."""
    with (
        leases.acquire_lease(lease.connection.engine, lease.run_date) as new_lease,
        new_lease.transaction() as connection,
    ):
        of_load = select(load_run.c.status).where(load_run.c.load_id == load_id)
        status: str | None = connection.scalar(of_load)
    return status
