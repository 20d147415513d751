"""Runs with the tables of every optional group; collected where all are on (`make test`)."""

from __future__ import annotations

import os
import subprocess
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from distributed import Client
from sqlalchemy import Engine

from orders_dask import backfill, replay, rollback, run
from orders_dask.contract.detail_tables import DETAILS
from orders_dask.contract.table_groups import GROUPS, VARIABLE
from orders_dask.errors import DatabaseNotReady
from orders_dask.jobs.backfill import refresh_dates
from orders_dask.jobs.migrate import migrate
from orders_dask.read import read_staged
from orders_dask.settings import Settings
from tests.support.builders import DAY, lines, order
from tests.support.commands import ORDERS_DASK
from tests.support.services import as_user
from tests.support.types import Put, Query

pytestmark = pytest.mark.groups

SHOP = {"shop_money": {"amount": "4.00"}}


def whole(order_id: int, **more: Any) -> dict[str, Any]:
    """Return an order that has a row, or two, in the table of each optional group."""
    line: dict[str, Any] = {
        **{"id": order_id * 10, "quantity": 2, "price": "10.00"},
        "discount_allocations": [{"amount": "1.00", "discount_application_index": 0}],
        "tax_lines": [{"title": "VAT", "rate": 0.19, "price": "3.80", "channel_liable": False}],
        "properties": [{"name": "engraving", "value": "Zoë"}, "oops"],
        "attributed_staffs": [{"id": "gid://shopify/StaffMember/7", "quantity": 2}],
    }
    refund = {
        "id": order_id * 100,
        "transactions": [
            {"id": 1, "kind": "refund", "status": "success", "amount": "5.00", "currency": "EUR"},
            {"id": 2, "kind": "refund", "status": "failure", "amount": "5.00", "currency": "CAD"},
        ],
        "refund_shipping_lines": [{"id": 3, "shipping_line_id": 9, "subtotal_amount_set": SHOP}],
    }
    parts: dict[str, Any] = {
        "line_items": [line],
        "refunds": [refund],
        "discount_applications": [{"type": "manual", "value": "1.00"}],
        "discount_codes": [{"code": "TENOFF", "amount": "1.00", "type": "fixed_amount"}],
        "fulfillments": [{"id": 5, "status": "success", "line_items": [{"id": 7, "quantity": 1}]}],
        "note_attributes": [{"name": "gift", "value": "yes"}],
        "shipping_lines": [{"id": 9, "tax_lines": [{"rate": 0.19, "price": "0.95"}]}],
    }
    return order(order_id, **(parts | more))


EXPECTED = {fact.name: 1 for fact in DETAILS} | {"fact_refund_transaction": 2}
"""Rows of a whole order."""


@pytest.fixture
def rows(query: Query) -> Any:
    def rows(schema: str = "orders") -> dict[str, int]:
        """Return the number of published rows, or those of all loads, of each table."""
        found = {}
        for fact in DETAILS:
            [(found[fact.name],)] = query(f"select count(*) from {schema}.{fact.name}")  # noqa: S608
        return found

    return rows


def command(*arguments: str, groups: str, **login: str) -> None:
    """Call ``orders-dask ...`` in a process with other groups of tables."""
    environment = {**os.environ, **login, VARIABLE: groups}
    subprocess.run([*ORDERS_DASK, *arguments], env=environment, check=True)


def times(number: int) -> dict[str, int]:
    return {name: each * number for name, each in EXPECTED.items()}


def test_every_table_is_loaded_reconciled_and_read(
    client: Client, settings: Settings, query: Query, put: Put, rows: Any
) -> None:
    put("dump/a.ndjson", lines(whole(1), whole(2), whole(1), '{"id":0,"line_items":[{"id":1}]}'))
    result = run(DAY, settings=settings, client=client)
    assert (result.orders, result.superseded, result.rejected) == (2, 1, 1)
    assert rows() == times(2)
    counters = "read", "loaded", "superseded", "rejected"
    for fact in DETAILS:
        names = ", ".join(f"{fact.name.removeprefix('fact_')}_{counter}" for counter in counters)
        each = EXPECTED[fact.name]
        [found] = query(f"select {names} from orders_ops.load_file")  # noqa: S608
        assert found == (3 * each, 2 * each, each, 0), fact.name
    assert query(
        "select line_id, tax_number, rate, price from orders.fact_line_tax order by 1"
    ) == [(line_id, 1, Decimal("0.19"), Decimal("3.8")) for line_id in (10, 20)]
    assert query("select field, code, value_count from orders_ops.data_issue") == [
        ("line_items[].properties[]", "bad_children", 3)
    ]
    frame = read_staged(DAY, "fact_line_tax", stage_url=settings.stage_url)
    assert [*frame.compute(scheduler="sync")["rate"]] == [Decimal("0.19")] * 2


def test_a_corrected_fulfilment_is_replayed_with_its_order(
    client: Client, settings: Settings, query: Query, put: Put, rows: Any, owner: Engine
) -> None:
    bad = whole(1)
    bad["fulfillments"][0]["id"] = "one"
    put("dump/a.ndjson", lines(bad, whole(2)))
    run(DAY, settings=settings, client=client)
    rejected = "select path, code, fulfillment_rejected from orders_ops.rejected_record"
    assert query(rejected) == [("fulfillments[0]", "bad_child_id", 1)]
    rejecting = rows()
    assert rejecting == times(2) | {
        name: EXPECTED[name] for name in ("fact_fulfillment", "fact_fulfillment_line")
    }
    with owner.begin() as connection:
        connection.exec_driver_sql(
            "update orders_ops.rejected_record"
            " set corrected_raw = replace(order_raw, '\"one\"', '1')"
        )
    assert replay(DAY, settings=settings, client=client).taken_in == 1
    assert rows() == times(2)
    rollback(DAY, settings=settings)
    assert rows() == rejecting


@pytest.mark.parametrize("staged_by", ["sales", ",".join(GROUPS)])
def test_a_replay_gives_a_load_no_table_for_the_replayed_orders_alone(
    staged_by: str, client: Client, settings: Settings, put: Put, rows: Any, owner: Engine
) -> None:
    put("dump/a.ndjson", lines(whole(1), whole(2) | {"id": 0}))
    for groups in dict.fromkeys((staged_by, "sales")):
        command("run", "--force", "--run-date", str(DAY), groups=groups)
    with owner.begin() as connection:
        connection.exec_driver_sql(
            "update orders_ops.rejected_record set corrected_raw = replace(raw, '\"id\": 0', '\"id\": 2')"
            " where load_id = (select max(load_id) from orders_ops.load_run)"
        )
    replayed = replay(DAY, settings=settings, client=client)
    assert (replayed.taken_in, replayed.run.orders) == (1, 2)
    assert rows() == dict.fromkeys(EXPECTED, 0)
    lacking = partial(refresh_dates, "fact_line_tax", settings=settings)
    assert (lacking(), lacking(corrected=True)) == ([], [DAY]), "the dump has them uncorrected"


def test_a_database_loads_and_is_pruned_with_groups_turned_off(
    client: Client, settings: Settings, put: Put, rows: Any, query: Query, owner: Engine
) -> None:
    put("dump/a.ndjson", lines(whole(1)))
    run(DAY, settings=settings, client=client)
    assert rows() == times(1)
    put("dump/b.ndjson", lines(whole(2)))
    command("run", "--run-date", str(DAY), groups="sales,taxes")
    taxes = ("fact_line_tax", "fact_shipping_tax")
    assert rows() == dict.fromkeys(EXPECTED, 0) | dict.fromkeys(taxes, 2)
    assert query("select count(*) from orders.order_current") == [(2,)]
    assert rows("orders_store") == times(1) | dict.fromkeys(taxes, 3)
    with owner.begin() as connection:
        days_ago = "set published_at = published_at - interval '9 days', unpublished_at = unpublished_at - interval '9 days'"
        connection.exec_driver_sql(f"update orders_ops.load_run {days_ago}")
    command("prune", "--older-than", "1", groups="sales,taxes")
    assert rows("orders_store") == dict.fromkeys(EXPECTED, 0) | dict.fromkeys(taxes, 2)


def test_a_group_is_turned_on_by_migrate_and_filled_by_refresh(
    client: Client, settings: Settings, put: Put, owner: Engine, owner_login: dict[str, str]
) -> None:
    put("dump/a.ndjson", lines(whole(1)))
    command("init", "--roles", groups="sales", **owner_login)
    command("run", "--run-date", str(DAY), groups="sales")
    with pytest.raises(DatabaseNotReady, match="run `orders-dask migrate`"):
        run(DAY, settings=settings, client=client)
    migrate(settings=as_user(settings, owner_login))
    assert run(DAY, settings=settings, client=client).outcome == "up_to_date"
    assert refresh_dates("fact_line_tax", settings=settings) == [DAY]
    [refreshed] = backfill(DAY, DAY, settings=settings, client=client, force=True)
    assert (refreshed.outcome, refresh_dates("all", settings=settings)) == ("published", [])
    with owner.connect() as connection:
        taxes = connection.exec_driver_sql("select line_id, rate from orders.fact_line_tax").all()
    assert [tuple(row) for row in taxes] == [(10, Decimal("0.19"))]
