"""Unpublishing old run dates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from sqlalchemy import Engine, select, update

from orders_dask.contract.ledger_tables import load_run
from orders_dask.contract.storage_tables import published
from orders_dask.ledger.leases import Lease
from orders_dask.publish import dimensions
from orders_dask.publish import pointer as gate


def published_before(engine: Engine, day: date) -> Sequence[date]:
    """List the published run dates that lie before a day."""
    old = select(published.c.run_date).where(published.c.run_date < day)
    with engine.connect() as connection:
        return connection.scalars(old.order_by(published.c.run_date)).all()


def unpublish_run_date(lease: Lease) -> int | None:
    """Let readers see nothing of a run date any more; the dimensions stay as they are.

    None of its loads can be rolled back from then on, and prune removes their rows when they are
    old enough.

    Returns
    -------
    int or None
        The load that was seen until now, if there was one.
    """
    of_date = load_run.c.run_date == lease.run_date, load_run.c.can_roll_back
    with lease.transaction() as connection:
        gate.lock_publishing(connection)
        seen = gate.set_published(connection, lease.run_date, None, "unpublished")
        final = update(load_run).where(*of_date).values(can_roll_back=False)
        loads = connection.scalars(final.returning(load_run.c.load_id)).all()
        dimensions.discard_undo(connection, loads)
    return seen
