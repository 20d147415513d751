"""Publishing, against a brute-force model of what readers must find."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import pytest
from sqlalchemy import Engine, text

from orders_dask.books import Books, books
from orders_dask.errors import LoadWithdrawn, OutOfBalance, StillInUse
from orders_dask.load import ledger
from orders_dask.load import publish as publishing
from orders_dask.load.copy import load_part
from orders_dask.load.publish import publish, seal
from orders_dask.load.schema import ensure_leaves
from orders_dask.load.verify import verify
from tests.integration.loads import File, begin, part, published, verified

Query = Callable[..., list[tuple[Any, ...]]]

DAY = date(2017, 11, 3)
DAYS = [DAY + timedelta(days=n) for n in (0, 1, 40)]
NONE_READ = {"fact_order": 0, "fact_order_line": 0, "fact_refund": 0} | {
    "fact_refund_line": 0,
    "fact_refund_adjustment": 0,
}
EARLIEST = datetime.min.replace(tzinfo=UTC)


def instant(second: int) -> datetime:
    return datetime(2017, 11, 3, 12, 0, second, tzinfo=UTC)


class Model:
    """What must stand after some publishes, the slow way."""

    def __init__(self) -> None:
        self.published: dict[date, list[Mapping[str, Any]]] = {}
        self.customers: dict[int, dict[str, Any]] = {}

    def publish(self, run_date: date, parts: list[dict[str, Any]]) -> None:
        self.published[run_date] = [o for rows in parts for o in rows["fact_order"]]
        said: dict[int, Mapping[str, Any]] = {}
        rows = [
            (r["version"] or EARLIEST, r["source_position"], r)
            for part in parts
            for r in part["dim_customer"]
        ]
        for _, _, row in sorted(rows, key=lambda r: r[:2]):
            said[row["customer_id"]] = row
        for key, row in said.items():
            given = {name: row.get(name) for name in ("email", "phone")}
            had = self.customers.setdefault(
                key,
                {"email": None, "phone": None, "gave": None, "first": run_date, "last": run_date},
            )
            if any(given.values()) and (had["gave"] is None or run_date >= had["gave"]):
                had.update(given, gave=run_date)
            had.update(first=min(had["first"], run_date), last=max(had["last"], run_date))

    def superseded(self) -> set[tuple[int, date]]:
        versions: dict[int, list[tuple[datetime, date]]] = {}
        for run_date, orders in self.published.items():
            for order in orders:
                versions.setdefault(order["order_id"], []).append(
                    (order["updated_at"] or EARLIEST, run_date)
                )
        return {(i, d) for i, of_order in versions.items() for _, d in sorted(of_order)[:-1]}


def random_parts(random: Random) -> list[dict[str, Any]]:
    """Draw a load of two parts: orders, and what they say of customers, each order of its own place."""
    orders = random.sample(range(1, 8), random.randint(0, 6))
    drawn = [
        {
            "order_id": order_id,
            "updated_at": random.choice([None, *map(instant, range(4))]),
            "source_position": position,
        }
        for position, order_id in enumerate(orders, 1)
    ]
    customers = [
        {
            "customer_id": random.randint(1, 3),
            "email": random.choice([None, "a@example.com", "b@example.com"]),
            "phone": random.choice([None, "1"]),
            "version": order["updated_at"],
            "source_position": order["source_position"],
        }
        for order in drawn
    ]
    half = len(drawn) // 2
    return [
        {"fact_order": drawn[:half], "dim_customer": customers[:half]},
        {"fact_order": drawn[half:], "dim_customer": customers[half:]},
    ]


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_publishing_gives_what_the_model_gives(
    seed: int, warehouse: Engine, query: Query
) -> None:
    random, model = Random(seed), Model()
    loads: dict[date, list[tuple[int, list[dict[str, Any]]]]] = {day: [] for day in DAYS}
    current: dict[date, int] = {}

    def again(run_date: date, load_id: int) -> None:
        with ledger.hold(warehouse, run_date) as lease:
            publish(lease, load_id)

    for step in range(10):
        days = random.sample(DAYS, random.randint(1, 2))  # two at once: two publishers at once
        work = []
        for day in days:
            replaced = [load for load in loads[day] if load[0] != current[day]]
            if replaced and random.random() < 0.3:
                load_id, parts = random.choice(replaced)
                work.append((day, parts, lambda day=day, load_id=load_id: again(day, load_id)))
                current[day] = load_id
            else:
                parts = random_parts(random)

                def new(day: date = day, parts: list[dict[str, Any]] = parts) -> None:
                    current[day] = published(warehouse, day, *parts)
                    loads[day].append((current[day], parts))

                work.append((day, parts, new))
        with ThreadPoolExecutor(2) as pool:
            for future in [pool.submit(do) for _, _, do in work]:
                future.result()
        for day, parts, _ in work:
            model.publish(day, parts)

        where = f"seed {seed}, step {step}"
        found = query("select order_id, run_date from orders_store.order_superseded")
        assert set(found) == model.superseded(), where
        customers = query(
            "select customer_id, email, phone, attributes_run_date, first_seen, last_seen from orders.dim_customer"
        )
        assert sorted(customers) == sorted(
            (key, *values.values()) for key, values in model.customers.items()
        ), where
        assert dict(query("select run_date, load_id from orders_store.published")) == current


def test_a_version_that_left_lets_the_next_best_be_current(warehouse: Engine, query: Query) -> None:
    first = published(warehouse, DAYS[0], {"fact_order": [order(1, 5, name="old")]})
    published(warehouse, DAYS[1], {"fact_order": [order(1, 9, name="new")]})
    assert query("select name from orders.order_current") == [("new",)]
    published(warehouse, DAYS[1], {"fact_order": [order(2, 9, name="other")]})
    names = query("select name from orders.order_current order by order_id")
    assert names == [("old",), ("other",)]
    states = query("select load_id, status from orders_ops.load_run order by load_id")
    assert [state for _, state in states] == ["published", "replaced", "published"]
    assert states[0][0] == first


def order(order_id: int, second: int = 0, **columns: Any) -> dict[str, Any]:
    return {"order_id": order_id, "updated_at": instant(second), **columns}


def test_only_a_verified_load_is_published(warehouse: Engine, query: Query) -> None:
    with ledger.hold(warehouse, DAY) as lease:
        load_id = begin(lease)
        seal(lease, load_id)
        with pytest.raises(LoadWithdrawn, match=f"Load {load_id} of {DAY} can't be published"):
            publish(lease, load_id)
    assert query("select * from orders_store.published") == []


def test_a_reader_keeps_its_snapshot_and_nobody_waits(warehouse: Engine) -> None:
    published(warehouse, DAY, {"fact_order": [order(1)]})
    count = text("select count(*) from orders.fact_order")
    with warehouse.connect() as reader:
        reader = reader.execution_options(isolation_level="REPEATABLE READ")
        assert reader.scalar(count) == 1
        published(warehouse, DAY, {"fact_order": [order(1), order(2)]})
        assert reader.scalar(count) == 1
        reader.rollback()
        assert reader.scalar(count) == 2


def test_a_publish_into_a_new_leaf_waits_for_who_read_before(
    warehouse: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "READERS_PATIENCE", 0.3)
    count = text("select count(*) from orders.fact_order")
    with warehouse.connect() as reader, ledger.hold(warehouse, DAY) as lease:
        pid = reader.scalar(text("select pg_backend_pid()"))
        assert reader.scalar(count) == 0
        load_id = verified(lease, {"fact_order": [order(1)]})
        with pytest.raises(StillInUse, match=rf"processes {pid}: end them"):
            publish(lease, load_id)
        reader.rollback()
        publish(lease, load_id)
        assert reader.scalar(count) == 1


def test_a_leaf_is_watched_also_when_its_maker_died_before_it_looked(
    warehouse: Engine, query: Query
) -> None:
    with ledger.hold(warehouse, DAY) as lease:
        ensure_leaves(lease.connection, DAY)
        with lease.connection.begin():
            lease.connection.execute(text("update orders_ops.storage_leaf set watch = null"))
        with warehouse.connect() as reader:
            reader.execute(text("select from orders.fact_order"))
            ensure_leaves(lease.connection, DAY)
            watch = text(
                "select cardinality(watch) from orders_ops.storage_leaf where first_date = '2017-11-01'"
            )
            with warehouse.connect() as other:
                assert other.scalar(watch) == 1


def sealed(lease: ledger.Lease, file: File, rows: dict[str, Any], lost: dict[str, Any]) -> int:
    """Copy one part of one file, and seal."""
    load_id = begin(lease)
    [file_id] = ledger.record_files(lease, load_id, [file])
    tables = part(file_id, **rows)
    superseded = {name: (of_fact, {file_id: n}) for name, (of_fact, n) in lost.items()}
    load_part(lease.connection.engine, load_id, lease.run_date, "part=0", tables, superseded)
    seal(lease, load_id)
    return load_id


def decoded(**facts: Books) -> dict[str, Books]:
    return {**dict.fromkeys(NONE_READ, Books()), **facts}


def book(name: str, **rows: Any) -> Books:
    return books(name, part(1, **rows)[name][0])


LOST = [order(3, total_price=7, currency="USD")]
KEPT = [order(1, total_price=5, currency="USD"), order(2, total_price=6, currency=None)]


def test_books_that_balance_are_written_down_by_file(warehouse: Engine, query: Query) -> None:
    file = File(NONE_READ | {"fact_order": 4, "fact_order_line": 3})
    file = File(file.read, rejected=NONE_READ | {"fact_order": 1, "fact_order_line": 1})
    lines = [{"order_id": 2, "line_id": n} for n in (1, 2)]
    lost = book("fact_order", fact_order=LOST)
    kept = book("fact_order", fact_order=KEPT)
    with ledger.hold(warehouse, DAY) as lease:
        load_id = sealed(
            lease,
            file,
            {"fact_order": KEPT, "fact_order_line": lines},
            {"fact_order": (lost, 1)},
        )
        verify(lease, load_id, 1, decoded(fact_order=kept + lost, fact_order_line=Books(2)))
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
        (2, 2, KEPT, "in parts: 2 expected, 1 found"),
        (1, 3, KEPT, "a.json, the fact_order records read: 3 expected, 2 found"),
        (1, 2, KEPT[:1], "fact_order, as decoded: the rows: 1 expected, 2 found"),
        (
            1,
            2,
            [KEPT[0], {**KEPT[1], "total_price": 8}],
            "sum of total_price in no currency: 8.0000 expected, 6.0000 found",
        ),
    ],
)
def test_books_out_of_balance_are_refused_with_both_figures(
    warehouse: Engine, query: Query, parts: int, read: int, expected: Any, message: str
) -> None:
    with ledger.hold(warehouse, DAY) as lease:
        file = File(NONE_READ | {"fact_order": read})
        load_id = sealed(lease, file, {"fact_order": KEPT}, {})
        books_expected = decoded(fact_order=book("fact_order", fact_order=expected))
        with pytest.raises(OutOfBalance, match=message):
            verify(lease, load_id, parts, books_expected)
    assert query("select status from orders_ops.load_run") == [("sealed",)]


def test_rows_that_vanished_from_the_storage_are_noticed(warehouse: Engine) -> None:
    with ledger.hold(warehouse, DAY) as lease:
        file = File(NONE_READ | {"fact_order": 2})
        load_id = sealed(lease, file, {"fact_order": KEPT}, {})
        with lease.connection.begin():
            lease.connection.execute(
                text("delete from orders_store.order_version where order_id = 2")
            )
        kept = decoded(fact_order=book("fact_order", fact_order=KEPT))
        with pytest.raises(
            OutOfBalance, match="rows of order_version, as copied: 2 expected, 1 found"
        ):
            verify(lease, load_id, 1, kept)
