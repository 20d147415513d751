"""Partitions: made on demand, and kept or refused while they are being dropped."""

from __future__ import annotations

from datetime import date

import pytest
from sqlalchemy import Engine, text

from orders_dask.contract.order_tables import FACTS
from orders_dask.errors import PartitionInUse
from orders_dask.load import partitions
from orders_dask.load.locks import Lock
from orders_dask.load.partitions import ensure_partitions, partition_bounds, partition_name
from orders_dask.load.schema import initialise
from orders_dask.retention.partitions import DroppedPartitions, drop_marked, mark_for_drop
from tests.support.loads import DAY, published
from tests.support.types import Query

FIRST = date(2017, 11, 1)
AFTER = date(2017, 12, 1)


def make(engine: Engine, run_date: date) -> None:
    with engine.connect() as connection:
        ensure_partitions(connection, run_date)


def attached(query: Query) -> set[str]:
    return {name for (name,) in query("select inhrelid::regclass::text from pg_inherits")}


def test_the_last_day_of_the_calendar_has_a_partition(warehouse: Engine, query: Query) -> None:
    last = date(9999, 12, 31)
    assert partition_bounds("month", last) == (date(9999, 12, 1), None)
    assert partition_bounds("day", last) == (last, None)
    published(warehouse, last, {"fact_order": [{"order_id": 1}]})
    assert query("select run_date, order_id from orders.fact_order") == [(last, 1)]


def test_a_partition_that_was_made_by_hand_is_as_good(warehouse: Engine, query: Query) -> None:
    with warehouse.begin() as connection:
        for _ in range(2):
            connection.execute(text("select orders_store.make_partition('2017-11-01')"))
    published(warehouse, DAY, {"fact_order": [{"order_id": 1}]})
    assert query("select order_id from orders.fact_order") == [(1,)]


def test_a_load_keeps_a_partition_that_is_marked_for_drop(
    warehouse: Engine, owner: Engine, query: Query
) -> None:
    make(warehouse, DAY)
    mark_for_drop(owner, AFTER)
    assert query(
        "select draining is null from orders_ops.storage_partition where first_date = :f", f=FIRST
    ) == [(False,)]
    published(warehouse, DAY, {"fact_order": [{"order_id": 1}]})
    assert drop_marked(owner, 0) == DroppedPartitions()
    assert query("select order_id from orders.fact_order") == [(1,)]


@pytest.mark.parametrize("died", ["detached", "pending", "dropped"])
def test_a_partition_whose_drop_was_killed_is_refused_until_it_is_dropped(
    died: str, warehouse: Engine, owner: Engine, query: Query
) -> None:
    make(warehouse, DAY)
    mark_for_drop(owner, AFTER)
    fact = FACTS[1].name
    partition = partition_name(FACTS[1], "month", FIRST)
    detach = (
        f"alter table orders_store.{fact} detach partition orders_store.{partition} concurrently"
    )
    with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as session:
        if died == "pending":
            with warehouse.connect() as reader:
                reader.exec_driver_sql(f"table orders_store.{fact}")
                session.exec_driver_sql("set lock_timeout = '50ms'")
                with pytest.raises(Exception, match="lock timeout"):
                    session.exec_driver_sql(detach)
        else:
            session.exec_driver_sql(detach)
        if died == "dropped":
            session.exec_driver_sql(f"drop table orders_store.{partition}")
    with pytest.raises(
        PartitionInUse, match=r"2017-11-03 are half dropped: let the owner .* `orders-dask prune`"
    ):
        make(warehouse, DAY)
    dropped = drop_marked(owner, 5)
    assert (dropped.partitions, dropped.waiting) == ((FIRST,), None)
    assert not any("2017_11" in name for name in attached(query))
    published(warehouse, DAY, {"fact_order": [{"order_id": 1}]})
    assert query("select order_id from orders.fact_order") == [(1,)]


def test_a_partition_that_is_being_dropped_is_waited_for_until_a_timeout(
    warehouse: Engine, owner: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "DROP_TIMEOUT", 0.1)
    with owner.connect() as session:
        session.execute(
            text("select pg_advisory_lock(:class, :partition)"),
            {"class": int(Lock.PARTITION), "partition": FIRST.toordinal()},
        )
        with pytest.raises(PartitionInUse, match="2017-11-03 are being dropped by another command"):
            make(warehouse, DAY)


def test_the_loader_is_referred_to_the_owner_who_drops_partitions(
    warehouse: Engine, owner: Engine, query: Query
) -> None:
    make(warehouse, DAY)
    mark_for_drop(warehouse, AFTER)
    before = attached(query)
    dropped = drop_marked(warehouse, 0)
    [(name,)] = query("select current_user")
    assert dropped.waiting == (
        f"Only the owner of the tables frees partitions: run `orders-dask prune` as {name}."
    )
    assert attached(query) == before


def test_partitions_of_a_day_are_dropped_too(owner: Engine) -> None:
    initialise(owner, "day", FIRST)
    mark_for_drop(owner, AFTER)
    assert drop_marked(owner, 5).partitions == (FIRST, date(2017, 11, 2))
    with owner.connect() as connection:
        assert connection.scalar(text("select count(*) from pg_inherits")) == 0
