"""Fetch run dates from the Order API into the dump."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from datetime import date
from functools import partial
from typing import Any, Final, TypeVar

from orders_dask.errors import OrdersDaskError, SettingsError
from orders_dask.jobs.dates import date_range, yesterday
from orders_dask.order_api.api import Api, connect
from orders_dask.order_api.check import ShopCheck, check_shop
from orders_dask.order_api.fetch_date import (
    Check,
    FetchResult,
    Listener,
    failed_result,
    fetch_date,
    plan_date,
    run_together,
    verify_date,
)
from orders_dask.order_api.settings import FetchSettings, load_fetch_settings

T = TypeVar("T")

DATES_AT_ONCE: Final = 8
"""Run dates that are fetched at once: one of little data is a request of a second or more."""


def fetch(
    run_date: date | None = None,
    *,
    settings: FetchSettings | None = None,
    force: bool = False,
    listener: Listener | None = None,
) -> FetchResult:
    """Fetch the orders that were last edited on a run date, as raw pages, into the dump.

    Parameters
    ----------
    run_date
        The run date, a day of the shop's zone; by default yesterday.
    settings
        Settings; from the environment by default.
    force
        Whether a date that was fetched before is fetched once more, beside what is there.
    listener
        Is called with the orders of each stored page, and the number that are expected.

    Returns
    -------
    FetchResult
        How it ended.

    Raises
    ------
    SettingsError
        A setting, the token or its rights are wrong.
    SourceMissing
        The day is not over by the shop's time.
    FetchIncomplete
        What the shop gives contradicts its own counts: nothing of it can be loaded.
    ServiceUnavailable
        The shop or S3 can't be reached.
    """
    settings = settings or load_fetch_settings()
    run_date = run_date or yesterday(settings)
    return _run(_fetch_one(run_date, settings, force, listener or _ignore))


def fetch_range(
    start: date,
    end: date,
    *,
    settings: FetchSettings | None = None,
    force: bool = False,
    dry_run: bool = False,
    verify: bool = False,
    listener: Listener | None = None,
) -> list[FetchResult]:
    """Fetch a range of run dates, the oldest first; one that fails does not stop the others.

    Parameters
    ----------
    start, end
        First and last run date.
    settings, force, listener
        As in :func:`fetch`.
    dry_run
        Whether only to count what would be fetched.
    verify
        Whether to compare dates that were fetched with the ids that the shop lists now, and to add
        those that came late.

    Returns
    -------
    list of FetchResult
        One per run date, in order.

    Raises
    ------
    SettingsError
        A setting, the token or its rights are wrong.
    ServiceUnavailable
        The shop can't be reached.
    """
    one: FetchOne = partial(fetch_date, force=force, listener=listener or _ignore)
    if dry_run or verify:
        one = plan_date if dry_run else verify_date
    return _run(_fetch_all(date_range(start, end), settings or load_fetch_settings(), one))


def fetch_dates(
    dates: Sequence[date], settings: FetchSettings, listener: Listener | None = None
) -> list[FetchResult]:
    """Fetch run dates as :func:`fetch_range` does, those that were not fetched before."""
    one: FetchOne = partial(fetch_date, force=False, listener=listener or _ignore)
    return _run(_fetch_all(dates, settings, one))


def _ignore(orders: int, expected: int | None) -> None:
    """Listen to nothing."""


async def _fetch_one(
    run_date: date, settings: FetchSettings, force: bool, listener: Listener
) -> FetchResult:
    async with connect(settings) as api:
        check = _checking_once(api, settings)
        return await fetch_date(api, settings, run_date, check, force=force, listener=listener)


def _checking_once(api: Api, settings: FetchSettings) -> Check:
    """Return what asks the shop at its first call, and always returns what it answered."""
    asking: asyncio.Task[ShopCheck] | None = None

    async def check() -> ShopCheck:
        nonlocal asking
        if asking is None:  # in a context of its own, for it is no request of a run date
            job = check_shop(api, settings)
            asking = asyncio.get_running_loop().create_task(job, context=Context())
        return await asyncio.shield(asking)

    return check


FetchOne = Callable[[Api, FetchSettings, date, Check], Awaitable[FetchResult]]


async def _fetch_all(
    dates: Sequence[date], settings: FetchSettings, one: FetchOne
) -> list[FetchResult]:
    at_once = asyncio.Semaphore(DATES_AT_ONCE)

    async def fetched(api: Api, check: Check, run_date: date) -> FetchResult:
        async with at_once:
            try:
                return await one(api, settings, run_date, check)
            except SettingsError:
                raise  # the other dates have the same settings
            except OrdersDaskError as error:
                return failed_result(run_date, error)

    async with connect(settings) as api:
        check = _checking_once(api, settings)
        return await run_together([fetched(api, check, day) for day in dates])


def _run(job: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, also inside of a notebook, which runs a loop already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(job)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, job).result()
