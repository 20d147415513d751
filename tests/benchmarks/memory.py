"""Measure the peak memory of runs of large and odd inputs: ``make bench-memory``.

Each case is a whole ``run`` on a cluster of its own. The kernel reports the peak of each process
(``VmHWM``)."""

from __future__ import annotations

import argparse
import io
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import BinaryIO, Final, TypeVar, cast

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from orders_dask import run
from orders_dask.cluster import block_pandas
from orders_dask.cluster.connect import connect
from orders_dask.load.connect import engine
from orders_dask.load.schema import initialise
from orders_dask.sandbox import sandbox
from orders_dask.settings import load_settings, without_service_variables
from orders_dask.synthetic import generate
from tests.benchmarks.dump import RUN_DATE

Result = TypeVar("Result")

WORKER_MB: Final = 600
CLIENT_MB: Final = 400
MB: Final = 1e6
ORDER: Final = 6_600
"""Approximate bytes of a generated order."""


@dataclass(frozen=True)
class Case:
    """One kind of input.

    Attributes
    ----------
    what
        Its description.
    write
        Writes it to a URL, at a scale; 1 is the real size.
    settings
        Settings that differ from the defaults.
    """

    what: str
    write: Callable[[str, float], None]
    settings: dict[str, str] = field(default_factory=dict)


def one_gzip(url: str, scale: float) -> None:
    """Write one file of 4 GB, compressed."""
    generate(url, start=RUN_DATE, days=1, orders=round(4e9 * scale / ORDER), compression="gzip")


def one_page(url: str, scale: float) -> None:
    """Write a single page of 1 GB."""
    generate(f"{url}lines/", start=RUN_DATE, days=1, orders=round(1e9 * scale / ORDER))
    fs, path = url_to_fs(url)
    [lines] = fs.find(f"{path}/lines")
    with _read_lines(fs, lines) as orders, fs.open(f"{path}/page.json", "wb") as page:
        page.write(b'{"orders":[')
        for number, line in enumerate(orders):
            page.write(b"," * bool(number) + line.rstrip())
        page.write(b"]}")
    fs.rm(lines)


def _read_lines(fs: AbstractFileSystem, path: str) -> BinaryIO:
    """Open a file for its lines; the line reader of fsspec copies its whole read-ahead buffer."""
    return cast(BinaryIO, io.BufferedReader(fs.open(path, "rb"), 1 << 20))


def two_million(url: str, scale: float) -> None:
    """Write 2 million orders in eight files, one process a core."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        list(pool.map(_eighth, [(url, number, round(2e6 * scale / 8)) for number in range(8)]))


def _eighth(arguments: tuple[str, int, int]) -> None:
    url, number, orders = arguments
    start = date(RUN_DATE.year, RUN_DATE.month, 1 + number)
    generate(url, start=start, days=1, orders=orders, seed=number, compression="gzip", edited=0)


def small_files(url: str, scale: float) -> None:
    """Write 50,000 files of an order each."""
    generate(f"{url}lines/", start=RUN_DATE, days=1, orders=round(50_000 * scale))
    fs, path = url_to_fs(url)
    [lines] = fs.find(f"{path}/lines")
    with _read_lines(fs, lines) as orders:
        for batch in _batches(enumerate(orders)):
            fs.pipe({f"{path}/{number:06}.json": line for number, line in batch})
    fs.rm(lines)


def _batches(items: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    iterator = iter(items)
    for first in iterator:
        yield [first, *(item for item, _ in zip(iterator, range(499), strict=False))]


def half_duplicates(url: str, scale: float) -> None:
    """Write 100,000 orders, and each of them twice."""
    orders = round(100_000 * scale)
    generate(url, start=RUN_DATE, days=1, orders=orders, duplicates=1.0, files_per_day=4)


def many_splits(url: str, scale: float) -> None:
    """Write a file that makes 20,000 splits of 64 KiB."""
    generate(url, start=RUN_DATE, days=1, orders=round(20_000 * scale * 65_536 / ORDER))


CASES: Final = {
    "gzip": Case("a gzip file of 4 GB decoded", one_gzip),
    "page": Case("a single JSON page of 1 GB", one_page),
    "day": Case("a day of 2 million orders", two_million),
    "files": Case("50,000 files of an order each", small_files),
    "twice": Case("a day in which half the orders are duplicates", half_duplicates),
    "splits": Case("20,000 splits", many_splits, {"ORDERS_DASK_BLOCK_SIZE": "65536"}),
}


def main() -> None:
    """Run the cases, and fail if a process took too much memory."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.memory", description=__doc__)
    parser.add_argument("--only", nargs="*", choices=CASES, default=[*CASES])
    parser.add_argument(
        "--scale", type=float, default=1.0, help="size of all inputs; 1 is the real one"
    )
    parser.add_argument("--into", type=Path, default=Path("build"), help="folder of memory.md")
    args = parser.parse_args()
    lines = [
        f"| input{'' if args.scale == 1 else f', times {args.scale}'} | orders | seconds "
        f"| MB of a worker (at most {WORKER_MB}) | MB of the client (at most {CLIENT_MB}) |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    failed = False
    for name in args.only:
        orders, seconds, worker, client = _measured(CASES[name], args.scale)
        failed |= worker > WORKER_MB or client > CLIENT_MB
        lines.append(
            f"| {CASES[name].what} | {orders:,} | {seconds:.0f} | {worker:.0f} | {client:.0f} |"
        )
        print(lines[-1], flush=True)
    args.into.mkdir(parents=True, exist_ok=True)
    (args.into / "memory.md").write_text("\n".join(lines) + "\n")
    raise SystemExit("A process took more than it may." if failed else 0)


def _measured(case: Case, scale: float) -> tuple[int, float, float, float]:
    """Return orders loaded, seconds, and the peak MB of any worker and of the client."""
    with sandbox() as box:
        os.environ |= without_service_variables(os.environ) | box.environment | case.settings
        url = f"{box.environment['_AWS_S3_URL_SOURCE']}dump/"
        _in_new_process(case.write, url, scale)
        return _in_new_process(_run, url)


def _in_new_process(function: Callable[..., Result], *args: object) -> Result:
    """Call a function in a new process, with a peak and s3fs connections of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *args).result()


def _run(url: str) -> tuple[int, float, float, float]:
    os.environ["_AWS_S3_URL_SOURCE"] = url
    block_pandas.block()  # as the command line does
    settings = load_settings()
    initialise(engine(settings))
    with connect(settings) as client:
        began = time.monotonic()
        ended = run(RUN_DATE, settings=settings, client=client)
        seconds = time.monotonic() - began
        worker = max(client.run(_peak).values())
    return ended.orders, seconds, worker, _peak()


def _peak() -> float:
    """Return the peak resident memory of this process, in MB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found, "only Linux reports it"
    return int(found[1]) * 1024 / MB


if __name__ == "__main__":
    main()
