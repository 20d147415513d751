"""Rollback of a publish: readers see the load that it replaced."""

from __future__ import annotations

from datetime import date

from sqlalchemy import Connection, func, select, update

from orders_dask.contract.ledger_tables import load_run
from orders_dask.contract.storage_tables import published
from orders_dask.errors import NothingToRestore, OutcomeUnknown
from orders_dask.ledger.leases import Lease
from orders_dask.load.planner import WORK_MEM
from orders_dask.publish import dimensions, pointer
from orders_dask.publish.review import Review


def restore_previous(lease: Lease, load_id: int, review: Review) -> None:
    """Unpublish the published load of the lease's run date, and publish the one that it replaced.

    The review says who did it, and a run of the same dump leaves the run date alone from then on.

    Raises
    ------
    NothingToRestore
        The load is not published, or the load that it replaced was pruned.
    ServiceUnavailable
        PostgreSQL broke off, and nothing was done.
    OutcomeUnknown
        PostgreSQL broke off, and whether the rollback was done could not be found out. Terminal: a
        retry might go one load further back.
    """
    unknown = OutcomeUnknown(
        f"PostgreSQL broke off while load {load_id} of {lease.run_date} was rolled back: see in "
        "`orders-dask status` whether it is still published before you try again."
    )
    with (
        pointer.confirm_commit(lease, load_id, "unpublished", unknown),
        lease.transaction() as connection,
    ):
        pointer.lock_publishing(connection)
        connection.execute(select(func.set_config(*WORK_MEM, True)))
        replaced = _replaced_load(connection, lease.run_date, load_id)
        of_load = update(load_run).where(load_run.c.load_id == load_id)
        pointer.set_published(connection, {lease.run_date: replaced}, "unpublished")
        connection.execute(of_load.values(can_roll_back=False, **review.values))
        dimensions.replace(connection, {lease.run_date: replaced}, {lease.run_date: load_id})


def _replaced_load(connection: Connection, run_date: date, load_id: int) -> int | None:
    """Lock the row of the published load, and return the load that it replaced."""
    query = (
        select(load_run.c.replaced_load_id, load_run.c.can_roll_back)
        .join_from(load_run, published, published.c.load_id == load_run.c.load_id)
        .where(published.c.run_date == run_date, published.c.load_id == load_id)
        .with_for_update(of=load_run)
    )
    load = connection.execute(query).one_or_none()
    if load is None:
        raise NothingToRestore(nothing_published(run_date))
    if not load.can_roll_back:
        raise NothingToRestore(
            f"Load {load_id} of {run_date} can't be rolled back, for what it replaced was pruned: "
            f"put the files back as they were, then run `orders-dask run --run-date {run_date}`."
        )
    return load.replaced_load_id  # type: ignore[no-any-return]


def nothing_published(run_date: date) -> str:
    """Return the message that nothing is published for a run date."""
    return f"Nothing is published for {run_date}: see `orders-dask status`."
