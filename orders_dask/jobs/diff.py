"""What a re-run of a run date changed, or would change."""

from __future__ import annotations

from datetime import date

from distributed import Client
from sqlalchemy import Engine

from orders_dask.cluster.connect import usable_client
from orders_dask.errors import NotKept, SourceMissing
from orders_dask.extract.records import Split
from orders_dask.jobs.inspect import looked
from orders_dask.ledger import leases
from orders_dask.ledger.queries import LoadStatus, published_load
from orders_dask.load.schema import ready_database
from orders_dask.pipeline import steps
from orders_dask.pipeline.load_scope import Work, loading
from orders_dask.pipeline.progress import Clock, Listener, silent
from orders_dask.publish.diff import Difference, compare, compared_load, replaced_load
from orders_dask.retry import again
from orders_dask.settings import Settings, load_settings


def diff(
    run_date: date,
    *,
    settings: Settings | None = None,
    client: Client | None = None,
    listener: Listener | None = None,
) -> Difference:
    """Compare what is published of a run date with what it replaced or, where its dump has changed, with the dump.

    A changed dump is loaded beside what is published, where nobody sees it; a later :func:`~orders_dask.run` uses again
    what that staged.

    Parameters
    ----------
    run_date
        The date of the dump.
    settings
        From the environment by default.
    client
        The Dask client to load with; the current one by default. None is needed where both loads are there.
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
    return again(_diff)(run_date, settings, client, database, listener or silent)


def diff_there(run_date: date, *, settings: Settings | None = None) -> Difference | None:
    """Do the same as :func:`diff`, if that needs no loading and so no cluster.

    Returns
    -------
    Difference or None
        None where the dump has changed and has to be loaded.
    """
    settings = settings or load_settings()
    found = _found(run_date, settings, ready_database(settings), Clock(run_date, silent))
    return found if isinstance(found, Difference) else None


def _diff(
    run_date: date, settings: Settings, client: Client | None, database: Engine, listener: Listener
) -> Difference:
    clock = Clock(run_date, listener)
    found = _found(run_date, settings, database, clock)
    if isinstance(found, Difference):
        return found
    splits, fingerprint, standing = found
    work = Work(settings, usable_client(client, settings), database, clock)
    with loading(work, run_date, standing, fingerprint, refusal="failed") as load:
        parts, books = steps.decode(load, splits)
        steps.resolve_and_load(load, parts, manifest=False)
        steps.seal_and_verify(load, len(parts), books)
        leases.finish(load.lease, load.load_id, "compared")
    return compare(database, run_date, standing.load_id, load.load_id, published=False)


def _found(
    run_date: date, settings: Settings, database: Engine, clock: Clock
) -> Difference | tuple[list[Split], str, LoadStatus]:
    """Compare what is in the storage, or say what has to be loaded: its splits, fingerprint, and what is published."""
    try:
        splits, fingerprint, seen = looked(run_date, settings, database, clock)
    except SourceMissing:  # what was loaded of it can be compared all the same
        standing = _published(run_date, published_load(database, run_date))
        return _with_replaced(database, standing)
    standing = _published(run_date, seen)
    if fingerprint == standing.fingerprint:
        return _with_replaced(database, standing)
    compared = compared_load(database, run_date, fingerprint)
    if compared is None:
        return splits, fingerprint, standing
    return compare(database, run_date, standing.load_id, compared, published=False)


def _published(run_date: date, load: LoadStatus | None) -> LoadStatus:
    if load is None:
        raise NotKept(
            f"Nothing is published for {run_date}, so there is nothing to compare with: publish it with `orders-dask "
            f"run --run-date {run_date}`."
        )
    return load


def _with_replaced(database: Engine, standing: LoadStatus) -> Difference:
    replaced = replaced_load(database, standing.load_id)
    if replaced is None:
        raise NotKept(
            f"Load {standing.load_id} of {standing.run_date} replaced no other, and no other files are there: there is "
            "nothing to compare it with."
        )
    return compare(database, standing.run_date, replaced, standing.load_id, published=True)
