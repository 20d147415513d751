"""Little data is loaded in the process of the command, without a cluster."""

from __future__ import annotations

import json
import logging
import sys

import pytest
from sqlalchemy import Engine

from orders_dask.jobs.backfill import backfill
from orders_dask.jobs.diff import diff
from orders_dask.jobs.load_dates import load_dates
from orders_dask.jobs.replay import replay
from orders_dask.jobs.run import run
from orders_dask.settings import Settings
from tests.support.builders import DAY, lines, order
from tests.support.commands import start
from tests.support.types import Put, Query

SMALL = lines(*(order(number) for number in range(1, 28)))
OF_DAY = ("run", "--run-date", str(DAY))

pytestmark = pytest.mark.usefixtures("warehouse")


def call(*arguments: str, **environment: str) -> tuple[str, str]:
    """Call a command in a process of its own, and return its standard output and error."""
    process = start(*arguments, **environment)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out, err


@pytest.fixture
def no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process one in which Dask was never imported."""
    monkeypatch.delitem(sys.modules, "distributed")


def test_a_small_run_date_needs_no_cluster_and_a_large_one_gets_one(put: Put) -> None:
    put("dump/a.ndjson", SMALL)
    out, err = call(*OF_DAY, "--json")
    assert json.loads(out)["orders"] == 27
    assert err.startswith("Little data: no cluster, and so no dashboard, is started for it.\n")
    assert "Dashboard" not in err
    put("dump/a.ndjson", lines(*(order(number) for number in range(1, 100))))
    out, err = call(*OF_DAY, "--json", ORDERS_DASK_BLOCK_SIZE="4kB")
    assert json.loads(out)["orders"] == 99
    assert err.startswith("Dashboard: ")


def test_little_data_of_several_dates_needs_no_cluster_unless_it_is_named(
    put: Put, query: Query, settings: Settings
) -> None:
    days = [f"2026-10-{number:02}" for number in range(1, 8)]
    for number, day in enumerate(days, 1):
        put(f"dump/{day}/a.ndjson", lines(order(number)))
    source = f"{settings.source}{{run_date}}/"
    _, err = call("backfill", "--from", days[0], "--to", days[-2], "--source", source)
    assert "Dashboard" not in err
    _, err = call(
        *("backfill", "--from", days[0], "--to", days[-1], "--source", source, "--workers", "1")
    )
    assert err.startswith("Dashboard: ")
    assert query("select count(distinct run_date) from orders.order_current") == [(7,)]


def test_a_single_date_is_inspected_before_a_cluster_is_started(
    put: Put, settings: Settings
) -> None:
    asked: list[bool] = []

    def connect(settings: Settings, is_small: bool) -> None:
        asked.append(is_small)

    put("dump/a.ndjson", SMALL)
    for outcome in ("published", "up_to_date"):
        [ended] = load_dates(connect, [DAY], settings)
        assert ended.outcome == outcome
    assert asked == [True]


@pytest.mark.usefixtures("no_client")
def test_in_python_no_client_is_needed_and_the_result_is_the_same(
    settings: Settings,
    put: Put,
    query: Query,
    owner: Engine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    put("dump/a.ndjson", lines(order(1), order(2), {"line_items": []}))
    with caplog.at_level(logging.WARNING):
        first = run(DAY, settings=settings)
    assert (first.outcome, first.orders, first.rejected) == ("published", 2, 1)
    assert not caplog.messages
    with owner.begin() as connection:
        corrected = "update orders_ops.rejected_record set corrected_raw = %(text)s"
        connection.exec_driver_sql(corrected, {"text": json.dumps(order(3))})
    assert replay(DAY, settings=settings).taken_in == 1
    put("dump/a.ndjson", lines(*(order(number) for number in range(1, 100))))
    large = settings.model_copy(update={"block_size": 1 << 12})
    with caplog.at_level(logging.WARNING):
        assert diff(DAY, settings=large).added == 96
        [last] = backfill(DAY, DAY, settings=large)
    assert (last.outcome, last.orders) == ("published", 99)
    assert all("There is no Dask client: this process" in message for message in caplog.messages)
    assert caplog.messages
    assert query("select count(*) from orders.order_current") == [(99,)]
    assert "distributed" not in sys.modules


def imported_by(*arguments: str) -> list[str]:
    """Return the modules that a command imports."""
    process = start(*arguments, PYTHONPROFILEIMPORTTIME="1")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    timed = [line for line in err.splitlines() if line.startswith("import time:")]
    return [line.rpartition("|")[2].strip() for line in timed[1:]]


@pytest.mark.parametrize(
    ("what", "most", "absent"),
    [
        ("small", 1_700, ("distributed", "dask", "numba", "pandas.core")),
        ("up to date", 1_150, ("distributed", "dask", "numba", "pandas.core", "pyarrow", "numpy")),
    ],
)
def test_a_command_imports_what_it_needs_alone(
    what: str, most: int, absent: tuple[str, ...], put: Put, settings: Settings
) -> None:
    put("dump/a.ndjson", SMALL)
    if what == "up to date":
        run(DAY, settings=settings)
    imported = imported_by(*OF_DAY)
    assert not set(absent).intersection(imported)
    assert len(imported) <= most, f"a {what} run date waits for {len(imported)} modules"


@pytest.mark.parametrize("command", [OF_DAY, ("backfill", "--from", str(DAY), "--to", str(DAY))])
def test_a_command_that_waits_for_postgresql_can_be_stopped(
    put: Put, query: Query, settings: Settings, owner: Engine, command: tuple[str, ...]
) -> None:
    put("dump/a.ndjson", lines(order(1)))
    run(DAY, settings=settings)  # there is a partition now, so the task waits
    put("dump/a.ndjson", SMALL)
    with owner.connect() as connection:
        connection.exec_driver_sql("lock table orders_store.fact_order in share mode")
        stopped = start(*command)
        while not query("select count(*) from pg_locks where not granted")[0][0]:
            assert stopped.poll() is None, stopped.communicate()
        stopped.terminate()
        _, err = stopped.communicate(timeout=20)
    assert stopped.returncode == 143, err
    assert "Traceback" not in err
    assert err.endswith("Stopped. What was published stands; the same command goes on from here.\n")
    call(*OF_DAY)
    assert query("select count(*) from orders.order_current") == [(27,)]


def test_a_command_that_was_killed_in_the_middle_is_repeated(
    put: Put, query: Query, settings: Settings, owner: Engine
) -> None:
    put("dump/a.ndjson", SMALL)
    with owner.connect() as connection:
        connection.exec_driver_sql("lock table orders_store.fact_order in share mode")
        killed = start(*OF_DAY)
        waiting = "select count(*) from pg_locks where not granted"
        while not query(waiting)[0][0]:
            assert killed.poll() is None, killed.communicate()
        killed.kill()
        killed.communicate()
    call(*OF_DAY)
    assert query("select count(*) from orders.order_current") == [(27,)]
    assert query("select status from orders_ops.load_run order by load_id") == [
        ("abandoned",),
        ("published",),
    ]
