"""COPY of Arrow tables: exact, in one transaction, and once (it is idempotent)."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from threading import Event
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select, text

from orders_dask.contract.arrow import arrow_schema
from orders_dask.contract.order_tables import fact_order
from orders_dask.contract.storage_tables import COPIED_TABLES
from orders_dask.errors import (
    LoadNotActive,
    OrdersDaskError,
    ServiceUnavailable,
    SettingsError,
)
from orders_dask.ledger import leases
from orders_dask.load import copy
from orders_dask.load.connect import driver_cursor
from orders_dask.load.copy import copy_into, load_part
from orders_dask.publish.publish import seal
from tests.support.loads import DAY, arrow, begin, part
from tests.support.types import Query

ORDERS = {"fact_order": [{"order_id": 1, "name": "#1"}, {"order_id": 2, "name": "#2"}]}

MOST = Decimal("999999999999999999.9999")
VALUES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.decimal128(22, 4): st.decimals(-MOST, MOST, places=4),
    pa.timestamp("us", "UTC"): st.datetimes(timezones=st.just(UTC)),
    pa.date32(): st.dates(),
    pa.bool_(): st.booleans(),
    # Decode lets pass no NUL and no surrogates.
    pa.string(): st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
}
EDGES: dict[str, list[Any]] = {
    "total_price": [MOST, -MOST, Decimal("-0.0001"), Decimal("0.0000"), Decimal("10000.0000")],
    "customer_id": [2**63 - 1, -(2**63), 0],
    "created_utc_offset_min": [2**31 - 1, -(2**31), 0],
    "created_at": [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC),
        datetime(1999, 12, 31, 23, 59, 59, 999_999, UTC),
    ],
    "created_local_date": [date.min, date.max],
    "name": ["", "NULL", "\\N", "\U0001f600", "a\nb\tc\r", "é" * 70_000],
}


def stored(engine: Engine, rows: pa.Table) -> pa.Table:
    """Copy orders, read them back, and roll back."""
    with engine.connect() as connection:
        copy_into(
            driver_cursor(connection), fact_order, [rows], {"run_date": DAY, "load_id": 2**62}
        )
        result = connection.execute(select(fact_order).order_by(fact_order.c.order_id)).mappings()
        found = pa.Table.from_pylist([dict(row) for row in result], schema=arrow_schema(fact_order))
        connection.rollback()
    assert found["load_id"].unique().to_pylist() == [2**62]
    assert found["run_date"].unique().to_pylist() == [DAY]
    return found.select(rows.column_names)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ("add constraint mine check (name = '#1')", 'violates check constraint "mine"'),
        ("alter name set not null", 'null value in column "name"'),
        ("detach partition orders_store.fact_order_2017_11", "no partition of relation"),
    ],
)
def test_tables_that_somebody_has_changed_are_named_without_the_row(
    changed: str, reason: str, november: Engine, owner: Engine
) -> None:
    with owner.begin() as connection:
        connection.exec_driver_sql(f"alter table orders_store.fact_order {changed}")
    rows = part(1, fact_order=[{"order_id": 1, "name": "Zoë"}, {"order_id": 2, "note": "Zoë"}])
    with pytest.raises(SettingsError, match=reason) as raised:
        load_part(november, 1, DAY, "a", rows.items(), {})
    assert "Zoë" not in str(raised.value)


@pytest.fixture
def november(warehouse: Engine) -> Engine:
    with leases.acquire_lease(warehouse, DAY) as lease:
        begin(lease)
    return warehouse


def test_the_edges_of_every_type_come_back_exact(november: Engine) -> None:
    most = max(map(len, EDGES.values()))
    rows = [
        {"order_id": n, "source_file_id": 1, "source_position": 1}
        | {name: values[n % len(values)] for name, values in EDGES.items()}
        for n in range(most)
    ]
    nothing = {"order_id": most, "source_file_id": 1, "source_position": 1}
    table = arrow(fact_order, [*rows, nothing])
    assert stored(november, table).to_pylist() == table.to_pylist()


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_value_of_every_column_comes_back_exact(november: Engine, data: st.DataObject) -> None:
    row = st.fixed_dictionaries(
        {
            f.name: VALUES[f.type] if not f.nullable else st.none() | VALUES[f.type]
            for f in arrow(fact_order, []).schema
        }
    )
    rows = data.draw(st.lists(row, min_size=1, max_size=3, unique_by=lambda r: r["order_id"]))
    table = arrow(fact_order, sorted(rows, key=lambda r: r["order_id"]))
    assert stored(november, table).to_pylist() == table.to_pylist()


def test_dictionaries_and_large_strings_are_copied_as_text(november: Engine) -> None:
    table = arrow(
        fact_order,
        [
            {"order_id": n, "name": f"#{n % 2}", "currency": None, "source_file_id": 1}
            | {"source_position": n}
            for n in range(4)
        ],
    )
    encoded = table.set_column(
        table.column_names.index("name"), "name", table["name"].dictionary_encode()
    )
    large = encoded.column_names.index("currency")
    encoded = encoded.set_column(large, "currency", table["currency"].cast(pa.large_string()))
    assert stored(november, encoded).to_pylist() == table.to_pylist()


def test_a_table_of_many_chunks_and_empty_ones_is_copied_whole(
    november: Engine, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy, "BATCH_ROWS", 2)
    rows = [{"order_id": n, "source_file_id": 1, "source_position": n} for n in range(5)]
    tables = [arrow(fact_order, chunk) for chunk in ([], rows[:2], [], rows[2:], [])]
    with november.begin() as connection:
        constants = {"run_date": DAY, "load_id": 9}
        assert copy_into(driver_cursor(connection), fact_order, tables, constants)[0] == 5
    assert query("select count(*) from orders_store.fact_order") == [(5,)]


def test_a_part_is_loaded_once(warehouse: Engine, query: Query) -> None:
    with leases.acquire_lease(warehouse, DAY) as lease:
        load_id = begin(lease)
        assert load_part(warehouse, load_id, DAY, "part=a", part(1, **ORDERS).items(), {})
        assert not load_part(warehouse, load_id, DAY, "part=a", part(1, **ORDERS).items(), {})
    assert query("select order_id from orders_store.fact_order order by 1") == [(1,), (2,)]
    assert query("select part, rows->>'fact_order' from orders_ops.load_part") == [("part=a", "2")]


def test_rows_of_one_table_may_alternate_with_those_of_others(
    warehouse: Engine, query: Query
) -> None:
    first, second = (part(1, fact_order=[{"order_id": n}], dim_app=[{"app_id": n}]) for n in (1, 2))
    with leases.acquire_lease(warehouse, DAY) as lease:
        load_id = begin(lease)
        tables = [*first.items(), *second.items()]
        assert load_part(warehouse, load_id, DAY, "part=a", tables, {})
    assert query("select order_id from orders_store.fact_order order by 1") == [(1,), (2,)]
    assert query("select app_id from orders_store.dim_app order by 1") == [(1,), (2,)]
    [(rows,)] = query("select rows from orders_ops.load_part")
    assert rows == {"fact_order": 2, "order_version": 2, "dim_app": 2}


def test_a_part_loaded_twice_at_once_is_loaded_once(warehouse: Engine, query: Query) -> None:
    with leases.acquire_lease(warehouse, DAY) as lease:
        load_id = begin(lease)

        def load(_: int) -> bool:
            return load_part(warehouse, load_id, DAY, "part=a", part(1, **ORDERS).items(), {}) > 0

        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(load, range(4))) == [False, False, False, True]
    assert query("select count(*) from orders_store.fact_order") == [(2,)]


def test_a_part_comes_whole_or_not_at_all(warehouse: Engine, query: Query) -> None:
    class Broken(OSError):
        pass

    def tables() -> Iterator[tuple[str, pa.Table]]:
        yield from part(1, **ORDERS).items()
        raise Broken("the stage went away")

    with leases.acquire_lease(warehouse, DAY) as lease:
        load_id = begin(lease)
        with pytest.raises(Broken, match="the stage went away"):
            load_part(warehouse, load_id, DAY, "part=a", tables(), {})
        for table in COPIED_TABLES:
            assert query(str(select(func.count()).select_from(table))) == [(0,)], table
        assert load_part(warehouse, load_id, DAY, "part=a", part(1, **ORDERS).items(), {})


def test_a_sealed_load_takes_no_part(warehouse: Engine, query: Query) -> None:
    with leases.acquire_lease(warehouse, DAY) as lease:
        load_id = begin(lease)
        seal(lease, load_id)
        with pytest.raises(LoadNotActive, match=f"Load {load_id} takes no more parts"):
            load_part(warehouse, load_id, DAY, "part=a", part(1, **ORDERS).items(), {})
    assert query("select count(*) from orders_store.fact_order") == [(0,)]


def test_a_zombie_in_the_middle_of_a_copy_is_ended_by_the_seal(
    warehouse: Engine, query: Query
) -> None:
    copying, may_end = Event(), Event()

    def tables() -> Iterator[tuple[str, pa.Table]]:
        yield "fact_order", part(1, **ORDERS)["fact_order"]
        copying.set()
        assert may_end.wait(30)

    with leases.acquire_lease(warehouse, DAY) as lease, ThreadPoolExecutor(1) as pool:
        load_id = begin(lease)
        zombie = pool.submit(load_part, warehouse, load_id, DAY, "part=a", tables(), {})
        assert copying.wait(30)
        seal(lease, load_id)
        may_end.set()
        with pytest.raises(ServiceUnavailable):
            zombie.result()
    assert query("select count(*) from orders_store.fact_order") == [(0,)]
    assert query("select count(*) from orders_ops.load_part") == [(0,)]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("select pg_terminate_backend(pg_backend_pid())", "PostgreSQL broke off"),
        ("do $$ begin raise sqlstate '40001'; end $$", "PostgreSQL broke off"),
        ("do $$ begin raise sqlstate '53300'; end $$", "PostgreSQL broke off"),
        ("select from orders_store.nothing", "run `orders-dask init`"),
        ("do $$ begin raise sqlstate '42501'; end $$", "grant it to the user in _PGSQL_USER"),
    ],
)
def test_errors_of_the_server_are_one_sentence(
    warehouse: Engine, statement: str, expected: str
) -> None:
    with (
        pytest.raises(OrdersDaskError, match=expected) as caught,
        warehouse.connect() as connection,
    ):
        connection.execute(text(statement))
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert "\n" not in str(caught.value)
