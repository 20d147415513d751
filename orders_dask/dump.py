"""What a fetched run date consists of: its manifest, written last, which names its objects.

The folder of a run date has ``fetch=.../`` folders with pages of the Order API, and
``_fetched.json``, the manifest. A page counts only if the manifest names it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

MANIFEST_NAME: Final = "_fetched.json"

FETCH_FOLDER: Final = "fetch="
"""Prefix of the folders that fetches write to."""

_FORMAT: Final = 1


@dataclass(frozen=True)
class FetchedObject:
    """An object with orders that was fetched.

    Attributes
    ----------
    name
        Its name below the folder of the run date.
    size
        Bytes, as stored.
    etag
        Its ETag in the store.
    sha256
        Hash of its bytes, hexadecimal.
    orders
        Number of orders in it.
    first, last
        The least and the greatest ``updated_at``, as ISO 8601 in UTC; None of no orders.
    """

    name: str
    size: int
    etag: str
    sha256: str
    orders: int
    first: str | None
    last: str | None


@dataclass(frozen=True)
class FetchManifest:
    """What was fetched of a run date.

    Attributes
    ----------
    shop
        Host of the shop.
    api, api_version
        ``rest``, and the version that answered.
    window
        First and last ``updated_at`` that were asked for, both inclusive, as ISO 8601 in UTC.
    fetched_at
        When the fetch ended, by the server's time.
    count_before, count_after
        Orders in the window by the shop's own count, before and after; None for a window of one
        page, which is a snapshot by itself.
    orders
        Number of distinct orders that the latest fetch gave.
    objects
        What was fetched, by this fetch and by those before it.
    requests, throttled
        Requests of this fetch, and how many of them were told to wait.
    warnings
        What may be missing, and why.
    """

    shop: str
    api: str
    api_version: str
    window: tuple[str, str]
    fetched_at: str
    count_before: int | None
    count_after: int | None
    orders: int
    objects: Sequence[FetchedObject]
    requests: int
    throttled: int
    warnings: Sequence[str]

    def to_json(self) -> bytes:
        """Return the content of the manifest's object."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=1).encode()

    @classmethod
    def from_json(cls, content: bytes) -> FetchManifest:
        """Return the manifest that :meth:`to_json` wrote.

        Raises
        ------
        ValueError
            It is none, or of a format of a younger version.
        """
        try:
            stored: Any = json.loads(content)
        except ValueError:
            stored = None
        if not isinstance(stored, dict) or stored.pop("format", None) != _FORMAT:
            raise ValueError("not a manifest that this version can read")
        try:
            objects = tuple(FetchedObject(**each) for each in stored.pop("objects"))
            return cls(**stored, objects=objects)
        except (KeyError, TypeError) as error:
            raise ValueError("not a manifest that this version can read") from error
