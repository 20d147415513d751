"""From what readers see back to what they saw before."""

from __future__ import annotations

from datetime import date

from sqlalchemy import Connection, select, update

from orders_dask.contract.ledger_tables import load_run
from orders_dask.contract.storage_tables import published
from orders_dask.errors import NothingToRestore
from orders_dask.ledger.leases import Lease
from orders_dask.publish import dimensions
from orders_dask.publish import pointer as gate


def restore_previous(lease: Lease, load_id: int) -> None:
    """Withdraw the published load of a run date that is held, for the one that it replaced.

    Raises
    ------
    NotKept
        What its publish replaced was pruned, or it is not published.
    """
    with gate.confirm_commit(lease, load_id, "unpublished"), lease.transaction() as connection:
        gate.lock_publishing(connection)
        replaced = _replaced_load(connection, lease.run_date, load_id)
        dimensions.restore(connection, load_id)
        taken_back = update(load_run).where(load_run.c.load_id == load_id)
        connection.execute(taken_back.values(can_roll_back=False))
        gate.set_published(connection, lease.run_date, replaced, "unpublished")


def _replaced_load(connection: Connection, run_date: date, load_id: int) -> int | None:
    """Lock the row of the published load, and give the load that it replaced."""
    seen = (
        select(load_run.c.replaced_load_id, load_run.c.can_roll_back)
        .join_from(load_run, published, published.c.load_id == load_run.c.load_id)
        .where(published.c.run_date == run_date, published.c.load_id == load_id)
        .with_for_update(of=load_run)
    )
    load = connection.execute(seen).one_or_none()
    if load is None:
        raise NothingToRestore(nothing_published(run_date))
    if not load.can_roll_back:
        raise NothingToRestore(
            f"Load {load_id} of {run_date} can't be rolled back, for what it replaced was pruned: put the files back "
            f"as they were, then run `orders-dask run --run-date {run_date}`."
        )
    return load.replaced_load_id  # type: ignore[no-any-return]


def nothing_published(run_date: date) -> str:
    """Say that there is nothing to take back."""
    return f"Nothing is published for {run_date}: see `orders-dask status`."
