"""Delete old loads, garbage of the stage, and raw texts beyond their retention."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import Engine

from orders_dask.jobs import maintenance
from orders_dask.jobs.maintenance import Maintenance, cutoff, delete_marked_rows
from orders_dask.ledger.leases import Lease
from orders_dask.ledger.queries import database_id
from orders_dask.load.ready import ready_database
from orders_dask.pipeline.results import PruneResult
from orders_dask.retention import loads
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
"""Run dates of the stage that are searched at once."""


def prune(
    older_than: int = 30,
    rejected_older_than: int = 90,
    *,
    settings: Settings | None = None,
    dry_run: bool = False,
) -> PruneResult:
    """Delete loads that nobody sees, garbage of the stage, and old raw texts of rejected records.

    The published loads stay, and so do the loads that a publish younger than `older_than` can be
    rolled back to. Readers never wait for it, and a run for at most one of its transactions. It is
    idempotent: after a crash the next one goes on.

    Parameters
    ----------
    older_than
        Days that a load stays after it was replaced, was unpublished or ended, that a publish can
        be rolled back, and that a staged part stays after its last use.
    rejected_older_than
        Days that the raw texts of rejected records, and samples of repaired values, stay.
    settings
        Settings; from the environment by default.
    dry_run
        Only count what would be deleted. Garbage of the stage that the deleted loads would leave is
        included, dropped partitions are not.

    Returns
    -------
    PruneResult
        What was deleted.

    Raises
    ------
    SettingsError
        An age is below one day or beyond a hundred years, or a setting is missing or malformed.
    DatabaseNotReady
        ``orders-dask init`` has not been run.
    ServiceUnavailable
        A service can't be reached. What was deleted before stays deleted.
    """
    before, texts_before = cutoff(older_than), cutoff(rejected_older_than)
    settings = settings or load_settings()
    database = ready_database(settings)
    cutoffs = RetentionCutoffs(
        database, database_id(database), settings.stage_url, before, texts_before
    )
    return _dry_run(cutoffs) if dry_run else _prune(cutoffs)


@dataclass(frozen=True)
class RetentionCutoffs:
    """The database and stage to prune, and from what age on.

    Attributes
    ----------
    database
        Engine of the database.
    database_id
        Its id, which tells its manifests from those of other databases.
    stage_url
        URL of the stage.
    before
        Loads, publishes and parts older than this are pruned.
    texts_before
        Texts older than this are redacted.
    """

    database: Engine
    database_id: str
    stage_url: str
    before: datetime
    texts_before: datetime

    def find_garbage(self, run_date: date, loads: Collection[int]) -> StageGarbage:
        """Return the garbage of a run date's stage, where these loads are pruned."""
        pruned = PrunedLoads(self.database_id, loads)
        return find_garbage(self.stage_url, run_date, pruned, self.before, self.texts_before)


def _prune(cutoffs: RetentionCutoffs) -> PruneResult:
    """Delete it, in the ledger first: the pruned loads decide what is garbage in the stage."""
    database, dates = cutoffs.database, Maintenance(cutoffs.database)
    irreversible = loads.reversible_before(database, cutoffs.before)
    loads.make_irreversible(database, irreversible)
    dropped = drop_marked(database, maintenance.READERS_TIMEOUT)
    mark = partial(loads.mark, before=cutoffs.before)
    pruned = sum(
        len(dates.run_if_free(day, mark) or ())
        for day in loads.dates_to_prune(database, cutoffs.before)
    )
    rows = delete_marked_rows(dates)
    redact = partial(loads.redact_texts, before=cutoffs.texts_before)
    with_texts = loads.dates_with_texts(database, cutoffs.texts_before)
    redacted_rows = sum(dates.run_if_free(day, redact) or 0 for day in with_texts)
    with ThreadPoolExecutor(STAGE_THREADS) as pool:
        deleted = pool.map(
            partial(_delete_stage_garbage, cutoffs, dates), staged_run_dates(cutoffs.stage_url)
        )
        garbage = [each for each in deleted if each]
    return _result(
        garbage,
        loads=pruned,
        rows=rows,
        made_irreversible=len(irreversible),
        redacted_rows=redacted_rows,
        partitions=dropped.partitions,
        skipped=tuple(sorted(dates.skipped)),
        waiting=dropped.waiting,
    )


def _delete_stage_garbage(
    cutoffs: RetentionCutoffs, dates: Maintenance, run_date: date
) -> StageGarbage | None:
    """Delete the garbage of a run date's stage; return it, or None if there was none.

    It is searched for once more under the lease, since a run may have used parts meanwhile.
    """
    if not cutoffs.find_garbage(run_date, loads.marked(cutoffs.database, run_date)):
        return None

    def delete(lease: Lease) -> StageGarbage:
        garbage = cutoffs.find_garbage(run_date, loads.marked(cutoffs.database, run_date))
        delete_garbage(cutoffs.stage_url, garbage)
        return garbage

    return dates.run_if_free(run_date, delete)


def _dry_run(cutoffs: RetentionCutoffs) -> PruneResult:
    """Count what would be deleted."""
    database = cutoffs.database
    prunable: list[int] = []
    with database.connect() as connection:
        for day in loads.dates_to_prune(database, cutoffs.before):
            prunable += loads.prunable(connection, day, cutoffs.before)

    def find(run_date: date) -> StageGarbage:
        return cutoffs.find_garbage(run_date, loads.marked(database, run_date).union(prunable))

    with ThreadPoolExecutor(STAGE_THREADS) as pool:
        garbage = list(pool.map(find, staged_run_dates(cutoffs.stage_url)))
    return _result(
        garbage,
        loads=len(prunable),
        rows=loads.count_rows(database, prunable),
        made_irreversible=len(loads.reversible_before(database, cutoffs.before)),
        redacted_rows=loads.count_texts(database, cutoffs.texts_before),
    )


def _result(garbage: Sequence[StageGarbage], **ledger_counts: Any) -> PruneResult:
    return PruneResult(
        parts=sum(each.parts for each in garbage),
        bytes=sum(each.bytes for each in garbage),
        redacted_parts=sum(len(each.redact) for each in garbage),
        **ledger_counts,
    )
