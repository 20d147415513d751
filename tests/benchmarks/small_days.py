"""Small days: a backfill of a real dump of 60 run dates beside DuckDB, and of days of 400 orders.

DuckDB reads the unzipped documents of all dates in one statement, and loads the columns of two tables.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import zipfile
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from distributed import Client

from orders_dask.cluster import block_pandas
from orders_dask.cluster.connect import connect
from orders_dask.contract.order_tables import fact_order
from orders_dask.extract.decode.compile_once import ensure_compiled
from orders_dask.extract.decode.json_reader import read_lines
from orders_dask.extract.lines import Lines
from orders_dask.filesystem import filesystem
from orders_dask.load.connect import engine
from orders_dask.pipeline import batch_tasks
from orders_dask.sandbox import sandbox
from orders_dask.settings import without_service_variables
from orders_dask.synthetic import generate
from tests.benchmarks.backfills import FIRST, fresh, loaded, timed
from tests.benchmarks.contenders import target, with_duckdb
from tests.support.dumps import REAL
from tests.support.services import bucket_of

ORDERS = 400
FEW_DAYS = 10
REAL_DATES = date(2017, 10, 30), date(2017, 12, 30)


def main() -> None:
    """Measure in turn, and write the medians."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.small_days")
    parser.add_argument("--days", type=int, default=365, help="run dates of 400 orders")
    parser.add_argument("--rounds", type=int, default=3, help="times that each is measured")
    parser.add_argument("--into", type=Path, default=Path("build"), help="folder of the JSON file")
    args = parser.parse_args()
    block_pandas.block()  # as the command line does
    measured: dict[str, list[float]] = {}
    with sandbox() as box:
        os.environ |= without_service_variables(os.environ) | box.environment
        bucket = box.environment["_AWS_S3_URL_SOURCE"]
        _put_dumps(box.environment, bucket, max(args.days, FEW_DAYS))
        with connect(fresh(box.environment, bucket)) as client:
            _warm(client)
            for _ in range(args.rounds):
                for name, measure in _measures(box.environment, bucket, client, args.days):
                    measured.setdefault(name, []).append(round(measure(), 3))
                    print(name, measured[name], flush=True)
    args.into.mkdir(parents=True, exist_ok=True)
    machine = {
        "date": str(date.today()),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    content = json.dumps({"machine": machine, "medians": _medians(measured), "all": measured})
    (args.into / "small_days.json").write_text(content)
    print(json.dumps(_medians(measured), indent=1))


def _medians(measured: dict[str, list[float]]) -> dict[str, float]:
    medians = {name: median(values) for name, values in measured.items()}
    if (ours := medians.get("real dump, orders/s")) and (
        other := medians.get("real dump, DuckDB, orders/s")
    ):
        medians["real dump beside DuckDB"] = round(ours / other, 2)
    return medians


def _put_dumps(environment: dict[str, str], bucket: str, days: int) -> None:
    generate(
        f"{bucket}days/",
        start=FIRST,
        days=days,
        orders=ORDERS,
        compression="gzip",
        files_per_day=1,
        duplicates=0.0,
    )
    if REAL.exists():
        store = bucket_of(environment)
        store.pipe_file(f"{bucket}real.zip", REAL.read_bytes())
        with zipfile.ZipFile(REAL) as archive:
            for name in archive.namelist():
                store.pipe_file(f"{bucket}documents/{name}", archive.read(name))


def _measures(
    environment: dict[str, str], bucket: str, client: Client, days: int
) -> Iterator[tuple[str, Callable[[], float]]]:
    if REAL.exists():
        of_zip = f"zip://{{run_date}}.json::{bucket}real.zip"
        yield (
            "real dump, orders/s",
            partial(_orders_a_second, environment, of_zip, REAL_DATES, client),
        )
        yield (
            "real dump, DuckDB, orders/s",
            partial(_duckdb, environment, f"{bucket}documents/*.json"),
        )
    by_day = f"{bucket}days/run_date={{run_date}}/"
    for number in (FEW_DAYS, days):
        dates = FIRST, FIRST + timedelta(number - 1)
        yield (
            f"{number} run dates of {ORDERS} orders, dates/s",
            partial(_dates_a_second, environment, by_day, dates, client),
        )


def _warm(client: Client) -> None:
    """Import, compile and connect everywhere, as for the other benchmark."""
    client.run(import_module, batch_tasks.__name__)
    ensure_compiled()
    client.run(partial(read_lines, Lines(b"{}\n"), in_page=True))
    client.run(_reach)
    _reach()


def _reach() -> None:
    fs, path = filesystem(os.environ["_AWS_S3_URL_SOURCE"])
    fs.exists(path)


def _orders_a_second(*args: Any) -> float:
    found = loaded(*args)
    return float(found["orders"] / found["seconds"])


def _dates_a_second(*args: Any) -> float:
    found = loaded(*args)
    return float(found["dates"] / found["seconds"])


def _duckdb(environment: dict[str, str], pattern: str) -> float:
    settings, found = fresh(environment, pattern), dict[str, Any]()
    with with_duckdb.ready_for_documents(settings, pattern) as load, timed(found):
        load()
    return target.rows(engine(settings), target.RIVAL, fact_order) / float(found["seconds"])


if __name__ == "__main__":
    main()
