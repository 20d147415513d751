"""The pages of a slice, one after the other, by the links that the server gives."""

from __future__ import annotations

import asyncio
import re
from array import array
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from yarl import URL

from orders_dask.errors import FetchIncomplete
from orders_dask.order_api.api import Answer, Api, CursorExpired, PageFailed, member
from orders_dask.order_api.window import Window, as_parameter

ORDERS: Final = "orders.json"

PAGE_ORDERS: Final = 250
"""Orders of a page at most; more is an error of the server."""

GOOD_PAGES: Final = 10
"""Pages after which a smaller limit is doubled."""

MAX_STILL: Final = 2
"""Times in a row that a new chain may make no headway inside one second."""


OUTSIDE_ATTEMPTS: Final = 3
"""Attempts of a page with an order outside of its window: it may have been edited in between."""

OUTAGE_WAITS: Final = (1, 2, 4, 8, 15, 30, 30, 30)
"""Seconds between attempts to get a count of a shop that fails pages: it may be an outage."""


class OutsideWindow(FetchIncomplete):
    """A page has an order that was not asked for."""


@dataclass(frozen=True)
class Page:
    """A page of orders.

    Attributes
    ----------
    body
        The body as it was received.
    is_gzip
        Whether it is compressed.
    ids, times
        Ids of its orders, and their ``updated_at`` in seconds (UTC), both int64.
    link
        Parameters of the next page; None after the last one.
    """

    body: bytes
    is_gzip: bool
    ids: array[int]
    times: array[int]
    link: Mapping[str, str] | None

    @property
    def last(self) -> datetime | None:
        """The greatest ``updated_at``; None of no orders."""
        return datetime.fromtimestamp(self.times[-1], UTC) if self.times else None


def parse_page(answer: Answer, window: Window, host: str) -> Page:
    """Return the page of an answer, after checking that its orders are ordered and in the window.

    Raises
    ------
    FetchIncomplete
        They are not: the order in which the server gives them is what pages rest on.
    PageFailed
        It is no page of orders.
    """
    content = answer.content
    orders = content.get("orders") if isinstance(content, dict) else None
    if not isinstance(orders, list):
        raise PageFailed(f"{host} answered without orders: try it later.")
    ids, times = array("q"), array("q")
    for order in orders:
        order_id, updated = _identity(order)
        if order_id is None or updated is None:
            raise FetchIncomplete(
                f"{host} gives an order without id or updated_at, behind {ids[-1] if ids else 0}."
            )
        ids.append(order_id)
        times.append(updated)
    if any(second < first for first, second in pairwise(times)):
        raise FetchIncomplete(f"{host} gives orders in another order than that of updated_at.")
    least, greatest = int(window.start.timestamp()), int(window.end.timestamp())
    outside = [i for i, t in zip(ids, times, strict=True) if not least <= t <= greatest]
    if outside:
        raise OutsideWindow(f"{host} gives orders that were not asked for, such as {outside[0]}.")
    link = _next_link(answer.headers.get("Link", ""), host)
    return Page(answer.body, answer.is_gzip, ids, times, link)


def _identity(order: Any) -> tuple[int | None, int | None]:
    """Return id and ``updated_at`` of an order, in seconds, as far as it has them."""
    if not isinstance(order, dict):
        return None, None
    order_id, text = order.get("id"), order.get("updated_at")
    try:
        updated = int(datetime.fromisoformat(text).timestamp()) if isinstance(text, str) else None
    except (ValueError, OverflowError):
        updated = None
    is_id = type(order_id) is int and 0 < order_id < 2**63
    return (order_id if is_id else None), updated


def _next_link(header: str, host: str) -> Mapping[str, str] | None:
    """Return the parameters of the next page that a ``Link`` header names.

    Raises
    ------
    FetchIncomplete
        It names another host.
    """
    for target, parameters in re.findall(r"<([^>]*)>([^,]*)", header):
        if re.search(r'rel="?next"?', parameters):
            try:
                url = URL(target)
            except ValueError as error:
                raise FetchIncomplete(f"{host} gives a link that is none.") from error
            if url.host not in (None, host):
                raise FetchIncomplete(f"{host} gives a link to another host, {url.host}.")
            return dict(url.query)
    return None


def first_link(window: Window, limit: int) -> dict[str, str]:
    """Return the parameters of the first page of a window.

    ``status`` is ``open`` unless it is given, which leaves closed and cancelled orders out.
    """
    return {
        "status": "any",
        "updated_at_min": as_parameter(window.start),
        "updated_at_max": as_parameter(window.end),
        "order": "updated_at asc",
        "limit": str(limit),
    }


async def read_pages(api: Api, window: Window, fields: str = "") -> AsyncIterator[Page]:
    """Yield the pages of a window, in the order of ``updated_at``.

    A page that the server fails to make is asked for with half of its orders, down to one. A link
    that has expired is replaced by a new beginning at the last ``updated_at``, inclusive, so some
    orders come twice.

    Raises
    ------
    FetchIncomplete
        An order can't be had, or the pages contradict themselves.
    ServiceUnavailable
        The server can't be reached, or fails all.
    """
    limit, good, still, outside = PAGE_ORDERS, 0, 0, 0
    link: Mapping[str, str] | None = first_link(window, limit)
    reached, last_id = window.start, 0
    begin: tuple[datetime, int] | None = None
    while link is not None:
        asked = {**link, "limit": str(limit), **({"fields": fields} if fields else {})}
        bounds = Window(reached, window.end)
        try:
            # The answer is no variable: what it was parsed to takes several times its size.
            page = parse_page(await api.get(ORDERS, asked), bounds, api.host)
        except PageFailed as error:
            await _wait_for_answers(api, window)
            if limit == 1:
                raise FetchIncomplete(
                    f"{api.host} can't give the order behind {last_id or 'the first'} of "
                    f"{as_parameter(reached)}, not even by itself: tell Shopify's support."
                ) from error
            limit, good = limit // 2, 0
            continue
        except OutsideWindow:
            outside += 1
            if outside == OUTSIDE_ATTEMPTS:
                raise
            continue
        except CursorExpired:
            still = still + 1 if begin == (reached, last_id) else 0
            if still == MAX_STILL:
                raise FetchIncomplete(
                    f"{api.host} gives links that end at once, at {as_parameter(reached)}: more "
                    "orders were edited in this second than a page holds."
                ) from None
            begin = reached, last_id
            link = first_link(bounds, limit)
            continue
        good, outside = good + 1, 0
        if good % GOOD_PAGES == 0:
            limit = min(PAGE_ORDERS, 2 * limit)
        if page.last is not None:
            reached, last_id = page.last, page.ids[-1]
        link = page.link
        yield page


async def _wait_for_answers(api: Api, window: Window) -> None:
    """Wait until the shop counts: one that fails all has an outage, and no page that is too large.

    Raises
    ------
    ServiceUnavailable
        It does not for minutes.
    """
    for seconds in OUTAGE_WAITS:
        try:
            await count_orders(api, window)
        except PageFailed:
            await asyncio.sleep(seconds)
        else:
            return
    await count_orders(api, window)


async def count_orders(api: Api, window: Window) -> int:
    """Return how many orders lie in a window, by the server's own count.

    Raises
    ------
    ServiceUnavailable
        It gives no count.
    """
    asked = first_link(window, PAGE_ORDERS)
    del asked["limit"], asked["order"]
    return member((await api.get("orders/count.json", asked)).content, "count", int, api.host)
