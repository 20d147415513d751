"""Random shops, edits, kills, slices and zones: no order is missing, and no sabotage passes."""

from __future__ import annotations

import os
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from orders_dask.errors import FetchIncomplete
from orders_dask.jobs.fetch import fetch
from orders_dask.order_api import fetch_date, pages
from orders_dask.order_api.api import Api
from orders_dask.order_api.settings import FetchSettings
from orders_dask.order_api.store import FetchStore
from orders_dask.order_api.window import window_of
from orders_dask.sandbox.shop import Shop
from tests.support.shops import dumped, latest, order_at, served, settings_of

SCHEDULES = int(os.environ.get("ORDERS_DASK_FETCH_SCHEDULES", "24"))

# Days of 23 and 25 hours, a midnight that does not exist, and one that does twice.
ZONES = (
    ("UTC", date(2026, 3, 2)),
    ("Europe/Berlin", date(2026, 3, 28)),
    ("America/New_York", date(2026, 10, 31)),
    ("America/Sao_Paulo", date(2018, 11, 3)),
    ("America/Havana", date(2026, 10, 31)),
    ("Asia/Kathmandu", date(2026, 5, 5)),
)
DAYS = 3


class Killed(BaseException):
    """Stands for a SIGKILL between two effects."""


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few orders fill many pages."""
    for module in (pages, fetch_date):
        monkeypatch.setattr(module, "PAGE_ORDERS", 5)


class World:
    """A shop whose time goes on with each request, and in which somebody edits."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.zone, self.first = self.random.choice(ZONES)
        self.days = [self.first + timedelta(days=n) for n in range(DAYS)]
        self.time = window_of(self.first, ZoneInfo(self.zone)).start
        self.busy = self.random.choice((0.0, 0.3, 0.9))
        self.shop = Shop(zone=self.zone, now=lambda: self.time, size=8000)
        self.shop.before_request = self.pass_time
        self.number = 0
        self.kill_at: int | None = None

    def pass_time(self, request: int) -> None:
        """Let some seconds pass, and perhaps somebody edit."""
        self.time += timedelta(seconds=self.random.choice((0, 0.4, 1, 30)))
        while self.random.random() < self.busy / 2:
            self.edit()

    def edit(self) -> None:
        """Add, edit or delete an order now."""
        ids = list(self.shop.orders)
        what = self.random.random()
        if what < 0.3 or not ids:
            self.number += 1
            self.shop.put(order_at(self.number, self.time), self.time)
        elif what < 0.9:
            self.shop.edit(self.random.choice(ids), note=str(self.time))
        else:
            self.shop.remove(self.random.choice(ids))

    def live_until(self, end: datetime) -> None:
        """Let orders come in until a moment, some of them in the same second."""
        for _ in range(self.random.choice((0, 1, 4, 30, 60))):
            left = (end - self.time).total_seconds()
            self.time += timedelta(seconds=self.random.choice((0, 0, left / 20)))
            self.edit()
        self.time = end

    def effect(self) -> None:
        """Be killed, if it is time."""
        if self.kill_at is not None:
            self.kill_at -= 1
            if self.kill_at < 0:
                self.kill_at = None
                raise Killed


@pytest.fixture
def killing(monkeypatch: pytest.MonkeyPatch) -> list[World]:
    """Return a list whose last world kills before requests, and before and after writes."""
    worlds: list[World] = []
    send, put, finish = Api._send, FetchStore._put, FetchStore._put_manifest

    async def sent(self: Api, *args: Any) -> Any:
        worlds[-1].effect()
        return await send(self, *args)

    def stored(self: FetchStore, *args: Any) -> None:
        worlds[-1].effect()
        put(self, *args)
        worlds[-1].effect()

    def finished(self: FetchStore, *args: Any) -> bool:
        worlds[-1].effect()
        done = finish(self, *args)
        worlds[-1].effect()
        return done

    monkeypatch.setattr(Api, "_send", sent)
    monkeypatch.setattr(FetchStore, "_put", stored)
    monkeypatch.setattr(FetchStore, "_put_manifest", finished)
    return worlds


def fetch_with_kills(world: World, day: date, settings: FetchSettings, kills: int) -> int:
    """Fetch a day, and once more after each kill; return the number of kills."""
    done = 0
    while True:
        world.kill_at = world.random.randrange(40) if done < kills else None
        try:
            fetch(day, settings=settings)
        except Killed:
            done += 1
            if world.random.random() < 0.3:
                world.time += timedelta(hours=world.random.randrange(5))
        else:
            return done


@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_the_union_of_dumps_has_every_order_that_was_not_edited_since(
    seed: int, tmp_path: Path, killing: list[World]
) -> None:
    world = World(seed)
    killing.append(world)
    with served(world.shop) as url:
        settings = settings_of(url, str(tmp_path), shop_timezone=world.zone)
        for day in world.days:
            end = window_of(day, settings.zone).end
            if world.time < end:
                world.live_until(end)
            world.time = max(world.time, end + timedelta(minutes=15))
            fetch_with_kills(world, day, settings, kills=world.random.choice((0, 1, 3)))
    until = window_of(world.days[-1], ZoneInfo(world.zone)).end
    expected = {
        order_id: order
        for order_id, order in world.shop.orders.items()
        if datetime.fromisoformat(order["updated_at"]).astimezone(UTC) < until
    }
    found = latest(dumped(tmp_path))
    wrong = {order_id for order_id, order in expected.items() if found.get(order_id) != order}
    assert not wrong, f"seed {seed}: {len(wrong)} of {len(expected)} orders are missing or old"


@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_sabotage_is_refused_or_made_good(seed: int, tmp_path: Path) -> None:
    world = World(seed)
    world.busy = world.random.choice((0.0, 0.3))
    day = world.days[0]
    end = window_of(day, ZoneInfo(world.zone)).end
    while len(world.shop.orders) < 20:
        world.live_until(world.time + timedelta(hours=1))
    world.time = end + timedelta(hours=1)
    faults = world.shop.faults
    keys = [key for key in world.shop._keys if key[0] < end]
    sabotage = world.random.choice(("dropped", "skip", "unordered", "count_error"))
    if sabotage == "dropped":
        faults.dropped = {world.random.choice(keys)[1]}
    elif sabotage == "skip":
        faults.skip = world.random.randrange(1, 4)
    elif sabotage == "unordered":
        faults.unordered = True
    else:
        faults.count_error = world.random.choice((-2, -1, 1, 2))
    with ExitStack() as stack:
        url = stack.enter_context(served(world.shop))
        settings = settings_of(url, str(tmp_path), shop_timezone=world.zone)
        try:
            ended = fetch(day, settings=settings)
        except FetchIncomplete:
            assert not list(tmp_path.rglob("_fetched.json"))
            return
    if ended.warnings:
        return  # it says that it could not be proven
    found = latest(dumped(tmp_path))
    there = {order_id for moment, order_id in world.shop._keys if moment < end}
    assert there <= found.keys(), f"seed {seed}: {sabotage} was not noticed"
