"""Publishing: verification, the pointer, dimensions and readers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from orders_dask.contract.control_totals import ControlTotals, totals_of
from orders_dask.contract.order_tables import FACTS
from orders_dask.errors import LoadNotActive, PartitionInUse, ReconciliationError
from orders_dask.ledger import leases, loads
from orders_dask.load.connect import engine
from orders_dask.load.copy import load_part
from orders_dask.load.partitions import ensure_partitions
from orders_dask.publish import pointer
from orders_dask.publish import publish as publish_module
from orders_dask.publish.publish import publish, seal
from orders_dask.publish.verify import verify
from orders_dask.settings import Settings
from tests.support.loads import (
    DAY,
    File,
    begin,
    lose_answer,
    moment,
    order,
    part,
    published,
    verified,
)
from tests.support.proxy import PostgresProxy
from tests.support.types import Query

DAYS = [DAY, DAY + timedelta(days=1)]
NONE_READ = dict.fromkeys((fact.name for fact in FACTS), 0)


def test_when_a_version_is_replaced_the_next_best_is_current(
    warehouse: Engine, query: Query
) -> None:
    first = published(warehouse, DAYS[0], {"fact_order": [order(1, 5, name="old")]})
    published(warehouse, DAYS[1], {"fact_order": [order(1, 9, name="new")]})
    assert query("select name from orders.order_current") == [("new",)]
    published(warehouse, DAYS[1], {"fact_order": [order(2, 9, name="other")]})
    names = query("select name from orders.order_current order by order_id")
    assert names == [("old",), ("other",)]
    states = query("select load_id, status from orders_ops.load_run order by load_id")
    assert [state for _, state in states] == ["published", "replaced", "published"]
    assert states[0][0] == first


def test_a_table_that_grew_by_a_tenth_is_analysed(warehouse: Engine, query: Query) -> None:
    estimates = []
    for number, orders in enumerate((20, 1, 20, 1)):
        rows = [order(100 * number + n, 1) for n in range(orders)]
        published(warehouse, DAY + timedelta(number), {"fact_order": rows})
        estimates += query(
            "select reltuples from pg_class where relname = 'fact_order' and relkind = 'p'"
        )
    assert estimates[:2] == [(20,), (20,)], "analysed at first, and not for one order more"
    # The counts of a session may arrive after its end: the next publish knows them at the latest.
    assert estimates[3] in [(41,), (42,)], "analysed after it had doubled"


def test_a_publish_between_precomputation_and_lock_counts(warehouse: Engine, query: Query) -> None:
    with leases.acquire_lease(warehouse, DAYS[0]) as lease:
        load_id = verified(lease, {"fact_order": [order(1, 5), order(3, 5)]})
        with lease.transaction() as connection:
            plan = pointer.precompute(connection, {DAYS[0]: load_id})
        assert plan == pointer.PublishPlan(orders=[], published=[])
        published(warehouse, DAYS[1], {"fact_order": [order(1, 9), order(2, 9)]})
        with lease.transaction() as connection:
            pointer.lock_publishing(connection)
            pointer.set_published(connection, {DAYS[0]: load_id}, "replaced", plan)
    assert query("select order_id, run_date from orders_store.order_superseded") == [(1, DAYS[0])]


def test_only_orders_with_versions_of_other_run_dates_are_precomputed(warehouse: Engine) -> None:
    first = published(warehouse, DAYS[0], {"fact_order": [order(1, 5), order(2, 5)]})
    published(warehouse, DAYS[1], {"fact_order": [order(2, 9), order(3, 9)]})
    with leases.acquire_lease(warehouse, DAYS[0]) as lease:
        load_id = verified(lease, {"fact_order": [order(1, 6), order(3, 6), order(4, 6)]})
        with lease.transaction() as connection:
            plan = pointer.precompute(connection, {DAYS[0]: load_id})
    assert sorted(plan.orders) == [2, 3], "2 goes and 3 comes; 1 is only on this run date"
    assert first in plan.published


def test_only_a_verified_load_is_published(warehouse: Engine, query: Query) -> None:
    with leases.acquire_lease(warehouse, DAY) as lease:
        load_id = begin(lease)
        seal(lease, load_id)
        with pytest.raises(LoadNotActive, match=f"Load {load_id} of {DAY} can't be published"):
            publish(lease, load_id)
    assert query("select * from orders_store.published") == []


def test_a_published_load_is_not_published_twice(warehouse: Engine) -> None:
    load_id = published(warehouse, DAY, {"fact_order": [order(1)]})
    published(warehouse, DAY, {"fact_order": [order(2)]})
    with leases.acquire_lease(warehouse, DAY) as lease, pytest.raises(LoadNotActive):
        publish(lease, load_id)


def customer(customer_id: int, position: int, **values: Any) -> dict[str, Any]:
    return {"customer_id": customer_id, "version_at": None, "source_position": position, **values}


def test_a_publish_keeps_what_it_replaces(warehouse: Engine, query: Query) -> None:
    first = published(warehouse, DAY, {"dim_customer": [customer(1, 1, email="old@x")]})
    last = published(warehouse, DAY, {"dim_customer": [customer(1, 1, email="new@x")]})
    [(replaced, can_roll_back, left)] = query(
        """
        select last.replaced_load_id, last.can_roll_back, first.unpublished_at >= last.started_at
        from orders_ops.load_run last
        join orders_ops.load_run first on first.load_id = last.replaced_load_id
        where last.load_id = :last
        """,
        last=last,
    )
    assert (replaced, can_roll_back, left) == (first, True, True)
    stored = "select email from orders_store.dim_customer where load_id = :first"
    assert query(stored, first=first) == [("old@x",)]


def test_a_row_without_attributes_changes_none(warehouse: Engine, query: Query) -> None:
    earlier = customer(9, 1, email="mail@x") | {"version_at": moment(10)}
    later = customer(9, 2) | {"version_at": moment(11)}
    published(warehouse, DAY, {"dim_customer": [earlier]}, {"dim_customer": [later]})
    assert query("select email, attributes_run_date from orders.dim_customer") == [("mail@x", DAY)]


def test_attributes_that_a_replacing_load_lacks_are_those_of_the_day_before(
    warehouse: Engine, query: Query
) -> None:
    first, second = DAYS
    published(warehouse, first, {"dim_customer": [customer(1, 1, email="old@x")]})
    published(warehouse, second, {"dim_customer": [customer(1, 1, email="new@x")]})
    published(warehouse, second, {"dim_customer": [customer(1, 1)]})
    found = query(
        "select email, attributes_run_date, first_seen, last_seen from orders.dim_customer"
    )
    assert found == [("old@x", first, first, second)]


def test_a_publish_that_was_committed_but_not_acknowledged_is_published(
    settings: Settings, warehouse: Engine, proxy: PostgresProxy, query: Query
) -> None:
    through_proxy = engine(settings.model_copy(update={"pgsql_port": proxy.port}))
    with ThreadPoolExecutor(1) as pool:
        proxy.hold_commit(of="published_at")
        pending = pool.submit(published, through_proxy, DAY, {"fact_order": [order(1)]})
        lose_answer(proxy)
        load_id = pending.result(30)
    assert query("select load_id from orders_store.published") == [(load_id,)]


def test_a_reader_keeps_its_snapshot_and_nobody_waits(warehouse: Engine, analyst: Engine) -> None:
    published(warehouse, DAY, {"fact_order": [order(1)]})
    count = text("select count(*) from orders.fact_order")
    with analyst.connect() as reader:
        reader = reader.execution_options(isolation_level="REPEATABLE READ")
        assert reader.scalar(count) == 1
        published(warehouse, DAY, {"fact_order": [order(1), order(2)]})
        assert reader.scalar(count) == 1
        reader.rollback()
        assert reader.scalar(count) == 2


def test_a_publish_into_a_new_partition_waits_for_earlier_readers(
    warehouse: Engine, analyst: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish_module, "READERS_TIMEOUT", 0.3)
    count = text("select count(*) from orders.fact_order")
    with analyst.connect() as reader, leases.acquire_lease(warehouse, DAY) as lease:
        pid = reader.scalar(text("select pg_backend_pid()"))
        assert reader.scalar(count) == 0
        load_id = verified(lease, {"fact_order": [order(1)]})
        with pytest.raises(PartitionInUse, match=rf"processes {pid}: end them"):
            publish(lease, load_id)
        reader.rollback()
        publish(lease, load_id)
        assert reader.scalar(count) == 1


def test_earlier_readers_are_recorded_also_for_a_partition_whose_maker_died(
    warehouse: Engine, analyst: Engine, query: Query
) -> None:
    with leases.acquire_lease(warehouse, DAY) as lease:
        ensure_partitions(lease.connection, DAY)
        with lease.connection.begin():
            lease.connection.execute(
                text("update orders_ops.storage_partition set wait_for = null")
            )
        with analyst.connect() as reader:
            reader.execute(text("select from orders.fact_order"))
            ensure_partitions(lease.connection, DAY)
            wait_for = text(
                "select cardinality(wait_for) from orders_ops.storage_partition"
                " where first_date = '2017-11-01'"
            )
            with warehouse.connect() as other:
                assert other.scalar(wait_for) == 1


def sealed(
    lease: leases.Lease, file: File, rows: dict[str, Any], superseded: dict[str, Any]
) -> int:
    """Copy one part of one file, seal the load, and return its id."""
    load_id = begin(lease)
    [file_id] = loads.record_files(lease, load_id, [file])
    tables = part(file_id, **rows)
    by_file = {name: (of_fact, {file_id: n}) for name, (of_fact, n) in superseded.items()}
    load_part(lease.connection.engine, load_id, lease.run_date, "part=0", tables.items(), by_file)
    seal(lease, load_id)
    return load_id


def decoded(**facts: ControlTotals) -> dict[str, ControlTotals]:
    return {**dict.fromkeys(NONE_READ, ControlTotals()), **facts}


def totals(name: str, **rows: Any) -> ControlTotals:
    return totals_of(name, part(1, **rows)[name])


SUPERSEDED = [order(3, total_price=7, currency="USD")]
LOADED = [order(1, total_price=5, currency="USD"), order(2, total_price=6, currency=None)]


def test_reconciled_control_totals_are_recorded_by_file(warehouse: Engine, query: Query) -> None:
    file = File(NONE_READ | {"fact_order": 4, "fact_order_line": 3})
    file = File(file.read, rejected=NONE_READ | {"fact_order": 1, "fact_order_line": 1})
    lines = [{"order_id": 2, "line_id": n} for n in (1, 2)]
    superseded = totals("fact_order", fact_order=SUPERSEDED)
    loaded = totals("fact_order", fact_order=LOADED)
    with leases.acquire_lease(warehouse, DAY) as lease:
        load_id = sealed(
            lease,
            file,
            {"fact_order": LOADED, "fact_order_line": lines},
            {"fact_order": (superseded, 1)},
        )
        verify(
            lease,
            load_id,
            1,
            decoded(fact_order=loaded + superseded, fact_order_line=ControlTotals(2)),
        )
    [(status, *counts)] = query(
        """
        select status, order_read, order_loaded, order_superseded, order_rejected, order_line_loaded
        from orders_ops.load_run join orders_ops.load_file using (load_id)
        """
    )
    assert (status, counts) == ("verified", [4, 2, 1, 1, 2])


@pytest.mark.parametrize(
    ("parts", "read", "expected", "message"),
    [
        (2, 2, LOADED, "in parts: 2 expected, 1 found"),
        (1, 3, LOADED, "a.json, the fact_order records read: 3 expected, 2 found"),
        (1, 2, LOADED[:1], "fact_order, as decoded: the rows: 1 expected, 2 found"),
        (
            1,
            2,
            [LOADED[0], {**LOADED[1], "total_price": 8}],
            "sum of total_price in no currency: 8.0000 expected, 6.0000 found",
        ),
    ],
)
def test_control_totals_that_differ_are_refused_with_both_figures(
    warehouse: Engine, query: Query, parts: int, read: int, expected: Any, message: str
) -> None:
    with leases.acquire_lease(warehouse, DAY) as lease:
        file = File(NONE_READ | {"fact_order": read})
        load_id = sealed(lease, file, {"fact_order": LOADED}, {})
        expected_totals = decoded(fact_order=totals("fact_order", fact_order=expected))
        with pytest.raises(ReconciliationError, match=message):
            verify(lease, load_id, parts, expected_totals)
    assert query("select status from orders_ops.load_run") == [("sealed",)]


def test_rows_that_vanished_from_the_storage_are_noticed(warehouse: Engine) -> None:
    with leases.acquire_lease(warehouse, DAY) as lease:
        file = File(NONE_READ | {"fact_order": 2})
        load_id = sealed(lease, file, {"fact_order": LOADED}, {})
        with lease.connection.begin():
            lease.connection.execute(
                text("delete from orders_store.order_version where order_id = 2")
            )
        expected = decoded(fact_order=totals("fact_order", fact_order=LOADED))
        with pytest.raises(
            ReconciliationError, match="rows of order_version, as copied: 2 expected, 1 found"
        ):
            verify(lease, load_id, 1, expected)


def test_a_file_that_vanished_from_the_ledger_is_noticed(warehouse: Engine, owner: Engine) -> None:
    with leases.acquire_lease(warehouse, DAY) as lease:
        file = File(NONE_READ | {"fact_order": 2})
        load_id = sealed(lease, file, {"fact_order": LOADED}, {})
        with owner.begin() as connection:
            connection.execute(text("delete from orders_ops.load_file"))
        expected = decoded(fact_order=totals("fact_order", fact_order=LOADED))
        with pytest.raises(
            ReconciliationError, match="files that its rows stem from: 1 expected, 0 found"
        ):
            verify(lease, load_id, 1, expected)
