"""Check the stored sums of sales against their events, and rebuild them."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from sqlalchemy import select

from orders_dask.contract.storage_tables import published
from orders_dask.load.ready import ready_database
from orders_dask.publish import marts
from orders_dask.publish.marts import MartDifference
from orders_dask.settings import Settings, load_settings


@dataclass(frozen=True)
class MartCheck:
    """What a check of the stored sums found.

    Attributes
    ----------
    month
        First day of the month; None for all of history.
    differences
        The figures that differ.
    """

    month: date | None
    differences: tuple[MartDifference, ...]


def check_marts(
    month: date | None = None, *, all_days: bool = False, settings: Settings | None = None
) -> MartCheck:
    """Add up the events of a month from the facts, and compare with what the publishes stored.

    Parameters
    ----------
    month
        A day of the month; that of the latest published run date by default.
    all_days
        Compare all of history, and events of unknown days.
    settings
        Settings; from the environment by default.

    Raises
    ------
    DatabaseNotReady
        ``orders-dask init`` or ``orders-dask migrate`` has not been run.
    ServiceUnavailable
        PostgreSQL can't be reached.
    """
    with ready_database(settings or load_settings()).connect() as connection:
        day = None if all_days else month or marts.latest_run_date(connection)
        if day is None:
            return MartCheck(None, tuple(marts.find_differences(connection)))
        first = day.replace(day=1)
        last = day.replace(day=monthrange(day.year, day.month)[1])
        return MartCheck(first, tuple(marts.find_differences(connection, (first, last))))


def rebuild_marts(
    *, settings: Settings | None = None, progress: Callable[[int, int], None] | None = None
) -> int:
    """Count every published load anew, and add up what they have; return the number of loads.

    Each load is a transaction of its own, in which nobody waits. At the end nobody publishes while
    the counts are added up.

    Parameters
    ----------
    settings
        Settings; from the environment by default.
    progress
        Called after each load, with the number of loads that are done and of all.

    Raises
    ------
    DatabaseNotReady
        ``orders-dask init`` or ``orders-dask migrate`` has not been run.
    ServiceUnavailable
        PostgreSQL can't be reached.
    """
    database = ready_database(settings or load_settings())
    with database.connect() as connection:
        loads = connection.scalars(select(published.c.load_id).order_by(published.c.run_date)).all()
    for done, load_id in enumerate(loads, 1):
        with database.begin() as connection:
            marts.count_anew(connection, load_id)
        if progress:
            progress(done, len(loads))
    with database.begin() as connection:
        marts.rebuild(connection)
    return len(loads)
