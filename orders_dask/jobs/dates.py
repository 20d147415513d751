"""Run dates: yesterday in the shop's time zone, ranges, and the latest days."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from orders_dask.errors import SettingsError
from orders_dask.settings import Settings

if TYPE_CHECKING:
    from orders_dask.order_api.settings import FetchSettings


def yesterday(settings: Settings | FetchSettings) -> date:
    """Return the default run date: yesterday in the shop's time zone."""
    return datetime.now(settings.zone).date() - timedelta(days=1)


def date_range(start: date, end: date) -> list[date]:
    """Return the run dates from `start` to `end`, both included.

    Raises
    ------
    SettingsError
        The range is empty.
    """
    if end < start:
        raise SettingsError(
            f"The range from {start} to {end} is empty: its end lies before its start."
        )
    return [start + timedelta(days=n) for n in range((end - start).days + 1)]


def latest_dates(days: int, settings: Settings) -> list[date]:
    """Return the latest run dates, up to yesterday in the shop's time zone, in order."""
    end = yesterday(settings)
    return date_range(end - timedelta(days=days - 1), end)
