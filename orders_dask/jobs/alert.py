"""Tell people how run dates ended, where the settings name somebody."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Final

from orders_dask.alerts.notify import notify
from orders_dask.alerts.send import Alert, Kind, is_configured, send
from orders_dask.errors import OrdersDaskError
from orders_dask.load.connect import engine
from orders_dask.pipeline.results import RunResult
from orders_dask.settings import Settings

_KINDS: Final[tuple[Kind, ...]] = ("held", "refused", "failed")
"""Outcomes that people are told."""


def alert_results(results: Sequence[RunResult], settings: Settings) -> None:
    """Send alerts on run dates that are held, refused or failed, and on those that recovered.

    Parameters
    ----------
    results
        How run dates ended.
    settings
        Settings of the run.
    """
    dates = {
        outcome: [each.run_date for each in results if each.outcome == outcome]
        for outcome in ("published", "up_to_date", "discarded")
    }
    wrong = [
        Alert(each.run_date, kind, each.message or "")
        for each in results
        for kind in _KINDS
        if each.outcome == kind
    ]
    _notify(wrong, [*dates["published"], *dates["up_to_date"]], dates["discarded"], settings)


def alert_overdue(late: Sequence[date], settings: Settings) -> None:
    """Send alerts on run dates that are due and not published.

    Parameters
    ----------
    late
        What :func:`orders_dask.jobs.daily.overdue` returned.
    settings
        Settings of the run.
    """
    due = f"It was due at {settings.latest:%H:%M} of the next day, and is not published: see"
    wrong = [Alert(run_date, "late", f"{due} `orders-dask status`.") for run_date in late]
    _notify(wrong, [], [], settings)


def _notify(
    wrong: Sequence[Alert],
    published: Sequence[date],
    discarded: Sequence[date],
    settings: Settings,
) -> None:
    if not is_configured(settings):
        return
    try:
        notify(engine(settings), settings, wrong, published, discarded)
    except OrdersDaskError:
        # Without the ledger nobody knows what was sent: rather twice than never.
        for each in wrong:
            send(each, settings)
