"""Requests to a shop's Admin API: authorised, paced, tried again where that may help.

Facts on the API and their sources: docs/fetch.md#the-api.
"""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any, Final, TypeVar
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from orders_dask.errors import ServiceUnavailable, SettingsError
from orders_dask.order_api.pace import Pacer
from orders_dask.order_api.settings import FetchSettings, is_loopback

T = TypeVar("T")

TIMEOUT: Final = aiohttp.ClientTimeout(total=300, sock_connect=10, sock_read=60)

ATTEMPTS: Final = 5
"""Attempts of a request whose connection fails."""

PAGE_ATTEMPTS: Final = 2
"""Attempts of a request that the server fails: large pages do, and smaller ones work."""

MAX_IN_FLIGHT: Final = 32
"""Requests in flight at most: a page has 2 MB and more."""

MAX_THROTTLED: Final = 100
"""Answers to wait in a row, of one request, until it is given up."""

RENEW_BEFORE: Final = timedelta(minutes=10)
"""How long before its end a token is renewed."""

TOKEN_HEADER: Final = "X-Shopify-Access-Token"
VERSION_HEADER: Final = "X-Shopify-API-Version"
DEPRECATED_HEADERS: Final = ("X-Shopify-API-Deprecated-Reason", "Sunset")


class PageFailed(ServiceUnavailable):
    """The server failed to answer, or its answer is cut off: a smaller page may work."""


class CursorExpired(Exception):
    """The link to a page is no longer valid."""


@dataclass(frozen=True)
class Answer:
    """An answer of the API.

    Attributes
    ----------
    headers
        Its headers.
    body
        Its body as it was received, compressed or not.
    is_gzip
        Whether the body is compressed.
    """

    headers: Mapping[str, str]
    body: bytes
    is_gzip: bool

    @cached_property
    def content(self) -> Any:
        """The JSON in the body."""
        return json.loads(unzip(self.body) if self.is_gzip else self.body)


def unzip(body: bytes) -> bytes:
    """Return what a gzip body holds.

    Raises
    ------
    ValueError
        It is damaged, or cut off.
    """
    decompressor = zlib.decompressobj(wbits=31)
    try:
        content = decompressor.decompress(body)
    except zlib.error as error:
        raise ValueError("it is damaged") from error
    if not decompressor.eof or decompressor.unused_data:
        raise ValueError("it is cut off")
    return content


@dataclass
class Counts:
    """Requests of a run date, and how many of them were told to wait."""

    requests: int = 0
    throttled: int = 0


_COUNTS: Final[ContextVar[Counts]] = ContextVar("orders_dask.fetch", default=Counts())  # noqa: B039


def count_requests() -> Counts:
    """Return what counts the requests of this task from now on, and of tasks that it starts."""
    counts = Counts()
    _COUNTS.set(counts)
    return counts


def member(content: Any, name: str, kind: type[T], host: str) -> T:
    """Return a member of a JSON object that an API answered.

    Raises
    ------
    ServiceUnavailable
        It has no such member of that type.
    """
    found = content.get(name) if isinstance(content, dict) else None
    if not isinstance(found, kind) or isinstance(found, bool):
        raise ServiceUnavailable(f"{host} answers without {name!r}: try it later.")
    return found


class Api:
    """A session with the Admin API of a shop.

    Attributes
    ----------
    host
        Host of the shop.
    version
        Version that answered; the one asked for until then.
    deprecated
        What the server says about the end of what was asked for; empty if nothing.
    pacer
        Its pacer.
    """

    host: str
    version: str
    deprecated: str
    pacer: Pacer

    def __init__(self, settings: FetchSettings, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._session = session
        self._base = URL(settings.url)
        self._token: str | None = None
        self._token_ends: float | None = None
        self._renewing = asyncio.Lock()
        self._server_time: tuple[datetime, float] | None = None
        self.host = self._base.host or ""
        self.version = settings.version
        self.deprecated = ""
        self.pacer = Pacer()
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)
        # Not aiohttp's trust_env, which also sends what ~/.netrc has for the host.
        bypassed = is_loopback(self.host) or proxy_bypass(self.host)
        self._proxy = None if bypassed else getproxies().get(self._base.scheme)

    def now(self) -> datetime:
        """Return the server's time, to the second, as its last answer had it.

        Raises
        ------
        ServiceUnavailable
            No answer had one.
        """
        if self._server_time is None:
            raise ServiceUnavailable(f"{self.host} tells no time in its answers: try it later.")
        moment, at = self._server_time
        return moment + timedelta(seconds=int(time.monotonic() - at))

    async def get(self, path: str, parameters: Mapping[str, str] | None = None) -> Answer:
        """Return the answer to a GET of a path of the version asked for, as ``orders.json``.

        Raises
        ------
        SettingsError
            The token, its rights, the shop or the address are wrong.
        PageFailed
            The server fails, :data:`PAGE_ATTEMPTS` times.
        ServiceUnavailable
            It can't be reached.
        CursorExpired
            A link to a page is no longer valid.
        """
        return await self.get_at(f"/admin/api/{self._settings.version}/{path}", parameters)

    async def get_at(self, path: str, parameters: Mapping[str, str] | None = None) -> Answer:
        """Return the answer to a GET of a path of the host, like :meth:`get`."""
        url = self._base.with_path(path).with_query(parameters or {})
        failures = bad = throttled = 0
        renewed = False
        while True:
            token = await self._token_to_send()
            try:
                status, answer = await self._send("GET", url, {TOKEN_HEADER: token})
                if status >= 500:
                    raise PageFailed(f"{self.host} answered {path} with {status}: try it later.")
            except PageFailed:
                bad += 1
                if bad >= PAGE_ATTEMPTS:
                    raise
                await asyncio.sleep(0.5 * bad)
                continue
            except ServiceUnavailable:
                failures += 1
                if failures >= ATTEMPTS:
                    raise
                await asyncio.sleep(min(10, 0.5 * 2**failures))
                continue
            if status == 200:
                return answer
            if status == 429 and throttled < MAX_THROTTLED:
                throttled += 1
            elif status == 401 and not renewed and self._settings.client_id:
                renewed = True
                self._forget_token(token)
            elif status == 400 and "page_info" in url.query:
                raise CursorExpired
            else:
                raise self._refusal(status, path)

    async def _send(
        self, method: str, url: URL, headers: Mapping[str, str], body: Any = None
    ) -> tuple[int, Answer]:
        """Send one request; return status and answer, whose body is whole."""
        passed = await self.pacer.wait()
        counts = _COUNTS.get()
        counts.requests += 1
        try:
            async with (
                self._slots,
                self._session.request(
                    method,
                    url,
                    headers=headers,
                    json=body,
                    proxy=self._proxy,
                    allow_redirects=False,
                ) as response,
            ):
                self.pacer.answered(passed, response.status, response.headers)
                counts.throttled += response.status == 429
                self._note(response.headers)
                answer = Answer(
                    response.headers,
                    await response.read(),
                    response.headers.get("Content-Encoding", "").lower() == "gzip",
                )
        except aiohttp.ClientPayloadError as error:
            raise PageFailed(f"{self.host} cut its answer off: try it later.") from error
        except aiohttp.ClientConnectionError as error:
            is_slow = isinstance(
                error, aiohttp.ServerDisconnectedError | aiohttp.SocketTimeoutError
            )
            raise (PageFailed if is_slow else ServiceUnavailable)(
                f"{self.host} can't be reached ({type(error).__name__}): check "
                "ORDERS_DASK_API_URL, or try it later."
            ) from error
        except TimeoutError as error:
            raise PageFailed(f"{self.host} doesn't answer: try it later.") from error
        except aiohttp.ClientError as error:
            raise PageFailed(
                f"{self.host} answers what is no HTTP ({type(error).__name__}): try it later."
            ) from error
        finally:
            self.pacer.ended()
        if response.status == 200:
            try:
                answer.content  # noqa: B018 (checks that it is whole)
            except ValueError as error:
                raise PageFailed(
                    f"{self.host} answered {url.path} with damaged JSON: try it later."
                ) from error
        return response.status, answer

    def _note(self, headers: Mapping[str, str]) -> None:
        """Take the server's time, the version that answers, and what it says of its end."""
        try:
            moment = parsedate_to_datetime(headers.get("Date", ""))
            self._server_time = moment.astimezone(UTC), time.monotonic()
        except ValueError:
            pass  # what needs it raises
        self.version = headers.get(VERSION_HEADER, self.version)
        for name in DEPRECATED_HEADERS:
            self.deprecated = self.deprecated or headers.get(name, "")

    def _refusal(self, status: int, path: str) -> Exception:
        """Return the error of an answer that a retry can't change."""
        where = f"{self.host} answered {path} with {status}"
        match status:
            case 401:
                return SettingsError(
                    f"{where}: the token is wrong or has ended; check ORDERS_DASK_API_TOKEN, or "
                    "ORDERS_DASK_API_CLIENT_ID and ORDERS_DASK_API_CLIENT_SECRET."
                )
            case 402:
                return SettingsError(f"{where}: the shop is frozen until its bill is paid.")
            case 403:
                return SettingsError(
                    f"{where}: the app may not read this; give it the scope read_orders, and "
                    "install it anew."
                )
            case 404:
                return SettingsError(
                    f"{where}: there is no such shop or version; check ORDERS_DASK_API_URL and "
                    "ORDERS_DASK_API_VERSION."
                )
            case 423:
                return ServiceUnavailable(f"{where}: the shop is locked; try it later.")
            case 429:
                return ServiceUnavailable(
                    f"{where}, {MAX_THROTTLED} times in a row: something else takes the whole rate "
                    "of the app; try it later."
                )
            case _ if 300 <= status < 400:
                return SettingsError(
                    f"{where}, which sends us to another host: set ORDERS_DASK_API_URL to the "
                    "shop's own, such as https://SHOP.myshopify.com."
                )
            case _:
                return SettingsError(
                    f"{where}: check ORDERS_DASK_API_URL and ORDERS_DASK_API_VERSION."
                )

    async def _token_to_send(self) -> str:
        """Return the token: the given one, or one by client credentials that has not ended."""
        settings = self._settings
        if settings.token:
            return settings.token.get_secret_value()
        async with self._renewing:
            ends = self._token_ends
            if self._token is None or (ends is not None and time.monotonic() > ends):
                await self._request_token()
            assert self._token is not None
            return self._token

    def _forget_token(self, token: str) -> None:
        if self._token == token:
            self._token = None

    async def _request_token(self) -> None:
        secret = self._settings.client_secret
        body = {
            "grant_type": "client_credentials",
            "client_id": self._settings.client_id,
            "client_secret": secret.get_secret_value() if secret else "",
        }
        url = self._base.with_path("/admin/oauth/access_token")
        failures = 0
        while True:
            try:
                status, answer = await self._send("POST", url, {}, body)
                if status < 500 and status != 429:
                    break
                raise ServiceUnavailable(f"{self.host} gives no token ({status}): try it later.")
            except ServiceUnavailable:
                failures += 1
                if failures >= ATTEMPTS:
                    raise
                await asyncio.sleep(min(10, 0.5 * 2**failures))
        content = answer.content if status == 200 else {}
        if not isinstance(content, dict) or not isinstance(content.get("access_token"), str):
            raise SettingsError(
                f"{self.host} gives no token ({status}): check ORDERS_DASK_API_CLIENT_ID, "
                "ORDERS_DASK_API_CLIENT_SECRET, and that the app is installed in this shop."
            )
        self._token = content["access_token"]
        seconds = content.get("expires_in")
        lifetime = timedelta(seconds=seconds) if isinstance(seconds, int) else None
        self._token_ends = None
        if lifetime:
            ahead = min(RENEW_BEFORE, lifetime / 2)
            self._token_ends = time.monotonic() + (lifetime - ahead).total_seconds()


@asynccontextmanager
async def connect(settings: FetchSettings) -> AsyncIterator[Api]:
    """Open a session with the shop of the settings."""
    async with aiohttp.ClientSession(
        auto_decompress=False,
        headers={"Accept": "application/json", "Accept-Encoding": "gzip"},
        timeout=TIMEOUT,
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield Api(settings, session)
