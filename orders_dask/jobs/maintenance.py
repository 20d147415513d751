"""What prune and drop have in common: ages, and run dates that are held for a moment each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final, TypeVar

from sqlalchemy import Engine

from orders_dask.errors import RunDateLocked, SettingsError
from orders_dask.ledger import leases
from orders_dask.ledger.leases import Lease
from orders_dask.retention import loads as pruning

T = TypeVar("T")

LOCK_TIMEOUT: Final = 0.001
"""Seconds to wait for a run date: whoever works on it is not kept waiting, and housekeeping comes again."""

MAX_AGE_DAYS: Final = 36_500
"""Days that an age may have: a hundred years."""

READERS_TIMEOUT: Final = 60.0
"""Seconds to wait for transactions that may still read what is to be freed."""


def cutoff(days: int) -> datetime:
    """Give the instant some days ago."""
    if not 1 <= days <= MAX_AGE_DAYS:
        raise SettingsError(f"An age of {days} days can't be: give 1 to {MAX_AGE_DAYS}.")
    return datetime.now(UTC) - timedelta(days=days)


@dataclass(frozen=True)
class Maintenance:
    """Run dates that are held one at a time, and those that were skipped, for somebody works on them."""

    database: Engine
    skipped: set[date] = field(default_factory=set)

    def run_if_free(self, run_date: date, work: Callable[[Lease], T]) -> T | None:
        """Do some work while the run date is held; None where somebody else holds it."""
        try:
            with leases.acquire_lease(self.database, run_date, LOCK_TIMEOUT) as lease:
                return work(lease)
        except RunDateLocked:
            self.skipped.add(run_date)
            return None


def delete_marked_rows(maintenance: Maintenance) -> int:
    """Delete the rows of marked loads; a run date is let go between two transactions, so that a run gets it."""
    rows = 0
    for day in pruning.marked_with_rows(maintenance.database):
        while removed := maintenance.run_if_free(day, pruning.delete_rows):
            rows += removed
    return rows
