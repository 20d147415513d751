"""Fetch a run date: the steps in their order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from math import ceil
from typing import Any, Final, Literal, TypeVar

from orders_dask.dump import FetchedObject, FetchManifest
from orders_dask.errors import FetchIncomplete, OrdersDaskError, SettingsError, SourceMissing
from orders_dask.order_api.api import MAX_IN_FLIGHT, Api, PageFailed, count_requests
from orders_dask.order_api.check import ShopCheck, check_due, contradiction, list_ids
from orders_dask.order_api.pages import (
    ORDERS,
    PAGE_ORDERS,
    count_orders,
    first_link,
    parse_page,
    read_pages,
)
from orders_dask.order_api.settings import FetchSettings
from orders_dask.order_api.store import FetchPlan, FetchStore, Stored
from orders_dask.order_api.window import Window, as_parameter, cut_window, window_of

T = TypeVar("T")

PAGE_SECONDS: Final = 5
"""Latency of a full page at worst: so many seconds of requests are in flight to fill the rate."""

SLICE_PAGES: Final = 30
"""Pages of a slice of a large day: the last page of each is part of one."""

LISTINGS: Final = 4
"""Times that the ids of a window are listed at most, until no order leaves it meanwhile."""


@dataclass(frozen=True)
class FetchResult:
    """How the fetch of a run date ended.

    Attributes
    ----------
    run_date
        The run date.
    outcome
        ``fetched``; ``up_to_date`` for one that was fetched before; ``missing`` for one that is not
        over; ``planned`` for a dry run; else ``failed``.
    orders, pages
        Number of distinct orders, and of pages, that this fetch stored.
    requests, throttled
        Number of requests, and of those that were told to wait.
    message
        The error, or what else is to be said.
    exit_code
        Exit code of the command.
    warnings
        What may be missing, and why.
    """

    run_date: date
    outcome: Literal["fetched", "up_to_date", "missing", "planned", "failed"]
    orders: int = 0
    pages: int = 0
    requests: int = 0
    throttled: int = 0
    message: str = ""
    exit_code: int = 0
    warnings: tuple[str, ...] = ()


Listener = Callable[[int, int | None], None]
"""Is called with the orders of a stored page, and the number of all that are expected."""


Check = Callable[[], Awaitable[ShopCheck]]
"""Returns what the shop was asked; the first call asks it."""


async def fetch_date(
    api: Api,
    settings: FetchSettings,
    run_date: date,
    check: Check,
    *,
    force: bool = False,
    listener: Listener,
) -> FetchResult:
    """Fetch the orders that were last edited on a run date, and write the manifest last.

    Parameters
    ----------
    api
        The session.
    settings
        The settings.
    run_date
        The run date.
    check
        Asks the shop, once for all run dates, and only if there is something to fetch.
    force
        Whether one that was fetched before is fetched once more; that adds, and removes nothing.
    listener
        Is told of progress.

    Raises
    ------
    FetchIncomplete
        What the shop gives contradicts its own counts.
    SourceMissing
        The day is not over.
    DataRefused
        The token gives no orders of that age, or what was fetched before can't be read.
    SettingsError, ServiceUnavailable
        A setting is wrong, or a service can't be reached.
    """
    window, store = window_of(run_date, settings.zone), _store(settings, run_date)
    before = await _fetched_before(api, store, window)
    if before and not force:
        return FetchResult(run_date, "up_to_date", before.orders)
    counts, asked = count_requests(), await check()
    check_due(api, window, asked.sees_all)
    try:
        plan, pages, count_after, unproven = await _read(api, store, window, force, listener)
    except FetchIncomplete:
        await asyncio.to_thread(store.give_up)
        raise
    ids = {order_id for stored in pages for order_id in stored.page.ids}
    warnings = (*asked.warnings, *unproven)

    def manifest_of(
        before: FetchManifest | None, objects: Sequence[FetchedObject]
    ) -> FetchManifest:
        return FetchManifest(
            shop=api.host,
            api="rest",
            api_version=api.version,
            window=_as_texts(window),
            fetched_at=as_parameter(api.now()),
            count_before=plan.count_before,
            count_after=count_after,
            orders=len(ids),
            objects=objects,
            requests=counts.requests,
            throttled=counts.throttled,
            warnings=warnings,
        )

    await asyncio.to_thread(store.finish, pages, manifest_of)
    return FetchResult(
        run_date,
        "fetched",
        len(ids),
        len(pages),
        counts.requests,
        counts.throttled,
        warnings=warnings,
    )


def _store(settings: FetchSettings, run_date: date) -> FetchStore:
    return FetchStore(settings.source.format(run_date=run_date))


def _as_texts(window: Window) -> tuple[str, str]:
    return as_parameter(window.start), as_parameter(window.end)


async def _fetched_before(api: Api, store: FetchStore, window: Window) -> FetchManifest | None:
    """Return the manifest of a run date; None where it was not fetched, or for another window.

    Raises
    ------
    SettingsError
        It is of another shop.
    """
    manifest, _ = await asyncio.to_thread(store.manifest)
    if manifest and manifest.shop != api.host:
        raise SettingsError(
            f"The dump has orders of {manifest.shop}, and ORDERS_DASK_API_URL is that of "
            f"{api.host}: set _AWS_S3_URL_SOURCE to a folder of its own."
        )
    return manifest if manifest and tuple(manifest.window) == _as_texts(window) else None


async def plan_date(api: Api, settings: FetchSettings, run_date: date, check: Check) -> FetchResult:
    """Return what :func:`fetch_date` would fetch, by the shop's count.

    Raises
    ------
    SourceMissing, DataRefused, SettingsError, ServiceUnavailable
        As :func:`fetch_date`.
    """
    window, store = window_of(run_date, settings.zone), _store(settings, run_date)
    if before := await _fetched_before(api, store, window):
        return FetchResult(run_date, "up_to_date", before.orders)
    asked = await check()
    check_due(api, window, asked.sees_all)
    count = await count_orders(api, window)
    pages = max(1, ceil(count / PAGE_ORDERS))
    return FetchResult(run_date, "planned", count, pages, warnings=asked.warnings)


async def verify_date(
    api: Api, settings: FetchSettings, run_date: date, check: Check
) -> FetchResult:
    """Compare a fetched run date with what the shop lists now, and add what came late.

    An order that lies in the closed window now, and in no page with that ``updated_at`` or a later
    one, was proven to come late.

    Raises
    ------
    SourceMissing
        It was not fetched.
    FetchIncomplete, DataRefused, SettingsError, ServiceUnavailable
        As :func:`fetch_date`.
    """
    window, store = window_of(run_date, settings.zone), _store(settings, run_date)
    before = await _fetched_before(api, store, window)
    if before is None:
        raise SourceMissing(f"Run date {run_date} was not fetched: `orders-dask fetch` does that.")
    counts, asked = count_requests(), await check()
    check_due(api, window, asked.sees_all)
    known = await asyncio.to_thread(store.versions, before)
    late = _unknown(await list_ids(api, window), known)
    pages: list[Stored] = []
    if late:
        await asyncio.to_thread(store.begin, FetchPlan(api.host, tuple(window), None))
        pages = await _fetch_by_id(api, store, window, late, 1)
        found = {order_id for stored in pages for order_id in stored.page.ids}
        orders = len(known.keys() | found)

        def manifest_of(
            latest: FetchManifest | None, objects: Sequence[FetchedObject]
        ) -> FetchManifest:
            return replace(latest or before, orders=orders, objects=objects)

        if found:
            await asyncio.to_thread(store.finish, pages, manifest_of)
        late = sorted(found)
    return FetchResult(
        run_date,
        "fetched" if late else "up_to_date",
        len(known.keys() | {*late}),
        len(pages),
        counts.requests,
        counts.throttled,
        f"{len(late):,} came late" if late else "",
        warnings=asked.warnings,
    )


def _unknown(listed: Mapping[int, int], known: Mapping[int, int]) -> list[int]:
    """Return the ids of listed orders that are in no page, or were edited since."""
    return sorted(
        order_id for order_id, moment in listed.items() if known.get(order_id, -1) < moment
    )


Read = tuple[FetchPlan, list[Stored], int | None, list[str]]
"""Plan, pages, count after them, and what could not be proven."""


async def _read(
    api: Api, store: FetchStore, window: Window, force: bool, listener: Listener
) -> Read:
    """Read and store all pages of a window, and prove that they miss nothing."""
    plan = None if force else await asyncio.to_thread(store.resume, api.host, window)
    pages: list[Stored] = []
    if plan:
        pages = await asyncio.to_thread(store.stored_pages, plan)
    else:
        plan, pages = await _begin(api, store, window, listener)
    if plan.count_before is None:
        return plan, pages, None, []
    pages = await _read_slices(api, store, plan, pages, listener)
    return plan, *await _prove(api, store, plan, window, pages)


async def _begin(
    api: Api, store: FetchStore, window: Window, listener: Listener
) -> tuple[FetchPlan, list[Stored]]:
    """Begin a fetch. A window of one page is a snapshot by itself, by one request."""
    try:
        page = parse_page(await api.get(ORDERS, first_link(window, PAGE_ORDERS)), window, api.host)
    except PageFailed:
        page = None  # large orders: smaller pages may work
    if page and page.link is None and len(page.ids) < PAGE_ORDERS:
        plan = FetchPlan(api.host, (window.start, window.end), None)
        await asyncio.to_thread(store.begin, plan)
        stored = await asyncio.to_thread(store.put_page, 0, 0, page)
        listener(len(page.ids), len(page.ids))
        return plan, [stored]
    # The page came before the count, so it is asked for anew: an order that left the window between
    # them would hide one that is missing.
    count = await count_orders(api, window)
    pages, in_flight = ceil(count / PAGE_ORDERS), ceil(api.pacer.rate * PAGE_SECONDS)
    slices = cut_window(window, min(MAX_IN_FLIGHT, pages, max(in_flight, pages // SLICE_PAGES)))
    plan = FetchPlan(api.host, (*(part.start for part in slices), window.end), count)
    await asyncio.to_thread(store.begin, plan)
    return plan, []


async def _read_slices(
    api: Api, store: FetchStore, plan: FetchPlan, pages: Sequence[Stored], listener: Listener
) -> list[Stored]:
    """Read and store the pages of all slices, each from where it was; return all pages."""
    for stored in pages:
        listener(len(stored.page.ids), plan.count_before)

    async def read(number: int, window: Window) -> list[Stored]:
        before = [stored for stored in pages if stored.slice_number == number]
        numbers = (stored.page_number for stored in before)
        first = max(numbers, default=-1) + 1
        reached = max((s.page.last for s in before if s.page.last), default=window.start)
        found = list(before)
        async for page in read_pages(api, Window(reached, window.end)):
            found.append(await asyncio.to_thread(store.put_page, number, first, page))
            first += 1
            listener(len(page.ids), plan.count_before)
        return found

    found = await run_together([read(*each) for each in enumerate(plan.slices)])
    return [stored for of_slice in found for stored in of_slice]


async def _prove(
    api: Api, store: FetchStore, plan: FetchPlan, window: Window, pages: list[Stored]
) -> tuple[list[Stored], int, list[str]]:
    """Return all pages, the shop's count, and warnings, after proving that nothing is missing.

    Equal counts before and after the pages make that exact. Where orders left the window meanwhile,
    as many might be missing unseen. Then the ids that are there now are listed, between two equal
    counts, and those that the pages lack are fetched by id.

    Raises
    ------
    FetchIncomplete
        The counts contradict what the shop gives.
    """
    assert plan.count_before is not None
    known = _versions(pages)
    count = await count_orders(api, window)
    if count == plan.count_before == len(known):
        return pages, count, []
    left = 0
    for _ in range(LISTINGS):
        before, listed = count, await list_ids(api, window)
        if missing := _unknown(listed, known):
            added = await _fetch_by_id(api, store, window, missing, len(plan.slices), len(pages))
            pages = [*pages, *added]
            known |= _versions(added)
        count = await count_orders(api, window)
        left, unknown = before - count, _unknown(listed, known)
        wrong = contradiction(before, len(listed), count)
        if not wrong and not left and not unknown:
            return pages, count, []
    if not wrong and unknown and not left:
        wrong = f"it lists {len(unknown):,} orders that it does not give"
    if wrong:
        raise FetchIncomplete(
            f"{api.host} contradicts itself on {as_parameter(window.start)} to "
            f"{as_parameter(window.end)}: {wrong}. Nothing of it can be loaded; fetch it later."
        )
    warning = (
        f"{left:,} orders of {as_parameter(window.start)} and the day from there were edited while "
        f"their ids were listed, {LISTINGS} times: verify the day when the shop is quieter."
    )
    return pages, count, [warning]


def _versions(pages: Iterable[Stored]) -> dict[int, int]:
    """Return the orders in pages, with the greatest ``updated_at`` in seconds."""
    found: dict[int, int] = {}
    for stored in pages:
        for order_id, moment in zip(stored.page.ids, stored.page.times, strict=True):
            found[order_id] = max(moment, found.get(order_id, moment))
    return found


async def _fetch_by_id(
    api: Api,
    store: FetchStore,
    window: Window,
    ids: Sequence[int],
    slice_number: int,
    first_page: int = 0,
) -> list[Stored]:
    """Fetch and store orders by their ids, those that still lie in the window."""
    added: list[Stored] = []
    remaining = [ids[n : n + PAGE_ORDERS] for n in range(0, len(ids), PAGE_ORDERS)]
    while remaining:
        some = remaining.pop(0)
        wanted = {**first_link(window, PAGE_ORDERS), "ids": ",".join(map(str, some))}
        try:
            page = parse_page(await api.get(ORDERS, wanted), window, api.host)
        except PageFailed:
            if len(some) == 1:
                raise
            half = len(some) // 2
            remaining[:0] = [some[:half], some[half:]]
            continue
        added.append(
            await asyncio.to_thread(store.put_page, slice_number, first_page + len(added), page)
        )
    return added


async def run_together(jobs: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return the results of coroutines that run at the same time; the first error ends all."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def failed_result(run_date: date, error: OrdersDaskError) -> FetchResult:
    """Return the result of a run date whose fetch ended with an error."""
    outcome: Literal["missing", "failed"] = (
        "missing" if isinstance(error, SourceMissing) else "failed"
    )
    return FetchResult(run_date, outcome, message=str(error), exit_code=error.exit_code)
