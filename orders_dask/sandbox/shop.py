"""A shop to test against: a small part of Shopify's Admin API over orders in memory.

It does what was recorded of real shops (docs/fetch.md#the-api): keyset cursors that expire, a leaky
bucket with 429, limits, the default status, 60 days, scopes, tokens that end, versions that fall
forward. It can also fail, lie, and edit orders while pages are read.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from math import ceil
from typing import Any, Final
from zoneinfo import ZoneInfo

from aiohttp import web

TOKEN: Final = "shpat_sandbox"
"""The token that never ends."""

VERSIONS: Final = ("2025-10", "2026-01", "2026-04", "2026-07", "2026-10")
"""Versions that are supported; another one falls forward to the oldest."""

MAX_LIMIT: Final = 250
DEFAULT_LIMIT: Final = 50
RECENT: Final = timedelta(days=60)
TOKEN_SECONDS: Final = 86_399

_USED: Final[ContextVar[int]] = ContextVar("orders_dask.shop", default=1)
"""How full the bucket was with the request that is answered."""

Key = tuple[datetime, int]
"""``updated_at`` with its fraction of a second, and id: what cursors point at."""


@dataclass
class Faults:
    """What goes wrong, by choice.

    Attributes
    ----------
    latency
        Seconds that an answer takes.
    failing_orders
        Ids whose pages end with 500.
    max_good_limit
        Greatest limit of pages that don't end with 502.
    cut
        Numbers of requests whose body is cut off in the middle.
    damaged
        Numbers of requests whose gzip body is damaged.
    dropped
        Ids that no page contains, though counts have them.
    skip
        Orders that each cursor skips.
    unordered
        Whether orders come by id.
    count_error
        Is added to each count.
    odd
        What ``shop.json`` answers, if anything else than it should.
    hidden
        Ids that are not there before a number of requests: late visibility.
    """

    latency: float = 0.0
    failing_orders: set[int] = field(default_factory=set)
    max_good_limit: int = MAX_LIMIT
    cut: set[int] = field(default_factory=set)
    damaged: set[int] = field(default_factory=set)
    dropped: set[int] = field(default_factory=set)
    skip: int = 0
    unordered: bool = False
    count_error: int = 0
    odd: Any = ...
    hidden: dict[int, int] = field(default_factory=dict)


class Shop:
    """The orders of a shop, and what its app may do.

    Parameters
    ----------
    orders
        The orders, as the Order resource has them. Those that have none get an ``updated_at``.
    zone
        Time zone of the shop.
    now
        Returns the server's time.
    scopes
        Scopes of the tokens.
    token
        A token that never ends.
    size
        Size of the bucket: 40, 80 or 400, by plan.

    Attributes
    ----------
    faults
        What goes wrong.
    log
        Method, path and parameters of each request.
    before_request
        Is called before each request is answered, with its number: an editor at work, say.
    """

    faults: Faults
    log: list[tuple[str, str, dict[str, str]]]
    before_request: Callable[[int], None]

    def __init__(
        self,
        orders: Sequence[Mapping[str, Any]] = (),
        *,
        zone: str = "UTC",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        scopes: Sequence[str] = ("read_orders", "read_all_orders"),
        token: str = TOKEN,
        size: int = 40,
        domain: str = "sandbox.myshopify.com",
    ) -> None:
        self.zone = ZoneInfo(zone)
        self.now = now
        self.scopes = tuple(scopes)
        self.tokens: dict[str, float | None] = {token: None}
        self.client = "client", "secret"
        self.size = size
        self.domain = domain
        self.cursor_seconds = 3600.0
        self.faults = Faults()
        self.log = []
        self.throttled = 0
        self.before_request = lambda number: None
        self._used = 0.0
        self._at = time.monotonic()
        self._orders: dict[int, dict[str, Any]] = {}
        self._keys: list[Key] = []
        self._key_of: dict[int, Key] = {}
        for order in orders:
            self.put(order)

    def put(self, order: Mapping[str, Any], updated: datetime | None = None) -> None:
        """Add an order, or replace it; `updated` may have a fraction of a second."""
        order_id = int(order["id"])
        moment = updated or datetime.fromisoformat(order["updated_at"])
        self.remove(order_id)
        key = moment.astimezone(UTC), order_id
        insort(self._keys, key)
        self._key_of[order_id] = key
        shown = moment.astimezone(self.zone).replace(microsecond=0).isoformat()
        self._orders[order_id] = {**order, "updated_at": shown}

    def edit(self, order_id: int, **values: Any) -> None:
        """Change an order now."""
        self.put({**self._orders[order_id], **values}, self.now())

    def remove(self, order_id: int) -> None:
        """Remove an order, if it is there."""
        if key := self._key_of.pop(order_id, None):
            del self._keys[bisect_left(self._keys, key)]
            del self._orders[order_id]

    @property
    def orders(self) -> dict[int, dict[str, Any]]:
        """The orders as they are now, by id."""
        return dict(self._orders)

    def application(self) -> web.Application:
        """Return the web application."""
        app = web.Application(middlewares=[self._answer])
        app.add_routes(
            [
                web.post("/admin/oauth/access_token", self._give_token),
                web.get("/admin/oauth/access_scopes.json", self._list_scopes),
                web.get("/admin/api/{version}/shop.json", self._describe_shop),
                web.get("/admin/api/{version}/orders.json", self._list_orders),
                web.get("/admin/api/{version}/orders/count.json", self._count_orders),
            ]
        )
        return app

    @web.middleware
    async def _answer(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Authorise, throttle, delay and compress."""
        number = len(self.log) + 1
        self.log.append((request.method, request.path, dict(request.query)))
        self.before_request(number)
        if request.method == "GET":
            token = request.headers.get("X-Shopify-Access-Token", "")
            ends = self.tokens.get(token, 0.0)
            if ends is not None and ends <= time.monotonic():
                text = (
                    "[API] Invalid API key or access token (unrecognized login or wrong password)"
                )
                return self._response({"errors": text}, 401, request)
            _USED.set(self._pass())
            if not _USED.get():
                self.throttled += 1
                rate = self.size // 20
                text = f"Exceeded {rate} calls per second for api client. Reduce request rates."
                headers = {"Retry-After": f"{2.0:.1f}"}
                return self._response({"errors": text}, 429, request, headers, limit=False)
        if self.faults.latency:
            await asyncio.sleep(self.faults.latency)
        try:
            response = await handler(request)
        except web.HTTPException as error:
            response = self._response({"errors": error.text}, error.status, request)
        if number in self.faults.cut or number in self.faults.damaged:
            return await self._damage(request, response, number)
        return response

    def _pass(self) -> int:
        """Let one more request into the bucket; return how full it is then, 0 for no room."""
        now = time.monotonic()
        self._used = max(0.0, self._used - (now - self._at) * self.size / 20)
        self._at = now
        if self._used + 1 > self.size:
            return 0
        self._used += 1
        return ceil(self._used)

    def _response(
        self,
        content: Any,
        status: int,
        request: web.Request,
        headers: Mapping[str, str] = {},
        limit: bool = True,
    ) -> web.Response:
        body = json.dumps(content).encode()
        asked = request.match_info.get("version", "")
        version = asked if asked in (*VERSIONS, "unstable") else VERSIONS[0]
        sent = {
            "Content-Type": "application/json; charset=utf-8",
            "Date": format_datetime(self.now().replace(microsecond=0), usegmt=True),
            "X-Shopify-API-Version": version,
            **headers,
        }
        if limit:
            sent["X-Shopify-Shop-Api-Call-Limit"] = f"{_USED.get()}/{self.size}"
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, 1, mtime=0)
            sent["Content-Encoding"] = "gzip"
        return web.Response(body=body, status=status, headers=sent)

    async def _damage(
        self, request: web.Request, response: web.StreamResponse, number: int
    ) -> web.StreamResponse:
        """Send half of a body, or all of it with a damaged byte."""
        assert isinstance(response, web.Response)
        assert isinstance(response.body, bytes)
        body = bytearray(response.body)
        if number in self.faults.damaged:
            body[len(body) // 2] ^= 0xFF
            response.body = bytes(body)
            return response
        cut = web.StreamResponse(status=response.status, headers=response.headers)
        cut.content_length = len(body)
        await cut.prepare(request)
        await cut.write(bytes(body[: len(body) // 2]))
        assert request.transport
        request.transport.close()
        return cut

    async def _give_token(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if (asked.get("client_id"), asked.get("client_secret")) != self.client:
            return self._response({"error": "application_cannot_be_found"}, 400, request)
        token = f"shpca_{len(self.tokens)}"
        self.tokens[token] = time.monotonic() + TOKEN_SECONDS
        content = {
            "access_token": token,
            "scope": ",".join(self.scopes),
            "expires_in": TOKEN_SECONDS,
        }
        return self._response(content, 200, request)

    async def _list_scopes(self, request: web.Request) -> web.Response:
        scopes = [{"handle": scope} for scope in self.scopes]
        return self._response({"access_scopes": scopes}, 200, request)

    async def _describe_shop(self, request: web.Request) -> web.Response:
        if self.faults.odd is not ...:
            return self._response(self.faults.odd, 200, request)
        shop = {"id": 1, "iana_timezone": self.zone.key, "myshopify_domain": self.domain}
        return self._response({"shop": shop}, 200, request)

    async def _count_orders(self, request: web.Request) -> web.Response:
        self._check_scope()
        found = self._select(_Query.parse(request.query))
        return self._response({"count": len(found) + self.faults.count_error}, 200, request)

    async def _list_orders(self, request: web.Request) -> web.Response:
        self._check_scope()
        query = _Query.parse(request.query, self.cursor_seconds)
        if query.limit > self.faults.max_good_limit:
            return self._response({"errors": "Bad Gateway"}, 502, request)
        keys = self._select(query)
        begin = bisect_right(keys, query.after) if query.after else 0
        if query.after:
            begin += self.faults.skip
        page = keys[begin : begin + query.limit]
        if self.faults.failing_orders & {order_id for _, order_id in page}:
            return self._response({"errors": "Internal Server Error"}, 500, request)
        headers = {}
        if page and begin + query.limit < len(keys):
            link = query.link_behind(page[-1])
            url = request.url.with_query({"limit": query.limit, "page_info": link})
            headers["Link"] = f'<{url}>; rel="next"'
        if self.faults.unordered:
            page = sorted(page, key=lambda key: key[1])
        orders = [
            self._orders[order_id] for _, order_id in page if order_id not in self.faults.dropped
        ]
        if query.fields:
            orders = [{name: o[name] for name in query.fields if name in o} for o in orders]
        return self._response({"orders": orders}, 200, request, headers)

    def _check_scope(self) -> None:
        if not {"read_orders", "write_orders"} & {*self.scopes}:
            raise web.HTTPForbidden(
                text="[API] This action requires merchant approval for read_orders scope."
            )

    def _select(self, query: _Query) -> list[Key]:
        """Return the keys of the orders that a query asks for, in their order."""
        first = bisect_left(self._keys, (query.least, -1))
        end = bisect_right(self._keys, (query.greatest, 2**63))
        oldest = self.now() - RECENT
        sees_all = "read_all_orders" in self.scopes
        number = len(self.log)

        def is_seen(order_id: int) -> bool:
            order = self._orders[order_id]
            is_open = order.get("closed_at") is None and order.get("cancelled_at") is None
            created = order.get("created_at")
            return (
                (query.status == "any" or is_open)
                and (not query.ids or order_id in query.ids)
                and self.faults.hidden.get(order_id, 0) <= number
                and (sees_all or created is None or datetime.fromisoformat(created) >= oldest)
            )

        return [key for key in self._keys[first:end] if is_seen(key[1])]


@dataclass(frozen=True)
class _Query:
    """What a request for orders asks for."""

    status: str
    least: datetime
    greatest: datetime
    ids: frozenset[int]
    limit: int
    fields: tuple[str, ...]
    after: Key | None
    asked: Mapping[str, str]

    @classmethod
    def parse(cls, query: Mapping[str, str], cursor_seconds: float = 3600) -> _Query:
        """Return what the parameters of a request ask for.

        Raises
        ------
        HTTPBadRequest
            They are wrong, or the cursor has expired.
        """
        asked, after = dict(query), None
        if text := query.get("page_info"):
            if others := query.keys() - {"page_info", "limit", "fields"}:
                name = min(others)
                raise web.HTTPBadRequest(text=f"{name} cannot be passed with page_info")
            try:
                cursor = json.loads(base64.urlsafe_b64decode(text))
            except ValueError:
                raise web.HTTPBadRequest(text="page_info: Invalid value.") from None
            if time.monotonic() - cursor["made"] > cursor_seconds:
                raise web.HTTPBadRequest(text="page_info: Invalid value.")
            after = datetime.fromisoformat(cursor["last_value"]), cursor["last_id"]
            asked = {**cursor["filters"], **query}
        try:
            limit = int(asked.get("limit", DEFAULT_LIMIT))
            ids = frozenset(map(int, filter(None, asked.get("ids", "").split(","))))
            least = _moment(asked.get("updated_at_min"), datetime.min)
            greatest = _moment(asked.get("updated_at_max"), datetime.max)
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        if not 0 < limit <= MAX_LIMIT:
            raise web.HTTPBadRequest(text=f"limit: {limit} is out of range")
        fields = tuple(filter(None, asked.get("fields", "").split(",")))
        return cls(asked.get("status", "open"), least, greatest, ids, limit, fields, after, asked)

    def link_behind(self, key: Key) -> str:
        """Return the cursor behind a key."""
        names = ("status", "updated_at_min", "updated_at_max", "ids", "order")
        cursor = {
            "direction": "next",
            "last_id": key[1],
            "last_value": key[0].isoformat(),
            "filters": {name: self.asked[name] for name in names if name in self.asked},
            "made": time.monotonic(),
        }
        return base64.urlsafe_b64encode(json.dumps(cursor).encode()).decode()


def _moment(text: str | None, default: datetime) -> datetime:
    return datetime.fromisoformat(text) if text else default.replace(tzinfo=UTC)
