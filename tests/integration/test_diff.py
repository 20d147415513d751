"""Differences between two loads of a run date."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from distributed import Client
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import Engine, text

import orders_dask
from orders_dask.errors import DataRefused, NothingToRestore
from orders_dask.jobs.diff import diff_without_loading
from orders_dask.publish.diff import DiffResult, compare
from tests.support.builders import lines, order
from tests.support.loads import DAY, published
from tests.support.types import Put, Query

Row = dict[str, Any]


def diff_of(database: Engine, before: Any, after: Any) -> DiffResult:
    loads = [published(database, DAY, parts) for parts in (before, after)]
    return compare(database, DAY, *loads, published=True)


def test_added_removed_and_changed_orders_are_named_with_their_columns(warehouse: Engine) -> None:
    found = diff_of(
        warehouse,
        {"fact_order": [{"order_id": n, "note": "old"} for n in (1, 2, 3)]},
        {
            "fact_order": [
                {"order_id": 2, "note": "new", "email": "a@x"},
                {"order_id": 3, "note": "old"},
                {"order_id": 4},
            ]
        },
    )
    assert (found.added, found.removed, found.changed) == (1, 1, 1)
    assert [(o.order_id, o.change, o.columns) for o in found.orders()] == [
        (1, "removed", ()),
        (2, "changed", ("note", "email")),
        (4, "added", ()),
    ]
    assert [o.order_id for o in found.orders(limit=2)] == [1, 2]


def test_an_order_changed_also_when_only_its_children_did(warehouse: Engine) -> None:
    orders = [{"order_id": n} for n in (1, 2, 3)]
    line, refund = {"order_id": 1, "line_id": 1}, {"order_id": 2, "refund_id": 1}
    found = diff_of(
        warehouse,
        {"fact_order": orders, "fact_order_line": [{**line, "sku": "A"}]},
        {"fact_order": orders, "fact_order_line": [{**line, "sku": "B"}], "fact_refund": [refund]},
    )
    assert [(o.order_id, o.columns) for o in found.orders()] == [
        (1, ("fact_order_line",)),
        (2, ("fact_refund",)),
    ]
    counts = {rows.table: (rows.before, rows.after) for rows in found.rows}
    assert counts["fact_order_line"] == (1, 1)
    assert counts["fact_refund"] == (0, 1)


def test_an_order_that_only_moved_in_its_files_is_the_same(warehouse: Engine) -> None:
    one, other = {"order_id": 1, "name": "#1"}, {"order_id": 2, "name": "#2"}
    found = diff_of(warehouse, {"fact_order": [one, other]}, {"fact_order": [other, one]})
    assert (found.added, found.removed, found.changed) == (0, 0, 0)
    assert list(found.orders()) == []


def test_money_is_exact_by_currency(warehouse: Engine) -> None:
    def orders(*amounts: tuple[str | None, str]) -> dict[str, list[Row]]:
        return {
            "fact_order": [
                {"order_id": n, "currency": currency, "total_price": Decimal(amount)}
                for n, (currency, amount) in enumerate(amounts, 1)
            ]
        }

    great = "999999999999999999.9999"
    found = diff_of(
        warehouse,
        orders(("USD", great), ("EUR", "5"), (None, "1")),
        orders(("USD", great), ("EUR", "7.25"), (None, "1"), ("USD", "0.0001")),
    )
    money = [(m.currency, m.column, m.before, m.after, m.difference) for m in found.money]
    more = Decimal("1000000000000000000.0000")
    assert money == [
        (None, "total_price", Decimal(1), Decimal(1), 0),
        ("EUR", "total_price", Decimal(5), Decimal("7.25"), Decimal("2.25")),
        ("USD", "total_price", Decimal(great), more, Decimal("0.0001")),
    ]


some_orders = st.dictionaries(
    st.integers(1, 6),
    st.tuples(
        st.sampled_from([None, "a", "b"]),
        st.dictionaries(st.integers(1, 2), st.sampled_from([None, 1, 2])),
    ),
    max_size=5,
)


@examples(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(before=some_orders, after=some_orders)
def test_any_two_loads_differ_as_their_contents_do(
    warehouse: Engine, before: dict[int, Any], after: dict[int, Any]
) -> None:
    def rows(orders: dict[int, Any]) -> dict[str, list[Row]]:
        return {
            "fact_order": [{"order_id": n, "note": note} for n, (note, _) in orders.items()],
            "fact_order_line": [
                {"order_id": n, "line_id": line, "quantity": quantity}
                for n, (_, of_order) in orders.items()
                for line, quantity in of_order.items()
            ],
        }

    expected = {n: "added" for n in after.keys() - before.keys()}
    expected |= {n: "removed" for n in before.keys() - after.keys()}
    expected |= {n: "changed" for n in before.keys() & after.keys() if before[n] != after[n]}
    found = diff_of(warehouse, rows(before), rows(after))
    assert {o.order_id: o.change for o in found.orders()} == expected
    assert found.added + found.removed + found.changed == len(expected)


def test_a_diff_of_pruned_rows_is_refused(warehouse: Engine) -> None:
    first = published(warehouse, DAY, {"fact_order": [{"order_id": 1}]})
    last = published(warehouse, DAY, {"fact_order": [{"order_id": 2}]})
    found = compare(warehouse, DAY, first, last, published=True)
    pruned = text("update orders_ops.load_run set pruned_at = now() where load_id = :first")
    with warehouse.begin() as connection:
        connection.execute(pruned, {"first": first})
    with pytest.raises(NothingToRestore, match=f"Load {first} of {DAY} can't be compared.*pruned"):
        compare(warehouse, DAY, first, last, published=True)
    with pytest.raises(NothingToRestore):
        next(found.orders())


def test_without_a_published_load_there_is_nothing_to_compare_with(
    warehouse: Engine, put: Put
) -> None:
    put("dump/a.json", lines(order(1)))
    with pytest.raises(NothingToRestore, match=f"Nothing is published for {DAY}"):
        orders_dask.diff(DAY)


def test_a_changed_dump_has_the_same_diff_before_and_after_its_run(
    warehouse: Engine, client: Client, put: Put, query: Query
) -> None:
    put("dump/a.json", lines(order(1), order(2, "20.00")))
    orders_dask.run(DAY, client=client)
    with pytest.raises(NothingToRestore, match="replaced no other"):
        orders_dask.diff(DAY)
    put("dump/a.json", lines(order(2, "21.50"), order(3)))

    assert diff_without_loading(DAY) is None
    ahead = orders_dask.diff(DAY, client=client)
    differing = [(1, "removed"), (2, "changed"), (3, "added")]
    assert [(o.order_id, o.change) for o in ahead.orders()] == differing
    assert not ahead.published
    assert diff_without_loading(DAY) == ahead, "it is loaded once"
    states = "select status from orders_ops.load_run order by load_id"
    assert query(states) == [("published",), ("comparison",)]
    assert len(orders_dask.read_staged(DAY).compute()) == 2
    assert set(orders_dask.read_staged(DAY).compute().order_id) == {1, 2}, "what is published"

    result = orders_dask.run(DAY, client=client)
    assert result.outcome == "published"
    back = orders_dask.diff(DAY)
    assert (back.published, back.before, back.after) == (True, ahead.before, result.load_id)
    assert (list(back.orders()), back.money) == (list(ahead.orders()), ahead.money)

    orders_dask.rollback(DAY)
    forced = orders_dask.run(DAY, client=client, force=True)
    assert forced.outcome == "published", "the files differ again"


def test_a_dump_that_a_run_would_refuse_is_refused(
    warehouse: Engine, client: Client, put: Put
) -> None:
    put("dump/a.json", lines(order(1)))
    orders_dask.run(DAY, client=client)
    put("dump/a.json", lines(*["{}"] * 20))
    with pytest.raises(DataRefused, match="rejected"):
        orders_dask.diff(DAY, client=client)
