"""What a re-run of a run date changed, or would change."""

from __future__ import annotations

from datetime import date
from threading import Event

from distributed import Client
from sqlalchemy import Engine

from orders_dask import steps
from orders_dask.attempt import Work, loading
from orders_dask.errors import NotKept, SourceMissing
from orders_dask.load import ledger
from orders_dask.load.diff import Difference, compare, compared_load, replaced_load
from orders_dask.load.report import LoadStatus, published_load
from orders_dask.patience import again
from orders_dask.pipeline import looked, ready_database, usable_client
from orders_dask.results import Clock, Listener, silent
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
    found = diff_there(run_date, settings=settings)
    if found:
        return found
    stop = Event()
    made: Difference = again(stop)(_loaded_beside)(
        run_date,
        settings,
        usable_client(client, settings),
        ready_database(settings),
        listener or silent,
        stop,
    )
    return made


def diff_there(run_date: date, *, settings: Settings | None = None) -> Difference | None:
    """Do the same as :func:`diff`, if that needs no loading and so no cluster.

    Returns
    -------
    Difference or None
        None where the dump has changed and has to be loaded.
    """
    settings = settings or load_settings()
    database = ready_database(settings)
    try:
        _, fingerprint, seen = looked(run_date, settings, database, Clock(run_date, silent))
    except SourceMissing:  # what was loaded of it can be compared all the same
        fingerprint, seen = None, published_load(database, run_date)
    standing = _published(run_date, seen)
    if fingerprint in (None, standing.fingerprint):
        return _with_replaced(database, standing)
    assert fingerprint
    compared = compared_load(database, run_date, fingerprint)
    if compared is None:
        return None
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
            f"Load {standing.load_id} of {standing.run_date} replaced no other and its files have not changed since: "
            "there is nothing to compare it with."
        )
    return compare(database, standing.run_date, replaced, standing.load_id, published=True)


def _loaded_beside(
    run_date: date,
    settings: Settings,
    client: Client,
    database: Engine,
    listener: Listener,
    stop: Event,
) -> Difference:
    """Take a run date through the steps of a run, but for the publish, and compare."""
    clock = Clock(run_date, listener)
    splits, fingerprint, seen = looked(run_date, settings, database, clock)
    standing = _published(run_date, seen)
    work = Work(settings, client, database, clock, stop)
    with loading(work, run_date, standing, fingerprint) as load:
        parts = steps.decoded(load, splits)
        steps.loaded(load, parts, manifest=False)
        steps.verified(load, parts)
        ledger.finish(load.lease, load.load_id, "compared")
    return compare(database, run_date, standing.load_id, load.load_id, published=False)
