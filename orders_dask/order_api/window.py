"""What a run date means: the orders whose ``updated_at`` lies in that day of the shop's zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo


class Window(NamedTuple):
    """A span of ``updated_at``, in UTC and whole seconds. Both bounds are inclusive.

    Windows that follow each other share a bound, so there is no gap between them whatever
    fractions of a second the server stores. What lies on a bound is fetched twice, which is
    harmless: a later version supersedes an earlier one, and equal ones count once.
    """

    start: datetime
    end: datetime


def window_of(run_date: date, zone: ZoneInfo) -> Window:
    """Return the window of a run date: from midnight to midnight, 23 or 25 hours where DST says.

    A midnight that the zone skips, or has twice, is the same bound for both of its days.
    """
    return Window(_midnight(run_date, zone), _midnight(run_date + timedelta(days=1), zone))


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time.min, zone).astimezone(UTC)


def cut_window(window: Window, slices: int) -> list[Window]:
    """Cut a window into slices of equal length in whole seconds, which share their bounds."""
    seconds = int((window.end - window.start).total_seconds())
    slices = max(1, min(slices, seconds))
    bounds = [
        window.start + timedelta(seconds=seconds * number // slices) for number in range(slices + 1)
    ]
    return [Window(*bounds[number : number + 2]) for number in range(slices)]


def as_parameter(moment: datetime) -> str:
    """Return a moment as the API's parameters have it: in UTC with ``Z``, for ``+`` is a blank."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
