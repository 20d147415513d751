"""Review a load that a check holds: accept it, and readers see it, or discard it."""

from __future__ import annotations

import getpass
import os
import socket
from contextlib import ExitStack
from datetime import date
from functools import partial

from orders_dask.errors import NothingToRestore
from orders_dask.jobs.lineage import lineage_of_load, stored_files
from orders_dask.jobs.results import result_from_ledger
from orders_dask.ledger import leases
from orders_dask.ledger.leases import Lease
from orders_dask.ledger.queries import LoadStatus, held_load, load_status
from orders_dask.load.ready import ready_database
from orders_dask.pipeline.progress import StepTimer, no_progress
from orders_dask.pipeline.results import RunResult
from orders_dask.publish import publish
from orders_dask.publish.review import Review
from orders_dask.retry import retry_transient
from orders_dask.settings import Settings, load_settings


def accept(
    run_date: date,
    because: str | None = None,
    *,
    load_id: int | None = None,
    settings: Settings | None = None,
) -> RunResult:
    """Publish the load of a run date that a check holds; nothing is decoded again.

    Parameters
    ----------
    run_date
        Date of the dump.
    because
        Why, for the ledger.
    load_id
        The load that is meant; by default whichever is held now, which may be a later one than
        that of an alert.
    settings
        Settings; from the environment by default.

    Returns
    -------
    RunResult
        ``published``.

    Raises
    ------
    NothingToRestore
        No load of the run date is held, or it was pruned.
    RunDateLocked
        Another run has locked the run date.
    ServiceUnavailable
        PostgreSQL can't be reached, or broke off.
    DatabaseNotReady
        ``orders-dask init`` has not been run.
    """
    settings = settings or load_settings()
    database = ready_database(settings)
    timer = StepTimer(run_date, no_progress)
    with ExitStack() as lineage, leases.acquire_lease(database, run_date) as lease:
        held = _require_held(lease, load_id)
        files = partial(stored_files, database, held.load_id)
        lineage.enter_context(
            lineage_of_load(run_date, held.load_id, held.fingerprint, files, settings, database)
        )
        with timer.step("publish"):
            plan = publish.precompute(database, run_date, held.load_id)
            publish.publish(lease, held.load_id, plan, by_this_user(because))
    loaded = retry_transient(load_status)(database, held.load_id)
    return result_from_ledger("published", loaded, timer)


def discard(
    run_date: date,
    because: str | None = None,
    *,
    load_id: int | None = None,
    settings: Settings | None = None,
) -> RunResult:
    """Discard the load of a run date that a check holds: what is published stands.

    A run of the same files leaves the run date alone from then on, unless it is forced.

    Parameters
    ----------
    run_date, because, load_id, settings
        As in :func:`accept`.

    Returns
    -------
    RunResult
        ``discarded``.

    Raises
    ------
    NothingToRestore
        No load of the run date is held.
    RunDateLocked
        Another run has locked the run date.
    ServiceUnavailable
        PostgreSQL can't be reached, or broke off.
    DatabaseNotReady
        ``orders-dask init`` has not been run.
    """
    database = ready_database(settings or load_settings())
    timer = StepTimer(run_date, no_progress)
    with leases.acquire_lease(database, run_date) as lease:
        held = _require_held(lease, load_id)
        publish.discard(lease, held.load_id, by_this_user(because))
    return result_from_ledger("discarded", held, timer)


def _require_held(lease: Lease, load_id: int | None) -> LoadStatus:
    held = held_load(lease.connection.engine, lease.run_date)
    if held is None:
        raise NothingToRestore(f"No load of {lease.run_date} is held: see `orders-dask status`.")
    if load_id not in (None, held.load_id):
        raise NothingToRestore(
            f"Load {load_id} of {lease.run_date} is not held, but load {held.load_id}: look at "
            "that one first, see `orders-dask status`."
        )
    return held


def by_this_user(because: str | None) -> Review:
    """Return the review of this process' user and host; a container's user may have no name."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"user {os.getuid()}"
    return Review(f"{name} on {socket.gethostname()}", because)
