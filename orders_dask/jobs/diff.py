"""What a re-run of a run date changed, or would change."""

from __future__ import annotations

from datetime import date

from distributed import Client
from sqlalchemy import Engine

from orders_dask.cluster.connect import resolve_client
from orders_dask.errors import NothingToRestore, SourceMissing
from orders_dask.extract.records import Split
from orders_dask.jobs.inspect import inspect_run_date
from orders_dask.ledger import leases
from orders_dask.ledger.queries import LoadStatus, published_load
from orders_dask.load.schema import ready_database
from orders_dask.pipeline import steps
from orders_dask.pipeline.load_scope import RunContext, open_load
from orders_dask.pipeline.progress import Listener, StepTimer, no_progress
from orders_dask.publish.diff import DiffResult, compare, comparison_load, replaced_load
from orders_dask.retry import retry_run
from orders_dask.settings import Settings, load_settings


def diff(
    run_date: date,
    *,
    settings: Settings | None = None,
    client: Client | None = None,
    listener: Listener | None = None,
) -> DiffResult:
    """Compare what is published of a run date with what it replaced or, where its dump has changed, with the dump.

    A changed dump is loaded beside what is published, where nobody sees it; a later
    :func:`~orders_dask.run` uses again what that staged.

    Parameters
    ----------
    run_date
        The date of the dump.
    settings
        From the environment by default.
    client
        The Dask client to load with; the current one by default. None is needed where both loads
        are there.
    listener
        Called with each step's progress.

    Raises
    ------
    NotKept
        Nothing is published, or nothing is there to compare it with.
    DataRefused
        A run would refuse the changed dump.
    TransientError
        A service can't be reached, somebody works on the run date, or a file changed meanwhile.
    SettingsError
        A setting is missing or malformed, or a client is needed and there is none.
    """
    settings = settings or load_settings()
    database = ready_database(settings)
    return retry_run(_diff)(run_date, settings, client, database, listener or no_progress)


def diff_without_loading(run_date: date, *, settings: Settings | None = None) -> DiffResult | None:
    """Do the same as :func:`diff`, if that needs no loading and so no cluster.

    Returns
    -------
    Difference or None
        None where the dump has changed and has to be loaded.
    """
    settings = settings or load_settings()
    found = _diff_or_inspection(
        run_date, settings, ready_database(settings), StepTimer(run_date, no_progress)
    )
    return found if isinstance(found, DiffResult) else None


def _diff(
    run_date: date, settings: Settings, client: Client | None, database: Engine, listener: Listener
) -> DiffResult:
    timer = StepTimer(run_date, listener)
    found = _diff_or_inspection(run_date, settings, database, timer)
    if isinstance(found, DiffResult):
        return found
    splits, fingerprint, standing = found
    work = RunContext(settings, resolve_client(client, settings), database, timer)
    with open_load(work, run_date, standing, fingerprint, status_if_refused="failed") as load:
        parts, books = steps.decode(load, splits)
        steps.resolve_and_load(load, parts, manifest=False)
        steps.seal_and_verify(load, len(parts), books)
        leases.finish(load.lease, load.load_id, "comparison")
    return compare(database, run_date, standing.load_id, load.load_id, published=False)


def _diff_or_inspection(
    run_date: date, settings: Settings, database: Engine, timer: StepTimer
) -> DiffResult | tuple[list[Split], str, LoadStatus]:
    """Compare what is in the storage, or say what has to be loaded: its splits, fingerprint, and what is published."""
    try:
        splits, fingerprint, seen = inspect_run_date(run_date, settings, database, timer)
    except SourceMissing:  # what was loaded of it can be compared all the same
        standing = _require_published(run_date, published_load(database, run_date))
        return _diff_with_replaced(database, standing)
    standing = _require_published(run_date, seen)
    if fingerprint == standing.fingerprint:
        return _diff_with_replaced(database, standing)
    compared = comparison_load(database, run_date, fingerprint)
    if compared is None:
        return splits, fingerprint, standing
    return compare(database, run_date, standing.load_id, compared, published=False)


def _require_published(run_date: date, load: LoadStatus | None) -> LoadStatus:
    if load is None:
        raise NothingToRestore(
            f"Nothing is published for {run_date}, so there is nothing to compare with: publish it with `orders-dask "
            f"run --run-date {run_date}`."
        )
    return load


def _diff_with_replaced(database: Engine, published: LoadStatus) -> DiffResult:
    replaced = replaced_load(database, published.load_id)
    if replaced is None:
        raise NothingToRestore(
            f"Load {published.load_id} of {published.run_date} replaced no other, and no other files "
            "are there: there is nothing to compare it with."
        )
    return compare(database, published.run_date, replaced, published.load_id, published=True)
