"""The ledger: leases on run dates, and the records of a load."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict

import pyarrow as pa
import pytest
from sqlalchemy import Engine, event

from orders_dask.contract.arrow import FILE, POSITION
from orders_dask.contract.ledger_tables import counter_column
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.rejects import Issue
from orders_dask.contract.schema_drift import Drift, UnknownKey
from orders_dask.errors import LoadNotActive, RunDateLocked
from orders_dask.ledger import leases, loads
from orders_dask.ledger.queries import published_load, status
from orders_dask.ledger.rejects import rejects
from orders_dask.load.copy import load_part
from orders_dask.publish.publish import publish
from orders_dask.step_metrics import StepMetrics
from tests.support.loads import DAY, NEXT, File, begin, order, part, published, verified
from tests.support.types import Query

READ = dict.fromkeys((fact.name for fact in FACTS), 0)


def test_a_locked_run_date_names_the_process_that_works_on_it(warehouse: Engine) -> None:
    with leases.acquire_lease(warehouse, DAY) as lease:
        loads.create_load(lease, "s3://orders/", "f", "ann on host1, process 7")
        with (
            pytest.raises(
                RunDateLocked, match=f"{DAY} is being worked on by ann on host1, process 7"
            ),
            leases.acquire_lease(warehouse, DAY, timeout=0.1),
        ):
            pass
        with leases.acquire_lease(warehouse, NEXT):
            pass
    with leases.acquire_lease(warehouse, DAY):
        pass


def test_a_load_left_by_a_dead_run_is_abandoned_and_can_do_nothing_more(
    warehouse: Engine, query: Query
) -> None:
    with leases.acquire_lease(warehouse, DAY) as lease:
        dead = verified(lease, {"fact_order": [{"order_id": 1}]})
    with leases.acquire_lease(warehouse, DAY) as lease:
        assert query("select load_id, status from orders_ops.load_run") == [(dead, "abandoned")]
        with pytest.raises(LoadNotActive):
            load_part(warehouse, dead, DAY, "part=b", part(1, fact_order=[]).items(), {})
        with pytest.raises(LoadNotActive):
            publish(lease, dead)
        assert begin(lease) > dead


def test_a_killed_run_releases_its_run_date(warehouse: Engine, environment: object) -> None:
    script = f"""
import os, signal
from datetime import date
from orders_dask.ledger import leases, loads
from orders_dask.load.connect import engine
from orders_dask.settings import load_settings
database = engine(load_settings())
with leases.acquire_lease(database, date({DAY.year}, {DAY.month}, {DAY.day})) as lease:
    loads.create_load(lease, "s3://orders/", "f", "someone")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", script], check=False)
    assert killed.returncode == -9
    with leases.acquire_lease(warehouse, DAY) as lease:
        begin(lease)


def test_ids_of_files_grow_in_the_order_of_the_listing(warehouse: Engine, query: Query) -> None:
    names = [f"s3://orders/{n:04}.json" for n in range(1500)]
    with leases.acquire_lease(warehouse, DAY) as lease:
        load_id = begin(lease)
        ids = loads.record_files(lease, load_id, [File(READ, name=name) for name in names])
        assert ids == sorted(ids)
        assert loads.record_files(lease, load_id, []) == []
    assert query("select file_id, name from orders_ops.load_file order by 1") == list(
        zip(ids, names, strict=True)
    )


def rejected_rows(file_id: int, *rows: tuple[int, str, str]) -> pa.Table:
    columns = [list(c) for c in zip(*rows, strict=True)]
    return pa.table(
        {
            FILE: pa.array([file_id] * len(rows), pa.int64()),
            POSITION: pa.array(columns[0], pa.int64()),
            "path": columns[1],
            "code": columns[2],
            "message": ["why"] * len(rows),
            **{counter_column(fact, "rejected"): [1] * len(rows) for fact in FACTS},
            "raw": ["{"] * len(rows),
            "order_raw": pa.nulls(len(rows), pa.string()),
        }
    )


def test_rejects_are_those_of_the_latest_load_even_if_it_was_refused(warehouse: Engine) -> None:
    published(warehouse, DAY, {"fact_order": [{"order_id": 1}]})
    with leases.acquire_lease(warehouse, DAY) as lease:
        load_id = begin(lease)
        [first, second] = loads.record_files(
            lease, load_id, [File(READ, name="a"), File(READ, name="b")]
        )
        tables = [
            rejected_rows(second, (1, "", "invalid_json")),
            rejected_rows(first, (9, "line_items[3]", "bad_child_id"), (2, "", "invalid_json")),
        ]
        loads.record_rejected(lease, load_id, tables)
        leases.finish(lease, load_id, "refused", "Too much was rejected.")
    found = [(r.run_date, r.file, r.position, r.path, r.code) for r in rejects(warehouse)]
    assert found == [
        (DAY, "a", 2, "", "invalid_json"),
        (DAY, "a", 9, "line_items[3]", "bad_child_id"),
        (DAY, "b", 1, "", "invalid_json"),
    ]
    assert [r.position for r in rejects(warehouse, code="bad_child_id")] == [9]
    assert list(rejects(warehouse, run_date=NEXT)) == []
    [line] = status(warehouse)
    assert line.status == "published", "the load that was published before stays published"


def test_issues_seconds_and_drift_are_recorded(warehouse: Engine, query: Query) -> None:
    drift = Drift((UnknownKey("line_items[].colour", 3, ("null", "text"), "xxx"),))
    issue = Issue("line_items[].price", "bad_money", 7, ((1, "x"), (2, "y")))
    with leases.acquire_lease(warehouse, DAY) as lease:
        load_id = begin(lease)
        loads.record_issues(lease, load_id, [(5, issue)])
        loads.record_drift(lease, load_id, drift)
        loads.save_metrics(lease, load_id, {"load": 1.5}, {"load": StepMetrics(2.5, 1.0, 7)})
    assert query(
        "select file_id, field, code, value_count, samples from orders_ops.data_issue"
    ) == [(5, "line_items[].price", "bad_money", 7, [[1, "x"], [2, "y"]])]
    assert query("select step_seconds, step_metrics, schema_drift from orders_ops.load_run") == [
        (
            {"load": 1.5},
            {"load": asdict(StepMetrics(2.5, 1.0, 7))},
            {"keys": {"line_items[].colour": [3, ["null", "text"], "xxx"]}, "more": False},
        )
    ]


def test_status_is_a_line_a_run_date(warehouse: Engine) -> None:
    assert published_load(warehouse, DAY) is None
    load_id = published(warehouse, DAY, {"fact_order": [{"order_id": 1}, {"order_id": 2}]})
    with leases.acquire_lease(warehouse, NEXT) as lease:
        failed = begin(lease)
        leases.finish(lease, failed, "failed", "PostgreSQL went away.")
        leases.finish(lease, failed, "refused", "A load ends once.")
    first, second = status(warehouse)
    assert first == published_load(warehouse, DAY)
    assert (first.load_id, first.status, first.orders, first.files) == (load_id, "published", 2, 1)
    assert first.fingerprint == "fingerprint"
    assert first.seconds is not None
    assert first.seconds >= 0
    assert (second.run_date, second.status, second.message) == (
        NEXT,
        "failed",
        "PostgreSQL went away.",
    )


def test_status_shows_what_there_is_while_the_first_load_of_a_date_begins(
    warehouse: Engine,
) -> None:
    published(warehouse, DAY, {"fact_order": [order(1)]})
    first_query = iter([True])

    @event.listens_for(warehouse, "after_cursor_execute")
    def load_another(*_: object) -> None:
        if next(first_query, False):
            published(warehouse, NEXT, {"fact_order": [order(2)]})

    assert DAY in {load.run_date for load in status(warehouse)}
