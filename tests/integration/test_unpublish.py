"""Unpublishing old run dates, and dropping their partitions under readers of every kind."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from threading import Event
from typing import Any

import pytest
from psycopg2 import sql
from sqlalchemy import Connection, Engine, text

from orders_dask.contract.ledger_tables import load_part
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.storage_tables import COPIED_TABLES
from orders_dask.errors import NothingToRestore, ServiceUnavailable, SettingsError
from orders_dask.jobs import maintenance
from orders_dask.jobs.prune import prune
from orders_dask.jobs.rollback import rollback
from orders_dask.jobs.unpublish import unpublish
from orders_dask.ledger import leases
from orders_dask.pipeline.results import UnpublishResult
from orders_dask.publish.unpublish import unpublish_run_date
from orders_dask.retention import partitions
from orders_dask.sandbox import Sandbox
from orders_dask.settings import Settings
from tests.support.commands import orders_dask
from tests.support.loads import DAY, NEXT, published
from tests.support.services import as_user
from tests.support.types import Query

LATER = date(2017, 12, 5)
PARTITIONS = (date(2017, 11, 1), date(2017, 12, 1))

LONGEST_WAIT = 1.5
"""Seconds for a reader's statement of some milliseconds, on a busy machine."""


@pytest.fixture
def as_owner(settings: Settings, services: Sandbox) -> Settings:
    return as_user(settings, services.environment)


@pytest.fixture
def old(warehouse: Engine) -> list[int]:
    """Publish three run dates of two months, which share an order."""
    return [
        published(warehouse, DAY, {"fact_order": [{"order_id": 1}, {"order_id": 2}]}),
        published(warehouse, NEXT, {"fact_order": [{"order_id": 1}]}),
        published(warehouse, LATER, {"fact_order": [{"order_id": 1}]}),
    ]


def remaining_partitions(query: Query) -> list[str]:
    names = (
        "select relname from pg_class"
        " where relkind = 'r' and relname like 'fact%\\_2017%' order by 1"
    )
    return [name for (name,) in query(names)]


def test_when_a_run_date_is_unpublished_the_next_best_version_is_current(
    warehouse: Engine, old: list[int], query: Query
) -> None:
    with leases.acquire_lease(warehouse, LATER) as lease:
        assert unpublish_run_date(lease) == old[2]
        assert unpublish_run_date(lease) is None
    assert query("select order_id, run_date from orders.order_current order by 1") == [
        (1, NEXT),
        (2, DAY),
    ]
    assert query(
        "select status, can_roll_back, unpublished_at is not null from orders_ops.load_run"
        " where load_id = :l",
        l=old[2],
    ) == [("unpublished", False, True)]


def test_old_run_dates_are_unpublished_and_their_partitions_dropped(
    as_owner: Settings, old: list[int], query: Query
) -> None:
    planned = unpublish(1000, settings=as_owner, dry_run=True)
    assert planned == UnpublishResult((DAY, NEXT, LATER))
    assert len(query("select from orders.fact_order")) == 4

    unpublished = unpublish(1000, settings=as_owner)
    assert (unpublished.run_dates, unpublished.partitions) == (planned.run_dates, PARTITIONS)
    assert unpublished.bytes > 0
    assert unpublished.waiting is None
    assert remaining_partitions(query) == []
    for table in (*COPIED_TABLES, load_part):
        assert query(f"select from {table}") == []
    assert (
        query(
            "select from orders.order_current union all select from orders_store.order_superseded"
        )
        == []
    )
    assert query("select distinct status, pruned_at is not null from orders_ops.load_run") == [
        ("unpublished", True)
    ]
    with pytest.raises(NothingToRestore, match="Nothing is published for 2017-11-03"):
        rollback(DAY, settings=as_owner)
    assert unpublish(1000, settings=as_owner) == UnpublishResult(())


def test_a_month_can_be_loaded_after_its_partitions_were_dropped(
    as_owner: Settings, warehouse: Engine, old: list[int], query: Query
) -> None:
    unpublish(1000, settings=as_owner)
    published(warehouse, DAY, {"fact_order": [{"order_id": 7}]})
    assert query("select order_id, run_date from orders.order_current") == [(7, DAY)]


def test_a_partition_with_a_younger_run_date_stays(
    as_owner: Settings, warehouse: Engine, query: Query
) -> None:
    today = date.today()
    published(warehouse, today, {"fact_order": [{"order_id": 1}]})
    published(warehouse, DAY, {"fact_order": [{"order_id": 1}]})
    unpublished = unpublish(1, settings=as_owner)
    assert (unpublished.run_dates, unpublished.partitions) == ((DAY,), PARTITIONS[:1])
    assert query("select run_date from orders.fact_order") == [(today,)]


def test_the_loader_unpublishes_run_dates_and_the_owner_drops_their_partitions(
    settings: Settings, as_owner: Settings, old: list[int], query: Query
) -> None:
    unpublished = unpublish(1000, settings=settings)
    assert (len(unpublished.run_dates), unpublished.partitions) == (3, ())
    assert unpublished.waiting
    assert "run `orders-dask prune` as " in unpublished.waiting
    assert len(remaining_partitions(query)) == 2 * len(FACTS)
    assert prune(settings=as_owner).partitions == PARTITIONS
    assert remaining_partitions(query) == []


def test_a_locked_run_date_is_skipped(
    as_owner: Settings, warehouse: Engine, old: list[int], query: Query
) -> None:
    with leases.acquire_lease(warehouse, NEXT):
        unpublished = unpublish(1000, settings=as_owner)
    assert (unpublished.run_dates, unpublished.skipped) == ((DAY, LATER), (NEXT,))
    assert unpublished.partitions == PARTITIONS[1:]
    assert query("select run_date from orders.fact_order") == [(NEXT,)]


def test_the_commands_print_their_results(old: list[int]) -> None:
    def call(*arguments: str) -> str:
        return "".join(orders_dask(*arguments))

    assert "Would unpublish 3 run dates, 2017-11-03 to 2017-12-05." in call(
        "unpublish", "--older-than", "1000", "--dry-run"
    )
    out = call("unpublish", "--older-than", "1000")
    assert "Unpublished 3 run dates, 2017-11-03 to 2017-12-05." in out
    assert "Only the owner of the tables frees partitions" in out
    assert json.loads(call("unpublish", "--older-than", "1000", "--json"))["run_dates"] == []
    assert "Removed 0 loads with 0 rows, 0 staged parts" in call("prune")
    assert json.loads(call("prune", "--dry-run", "--json"))["loads"] == 0
    for command in ("unpublish", "prune"):
        orders_dask(command, "--older-than", "0", code=2)


@pytest.mark.parametrize("age", [0, 10**9])
def test_an_age_that_makes_no_sense_is_refused(age: int, settings: Settings) -> None:
    for tidy in (unpublish, prune):
        with pytest.raises(SettingsError, match=rf"An age of {age} days can't be: give 1 to 36500"):
            tidy(age, settings=settings)


def timed(reader: Connection, statement: str) -> tuple[float, Sequence[Any]]:
    began = time.monotonic()
    rows = reader.exec_driver_sql(statement).all()
    return time.monotonic() - began, rows


def test_readers_keep_what_they_see_and_nobody_waits(
    as_owner: Settings,
    warehouse: Engine,
    analyst: Engine,
    old: list[int],
    query: Query,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(maintenance, "READERS_TIMEOUT", 1.0)
    ids = "select run_date, order_id from orders.fact_order order by 1, 2"
    with (
        analyst.connect() as holding,
        analyst.connect().execution_options(isolation_level="REPEATABLE READ") as repeatable,
        analyst.connect().execution_options(isolation_level="REPEATABLE READ") as planned,
    ):
        assert len(timed(holding, ids)[1]) == 4  # READ COMMITTED; it locks all partitions
        planned.exec_driver_sql("set plan_cache_mode = force_generic_plan")
        planned.exec_driver_sql(f"prepare ids as {ids}")
        planned.commit()
        before = timed(planned, "execute ids")[1]
        repeatable.exec_driver_sql("select 1")  # a snapshot without a lock on a partition

        unpublished = unpublish(1000, settings=as_owner)
        assert (len(unpublished.run_dates), unpublished.partitions) == (3, ())
        [pid] = holding.exec_driver_sql("select pg_backend_pid()").scalars()
        assert unpublished.waiting
        assert str(pid) in unpublished.waiting

        slowest = 0.0
        for reader, statement, rows in (
            (holding, ids, []),
            (repeatable, ids, before),
            (planned, "execute ids", before),
        ):
            seconds, found = timed(reader, statement)
            slowest = max(slowest, seconds)
            assert found == rows
        repeatable.commit()
        planned.commit()
        # Nobody sees the rows any more, but its locks prevent the drop.
        assert prune(settings=as_owner).partitions == ()
        assert timed(holding, ids)[1] == []
        holding.commit()
        assert prune(settings=as_owner).partitions == PARTITIONS
        for reader, statement in ((repeatable, ids), (planned, "execute ids"), (holding, ids)):
            seconds, found = timed(reader, statement)
            slowest = max(slowest, seconds)
            assert found == []
    assert remaining_partitions(query) == []
    assert slowest < LONGEST_WAIT


def test_the_longest_wait_of_busy_readers_is_short(
    as_owner: Settings, warehouse: Engine, analyst: Engine, query: Query
) -> None:
    today = date.today()
    published(warehouse, today, {"fact_order": [{"order_id": 1}]})
    days = [date(2015, month, 1) for month in range(1, 4)]
    for day in days:
        published(warehouse, day, {"fact_order": [{"order_id": 1}]})
    stop = Event()

    def read(isolation: Any, statement: str) -> float:
        slowest = 0.0
        with analyst.connect().execution_options(isolation_level=isolation) as reader:
            while not stop.is_set():
                with reader.begin():
                    for _ in range(3):
                        seconds, rows = timed(reader, statement)
                        slowest = max(slowest, seconds)
                        assert (today, 1) in [tuple(row) for row in rows]
        return slowest

    statement = "select run_date, order_id from orders.fact_order"
    with ThreadPoolExecutor(2) as pool:
        readers = [
            pool.submit(read, isolation, statement)
            for isolation in ("READ COMMITTED", "REPEATABLE READ")
        ]
        try:
            unpublished = unpublish(300, settings=as_owner)
        finally:
            stop.set()
        slowest = max(reader.result() for reader in readers)
    assert len(unpublished.partitions) == len(days)
    assert slowest < LONGEST_WAIT


@pytest.fixture
def terminate_after(owner: Engine, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that sets after how many DDL statements the session is terminated."""
    try_ddl = partitions._try_ddl

    def set_limit(steps: int) -> None:
        left = [steps]

        def step(session: Connection, statement: sql.Composable, limit: str) -> bool:
            if left[0] == 0:
                pid = session.exec_driver_sql("select pg_backend_pid()").scalar_one()
                with owner.begin() as killer:
                    killer.execute(text("select pg_terminate_backend(:pid, 5000)"), {"pid": pid})
            left[0] -= 1
            return try_ddl(session, statement, limit)

        monkeypatch.setattr(partitions, "_try_ddl", step)

    return set_limit


@pytest.mark.slow
def test_dropping_partitions_continues_where_it_was_killed(
    owner: Engine,
    warehouse: Engine,
    query: Query,
    terminate_after: Callable[[int], None],
) -> None:
    for steps in range(2 * len(FACTS)):
        published(warehouse, DAY, {"fact_order": [{"order_id": 1}]})
        with leases.acquire_lease(warehouse, DAY) as lease:
            unpublish_run_date(lease)
        partitions.mark_for_drop(owner, PARTITIONS[1])
        terminate_after(steps)
        with pytest.raises(ServiceUnavailable):
            partitions.drop_marked(owner, 5)
        terminate_after(-1)
        assert partitions.drop_marked(owner, 5).partitions == PARTITIONS[:1], steps
        assert remaining_partitions(query) == []


def test_concurrent_unpublishes_unpublish_each_run_date_once(
    as_owner: Settings, old: list[int], query: Query
) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(unpublish, 1000, settings=as_owner) for _ in range(2)]
        unpublished = [each.result() for each in both]
    assert sorted(day for each in unpublished for day in each.run_dates) == [DAY, NEXT, LATER]
    unpublish(1000, settings=as_owner)
    assert remaining_partitions(query) == []
    assert query("select from orders.fact_order") == []
