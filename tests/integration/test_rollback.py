"""Rolling back a publish."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, Integer, Text, column, func, select, table, text

import orders_dask
from orders_dask.errors import NothingToRestore, OutcomeUnknown, RunDateLocked, ServiceUnavailable
from orders_dask.ledger import leases
from orders_dask.load.locks import Lock
from orders_dask.settings import Settings
from tests.support.loads import DAY, NEXT, lose_answer, moment, order, published, rolled_back
from tests.support.proxy import PostgresProxy
from tests.support.types import Query
from tests.support.waiting import until

CUSTOMERS = "select customer_id, email, first_seen, last_seen from orders.dim_customer order by 1"


def load_of(order_id: int, email: str | None, second: int = 0) -> dict[str, list[dict[str, Any]]]:
    """Return a load of one order, whose customer has its number and an address."""
    at = moment(second)
    return {
        "fact_order": [order(order_id, second)],
        "fact_order_line": [{"order_id": order_id, "line_id": 1}],
        "dim_customer": [{"customer_id": order_id, "email": email, "version_at": at}],
    }


def test_the_previous_load_is_published_and_the_dimensions_are_restored(
    warehouse: Engine, query: Query
) -> None:
    first = published(warehouse, DAY, load_of(1, "old@x"))
    before = query(CUSTOMERS)
    last = published(warehouse, DAY, load_of(1, "new@x"), load_of(2, "came@x"))

    done = orders_dask.rollback(DAY)
    assert (done.unpublished, done.unpublished_orders, done.published) == (last, 2, first)
    assert (done.orders, done.lines) == (1, 1)
    assert query("select run_date, load_id from orders_store.published") == [(DAY, first)]
    assert query(CUSTOMERS) == before
    states = "select status, unpublished_at is null from orders_ops.load_run order by load_id"
    assert query(states) == [("published", True), ("unpublished", False)]


def test_repeated_rollbacks_end_with_nothing_published_and_then_an_error(
    warehouse: Engine, query: Query
) -> None:
    loads = [published(warehouse, DAY, load_of(1, email)) for email in ("a@x", "b@x", "c@x")]
    done = [orders_dask.rollback(DAY) for _ in loads]
    assert [each.published for each in done] == [loads[1], loads[0], None]
    assert query("select from orders.fact_order") == []
    assert query(CUSTOMERS) == []
    with pytest.raises(
        NothingToRestore, match=f"Nothing is published for {DAY}: see `orders-dask status`"
    ):
        orders_dask.rollback(DAY)


def test_rows_of_a_later_publish_stay_until_that_one_is_rolled_back_too(
    warehouse: Engine, query: Query
) -> None:
    published(warehouse, DAY, load_of(1, "first@x"), load_of(2, "first@x"))
    before = query(CUSTOMERS)
    published(warehouse, DAY, load_of(1, "middle@x"), load_of(2, "middle@x"))
    published(warehouse, NEXT, load_of(1, "last@x"))
    orders_dask.rollback(DAY)
    assert query(CUSTOMERS) == [(1, "last@x", DAY, NEXT), (2, "first@x", DAY, DAY)]
    orders_dask.rollback(NEXT)
    assert query(CUSTOMERS) == before


def test_a_dimension_has_the_values_of_published_loads_alone(
    warehouse: Engine, query: Query
) -> None:
    published(warehouse, NEXT, load_of(1, "bad@x"))
    published(warehouse, DAY, load_of(1, "good@x"))  # earlier, so the row stays as it is
    assert query(CUSTOMERS) == [(1, "bad@x", DAY, NEXT)]
    orders_dask.rollback(NEXT)
    assert query(CUSTOMERS) == [(1, "good@x", DAY, DAY)]


def test_a_replacement_removes_the_values_of_the_replaced_load(
    warehouse: Engine, query: Query
) -> None:
    published(warehouse, DAY, load_of(1, "bad@x"), load_of(2, "gone@x"))
    published(warehouse, DAY, load_of(1, None))
    assert query(CUSTOMERS) == [(1, None, DAY, DAY)]


def test_restored_rows_are_merged_with_loads_that_are_still_published(
    warehouse: Engine, query: Query
) -> None:
    last = NEXT + timedelta(days=1)
    published(warehouse, DAY, load_of(5, "first@x"))
    published(warehouse, last, load_of(5, "last@x"))
    published(
        warehouse, NEXT, load_of(5, "next@x")
    )  # the row has a later run date, and stays as it is
    assert query(CUSTOMERS) == [(5, "last@x", DAY, last)]
    orders_dask.rollback(last)
    assert query(CUSTOMERS) == [(5, "next@x", DAY, NEXT)]
    orders_dask.rollback(DAY)
    assert query(CUSTOMERS) == [(5, "next@x", NEXT, NEXT)]
    orders_dask.rollback(NEXT)
    assert query(CUSTOMERS) == []


def test_the_versions_from_before_are_current(warehouse: Engine, query: Query) -> None:
    current = "select run_date from orders.order_current where order_id = 1"
    published(warehouse, DAY, load_of(1, "a@x", second=5))
    published(warehouse, NEXT, load_of(2, "a@x"))
    published(warehouse, NEXT, load_of(1, "a@x", second=9))
    assert query(current) == [(NEXT,)]
    orders_dask.rollback(NEXT)
    assert query(current) == [(DAY,)]
    assert query("select from orders_store.order_superseded") == []


def test_a_pruned_load_is_not_restored(warehouse: Engine, query: Query) -> None:
    load_id = published(warehouse, DAY, load_of(1, "a@x"))
    with warehouse.begin() as connection:
        connection.execute(text("update orders_ops.load_run set can_roll_back = false"))
    with pytest.raises(
        NothingToRestore, match=f"Load {load_id} of {DAY} can't be rolled back.*pruned"
    ):
        orders_dask.rollback(DAY)
    assert query("select load_id from orders_store.published") == [(load_id,)]


def test_a_run_date_that_somebody_works_on_is_not_touched(warehouse: Engine, query: Query) -> None:
    published(warehouse, DAY, load_of(1, "a@x"))
    with leases.acquire_lease(warehouse, DAY), pytest.raises(RunDateLocked):
        orders_dask.rollback(DAY)
    assert len(query("select from orders.fact_order")) == 1


def test_a_rollback_that_is_killed_did_nothing(warehouse: Engine, query: Query) -> None:
    published(warehouse, DAY, load_of(1, "old@x"))
    published(warehouse, DAY, load_of(1, "new@x"), load_of(2, "came@x"))
    before = [query(CUSTOMERS), query("select * from orders_store.published")]
    # The last statement before the commit waits for this lock.
    with warehouse.connect() as other, ThreadPoolExecutor(1) as pool:
        other.execute(text("lock table orders_store.order_superseded in share mode"))
        rolling_back = pool.submit(orders_dask.rollback, DAY)
        call_on_waiting_session(warehouse, "pg_terminate_backend")
        with pytest.raises(ServiceUnavailable, match=r"broke off .*: try again"):
            rolling_back.result(30)
    assert [query(CUSTOMERS), query("select * from orders_store.published")] == before


def test_a_rollback_that_is_cancelled_has_a_known_outcome(warehouse: Engine, query: Query) -> None:
    load_id = published(warehouse, DAY, load_of(1, "a@x"))
    with warehouse.connect() as other, ThreadPoolExecutor(1) as pool:
        other.execute(select(func.pg_advisory_xact_lock(Lock.PUBLISH, 0)))
        rolling_back = pool.submit(orders_dask.rollback, DAY)
        call_on_waiting_session(warehouse, "pg_cancel_backend")
        with pytest.raises(ServiceUnavailable, match="broke off"):
            rolling_back.result(30)
    assert query("select load_id from orders_store.published") == [(load_id,)]


def call_on_waiting_session(database: Engine, function: str) -> None:
    """Call a function of PostgreSQL on the first session that waits for another one."""
    activity = table("pg_stat_activity", column("pid", Integer), column("datname", Text))
    pid = activity.c.pid
    waiting = select(getattr(func, function)(pid)).where(
        activity.c.datname == func.current_database(),
        func.cardinality(func.pg_blocking_pids(pid)) > 0,
    )
    with database.connect() as connection:
        while not connection.scalar(waiting):
            connection.rollback()


def test_a_rollback_that_was_committed_but_not_acknowledged_is_done_once(
    settings: Settings, warehouse: Engine, proxy: PostgresProxy, query: Query
) -> None:
    loads = [published(warehouse, DAY, load_of(1, email)) for email in ("a@x", "b@x", "c@x")]
    through_proxy = settings.model_copy(update={"pgsql_port": proxy.port})
    with ThreadPoolExecutor(1) as pool:
        proxy.hold_commit(of="order_superseded")
        rolling_back = pool.submit(orders_dask.rollback, DAY, settings=through_proxy)
        lose_answer(proxy)
        assert rolling_back.result(30).published == loads[1]
    assert query("select load_id from orders_store.published") == [(loads[1],)]


def test_a_rollback_without_an_answer_is_unknown_while_another_run_holds_the_run_date(
    settings: Settings, warehouse: Engine, proxy: PostgresProxy, query: Query
) -> None:
    loads = [published(warehouse, DAY, load_of(1, email)) for email in ("a@x", "b@x", "c@x")]
    through_proxy = settings.model_copy(update={"pgsql_port": proxy.port})
    waiting = "select from pg_locks where locktype = 'advisory' and classid = :lock and not granted"
    with warehouse.connect() as other, ThreadPoolExecutor(2) as pool:
        proxy.hold_commit(of="order_superseded")
        rolling_back = pool.submit(orders_dask.rollback, DAY, settings=through_proxy)
        until(lambda: proxy.delayed is not None, 30, "nothing was committed")
        lock = select(func.pg_advisory_lock(Lock.RUN_DATE, DAY.toordinal()))
        locked = pool.submit(other.execute, lock)
        until(lambda: query(waiting, lock=int(Lock.RUN_DATE)), 30, "nobody waits for the run date")
        lose_answer(proxy)
        locked.result(30)
        with pytest.raises(OutcomeUnknown, match="whether it is still published before you"):
            rolling_back.result(30)
    assert query("select load_id from orders_store.published") == [(loads[1],)]


def test_rollbacks_of_run_dates_that_share_customers_are_serialised(
    warehouse: Engine, query: Query
) -> None:
    days = [DAY + timedelta(days=n) for n in range(4)]
    for number, day in enumerate(days):
        customers = sorted(range(40), reverse=bool(number % 2))
        rows = [{"customer_id": n, "version_at": None, "email": "a@x"} for n in customers]
        published(warehouse, day, {"dim_customer": rows})
    waiting = "select from pg_locks where locktype = 'advisory' and classid = :lock and not granted"
    lock = {"lock": int(Lock.PUBLISH)}
    with warehouse.connect() as other, ThreadPoolExecutor(len(days)) as pool:
        other.execute(text("select pg_advisory_xact_lock(:lock, 0)"), lock)
        rolling_back = [pool.submit(rolled_back, warehouse, day) for day in days]
        while len(query(waiting, **lock)) < len(days):
            assert not any(each.done() for each in rolling_back)
        other.rollback()
        for each in rolling_back:
            each.result(30)
    assert query(CUSTOMERS) == []


def test_a_large_day_is_replaced_and_rolled_back_in_seconds(warehouse: Engine) -> None:
    # Joins of CTEs, of whose rows nothing is known, once took 270 s for 30,000 customers.
    customers = range(20_000)
    day = {
        "fact_order": [order(number) for number in customers],
        "dim_customer": [
            {"customer_id": n, "email": f"{n}@x", "version_at": moment(0)} for n in customers
        ],
    }
    published(warehouse, DAY, day)
    for change in (lambda: published(warehouse, DAY, day), lambda: orders_dask.rollback(DAY)):
        began = time.monotonic()
        change()
        assert time.monotonic() - began < 20
