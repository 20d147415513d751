"""Unpublish old run dates, and drop the partitions that contain nothing else."""

from __future__ import annotations

from datetime import datetime, timedelta

from orders_dask.jobs import maintenance
from orders_dask.jobs.maintenance import Maintenance, cutoff, delete_marked_rows
from orders_dask.load.ready import ready_database
from orders_dask.pipeline.results import UnpublishResult
from orders_dask.publish.unpublish import published_before, unpublish_run_date
from orders_dask.retention.partitions import drop_marked, mark_for_drop
from orders_dask.settings import Settings, load_settings


def unpublish(
    older_than: int, *, settings: Settings | None = None, dry_run: bool = False
) -> UnpublishResult:
    """Unpublish run dates older than some days, and drop partitions without published rows.

    Each run date is unpublished in one transaction; dimensions stay. A partition is dropped once no
    transaction is left that could see published rows in it, so no reader waits. If that takes too
    long, the next unpublish or prune does it. A later prune deletes the rows in other partitions.

    Parameters
    ----------
    older_than
        Age in days from which a run date is unpublished, counted to today in the shop's time zone.
    settings
        Settings; from the environment by default.
    dry_run
        Only return which run dates would be unpublished.

    Returns
    -------
    UnpublishResult
        The run dates that were unpublished, and the partitions that were dropped.

    Raises
    ------
    SettingsError
        The age is below one day or beyond a hundred years, or a setting is missing or malformed.
    DatabaseNotReady
        ``orders-dask init`` has not been run.
    ServiceUnavailable
        PostgreSQL can't be reached. Run dates that were unpublished before stay so.
    """
    cutoff(older_than)
    settings = settings or load_settings()
    database = ready_database(settings)
    before = datetime.now(settings.zone).date() - timedelta(days=older_than)
    old = published_before(database, before)
    if dry_run:
        return UnpublishResult(tuple(old))
    dates = Maintenance(database)
    unpublished = [day for day in old if dates.run_if_free(day, unpublish_run_date) is not None]
    mark_for_drop(database, before)
    dropped = drop_marked(database, maintenance.READERS_TIMEOUT)
    delete_marked_rows(dates)
    return UnpublishResult(
        run_dates=tuple(unpublished),
        partitions=dropped.partitions,
        bytes=dropped.bytes,
        skipped=tuple(sorted(dates.skipped)),
        waiting=dropped.waiting,
    )
