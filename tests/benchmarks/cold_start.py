"""Commands from a cold start: a day of 27 orders, and one that is up to date, beside bare imports.

Whole processes are timed, in turn. Ratios of one run count, not seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from orders_dask.sandbox import sandbox
from orders_dask.settings import without_service_variables
from orders_dask.synthetic import generate

ORDERS = 27
FIRST = date(2026, 1, 1)
COMMAND = "from orders_dask.cli import main; main()"
LIBRARIES = "import sqlalchemy, s3fs"
JOB = "import orders_dask.jobs.run"
USED = (
    "from orders_dask.cluster import block_pandas; block_pandas.block(); import orders_dask.jobs.run,"
    " orders_dask.jobs.batch, orders_dask.jobs.load_one, orders_dask.extract.decode.decode"
)
RATIOS = (
    ("run", "imports of what it uses"),
    ("run", "import orders_dask.jobs.run"),
    ("run, up to date", "import sqlalchemy, s3fs"),
    ("run, the first after init", "run, the second after init"),
)


def main() -> None:
    """Measure in turn, and write medians and ratios."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.cold_start")
    parser.add_argument("--rounds", type=int, default=7, help="times that each is measured")
    parser.add_argument("--into", type=Path, default=Path("build"), help="folder of the JSON file")
    args = parser.parse_args()
    seconds: dict[str, list[float]] = {}
    with sandbox() as box:
        os.environ |= without_service_variables(os.environ) | box.environment
        days = 3 * args.rounds + 1
        dump = generate("s3://orders/", start=FIRST, days=days, orders=ORDERS, compression="gzip")
        os.environ["_AWS_S3_URL_SOURCE"] = dump.source
        numbers = count()
        measures = dict(_measures(numbers))
        call(COMMAND, "init")
        for _ in range(args.rounds):
            for name, measure in measures.items():
                for each, value in measure(name).items():
                    seconds.setdefault(each, []).append(round(value, 3))
    medians = {name: median(values) for name, values in seconds.items()}
    ratios = {f"{one} / {other}": round(medians[one] / medians[other], 2) for one, other in RATIOS}
    machine = {
        "date": str(date.today()),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    content = {"machine": machine, "ratios": ratios, "medians": medians, "all": seconds}
    args.into.mkdir(parents=True, exist_ok=True)
    (args.into / "cold_start.json").write_text(json.dumps(content))
    print(json.dumps({"ratios": ratios, "medians": medians}, indent=1))


Measure = Callable[[str], dict[str, float]]


def _measures(numbers: count[int]) -> Iterator[tuple[str, Measure]]:
    yield "import sqlalchemy, s3fs", partial(_one, LIBRARIES)
    yield "import orders_dask.jobs.run", partial(_one, JOB)
    yield "imports of what it uses", partial(_one, USED)
    yield "run", lambda name: {name: call(COMMAND, *_day(next(numbers)))}
    yield "run, up to date", lambda name: {name: call(COMMAND, *_day(0))}
    yield "after init", lambda _: _after_init(numbers)


def _one(code: str, name: str) -> dict[str, float]:
    return {name: call(code)}


def _after_init(numbers: count[int]) -> dict[str, float]:
    """Time the first two runs on a machine that has compiled nothing but by `init`."""
    with TemporaryDirectory() as cache:
        call(COMMAND, "init", NUMBA_CACHE_DIR=cache)
        return {
            f"run, the {which} after init": call(
                COMMAND, *_day(next(numbers)), NUMBA_CACHE_DIR=cache
            )
            for which in ("first", "second")
        }


def _day(number: int) -> tuple[str, ...]:
    return ("run", "--run-date", str(FIRST + timedelta(number)))


def call(code: str, *arguments: str, **environment: str) -> float:
    """Return the seconds of a Python process."""
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | environment,
        capture_output=True,
        check=True,
    )
    return time.monotonic() - began


if __name__ == "__main__":
    main()
