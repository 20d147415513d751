"""Any schedule of publishes, rollbacks and unpublishes ends in the state of its model.

``ORDERS_DASK_SCHEDULES`` sets how many schedules are drawn for each test.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, delete, select, table, text

from orders_dask.contract.arrow import FILE
from orders_dask.contract.columns import METADATA, PUBLIC
from orders_dask.contract.dimension_tables import DIMENSIONS
from orders_dask.contract.ledger_tables import load_run, schema_info, storage_partition
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.storage_tables import order_superseded
from orders_dask.contract.storage_tables import published as pointer_table
from orders_dask.load.views import VIEW_FILES
from orders_dask.publish.marts import MartDifference, find_differences
from tests.support.loads import DAY, moment, published, rolled_back, unpublished
from tests.support.model import Loaded, Model

SCHEDULES = int(os.environ.get("ORDERS_DASK_SCHEDULES", "8"))
DAYS = [DAY + timedelta(days=n) for n in (0, 1, 40)]
Parts = Sequence[Mapping[str, Sequence[Mapping[str, Any]]]]
Action = tuple[str, date, Parts]

any_schedule = settings(
    max_examples=SCHEDULES,
    deadline=None,
    # Without shrinking: a schedule takes a second, and shrinking tries hundreds.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def loads(draw: st.DrawFn) -> Parts:
    """Draw a load of two parts: orders, some with a line and a refund, and dimension rows."""
    tables: list[dict[str, list[dict[str, Any]]]] = [{}, {}]
    ids = draw(st.lists(st.integers(1, 5), unique=True, max_size=4))
    for position, order_id in enumerate(ids, 1):
        part = tables[draw(st.integers(0, 1))]
        updated = draw(st.none() | st.integers(0, 3).map(moment))
        price = draw(st.sampled_from([None, 5, 7]))
        numbered = {"source_position": position}
        add = partial(_add, part)
        days = st.sampled_from([None, *DAYS])
        customer = draw(st.integers(1, 3))
        add(
            "fact_order",
            order_id=order_id,
            updated_at=updated,
            total_price=price,
            total_tax=draw(st.sampled_from([None, 1])),
            processed_local_date=draw(days),
            customer_id=customer,
            source_name=draw(st.sampled_from([None, "web"])),
            refund_count=1,
            line_count=0,
            **numbered,
        )
        if draw(st.booleans()):
            line = {"line_id": 1, "quantity": draw(st.integers(0, 2)), "price": price}
            add("fact_order_line", order_id=order_id, line_discount=1, line_tax=0, **line)
            refund = {"refund_id": 1, "refunded_amount": price, "refunded_local_date": draw(days)}
            add("fact_refund", order_id=order_id, refunded_shipping=price, **refund)
        version = {"version_at": updated, **numbered}
        add(
            "dim_customer",
            customer_id=customer,
            email=draw(st.sampled_from([None, "a@example.com", "b@example.com"])),
            phone=draw(st.sampled_from([None, "1"])),
            **version,
        )
        add("dim_product_variant", product_id=1, variant_id=draw(st.integers(1, 2)), **version)
    return tables


def _add(part: dict[str, list[dict[str, Any]]], table: str, **row: Any) -> None:
    part.setdefault(table, []).append(row)


actions = st.tuples(
    st.sampled_from(["publish", "publish", "publish", "roll back", "unpublish"]),
    st.sampled_from(DAYS),
    loads(),
)
at_once = st.lists(actions, min_size=1, max_size=2, unique_by=lambda action: action[1])


@any_schedule
@given(schedule=st.lists(at_once, min_size=2, max_size=7))
def test_any_schedule_ends_as_if_only_the_published_loads_were_loaded(
    warehouse: Engine, owner: Engine, schedule: list[list[Action]]
) -> None:
    truncate(owner)
    model = Model()
    for batch in schedule:
        possible = [
            action for action in batch if action[0] == "publish" or action[1] in model.seen()
        ]
        for load_id, (what, day, parts) in run_concurrently(warehouse, possible):
            if what == "publish":
                model.publish(Loaded(load_id, day, parts))
            elif what == "roll back":
                model.roll_back(day)
            else:
                model.unpublish(day)
        assert {day: load.load_id for day, load in model.seen().items()} == pointer(owner)
        assert superseded(owner) == model.superseded()
        assert dimensions(owner) == {d.name: model.dimension(d.name) for d in DIMENSIONS}
        assert mart_differences(owner) == []
    found = facts(owner), dimensions(owner)
    truncate(owner)
    for day, load in model.seen().items():
        published(warehouse, day, *load.parts)
    assert (facts(owner), dimensions(owner)) == found


@any_schedule
@given(days=st.fixed_dictionaries({day: loads() for day in DAYS}), data=st.data())
def test_publishes_in_any_order_give_the_dimensions_of_loading_once_in_order(
    warehouse: Engine, owner: Engine, days: dict[date, Parts], data: st.DataObject
) -> None:
    truncate(owner)
    batch_days = st.lists(st.sampled_from(DAYS), min_size=1, max_size=2, unique=True)
    batches = [*data.draw(st.lists(batch_days, max_size=3)), *([day] for day in reversed(DAYS))]
    for batch in data.draw(st.permutations(batches)):
        run_concurrently(warehouse, [("publish", day, days[day]) for day in batch])
    assert mart_differences(owner) == []
    found = facts(owner), dimensions(owner)
    truncate(owner)
    for day, parts in days.items():
        published(warehouse, day, *parts)
    assert (facts(owner), dimensions(owner)) == found


def run_concurrently(database: Engine, actions: Sequence[Action]) -> list[tuple[int, Action]]:
    """Run actions concurrently; return them in the order of their commits, with their load ids."""

    def run(action: Action) -> tuple[int, Action]:
        what, day, parts = action
        if what == "publish":
            return published(database, day, *parts), action
        return {"roll back": rolled_back, "unpublish": unpublished}[what](database, day), action

    def committed_at(done: tuple[int, Action]) -> datetime:
        load_id, (what, _, _) = done
        column = load_run.c.published_at if what == "publish" else load_run.c.unpublished_at
        with database.connect() as connection:
            when: datetime = connection.execute(
                select(column).where(load_run.c.load_id == load_id)
            ).scalar_one()
        return when

    with ThreadPoolExecutor(2) as pool:
        return sorted(pool.map(run, actions), key=committed_at)


def truncate(database: Engine) -> None:
    """Delete all rows, except those of partitions and of `init`."""
    unchanged = schema_info, storage_partition
    with database.begin() as connection:
        for table in METADATA.tables.values():
            if table not in unchanged:
                connection.execute(delete(table))


def pointer(database: Engine) -> dict[date, int]:
    with database.connect() as connection:
        return {day: load_id for day, load_id in connection.execute(select(pointer_table))}


def superseded(database: Engine) -> set[tuple[int, date]]:
    with database.connect() as connection:
        return {(i, day) for i, day in connection.execute(select(order_superseded))}


def dimensions(database: Engine) -> dict[str, dict[tuple[Any, ...], dict[str, Any]]]:
    """Return the rows of every dimension by key."""
    with database.connect() as connection:
        return {
            d.name: {
                tuple(row[k] for k in d.info["key"]): {
                    name: value for name, value in row.items() if name not in d.info["key"]
                }
                for row in connection.execute(select(d)).mappings()
            }
            for d in DIMENSIONS
        }


def mart_differences(database: Engine) -> list[MartDifference]:
    """Return what the stored sums have that the events don't add up to, on any day."""
    with database.connect() as connection:
        return find_differences(connection)


def facts(database: Engine) -> dict[str, list[dict[str, Any]]]:
    """Return what readers see in facts and views, without the ids of files."""
    names = [*(fact.name for fact in FACTS), *VIEW_FILES]
    with database.connect() as connection:
        return {name: rows(connection, name) for name in names}


def rows(connection: Connection, view: str) -> list[dict[str, Any]]:
    found = connection.execute(select(text("*")).select_from(table(view, schema=PUBLIC))).mappings()
    plain = ({k: v for k, v in row.items() if k != FILE} for row in found)
    return sorted(plain, key=repr)
