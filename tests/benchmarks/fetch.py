"""A fetch from a shop whose pages take seconds: the share of the allowed rate, CPU and memory.

The shop is a process of its own, on the same machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from orders_dask.order_api.pages import PAGE_ORDERS
from orders_dask.sandbox.serve_shop import served
from orders_dask.sandbox.shop import TOKEN, Shop
from orders_dask.synthetic import generate
from tests.support.commands import start

DAY = date(2026, 3, 2)
LATENCY = 1.0, 5.0
"""Seconds that a full page takes, as real shops were measured."""

MB = 2**20


def main() -> None:
    """Measure a day of each size, and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.fetch")
    parser.add_argument("--orders", type=int, nargs="+", default=[50_000, 300_000])
    parser.add_argument("--into", type=Path, default=Path("build"), help="folder of the JSON file")
    args = parser.parse_args()
    found = []
    for orders in args.orders:
        with _shop_of(orders) as (url, pipe), TemporaryDirectory() as folder:
            found.append(_measured(url, folder, orders, pipe))
        print(json.dumps(found[-1]), flush=True)
    machine = {
        "date": str(date.today()),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    args.into.mkdir(parents=True, exist_ok=True)
    (args.into / "fetch.json").write_text(json.dumps({"machine": machine, "fetches": found}))


def _measured(url: str, folder: str, orders: int, pipe: Connection) -> dict[str, float]:
    began = time.monotonic()
    process = start(
        *("fetch", "--run-date", str(DAY), "--json"),
        _AWS_S3_URL_SOURCE=f"{folder}/{{run_date}}/",
        ORDERS_DASK_API_URL=url,
        ORDERS_DASK_API_TOKEN=TOKEN,
    )
    assert process.stdout
    [ended] = json.loads(process.stdout.read())
    _, _, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    assert ended["orders"] == orders, ended
    pipe.send("figures")
    size, throttled = pipe.recv()
    # What the bucket lets pass: its reserve aside, all of it at once, and then as it leaks.
    allowed = 0.9 * size + seconds * size / 20
    return {
        "orders": orders,
        "pages": ended["pages"],
        "requests": ended["requests"],
        "beyond_pages": round(ended["requests"] / -(-orders // PAGE_ORDERS) - 1, 4),
        "seconds": round(seconds, 1),
        "share_of_rate": round(ended["requests"] / allowed, 3),
        "throttled": throttled,
        "cpu_seconds_a_page": round((used.ru_utime + used.ru_stime) / ended["pages"], 4),
        "peak_mb": round(used.ru_maxrss * 1024 / MB),
    }


@contextmanager
def _shop_of(orders: int) -> Iterator[tuple[str, Connection]]:
    """Serve a shop of so many orders from a process of its own."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(orders, there), daemon=True)
    process.start()
    try:
        yield here.recv(), here
    finally:
        process.terminate()
        process.join()


def _serve(orders: int, pipe: Connection) -> None:
    with TemporaryDirectory() as folder:
        generate(folder, start=DAY, days=1, orders=1_000, duplicates=0.0, edited=0.0)
        [file] = [path for path in Path(folder).rglob("*") if path.is_file()]
        texts = [json.loads(line) for line in file.open("rb")]
    begin = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC)
    step = timedelta(days=1) / (orders + 1)
    shop = Shop(now=lambda: datetime(2026, 3, 4, tzinfo=UTC))
    for number in range(orders):
        order = {**texts[number % len(texts)], "id": number + 1}
        shop.put(order, begin + step * (number + 1))
    random = Random(0)

    def vary(number: int) -> None:
        shop.faults.latency = random.uniform(*LATENCY)

    shop.before_request = vary
    with served(shop) as url:
        pipe.send(url)
        while pipe.recv():
            pipe.send((shop.size, shop.throttled))


if __name__ == "__main__":
    main()
