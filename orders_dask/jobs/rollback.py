"""Publish the load of a run date that the published one replaced."""

from __future__ import annotations

from datetime import date

from orders_dask.errors import NothingToRestore
from orders_dask.jobs.review import by_this_user
from orders_dask.ledger import leases
from orders_dask.ledger.queries import LoadStatus, published_load
from orders_dask.load.ready import ready_database
from orders_dask.pipeline.results import RollbackResult
from orders_dask.publish.rollback import nothing_published, restore_previous
from orders_dask.retry import retry_transient
from orders_dask.settings import Settings, load_settings


def rollback(
    run_date: date, because: str | None = None, *, settings: Settings | None = None
) -> RollbackResult:
    """Publish the load of a run date that the published one replaced.

    One transaction moves the pointer, the current versions and the dimensions. Another rollback
    goes one load further back, so this job is not idempotent. A run of the same files leaves the
    run date alone from then on, unless it is forced.

    Parameters
    ----------
    run_date
        Date of the dump.
    because
        Why, for the ledger.
    settings
        Settings; from the environment by default.

    Returns
    -------
    RollbackResult
        The load that was unpublished, and the one that is published now.

    Raises
    ------
    NothingToRestore
        Nothing is published for the run date, or the load that it replaced was pruned.
    RunDateLocked
        Another run has locked the run date.
    OutcomeUnknown
        PostgreSQL broke off, so it is unknown whether the rollback was committed.
    ServiceUnavailable
        PostgreSQL can't be reached, or broke off and the rollback is found not done.
    DatabaseNotReady
        ``orders-dask init`` has not been run.
    """
    database = ready_database(settings or load_settings())
    with leases.acquire_lease(database, run_date) as lease:
        before = published_load(database, run_date)
        if before is None:
            raise NothingToRestore(nothing_published(run_date))
        restore_previous(lease, before.load_id, by_this_user(because))
        now = retry_transient(published_load)(database, run_date)
    return _result(before, now)


def _result(before: LoadStatus, now: LoadStatus | None) -> RollbackResult:
    return RollbackResult(
        run_date=before.run_date,
        unpublished=before.load_id,
        unpublished_orders=before.orders,
        unpublished_lines=before.lines,
        published=now.load_id if now else None,
        orders=now.orders if now else 0,
        lines=now.lines if now else 0,
    )
