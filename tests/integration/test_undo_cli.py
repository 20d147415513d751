"""The commands `rollback` and `diff`."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from sqlalchemy import Engine

from tests.support.builders import DAY, lines, order
from tests.support.commands import orders_dask
from tests.support.loads import published
from tests.support.types import Put

OF_DAY = ("--run-date", "2026-10-01")


@pytest.fixture
def loads(warehouse: Engine) -> tuple[int, int]:
    """Publish two loads: one order is removed, one changed, one the same. There is no dump."""

    def row(order_id: int, price: str) -> dict[str, object]:
        return {"order_id": order_id, "total_price": Decimal(price), "currency": "EUR"}

    before = {"fact_order": [row(1, "10"), row(2, "20.5"), row(3, "5")]}
    after = {"fact_order": [row(2, "21"), row(3, "5")]}
    return published(warehouse, DAY, before), published(warehouse, DAY, after)


def test_a_rollback_prints_both_loads_and_exits_with_3_without_a_published_one(
    loads: tuple[int, int],
) -> None:
    first, last = loads
    out, _ = orders_dask("rollback", *OF_DAY)
    assert out == (
        f"2026-10-01  rolled back: load {last} (2 orders, 0 lines) is unpublished, "
        f"and load {first} (3 orders, 0 lines) is published again\n"
    )
    out, _ = orders_dask("rollback", *OF_DAY, "--json")
    result = json.loads(out)
    assert (result["run_date"], result["unpublished"], result["published"]) == (
        "2026-10-01",
        first,
        None,
    )
    _, err = orders_dask("rollback", *OF_DAY, code=3)
    assert err == "Error: Nothing is published for 2026-10-01: see `orders-dask status`.\n"


def test_a_diff_needs_no_cluster_for_loads_that_are_there(loads: tuple[int, int]) -> None:
    first, last = loads
    out, err = orders_dask("diff", *OF_DAY, "--limit", "1")
    assert err == ""
    assert f"load {last}, which is published, against load {first}, which it replaced" in out
    assert "Orders: 0 added, 1 removed, 1 changed" in out
    rows = [row.split() for row in out.splitlines()]
    assert [row for row in rows if row and row[0] in ("EUR", "fact_order")] == [
        ["fact_order", "3", "2", "-1"],
        ["EUR", "total_price", "35.5000", "26.0000", "-9.5000"],
    ]
    assert out.endswith("order 1 removed\nand 1 more order: --json gives all\n")


def test_a_diff_in_json_has_all_orders_and_exact_amounts(loads: tuple[int, int]) -> None:
    out, _ = orders_dask("diff", *OF_DAY, "--json", "--limit", "0")
    result = json.loads(out)
    assert (result["before"], result["after"], result["published"]) == (*loads, True)
    assert result["orders"] == [
        {"order_id": 1, "change": "removed", "columns": []},
        {"order_id": 2, "change": "changed", "columns": ["total_price"]},
    ]
    assert [(m["currency"], m["difference"]) for m in result["money"]] == [("EUR", "-9.5000")]
    assert "database" not in result


def test_a_diff_of_a_changed_dump_compares_with_what_a_run_would_publish(
    warehouse: Engine, put: Put
) -> None:
    published(warehouse, DAY, {})
    put("dump/a.json", lines(order(2)))
    out, err = orders_dask("diff", *OF_DAY, "--workers", "1")
    assert "has changed: it is loaded beside, and not published" in err
    assert "which a run would publish, against" in out
    assert out.endswith("order 2 added\n")
