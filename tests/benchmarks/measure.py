"""Measure contenders in turn on one sandbox, so that a machine's drift hits all alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from psycopg2 import sql

from orders_dask.sandbox import sandbox
from orders_dask.settings import without_service_variables
from tests.benchmarks.contenders.copy_floor import ENCODED
from tests.benchmarks.dump import write
from tests.benchmarks.report import Case, Measured
from tests.support.services import administer


def measure(cases: Sequence[Case], repeats: int) -> Measured:
    """Run all cases one after another, `repeats` times."""
    measured: defaultdict[Case, list[dict[str, Any]]] = defaultdict(list)
    with sandbox() as box, TemporaryDirectory() as encoded:
        environment = without_service_variables(os.environ) | box.environment | {ENCODED: encoded}
        bucket = environment["_AWS_S3_URL_SOURCE"]
        os.environ |= environment
        write(bucket, sorted({case.form for case in cases}, key=lambda form: form.name))
        for round_number in range(repeats):
            for case in cases:
                one = _measured(case, environment, bucket)
                measured[case].append(one)
                print(round_number, case, one, flush=True)
    return measured


def _measured(case: Case, environment: dict[str, str], bucket: str) -> dict[str, Any]:
    """Run a contender in a process, on a database and a stage of its own."""
    name = f"bench_{uuid4().hex}"
    _administer(environment, sql.SQL("create database {}").format(sql.Identifier(name)))
    with TemporaryDirectory() as folder:
        results = Path(folder) / "measured.json"
        subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.contenders", case.contender, str(results)],
            check=True,
            env=environment
            | {
                "_PGSQL_DATABASE": name,
                "_AWS_S3_URL_SOURCE": case.form.source(bucket),
                "ORDERS_DASK_STAGE_URL": f"{bucket}stage/{name}/",
            },
        )
        measured: dict[str, Any] = json.loads(results.read_text())
    _administer(environment, sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
    return measured


def _administer(environment: dict[str, str], statement: sql.Composable) -> None:
    # Pending writes of one case, in PostgreSQL and the S3 server, must not slow down the next.
    administer(environment, statement, sql.SQL("checkpoint"))
    os.sync()
