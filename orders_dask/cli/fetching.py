"""How a fetch is shown, and the fetch before a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import TYPE_CHECKING

from orders_dask.cli import output
from orders_dask.cli.progress import fetching_progress
from orders_dask.errors import LoadHeld, SourceMissing

if TYPE_CHECKING:
    from orders_dask.order_api.fetch_date import FetchResult


def fetch_one(run_date: date, source: str | None) -> None:
    """Fetch a run date if it was not fetched before; an error ends the run.

    Parameters
    ----------
    run_date
        The run date.
    source
        The dump, in place of the variable.
    """
    from orders_dask.jobs.fetch import fetch
    from orders_dask.order_api.settings import load_fetch_settings

    with fetching_progress() as listener:
        ended = fetch(run_date, settings=load_fetch_settings(source=source), listener=listener)
    message_warnings([ended])
    if ended.outcome != "up_to_date":
        output.message(show_fetch(ended), run_date=str(run_date))


def fetch_first(run_dates: Sequence[date], source: str | None) -> int:
    """Fetch run dates that were not fetched before, and return the exit code of them.

    How each ended is said on standard error.

    Parameters
    ----------
    run_dates
        The run dates.
    source
        The dump, in place of the variable.
    """
    from orders_dask.jobs.fetch import fetch_dates
    from orders_dask.order_api.settings import load_fetch_settings

    settings = load_fetch_settings(source=source)
    with fetching_progress() as listener:
        ended = fetch_dates(run_dates, settings, listener)
    message_warnings(ended)
    for each in ended:
        if each.outcome != "up_to_date":
            output.message(show_fetch(each), run_date=str(each.run_date))
    return greatest(each.exit_code for each in ended)


def greatest(codes: Iterable[int]) -> int:
    """Return the exit code that counts most.

    That of a missing date counts less than any other, and a code to repeat (4) more than that of a
    held date (5), as everywhere.
    """
    weights = {SourceMissing.exit_code: 0.5, LoadHeld.exit_code: 3.5}
    return max(codes, key=lambda code: weights.get(code, code), default=0)


def message_warnings(ended: Sequence[FetchResult]) -> None:
    """Print what may be missing on standard error, each warning once."""
    for warning in dict.fromkeys(warning for each in ended for warning in each.warnings):
        output.message(f"Warning: {warning}")


def show_fetch(ended: FetchResult) -> str:
    """Return a line on how the fetch of a run date ended."""
    words = f"{ended.run_date} {ended.outcome.replace('_', ' ')}: "
    if ended.exit_code:
        return words + ended.message
    words += output.plural(ended.orders, "order")
    if ended.requests:
        words += f", {output.plural(ended.requests, 'request')}"
    if ended.throttled:
        words += f", {ended.throttled} of them told to wait"
    return words + (f"; {ended.message}" if ended.message else "")
