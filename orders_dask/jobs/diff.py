"""Compare the published load of a run date with the one it replaced, or with a changed dump."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from orders_dask.cluster.clients import Connect, given_client
from orders_dask.errors import NothingToRestore, SourceMissing
from orders_dask.extract.records import Split
from orders_dask.jobs.inspect import inspect_run_date, is_small
from orders_dask.ledger import leases
from orders_dask.ledger.queries import LoadStatus, held_load, published_load
from orders_dask.load.ready import ready_database
from orders_dask.pipeline import steps
from orders_dask.pipeline.load_scope import RunContext, open_load
from orders_dask.pipeline.progress import Listener, StepTimer, no_progress
from orders_dask.publish.diff import DiffResult, compare, comparison_load, replaced_load
from orders_dask.publish.publish import seal
from orders_dask.retry import retry_run
from orders_dask.settings import Settings, load_settings

if TYPE_CHECKING:
    from distributed import Client


def diff(
    run_date: date,
    *,
    settings: Settings | None = None,
    client: Client | None = None,
    listener: Listener | None = None,
) -> DiffResult:
    """Compare the published load of a run date with the one it replaced, or with a changed dump.

    If a check holds a load of the run date, that one is compared. Else a changed dump is loaded as
    a comparison, which is never published. A later :func:`orders_dask.run` reuses its staged parts.

    Parameters
    ----------
    run_date
        Date of the dump.
    settings
        Settings; from the environment by default.
    client
        Dask client to load a changed dump with; the current one by default, and this process if
        there is none.
    listener
        Called with the progress of each step.

    Returns
    -------
    DiffResult
        Numbers of orders and rows, and sums of money, that differ.

    Raises
    ------
    NothingToRestore
        Nothing is published, or there is no load to compare it with.
    DataRefused
        A run would refuse the changed dump.
    TransientError
        A service can't be reached, another run has locked the run date, or a file changed
        meanwhile.
    SettingsError
        A setting is missing or malformed, or the client can't be used.
    """
    settings = settings or load_settings()
    return diff_with(given_client(client), run_date, settings, listener)


def diff_with(
    connect: Connect, run_date: date, settings: Settings, listener: Listener | None = None
) -> DiffResult:
    """Compare as :func:`diff` does, with a client only if a changed dump has to be loaded.

    Parameters
    ----------
    connect
        Returns the client once it is needed.
    run_date, settings, listener
        As in :func:`diff`.
    """
    database = ready_database(settings)
    return retry_run(_diff)(run_date, settings, connect, database, listener or no_progress)


def diff_without_loading(run_date: date, *, settings: Settings | None = None) -> DiffResult | None:
    """Return the same as :func:`diff`, or None if that needs to load a changed dump on a cluster.

    Parameters
    ----------
    run_date, settings
        As in :func:`diff`.
    """
    settings = settings or load_settings()
    database = ready_database(settings)
    sides = _inspect_sides(run_date, settings, database, StepTimer(run_date, no_progress))
    return _compare_stored(database, sides)


def _diff(
    run_date: date, settings: Settings, connect: Connect, database: Engine, listener: Listener
) -> DiffResult:
    timer = StepTimer(run_date, listener)
    sides = _inspect_sides(run_date, settings, database, timer)
    stored = _compare_stored(database, sides)
    if stored is not None:
        return stored
    published = sides.published
    client = connect(settings, is_small(sides.splits))
    context = RunContext(settings, client, database, timer)
    with open_load(
        context, run_date, published, sides.fingerprint, status_if_refused="failed"
    ) as load:
        parts, totals, drift = steps.decode(load, sides.splits)
        steps.resolve_and_load(load, parts, drift, manifest=False)
        seal(load.lease, load.load_id)
        steps.verify_load(load, len(parts), totals)
        leases.finish(load.lease, load.load_id, "comparison")
    return compare(database, run_date, published.load_id, load.load_id, published=False)


@dataclass(frozen=True)
class _Sides:
    """The published load of a run date, and its dump.

    Attributes
    ----------
    published
        The published load.
    splits, fingerprint
        Splits of the dump, and the fingerprint that a load of them would have. A dump that is gone
        has no splits and counts as unchanged.
    """

    published: LoadStatus
    splits: Sequence[Split]
    fingerprint: str


def _inspect_sides(
    run_date: date, settings: Settings, database: Engine, timer: StepTimer
) -> _Sides:
    """Return the published load of a run date and its dump.

    Raises
    ------
    NothingToRestore
        Nothing is published.
    """
    try:
        inspection = inspect_run_date(run_date, settings, database, timer)
    except SourceMissing:  # its loads can still be compared
        published = _require_published(database, run_date, published_load(database, run_date))
        return _Sides(published, (), published.fingerprint)
    published = _require_published(database, run_date, inspection.published)
    return _Sides(published, inspection.splits, inspection.fingerprint)


def _require_published(database: Engine, run_date: date, load: LoadStatus | None) -> LoadStatus:
    if load is None and (held := held_load(database, run_date)):
        raise NothingToRestore(
            f"Load {held.load_id} of {run_date} is held, and nothing is published to compare it "
            f"with: its rows are those of orders_store.fact_order with run_date = '{run_date}' and "
            f"load_id = {held.load_id}, and its figures are in `orders-dask report`."
        )
    if load is None:
        raise NothingToRestore(
            f"Nothing is published for {run_date}, so there is nothing to compare with: publish it "
            f"with `orders-dask run --run-date {run_date}`."
        )
    return load


def _compare_stored(database: Engine, sides: _Sides) -> DiffResult | None:
    """Compare loads that are stored, or return None if the dump has changed and has no load yet."""
    published = sides.published
    held = held_load(database, published.run_date)
    if held:
        return compare(
            database, published.run_date, published.load_id, held.load_id, published=False
        )
    if sides.fingerprint == published.fingerprint:
        return _compare_with_replaced(database, published)
    comparison = comparison_load(database, published.run_date, sides.fingerprint)
    if comparison is None:
        return None
    return compare(database, published.run_date, published.load_id, comparison, published=False)


def _compare_with_replaced(database: Engine, published: LoadStatus) -> DiffResult:
    replaced = replaced_load(database, published.load_id)
    if replaced is None:
        raise NothingToRestore(
            f"Load {published.load_id} of {published.run_date} replaced no other, and no other "
            "files are there: there is nothing to compare it with."
        )
    return compare(database, published.run_date, replaced, published.load_id, published=True)
