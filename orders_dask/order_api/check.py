"""What is asked before a fetch, so that nothing is missing in silence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from orders_dask.errors import DataRefused, SettingsError, SourceMissing
from orders_dask.order_api.api import Api, member
from orders_dask.order_api.pages import read_pages
from orders_dask.order_api.settings import FetchSettings, is_loopback
from orders_dask.order_api.window import Window

LATE_EDITS: Final = timedelta(minutes=15)
"""How long after the end of a day an edit of that day may still come to light."""

RECENT: Final = timedelta(days=60)
"""Age of the oldest orders that a token without ``read_all_orders`` gives."""


@dataclass(frozen=True)
class ShopCheck:
    """What was asked of a shop.

    Attributes
    ----------
    warnings
        What may be missing with this token, and what will end.
    sees_all
        Whether the token gives orders of any age.
    """

    warnings: tuple[str, ...]
    sees_all: bool


async def check_shop(api: Api, settings: FetchSettings) -> ShopCheck:
    """Ask the shop for its zone, its name, the token's scopes and the version that answers.

    Raises
    ------
    SettingsError
        Zone or name are others, the token may not read orders, or another version answers.
    """
    shop = member((await api.get("shop.json")).content, "shop", dict, api.host)
    zone, domain = (
        member(shop, name, str, api.host) for name in ("iana_timezone", "myshopify_domain")
    )
    if zone != settings.shop_timezone:
        raise SettingsError(
            f"The shop's time zone is {zone}, and ORDERS_DASK_SHOP_TIMEZONE is "
            f"{settings.shop_timezone}: set it to the shop's, for it decides what a run date is."
        )
    if domain != api.host and not is_loopback(api.host):
        raise SettingsError(
            f"The shop at {api.host} is {domain}: set ORDERS_DASK_API_URL to https://{domain}."
        )
    if api.version != settings.version:
        raise SettingsError(
            f"{api.host} answers with version {api.version}, for {settings.version} is no longer "
            "there: set ORDERS_DASK_API_VERSION to a version that this release knows."
        )
    answer = await api.get_at("/admin/oauth/access_scopes.json")
    listed = member(answer.content, "access_scopes", list, api.host)
    scopes = {member(each, "handle", str, api.host) for each in listed}
    if not scopes & {"read_orders", "write_orders"}:
        raise SettingsError(
            f"The token may not read orders of {api.host}: give the app the scope read_orders, "
            "release it and install it anew."
        )
    warnings = []
    sees_all = "read_all_orders" in scopes
    if not sees_all:
        warnings.append(
            "The token lacks the scope read_all_orders: edits of orders that were made more than "
            f"{RECENT.days} days before are missing."
        )
    if api.deprecated:
        warnings.append(f"The shop says of its REST API: {api.deprecated}")
    return ShopCheck(tuple(warnings), sees_all)


def check_due(api: Api, window: Window, sees_all: bool) -> None:
    """Raise unless a window has ended by the server's time, and the token gives its orders.

    Raises
    ------
    SourceMissing
        It has not ended, or just now.
    DataRefused
        It is older than the token gives.
    """
    now = api.now()
    if now < window.end + LATE_EDITS:
        raise SourceMissing(
            f"The day ends at {window.end:%Y-%m-%d %H:%M} UTC, and edits may come to light for "
            f"{LATE_EDITS.seconds // 60} minutes more: {api.host} has {now:%Y-%m-%d %H:%M} UTC."
        )
    if not sees_all and window.start < now - RECENT:
        raise DataRefused(
            f"The token gives no order made before {now - RECENT:%Y-%m-%d}, so this day would lack "
            "some: give the app the scope read_all_orders."
        )


async def list_ids(api: Api, window: Window) -> dict[int, int]:
    """Return the ids of all orders that lie in a window now, with ``updated_at`` in seconds."""
    found: dict[int, int] = {}
    async for page in read_pages(api, window, fields="id,updated_at"):
        found.update(zip(page.ids, page.times, strict=True))
    return found


def contradiction(count_before: int, listed: int, count_after: int) -> str:
    """Return what is wrong with a number of listed orders; empty if nothing.

    A closed window only shrinks: an edit moves an order to a later one. So whoever stays is listed,
    and whoever is listed was there: ``count_after <= listed <= count_before``.
    """
    if listed < count_after:
        return f"it counts {count_after:,} orders, and lists {listed:,}"
    if listed > count_before:
        return f"it lists {listed:,} orders, and counted {count_before:,} before"
    return ""
