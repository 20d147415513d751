"""Sums of sales that a part brings: those of the same events in SQL, whatever the orders are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from distributed import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, func, insert, select

from orders_dask import run
from orders_dask.contract.arrow import FILE, ORDER_ROW, POSITION, flat_schemas
from orders_dask.contract.columns import STORE
from orders_dask.contract.ledger_tables import load_part
from orders_dask.contract.mart_tables import LOAD_MARTS, load_sales_day
from orders_dask.contract.order_tables import FACTS, fact_order
from orders_dask.jobs.marts import check_marts
from orders_dask.jobs.rollback import rollback
from orders_dask.ledger import leases
from orders_dask.load.connect import driver_cursor
from orders_dask.load.copy import copy_into
from orders_dask.settings import Settings
from orders_dask.transform.mart_sums import mart_sums
from orders_dask.transform.sale_sources import READ_COLUMNS
from tests.support.builders import lines, order
from tests.support.loads import DAY, begin
from tests.support.types import Put, Query

LATE = datetime(2017, 11, 3, 22, 30, tzinfo=UTC)
EARLIEST, LATEST = (moment.replace(tzinfo=UTC) for moment in (datetime.min, datetime.max))

# Few values, so that they often repeat and meet each other.
VALUES: dict[pa.DataType, list[Any]] = {
    pa.int64(): [1, 2, 3, 0, -2, 10**12, 2**63 - 1, -(2**63)],
    pa.int32(): [-300, 0, 120],
    pa.string(): ["", "USD", "😀" * 256, "😀" * 257],
    pa.bool_(): [True, False],
    pa.date32(): [DAY, date(1969, 12, 31)],
    pa.timestamp("us", "UTC"): [
        LATE,
        EARLIEST,
        LATEST,
        datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC),
    ],
    pa.decimal128(22, 4): [
        *map(Decimal, ("0", "12.3456", "-0.0001", "7.5", "0.0003")),
        *(Decimal("999999999999999999.9999"), Decimal("-999999999999999999.9999")),
    ],
}
TEXTS = {
    "financial_status": ["voided", "voided", "paid"],
    "kind": ["shipping_refund", "refund_discrepancy"],
}
OFTEN_UNSET = {"test", "is_removed"}


def facts(draw: Random, size: int) -> dict[str, pa.Table]:
    """Draw rows of all facts that events are made of; a line or refund may be of no order."""
    tables = {}
    for fact in (fact for fact in FACTS if fact.name in READ_COLUMNS):
        rows = {}
        for number in range(size if fact is fact_order else draw.randrange(3 * size + 1)):
            order_row = number if fact is fact_order else draw.randrange(size + 1)
            row = {name: value(draw, kind, name) for name, kind in fields(fact.name)}
            row |= {ORDER_ROW: order_row, "order_id": order_row + 1, FILE: 1, POSITION: 1}
            row |= {name: draw.randrange(3) for name in fact.info["key"][1:]}
            rows[tuple(row[name] for name in fact.info["key"])] = row
        schema = flat_schemas()[fact.name]
        tables[fact.name] = pa.Table.from_pylist([*rows.values()], schema=schema)
    return tables


def fields(fact: str) -> Iterator[tuple[str, pa.DataType]]:
    return ((f.name, f.type) for f in flat_schemas()[fact] if f.name in READ_COLUMNS[fact])


def value(draw: Random, kind: pa.DataType, name: str) -> Any:
    if draw.random() < (0.8 if name in OFTEN_UNSET else 0.15):
        return None
    return draw.choice(TEXTS.get(name, VALUES[kind]))


FACTS_OF_ORDERS = st.builds(facts, st.randoms(use_true_random=True), st.integers(0, 6))


@pytest.fixture
def begun(warehouse: Engine) -> Engine:
    with leases.acquire_lease(warehouse, DAY) as lease:
        begin(lease)
    return warehouse


def counted_in_sql(connection: Connection, tables: Mapping[str, pa.Table]) -> dict[str, Any]:
    """Return the rows of the marts that SQL makes of facts of load 1."""
    for fact in (fact for fact in FACTS if fact.name in tables):
        constants = {"run_date": DAY, "load_id": 1}
        copy_into(driver_cursor(connection), fact, [tables[fact.name]], constants)
    connection.execute(insert(load_part).values(load_id=1, part="a", rows={}, superseded={}))
    connection.execute(select(getattr(func, STORE).count_load(1)))
    return {
        mart.name: Counter(
            tuple(row._mapping[name] for name in row._fields if name not in ("load_id", "part"))
            for row in connection.execute(select(mart))
        )
        for mart in LOAD_MARTS
    }


def is_amount(value: object) -> bool:
    return isinstance(value, Decimal)


@hypothesis_settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(tables=FACTS_OF_ORDERS)
def test_any_orders_have_the_sums_of_their_events_in_sql(
    begun: Engine, tables: dict[str, pa.Table]
) -> None:
    with begun.connect() as connection:
        in_sql = counted_in_sql(connection, tables)
        connection.rollback()
    try:
        sums = mart_sums(tables)
    except pa.ArrowInvalid:
        greatest = max(abs(v) for rows in in_sql.values() for r in rows for v in r if is_amount(v))
        assert greatest >= 10**34, "Arrow has room for these sums"
        return
    assert {
        name: Counter(tuple(row.values()) for row in rows.to_pylist())
        for name, rows in sums.items()
    } == in_sql


@pytest.fixture
def two_parts(client: Client, settings: Settings, put: Put, warehouse: Engine) -> None:
    put("dump/a.ndjson", lines(order(1)))
    put("dump/b.ndjson", both := lines(order(2), order(3)))
    run(DAY, settings=settings.model_copy(update={"block_size": len(both)}), client=client)


@pytest.mark.usefixtures("two_parts")
def test_each_part_loads_its_sums(query: Query) -> None:
    stored = (
        "select s.order_count from orders_store.load_sales_day s"
        " join orders_ops.load_part p using (load_id, part) order by 1"
    )
    assert query(stored) == [(1,), (2,)]


@pytest.mark.usefixtures("two_parts")
def test_a_load_of_which_a_part_has_no_sums_is_counted_in_sql(owner: Engine, query: Query) -> None:
    """As where older code loaded the first parts, before it was killed."""
    with owner.begin() as connection:
        first = select(func.min(load_sales_day.c.part)).scalar_subquery()
        connection.execute(load_sales_day.delete().where(load_sales_day.c.part == first))
        connection.execute(select(getattr(func, STORE).count_load(1)))
    counted = "select part, order_count from orders_store.load_sales_day"
    assert query(counted) == [(None, 3)]


def test_sums_that_arrow_has_no_room_for_are_counted_in_sql(
    client: Client, settings: Settings, put: Put, query: Query
) -> None:
    huge = {"id": 1, "quantity": 2**63 - 1, "price": "999999999999999999.9999"}
    put("dump/a.ndjson", lines(order(1, line_items=[huge])))
    run(DAY, settings=settings, client=client)
    expected = Decimal(f"{(2**63 - 1) * (10**22 - 1)}e-4")
    assert query("select part, gross_sales from orders_store.load_sales_day") == [(None, expected)]
    assert check_marts(all_days=True, settings=settings).differences == ()


@pytest.mark.usefixtures("warehouse")
def test_no_value_of_an_order_can_stop_its_publish_or_a_check(
    client: Client, settings: Settings, put: Put
) -> None:
    text, most = str(Random(1).randbytes(5000).hex()), 2**63 - 1
    units = (
        {"quantity": most},
        {"quantity": -most - 1},
        {"quantity": most, "current_quantity": -1},
    )
    orders = [
        order(n, line_items=[{"id": 1, "price": "1.00", **each}])
        for n, each in enumerate((*units, *units), 1)
    ]
    voided = {"financial_status": "voided", "cancelled_at": "9999-12-31T23:59:00Z"}
    others = (
        order(8, source_name=text, currency=text),
        order(9, created_at="9999-12-31T22:30:00+23:59", **voided),
    )
    for _ in range(2):
        put("dump/a.ndjson", lines(*orders, *others))
        run(DAY, settings=settings, client=client, force=True)
        assert check_marts(all_days=True, settings=settings).differences == ()
    rollback(DAY, settings=settings)
    for month in (DAY, date.min, date.max):
        assert check_marts(month, settings=settings).differences == ()
