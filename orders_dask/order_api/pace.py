"""The pacer: when the next request may be sent, by the server's own figures.

The server has a leaky bucket for each app and shop. It tells how full it is with each answer, as
``X-Shopify-Shop-Api-Call-Limit: 32/40``; a twentieth of its size leaks each second
(https://shopify.dev/docs/api/usage/limits).
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

LIMIT_HEADER: Final = "X-Shopify-Shop-Api-Call-Limit"

LEAK_SECONDS: Final = 20
"""Seconds in which a full bucket leaks, whatever its size."""

RESERVE: Final = 0.1
"""Share of the bucket that is left to whatever else the shop runs under the same app."""

FIRST_SIZE: Final = 40
"""Size of the smallest bucket, until the server tells."""

RETRY_AFTER: Final = 2.0
"""Seconds to wait after a 429 that doesn't say how long, at first."""

LONGEST_RETRY_AFTER: Final = 60.0


class Passed(NamedTuple):
    """What was known of the bucket when a request passed, itself included.

    Attributes
    ----------
    used
        How full it was.
    added
        What the server's figures had added up to then.
    """

    used: float
    added: float


class Pacer:
    """Lets requests pass as the server's bucket has room for them.

    All requests of a shop share one. It counts what it lets pass, and adds what the server has
    beyond that: others use the bucket too. One request passes alone before the server has told
    anything.
    """

    def __init__(self) -> None:
        self._size = 0
        self._used = 0.0
        self._added = 0.0
        self._at = time.monotonic()
        self._not_before = 0.0
        self._in_a_row = 0
        self._first = asyncio.Lock()

    @property
    def rate(self) -> float:
        """Requests a second that the server allows in the long run."""
        return (self._size or FIRST_SIZE) / LEAK_SECONDS

    async def wait(self) -> Passed:
        """Wait until a request may be sent."""
        if not self._size:
            await self._first.acquire()  # released by the answer
            if self._size:
                self._first.release()
        while True:
            delay = self._delay()
            if delay <= 0:
                self._used += 1
                return Passed(self._used, self._added)
            await asyncio.sleep(delay)

    def _delay(self) -> float:
        now = time.monotonic()
        self._used = max(0.0, self._used - (now - self._at) * self.rate)
        self._at = now
        room = (self._size or FIRST_SIZE) * (1 - RESERVE) - self._used
        return max(self._not_before - now, (1 - room) / self.rate)

    def answered(self, passed: Passed, status: int, headers: Mapping[str, str]) -> None:
        """Take the figures of an answer, which are of the moment when its request passed.

        Parameters
        ----------
        passed
            What :meth:`wait` returned for the request.
        status, headers
            Of the answer.
        """
        if found := re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", headers.get(LIMIT_HEADER, "")):
            known = passed.used + self._added - passed.added
            unknown = max(0.0, float(found[1]) - known)
            self._used += unknown
            self._added += unknown
            self._size = int(found[2]) or self._size
        if status == 429:
            self._in_a_row += 1
            self._used = float(self._size or FIRST_SIZE)
            wait = _seconds(headers.get("Retry-After", "")) or RETRY_AFTER * 2 ** min(
                self._in_a_row - 1, 6
            )
            until = time.monotonic() + min(wait, LONGEST_RETRY_AFTER)
            self._not_before = max(self._not_before, until)
        else:
            self._in_a_row = 0
        self.ended()

    def ended(self) -> None:
        """Let the others pass when the first request has ended, however it did."""
        if self._first.locked():
            self._size = self._size or FIRST_SIZE
            self._first.release()


def _seconds(text: str) -> float:
    """Return the seconds of ``Retry-After``, which are decimal; 0 if it has none."""
    return float(text) if re.fullmatch(r"\s*\d+(\.\d+)?\s*", text) else 0.0
