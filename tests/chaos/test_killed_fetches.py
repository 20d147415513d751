"""A fetch that is killed at any moment: the next one goes on, and half of a day is never a dump."""

from __future__ import annotations

import signal
import subprocess
from datetime import UTC, date, datetime
from pathlib import Path
from random import Random

import pytest

from orders_dask.errors import SourceMissing
from orders_dask.extract.discover import discover_dump
from orders_dask.sandbox.shop import TOKEN, Shop
from tests.support.commands import start
from tests.support.shops import at, dumped, latest, orders_on, served

DAY = date(2026, 3, 2)
KILLS = 6


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(4))
def test_a_killed_fetch_goes_on_where_it_was(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    shop = Shop(orders_on(DAY, 6_000), now=at(datetime(2026, 3, 4, tzinfo=UTC)), size=400)
    shop.faults.latency = 1.5
    source = f"{tmp_path}/run_date={{run_date}}/"
    settings = {"_AWS_S3_URL_SOURCE": source, "ORDERS_DASK_API_TOKEN": TOKEN}
    with served(shop) as url:
        for kill in range(KILLS + 1):
            process = start("fetch", "--run-date", str(DAY), ORDERS_DASK_API_URL=url, **settings)
            try:
                _, err = process.communicate(timeout=60 if kill == KILLS else random.uniform(1, 4))
            except subprocess.TimeoutExpired:
                process.send_signal(random.choice((signal.SIGKILL, signal.SIGTERM)))
                process.communicate()
                if not list(tmp_path.rglob("_fetched.json")):
                    with pytest.raises(SourceMissing):
                        discover_dump(source, DAY, 2**20)
            else:
                assert process.returncode == 0, err
                break
    assert kill, "it was never killed"
    assert latest(dumped(tmp_path)) == shop.orders
    assert len(list(tmp_path.rglob("begin.json"))) <= 1 + KILLS
