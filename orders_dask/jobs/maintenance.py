"""What prune and unpublish share: cutoffs, and work on run dates that nobody else has locked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final, TypeVar

from sqlalchemy import Engine

from orders_dask.errors import RunDateLocked, SettingsError
from orders_dask.ledger import leases
from orders_dask.ledger.leases import Lease
from orders_dask.retention import loads

T = TypeVar("T")

LOCK_TIMEOUT: Final = 0.001
"""Seconds to wait for the lease of a run date: the next maintenance handles a locked one."""

MAX_AGE_DAYS: Final = 36_500
"""Maximum age in days: a hundred years."""

READERS_TIMEOUT: Final = 60.0
"""Seconds to wait for transactions that may still read a partition to drop."""


def cutoff(days: int) -> datetime:
    """Return the time some days ago.

    Raises
    ------
    SettingsError
        The age is below one day or beyond a hundred years.
    """
    if not 1 <= days <= MAX_AGE_DAYS:
        raise SettingsError(f"An age of {days} days can't be: give 1 to {MAX_AGE_DAYS}.")
    return datetime.now(UTC) - timedelta(days=days)


@dataclass(frozen=True)
class Maintenance:
    """Works on one run date after another, and skips those that are locked.

    Attributes
    ----------
    database
        Engine of the database.
    skipped
        Run dates that were locked by somebody else.
    """

    database: Engine
    skipped: set[date] = field(default_factory=set)

    def run_if_free(self, run_date: date, work: Callable[[Lease], T]) -> T | None:
        """Do some work under the lease of a run date; return None if somebody else has it."""
        try:
            with leases.acquire_lease(self.database, run_date, LOCK_TIMEOUT) as lease:
                return work(lease)
        except RunDateLocked:
            self.skipped.add(run_date)
            return None


def delete_marked_rows(maintenance: Maintenance) -> int:
    """Delete the rows of loads that are marked as pruned, and return their number.

    The lease is released after each transaction, so a run waits for no more than one of them.
    """
    rows = 0
    for day in loads.marked_with_rows(maintenance.database):
        while deleted := maintenance.run_if_free(day, loads.delete_rows):
            rows += deleted
    return rows
