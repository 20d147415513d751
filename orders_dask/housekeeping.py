"""What is done now and then, and not for a run: removing what nobody needs any more."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Final, TypeVar

from sqlalchemy import Engine

from orders_dask import stage_keeping
from orders_dask.errors import RunDateHeld, SettingsError
from orders_dask.load import drop as dropping
from orders_dask.load import freeing, ledger
from orders_dask.load import prune as pruning
from orders_dask.load.connect import engine
from orders_dask.load.ledger import Lease
from orders_dask.load.report import installation
from orders_dask.load.schema import ensure_ready
from orders_dask.settings import Settings, load_settings
from orders_dask.stage_keeping import Gone, Leftover

T = TypeVar("T")

AT_ONCE: Final = 0.001
"""Seconds to wait for a run date: whoever works on it is not kept waiting, and housekeeping comes again."""

OLDEST: Final = 36_500
"""Days that an age may have: a hundred years."""

READERS_PATIENCE: Final = 60.0
"""Seconds to wait for transactions that may still read what is to be freed."""

LOOKS: Final = 4
"""Run dates of the stage that are looked at at once."""


@dataclass(frozen=True)
class Pruned:
    """What a prune removed, or would remove.

    Attributes
    ----------
    loads, rows
        Loads whose rows went, and how many rows that were, of all storage tables; those of a load that an earlier
        prune or drop left half-way count as well.
    settled
        Publishes that can't be rolled back any more.
    parts, bytes
        Whole parts of the stage, and the size of all that was removed there.
    texts
        Rows of the ledger that lost the texts of the dump: of refused records, and samples of repaired values.
    texts_of_parts
        Parts of the stage that lost theirs.
    leaves
        The first run date of each leaf that was freed.
    skipped
        Run dates that somebody works on: left to the next prune.
    waiting
        What is in the way of freeing the other leaves that were dropped.
    """

    loads: int
    rows: int
    settled: int
    parts: int
    bytes: int
    texts: int
    texts_of_parts: int
    leaves: tuple[date, ...]
    skipped: tuple[date, ...]
    waiting: str | None


@dataclass(frozen=True)
class Dropped:
    """What a drop did, or would do.

    Attributes
    ----------
    run_dates
        Those that are not published any more.
    leaves, bytes
        The first run date of each leaf that was freed, and what these held.
    skipped
        Run dates that somebody works on: left to the next drop.
    waiting
        What is in the way of freeing the other leaves.
    """

    run_dates: tuple[date, ...]
    leaves: tuple[date, ...] = ()
    bytes: int = 0
    skipped: tuple[date, ...] = ()
    waiting: str | None = None


def prune(
    older_than: int = 30,
    rejected_older_than: int = 90,
    *,
    settings: Settings | None = None,
    dry_run: bool = False,
) -> Pruned:
    """Remove loads that nobody sees any more, what of the stage nobody needs, and old texts of refused records.

    What is published stays, and so does what a publish younger than `older_than` can be rolled back to. Readers never
    wait for it, and a run for no more than one of its transactions. Killed anywhere, the next one goes on.

    Parameters
    ----------
    older_than
        Days that loads are kept from when they were replaced, withdrawn or ended, publishes can be rolled back, and
        parts of the stage are kept from when a run last used them.
    rejected_older_than
        Days that the texts of refused records, and samples of repaired values, are kept.
    settings
        From the environment by default.
    dry_run
        Only say what would be removed. What that would free of the stage in turn is counted; leaves are not.

    Raises
    ------
    SettingsError
        An age is below one day or beyond a hundred years, or a setting is missing or malformed.
    DatabaseNotReady
        ``orders-dask init`` has not been run.
    ServiceUnavailable
        A service can't be reached; what was removed until then is.
    """
    before, texts_before = _ago(older_than), _ago(rejected_older_than)
    settings = settings or load_settings()
    database = engine(settings)
    ensure_ready(database)
    aged = _Aged(database, installation(database), settings.stage_url, before, texts_before)
    return _planned(aged) if dry_run else _pruned(aged)


def drop(older_than: int, *, settings: Settings | None = None, dry_run: bool = False) -> Dropped:
    """Unpublish the run dates that are older than some days, and free the leaves that hold only such.

    Each run date goes in one transaction; dimensions stay. A leaf is freed once no transaction is left that could see
    what was published in it, without any reader waiting; where that takes too long, the next drop or prune does it.
    The rows of run dates whose leaf isn't freed go with prune.

    Parameters
    ----------
    older_than
        Days that lie between a run date and today in the shop's zone at least, so that it is dropped.
    settings
        From the environment by default.
    dry_run
        Only say which run dates would be dropped.

    Raises
    ------
    SettingsError
        The age is below one day or beyond a hundred years, or a setting is missing or malformed.
    DatabaseNotReady
        ``orders-dask init`` has not been run.
    ServiceUnavailable
        PostgreSQL can't be reached; what was dropped until then is.
    """
    _ago(older_than)
    settings = settings or load_settings()
    database = engine(settings)
    ensure_ready(database)
    before = datetime.now(settings.zone).date() - timedelta(days=older_than)
    old = dropping.published_before(database, before)
    if dry_run:
        return Dropped(tuple(old))
    dates = _Dates(database)
    dropped = [day for day in old if dates.hold(day, dropping.withdraw) is not None]
    freeing.mark_leaving(database, before)
    freed = freeing.free_leaving(database, READERS_PATIENCE)
    _sweep(dates)
    return Dropped(
        tuple(dropped), freed.leaves, freed.bytes, tuple(sorted(dates.skipped)), freed.waiting
    )


def _ago(days: int) -> datetime:
    """Give the instant some days ago."""
    if not 1 <= days <= OLDEST:
        raise SettingsError(f"An age of {days} days can't be: give 1 to {OLDEST}.")
    return datetime.now(UTC) - timedelta(days=days)


@dataclass(frozen=True)
class _Dates:
    """Run dates that are held one at a time, and those that were skipped, for somebody works on them."""

    database: Engine
    skipped: set[date] = field(default_factory=set)

    def hold(self, run_date: date, work: Callable[[Lease], T]) -> T | None:
        """Do some work while the run date is held; None where somebody else holds it."""
        try:
            with ledger.hold(self.database, run_date, AT_ONCE) as lease:
                return work(lease)
        except RunDateHeld:
            self.skipped.add(run_date)
            return None


@dataclass(frozen=True)
class _Aged:
    """Where to look, and for what is from before which instant."""

    database: Engine
    installation: str
    stage_url: str
    before: datetime
    texts_before: datetime

    def leftover(self, run_date: date, loads: Collection[int]) -> Leftover:
        """Look at a run date of the stage, where some loads are pruned."""
        gone = Gone(self.installation, loads)
        return stage_keeping.leftover(
            self.stage_url, run_date, gone, self.before, self.texts_before
        )


def _pruned(aged: _Aged) -> Pruned:
    """Remove it: the ledger first, for it tells what of the stage is kept."""
    database, dates = aged.database, _Dates(aged.database)
    settled = pruning.irreversible(database, aged.before)
    pruning.settle(database, settled)
    freed = freeing.free_leaving(database, READERS_PATIENCE)
    mark = partial(pruning.mark, before=aged.before)
    loads = sum(len(dates.hold(day, mark) or ()) for day in pruning.dates(database, aged.before))
    rows = _sweep(dates)
    forget = partial(pruning.forget_texts, before=aged.texts_before)
    with_texts = pruning.dates_with_texts(database, aged.texts_before)
    texts = sum(dates.hold(day, forget) or 0 for day in with_texts)
    with ThreadPoolExecutor(LOOKS) as pool:
        cleaned = pool.map(partial(_clean, aged, dates), stage_keeping.run_dates(aged.stage_url))
        found = [each for each in cleaned if each]
    return Pruned(
        loads=loads,
        rows=rows,
        settled=len(settled),
        parts=sum(each.parts for each in found),
        bytes=sum(each.bytes for each in found),
        texts=texts,
        texts_of_parts=sum(len(each.texts) for each in found),
        leaves=freed.leaves,
        skipped=tuple(sorted(dates.skipped)),
        waiting=freed.waiting,
    )


def _sweep(dates: _Dates) -> int:
    """Delete the rows of marked loads; a run date is let go between two transactions, so that a run gets it."""
    rows = 0
    for day in pruning.unswept(dates.database):
        while removed := dates.hold(day, pruning.sweep):
            rows += removed
    return rows


def _clean(aged: _Aged, dates: _Dates, run_date: date) -> Leftover | None:
    """Remove what of a run date's stage nobody needs: what it is, is looked for again when the run date is held."""
    if not aged.leftover(run_date, pruning.marked(aged.database, run_date)):
        return None

    def clean(lease: Lease) -> Leftover:
        found = aged.leftover(run_date, pruning.marked(aged.database, run_date))
        stage_keeping.remove(aged.stage_url, found)
        return found

    return dates.hold(run_date, clean)


def _planned(aged: _Aged) -> Pruned:
    """Say what would be removed."""
    database = aged.database
    loads: list[int] = []
    with database.connect() as connection:
        for day in pruning.dates(database, aged.before):
            loads += pruning.prunable(connection, day, aged.before)

    def look(run_date: date) -> Leftover:
        return aged.leftover(run_date, pruning.marked(database, run_date).union(loads))

    with ThreadPoolExecutor(LOOKS) as pool:
        found = list(pool.map(look, stage_keeping.run_dates(aged.stage_url)))
    return Pruned(
        loads=len(loads),
        rows=pruning.count(database, loads),
        settled=len(pruning.irreversible(database, aged.before)),
        parts=sum(each.parts for each in found),
        bytes=sum(each.bytes for each in found),
        texts=pruning.count_texts(database, aged.texts_before),
        texts_of_parts=sum(len(each.texts) for each in found),
        leaves=(),
        skipped=(),
        waiting=None,
    )
