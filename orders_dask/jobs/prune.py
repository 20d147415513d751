"""Removing what nobody needs any more."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import Engine

from orders_dask.jobs import maintenance as held
from orders_dask.jobs.maintenance import HeldDates, ago, sweep
from orders_dask.ledger.leases import Lease
from orders_dask.ledger.queries import installation
from orders_dask.load.schema import ready_database
from orders_dask.pipeline.results import Pruned
from orders_dask.retention import loads as pruning
from orders_dask.retention.partitions import free_leaving
from orders_dask.retention.stage_garbage import Gone, Leftover, leftover, remove, run_dates
from orders_dask.settings import Settings, load_settings

LOOKS: Final = 4
"""Run dates of the stage that are looked at at once."""


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
    before, texts_before = ago(older_than), ago(rejected_older_than)
    settings = settings or load_settings()
    database = ready_database(settings)
    aged = _Aged(database, installation(database), settings.stage_url, before, texts_before)
    return _plan(aged) if dry_run else _prune(aged)


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
        return leftover(self.stage_url, run_date, gone, self.before, self.texts_before)


def _prune(aged: _Aged) -> Pruned:
    """Remove it: the ledger first, for it tells what of the stage is kept."""
    database, dates = aged.database, HeldDates(aged.database)
    settled = pruning.irreversible(database, aged.before)
    pruning.settle(database, settled)
    freed = free_leaving(database, held.READERS_PATIENCE)
    mark = partial(pruning.mark, before=aged.before)
    loads = sum(len(dates.hold(day, mark) or ()) for day in pruning.dates(database, aged.before))
    rows = sweep(dates)
    forget = partial(pruning.forget_texts, before=aged.texts_before)
    with_texts = pruning.dates_with_texts(database, aged.texts_before)
    texts = sum(dates.hold(day, forget) or 0 for day in with_texts)
    with ThreadPoolExecutor(LOOKS) as pool:
        cleaned = pool.map(partial(_clean, aged, dates), run_dates(aged.stage_url))
        found = [each for each in cleaned if each]
    return _told(
        found,
        loads=loads,
        rows=rows,
        settled=len(settled),
        texts=texts,
        leaves=freed.leaves,
        skipped=tuple(sorted(dates.skipped)),
        waiting=freed.waiting,
    )


def _clean(aged: _Aged, dates: HeldDates, run_date: date) -> Leftover | None:
    """Remove what of a run date's stage nobody needs: what it is, is looked for again when the run date is held."""
    if not aged.leftover(run_date, pruning.marked(aged.database, run_date)):
        return None

    def clean(lease: Lease) -> Leftover:
        found = aged.leftover(run_date, pruning.marked(aged.database, run_date))
        remove(aged.stage_url, found)
        return found

    return dates.hold(run_date, clean)


def _plan(aged: _Aged) -> Pruned:
    """Say what would be removed."""
    database = aged.database
    loads: list[int] = []
    with database.connect() as connection:
        for day in pruning.dates(database, aged.before):
            loads += pruning.prunable(connection, day, aged.before)

    def look(run_date: date) -> Leftover:
        return aged.leftover(run_date, pruning.marked(database, run_date).union(loads))

    with ThreadPoolExecutor(LOOKS) as pool:
        found = list(pool.map(look, run_dates(aged.stage_url)))
    return _told(
        found,
        loads=len(loads),
        rows=pruning.count(database, loads),
        settled=len(pruning.irreversible(database, aged.before)),
        texts=pruning.count_texts(database, aged.texts_before),
    )


def _told(found: Sequence[Leftover], **of_ledger: Any) -> Pruned:
    return Pruned(
        parts=sum(each.parts for each in found),
        bytes=sum(each.bytes for each in found),
        texts_of_parts=sum(len(each.texts) for each in found),
        **of_ledger,
    )
