"""Unpublishing old run dates, and freeing their partitions."""

from __future__ import annotations

from datetime import datetime, timedelta

from orders_dask.jobs import maintenance as held
from orders_dask.jobs.maintenance import Maintenance, cutoff, delete_marked_rows
from orders_dask.load.schema import ready_database
from orders_dask.pipeline.results import UnpublishResult
from orders_dask.publish.unpublish import published_before, unpublish_run_date
from orders_dask.retention.partitions import drop_marked, mark_for_drop
from orders_dask.settings import Settings, load_settings


def unpublish(
    older_than: int, *, settings: Settings | None = None, dry_run: bool = False
) -> UnpublishResult:
    """Unpublish the run dates that are older than some days, and free the leaves that hold only such.

    Each run date goes in one transaction; dimensions stay. A leaf is freed once no transaction is
    left that could see what was published in it, without any reader waiting; where that takes too
    long, the next drop or prune does it. The rows of run dates whose leaf isn't freed go with
    prune.

    Parameters
    ----------
    older_than
        Days that lie between a run date and today in the shop's zone at least, so that it is
        dropped.
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
    cutoff(older_than)
    settings = settings or load_settings()
    database = ready_database(settings)
    before = datetime.now(settings.zone).date() - timedelta(days=older_than)
    old = published_before(database, before)
    if dry_run:
        return UnpublishResult(tuple(old))
    dates = Maintenance(database)
    dropped = [day for day in old if dates.run_if_free(day, unpublish_run_date) is not None]
    mark_for_drop(database, before)
    freed = drop_marked(database, held.READERS_TIMEOUT)
    delete_marked_rows(dates)
    return UnpublishResult(
        tuple(dropped), freed.partitions, freed.bytes, tuple(sorted(dates.skipped)), freed.waiting
    )
