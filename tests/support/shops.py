"""A fake shop that is served on a free port, and what a dump of it amounts to."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from orders_dask.dump import FetchManifest
from orders_dask.order_api.settings import FetchSettings, load_fetch_settings
from orders_dask.sandbox.serve_shop import served
from orders_dask.sandbox.shop import TOKEN

__all__ = ["TOKEN", "at", "dumped", "latest", "order_at", "orders_on", "served", "settings_of"]


def settings_of(url: str, source: str, **others: Any) -> FetchSettings:
    """Return settings that fetch from a shop into a folder by date."""
    given = {"token": TOKEN, **others}
    return load_fetch_settings(url=url, source=f"{source}/run_date={{run_date}}/", **given)


def order_at(order_id: int, updated: datetime, **values: Any) -> dict[str, Any]:
    """Return an order with the keys that the API filters by."""
    created = (updated - timedelta(hours=1)).isoformat()
    return {"id": order_id, "created_at": created, "updated_at": updated.isoformat(), **values}


def orders_on(day: date, number: int, first: int = 1) -> list[dict[str, Any]]:
    """Return orders that were edited in the course of a day, in UTC."""
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    step = timedelta(days=1) / (number + 1)
    return [order_at(first + n, begin + step * (n + 1)) for n in range(number)]


def dumped(folder: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the orders of the pages that the manifests below a local folder name."""
    for file in sorted(folder.rglob("_fetched.json")):
        for each in FetchManifest.from_json(file.read_bytes()).objects:
            body = (file.parent / each.name).read_bytes()
            text = gzip.decompress(body) if each.name.endswith(".gz") else body
            yield from json.loads(text)["orders"]


def latest(orders: Iterator[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    """Return the latest version of each order, by id."""
    found: dict[int, Mapping[str, Any]] = {}
    for order in orders:
        before = found.get(order["id"])
        moment = datetime.fromisoformat(order["updated_at"])
        if before is None or moment >= datetime.fromisoformat(before["updated_at"]):
            found[order["id"]] = order
    return found


def at(moment: datetime) -> Callable[[], datetime]:
    """Return a server's time that stands still."""
    return lambda: moment
