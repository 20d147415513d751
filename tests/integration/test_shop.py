"""The fake shop, judged by a client that is not ours, and by what was recorded of real shops."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import aiohttp
import pytest
import shopify
from yarl import URL

from orders_dask.sandbox.shop import Shop
from tests.support.builders import order
from tests.support.shops import TOKEN, at, order_at, orders_on, served

DAY = date(2026, 3, 2)
NOW = datetime(2026, 3, 4, tzinfo=UTC)
ORDERS = "/admin/api/2026-10/orders.json"


def get(
    url: str, path: str = ORDERS, token: str = TOKEN, **parameters: Any
) -> tuple[int, Mapping[str, str], Any]:
    """Return status, headers and content of an answer."""

    async def got() -> tuple[int, Mapping[str, str], Any]:
        headers = {"X-Shopify-Access-Token": token}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(url + path, params=parameters) as response,
        ):
            return response.status, response.headers, await response.json()

    return asyncio.run(got())


@pytest.fixture
def shop() -> Shop:
    return Shop(orders_on(DAY, 700), now=at(NOW))


@pytest.fixture
def url(shop: Shop) -> Iterator[str]:
    with served(shop) as url:
        yield url


def test_shopifys_own_client_reads_every_order_as_it_is(shop: Shop, url: str) -> None:
    shop.put(json.loads(json.dumps({**order(9_000), "updated_at": "2026-03-02T09:00:00Z"})))
    session = shopify.Session("sandbox", "2026-10", TOKEN)
    shopify.ShopifyResource.activate_session(session)
    shopify.ShopifyResource.site = f"{url}/admin/api/2026-10"
    page = shopify.Order.find(status="any", limit=250, order="updated_at asc")
    found = list(page)
    while page.has_next_page():
        page = page.next_page()
        found.extend(page)
    assert {each.id: each.to_dict() for each in found} == shop.orders
    assert shopify.Order.count(status="any") == 701
    one = shopify.Order.find(ids="9000", status="any")[0]
    assert [line.id for line in one.line_items] == [
        line["id"] for line in shop.orders[9000]["line_items"]
    ]


def test_closed_orders_are_left_out_unless_any_status_is_asked_for(shop: Shop, url: str) -> None:
    shop.edit(5, closed_at=NOW.isoformat())
    ids = {each["id"] for each in get(url, limit="250")[2]["orders"]}
    assert 5 not in ids
    count = "/admin/api/2026-10/orders/count.json"
    assert get(url, count)[2] == {"count": 699}
    assert get(url, count, status="any")[2] == {"count": 700}


def test_a_link_leads_on_from_the_last_order_although_others_leave(shop: Shop, url: str) -> None:
    asked = {"status": "any", "order": "updated_at asc", "limit": "250"}
    _, headers, first = get(url, **asked)
    assert headers["X-Shopify-Shop-Api-Call-Limit"].endswith("/40")
    assert headers["X-Shopify-API-Version"] == "2026-10"
    link = URL(headers["Link"].partition("<")[2].partition(">")[0]).query["page_info"]
    shop.edit(first["orders"][-1]["id"])
    _, _, second = get(url, page_info=link, limit="250")
    assert second["orders"][0]["id"] == first["orders"][-1]["id"] + 1


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({"limit": "251"}, 400),
        ({"limit": "0"}, 400),
        ({"page_info": "x"}, 400),
        ({"updated_at_min": "yesterday"}, 400),
        ({"page_info": "e30=", "status": "any"}, 400),
    ],
)
def test_wrong_parameters_are_refused(url: str, parameters: dict[str, str], status: int) -> None:
    assert get(url, **parameters)[0] == status


def test_a_full_bucket_answers_429_with_decimal_seconds_and_without_the_limit(
    shop: Shop, url: str
) -> None:
    answers = [get(url, limit="1") for _ in range(shop.size + 5)]
    status, headers, content = next(answer for answer in answers if answer[0] == 429)
    assert headers["Retry-After"] == "2.0"
    assert "X-Shopify-Shop-Api-Call-Limit" not in headers
    assert content["errors"].startswith("Exceeded 2 calls per second for api client.")
    assert status == 429


def test_without_read_all_orders_older_orders_are_left_out_in_silence(url: str, shop: Shop) -> None:
    shop.put(order_at(800, NOW - timedelta(days=70)))
    shop.edit(800)
    assert get(url, "/admin/api/2026-10/orders/count.json", status="any")[2] == {"count": 701}
    shop.scopes = ("read_orders",)
    assert get(url, "/admin/api/2026-10/orders/count.json", status="any")[2] == {"count": 700}


def test_tokens_scopes_and_versions_are_as_recorded(url: str, shop: Shop) -> None:
    assert get(url, token="wrong")[0] == 401
    _, headers, _ = get(url, "/admin/api/2020-01/orders.json")
    assert headers["X-Shopify-API-Version"] == "2025-10", "it falls forward"
    assert get(url, "/admin/oauth/access_scopes.json")[2]["access_scopes"][0] == {
        "handle": "read_orders"
    }
    shop.scopes = ()
    assert get(url)[0] == 403
    described = get(url, "/admin/api/2026-10/shop.json")[2]["shop"]
    assert (described["iana_timezone"], described["myshopify_domain"]) == (
        "UTC",
        "sandbox.myshopify.com",
    )
