"""Unpublish a run date: readers see none of its loads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from sqlalchemy import Engine, func, select, union, update

from orders_dask.contract.ledger_tables import load_run
from orders_dask.contract.storage_tables import published
from orders_dask.ledger.leases import Lease
from orders_dask.load.planner import WORK_MEM
from orders_dask.publish import dimensions, pointer


def published_before(engine: Engine, day: date) -> Sequence[date]:
    """Return the run dates before a day that are published or have a held load, ascending."""
    old = union(
        select(published.c.run_date).where(published.c.run_date < day),
        select(load_run.c.run_date).where(load_run.c.run_date < day, load_run.c.status == "held"),
    ).subquery()
    with engine.connect() as connection:
        return connection.scalars(select(old.c.run_date).order_by(old.c.run_date)).all()


def unpublish_run_date(lease: Lease) -> int | None:
    """Unpublish the lease's run date, and discard what is held of it.

    None of its publishes can be rolled back any more, and prune deletes its loads' rows when they
    are old enough.

    Returns
    -------
    int or None
        The load that was published until now, if there was one.
    """
    of_date = load_run.c.run_date == lease.run_date, load_run.c.can_roll_back
    with lease.transaction() as connection:
        pointer.lock_publishing(connection)
        unpublished = pointer.set_published(connection, {lease.run_date: None}, "unpublished")
        connection.execute(select(func.set_config(*WORK_MEM, True)))
        dimensions.replace(connection, {lease.run_date: None}, unpublished)
        connection.execute(update(load_run).where(*of_date).values(can_roll_back=False))
        held = load_run.c.run_date == lease.run_date, load_run.c.status == "held"
        connection.execute(
            update(load_run).where(*held).values(status="discarded", message="It was unpublished.")
        )
    return unpublished.get(lease.run_date)
