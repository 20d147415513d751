"""Run all contenders in turn, several times, and write what they took as Markdown and JSON."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import psycopg2
from psycopg2 import sql

from orders_dask.sandbox import sandbox
from orders_dask.settings import without_services
from tests.benchmarks import report
from tests.benchmarks.contenders.copy_floor import ENCODED
from tests.benchmarks.dump import Form, write
from tests.benchmarks.report import Case

DEFECTS = 0.001
"""Share of the orders that have one."""


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--orders", type=int, default=200_000, help="of the dump")
    parser.add_argument("--repeats", type=int, default=3, help="times that each contender runs")
    parser.add_argument("--only", nargs="*", help="contenders, or ours:gzip; all by default")
    parser.add_argument(
        "--into", type=Path, default=Path("build"), help="folder of bench.md and .json"
    )
    given = parser.parse_args()

    gzip = Form("gzip", given.orders, "gzip", DEFECTS)
    plain = Form("plain", given.orders, "none", DEFECTS)
    clean = Form("clean", given.orders, "gzip", 0.0)
    part = Form("part", given.orders // 4, "gzip", 0.0)
    cases = [
        Case("ours", gzip),
        Case("with_duckdb", gzip),
        Case("decode_floor", clean),
        Case("copy_floor", clean),
        Case("ours_alone", gzip),
        Case("ours", plain),
        Case("with_duckdb", plain),
        Case("ours", part),
        Case("with_dlt", part),
        Case("with_pandas", part),
    ]
    if given.only:
        cases = [case for case in cases if {case.contender, str(case)} & {*given.only}]
    measured: defaultdict[Case, list[dict[str, Any]]] = defaultdict(list)
    with sandbox() as box, TemporaryDirectory() as encoded:
        environment = without_services(os.environ) | box.environment | {ENCODED: encoded}
        bucket = environment["_AWS_S3_URL_SOURCE"]
        os.environ |= environment
        write(bucket, sorted({case.form for case in cases}, key=lambda form: form.name))
        for turn in range(given.repeats):
            for case in cases:
                one = _measure(case, environment, bucket)
                measured[case].append(one)
                print(turn, case, one, flush=True)
    report.write(given.into, measured)
    print((given.into / "bench.md").read_text())


def _measure(case: Case, environment: dict[str, str], bucket: str) -> dict[str, Any]:
    """Run a contender in a process, on a database and a stage of its own."""
    name = f"bench_{uuid4().hex}"
    _administer(environment, sql.SQL("create database {}").format(sql.Identifier(name)))
    with TemporaryDirectory() as folder:
        told = Path(folder) / "measured.json"
        subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.contenders", case.contender, str(told)],
            check=True,
            env=environment
            | {
                "_PGSQL_DATABASE": name,
                "_AWS_S3_URL_SOURCE": case.form.source(bucket),
                "ORDERS_DASK_STAGE_URL": f"{bucket}stage/{name}/",
            },
        )
        measured: dict[str, Any] = json.loads(told.read_text())
    _administer(environment, sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
    return measured


def _administer(environment: dict[str, str], statement: sql.Composable) -> None:
    server = psycopg2.connect(
        host=environment["_PGSQL_HOSTNAME"],
        port=environment["_PGSQL_PORT"],
        user=environment["_PGSQL_USER"],
        password=environment["_PGSQL_PASS"],
        dbname="postgres",
    )
    with closing(server):
        server.autocommit = True
        server.cursor().execute(statement)
        # What the last one left to be written to disk is not the next one's.
        server.cursor().execute("checkpoint")


if __name__ == "__main__":
    main()
