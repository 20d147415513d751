"""Unpublish a run date: readers see none of its loads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from sqlalchemy import Engine, select, update

from orders_dask.contract.ledger_tables import load_run
from orders_dask.contract.storage_tables import published
from orders_dask.ledger.leases import Lease
from orders_dask.publish import dimensions, pointer


def published_before(engine: Engine, day: date) -> Sequence[date]:
    """Return the published run dates before a day, ascending."""
    old = select(published.c.run_date).where(published.c.run_date < day)
    with engine.connect() as connection:
        return connection.scalars(old.order_by(published.c.run_date)).all()


def unpublish_run_date(lease: Lease) -> int | None:
    """Unpublish the lease's run date; dimensions stay as they are.

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
        unpublished = pointer.set_published(connection, lease.run_date, None, "unpublished")
        irreversible = update(load_run).where(*of_date).values(can_roll_back=False)
        loads = connection.scalars(irreversible.returning(load_run.c.load_id)).all()
        dimensions.discard_undo(connection, loads)
    return unpublished
