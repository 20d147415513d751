"""Unpublishing old run dates, and freeing their partitions."""

from __future__ import annotations

from datetime import datetime, timedelta

from orders_dask.jobs import maintenance as held
from orders_dask.jobs.maintenance import HeldDates, ago, sweep
from orders_dask.load.schema import ready_database
from orders_dask.pipeline.results import Dropped
from orders_dask.publish.unpublish import published_before, withdraw
from orders_dask.retention.partitions import free_leaving, mark_leaving
from orders_dask.settings import Settings, load_settings


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
    ago(older_than)
    settings = settings or load_settings()
    database = ready_database(settings)
    before = datetime.now(settings.zone).date() - timedelta(days=older_than)
    old = published_before(database, before)
    if dry_run:
        return Dropped(tuple(old))
    dates = HeldDates(database)
    dropped = [day for day in old if dates.hold(day, withdraw) is not None]
    mark_leaving(database, before)
    freed = free_leaving(database, held.READERS_PATIENCE)
    sweep(dates)
    return Dropped(
        tuple(dropped), freed.leaves, freed.bytes, tuple(sorted(dates.skipped)), freed.waiting
    )
