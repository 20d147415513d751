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
from orders_dask.jobs.maintenance import Maintenance, cutoff, delete_marked_rows
from orders_dask.ledger.leases import Lease
from orders_dask.ledger.queries import database_id
from orders_dask.load.schema import ready_database
from orders_dask.pipeline.results import PruneResult
from orders_dask.retention import loads as pruning
from orders_dask.retention.partitions import drop_marked
from orders_dask.retention.stage_garbage import (
    PrunedLoads,
    StageGarbage,
    delete_garbage,
    find_garbage,
    staged_run_dates,
)
from orders_dask.settings import Settings, load_settings

STAGE_THREADS: Final = 4
"""Run dates of the stage that are looked at at once."""


def prune(
    older_than: int = 30,
    rejected_older_than: int = 90,
    *,
    settings: Settings | None = None,
    dry_run: bool = False,
) -> PruneResult:
    """Remove loads that nobody sees any more, what of the stage nobody needs, and old texts of refused records.

    What is published stays, and so does what a publish younger than `older_than` can be rolled back
    to. Readers never wait for it, and a run for no more than one of its transactions. Killed
    anywhere, the next one goes on.

    Parameters
    ----------
    older_than
        Days that loads are kept from when they were replaced, unpublished or ended, publishes can be
        rolled back, and parts of the stage are kept from when a run last used them.
    rejected_older_than
        Days that the texts of refused records, and samples of repaired values, are kept.
    settings
        From the environment by default.
    dry_run
        Only say what would be removed. What that would free of the stage in turn is counted; leaves
        are not.

    Raises
    ------
    SettingsError
        An age is below one day or beyond a hundred years, or a setting is missing or malformed.
    DatabaseNotReady
        ``orders-dask init`` has not been run.
    ServiceUnavailable
        A service can't be reached; what was removed until then is.
    """
    before, texts_before = cutoff(older_than), cutoff(rejected_older_than)
    settings = settings or load_settings()
    database = ready_database(settings)
    aged = RetentionCutoffs(
        database, database_id(database), settings.stage_url, before, texts_before
    )
    return _dry_run(aged) if dry_run else _prune(aged)


@dataclass(frozen=True)
class RetentionCutoffs:
    """Where to look, and for what is from before which instant."""

    database: Engine
    database_id: str
    stage_url: str
    before: datetime
    texts_before: datetime

    def find_garbage(self, run_date: date, loads: Collection[int]) -> StageGarbage:
        """Look at a run date of the stage, where some loads are pruned."""
        gone = PrunedLoads(self.database_id, loads)
        return find_garbage(self.stage_url, run_date, gone, self.before, self.texts_before)


def _prune(cutoffs: RetentionCutoffs) -> PruneResult:
    """Remove it: the ledger first, for it tells what of the stage is kept."""
    database, dates = cutoffs.database, Maintenance(cutoffs.database)
    settled = pruning.reversible_before(database, cutoffs.before)
    pruning.make_irreversible(database, settled)
    freed = drop_marked(database, held.READERS_TIMEOUT)
    mark = partial(pruning.mark, before=cutoffs.before)
    loads = sum(
        len(dates.run_if_free(day, mark) or ())
        for day in pruning.dates_to_prune(database, cutoffs.before)
    )
    rows = delete_marked_rows(dates)
    forget = partial(pruning.redact_texts, before=cutoffs.texts_before)
    with_texts = pruning.dates_with_texts(database, cutoffs.texts_before)
    texts = sum(dates.run_if_free(day, forget) or 0 for day in with_texts)
    with ThreadPoolExecutor(STAGE_THREADS) as pool:
        cleaned = pool.map(
            partial(_delete_stage_garbage, cutoffs, dates), staged_run_dates(cutoffs.stage_url)
        )
        found = [each for each in cleaned if each]
    return _result(
        found,
        loads=loads,
        rows=rows,
        made_irreversible=len(settled),
        redacted_rows=texts,
        partitions=freed.partitions,
        skipped=tuple(sorted(dates.skipped)),
        waiting=freed.waiting,
    )


def _delete_stage_garbage(
    cutoffs: RetentionCutoffs, dates: Maintenance, run_date: date
) -> StageGarbage | None:
    """Remove what of a run date's stage nobody needs: what it is, is looked for again when the run date is held."""
    if not cutoffs.find_garbage(run_date, pruning.marked(cutoffs.database, run_date)):
        return None

    def clean(lease: Lease) -> StageGarbage:
        found = cutoffs.find_garbage(run_date, pruning.marked(cutoffs.database, run_date))
        delete_garbage(cutoffs.stage_url, found)
        return found

    return dates.run_if_free(run_date, clean)


def _dry_run(cutoffs: RetentionCutoffs) -> PruneResult:
    """Say what would be removed."""
    database = cutoffs.database
    loads: list[int] = []
    with database.connect() as connection:
        for day in pruning.dates_to_prune(database, cutoffs.before):
            loads += pruning.prunable(connection, day, cutoffs.before)

    def look(run_date: date) -> StageGarbage:
        return cutoffs.find_garbage(run_date, pruning.marked(database, run_date).union(loads))

    with ThreadPoolExecutor(STAGE_THREADS) as pool:
        found = list(pool.map(look, staged_run_dates(cutoffs.stage_url)))
    return _result(
        found,
        loads=len(loads),
        rows=pruning.count_rows(database, loads),
        made_irreversible=len(pruning.reversible_before(database, cutoffs.before)),
        redacted_rows=pruning.count_texts(database, cutoffs.texts_before),
    )


def _result(found: Sequence[StageGarbage], **of_ledger: Any) -> PruneResult:
    return PruneResult(
        parts=sum(each.parts for each in found),
        bytes=sum(each.bytes for each in found),
        redacted_parts=sum(len(each.redact) for each in found),
        **of_ledger,
    )
