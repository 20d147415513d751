"""Columns of somebody's own, from the database that lacks them to the views that people read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from distributed import Client
from sqlalchemy import Engine

from orders_dask import run
from orders_dask.contract.custom_columns import VARIABLE
from orders_dask.jobs.migrate import migrate
from orders_dask.settings import Settings
from tests.support.builders import DAY, lines, order
from tests.support.commands import ORDERS_DASK
from tests.support.services import as_user
from tests.support.types import Put, Query

COLUMNS = """
[fact_order.delivery_note]
type = "text"
source = "custom.note"
comment = "What the driver has to know"
[fact_order.gift]
type = "boolean"
source = "note_attributes[name=gift].value"
[fact_order_line.engraving]
type = "text"
source = "properties[name=engraving].value"
[fact_order_line.engraving_fee]
type = "money"
source = "fees[].amount"
"""


def rich(order_id: int, **more: Any) -> dict[str, Any]:
    """Return an order that has a value for each of the columns."""
    line = {
        **{"id": order_id * 10, "quantity": 2, "price": "10.00"},
        "properties": [{"name": "wrap", "value": "red"}, {"name": "engraving", "value": "Zoë"}],
        "fees": [{"amount": "1.50"}, {"amount": 0.25}],
    }
    parts: dict[str, Any] = {
        "line_items": [line],
        "custom": {"note": "Ring twice", "other": "At the back"},
        "note_attributes": [{"name": "gift", "value": "true"}],
    }
    return order(order_id, **(parts | more))


Ended = subprocess.CompletedProcess[str]
Command = Callable[..., Ended]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Return ``command("run", ..., columns=TOML)``, which is a process with these columns."""

    def command(*arguments: str, columns: str = COLUMNS, code: int = 0, **more: str) -> Ended:
        file = tmp_path / "columns.toml"
        file.write_text(columns)
        program = ORDERS_DASK if arguments[0] != "-c" else (sys.executable,)
        ended = subprocess.run(
            [*program, *arguments],
            env={**os.environ, **more, VARIABLE: str(file)},
            capture_output=True,
            text=True,
        )
        assert ended.returncode == code, ended.stderr
        return ended

    return command


def rows_of(engine: Engine, statement: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(statement)]


def outcome(ended: Ended) -> str:
    found: str = json.loads(ended.stdout)["outcome"]
    return found


def test_columns_are_added_to_a_database_with_loads_and_filled_by_refresh(
    client: Client, settings: Settings, warehouse: Engine, put: Put, query: Query,
    command: Command, owner_login: dict[str, str],
) -> None:  # fmt: skip
    put("dump/a.ndjson", lines(rich(1), rich(2), rich(1)))
    assert run(DAY, settings=settings, client=client).outcome == "published"
    load = ("run", "--run-date", str(DAY), "--workers", "1", "--json")
    refused = command(*load, code=2).stderr
    assert "lacks orders_store.fact_order.delivery_note and 3 more columns" in refused
    assert "run `orders-dask migrate`" in refused
    migrated = command("migrate", **owner_login).stderr
    assert "columns delivery_note, gift of orders_store.fact_order" in migrated
    assert outcome(command(*load)) == "up_to_date"
    note = "select distinct delivery_note, gift from orders.order_current"
    assert query(note) == [(None, None)]
    lacking = command("status").stderr
    assert "1 published run date lacks fact_order.delivery_note or 3 other" in lacking

    refresh = ("backfill", "--refresh", "delivery_note", "--workers", "1")
    command(*refresh)
    assert query(note) == [("Ring twice", True)]
    assert (
        query("select engraving, engraving_fee from orders.fact_order_line order by line_id")
        == [("Zoë", Decimal("1.75"))] * 2
    )
    assert query("select gift from orders.order_history where order_id = 1") == [(True,)]
    assert query(
        "select col_description('orders.order_current'::regclass, ordinal_position::int)"
        " from information_schema.columns where table_schema = 'orders'"
        " and table_name = 'order_current' and column_name = 'delivery_note'"
    ) == [("What the driver has to know",)]
    assert "lack" not in command("status").stderr

    elsewhere = COLUMNS.replace("custom.note", "custom.other")
    assert "lacks fact_order.delivery_note:" in command("status", columns=elsewhere).stderr
    command(*refresh, columns=elsewhere)
    assert query(note) == [("At the back", True)]

    [warning] = json.loads(command(*load, "--force", columns="").stdout)["warnings"]
    assert warning.startswith("left null what the database has and ORDERS_DASK_COLUMNS")
    assert "fact_order.delivery_note, fact_order.gift, fact_order_line.engraving" in warning


READ = f"""
from datetime import date
import orders_dask

def shown(frame):
    print(*frame.compute(scheduler="sync").tolist(), sep=",")

day = date.fromisoformat("{DAY}")
url = orders_dask.load_settings().source
shown(orders_dask.read_orders(url, day, "fact_order_line")["engraving"])
shown(orders_dask.read_orders(url, day, columns=["order_id", "gift"])["gift"])
shown(orders_dask.read_staged(day, columns=["delivery_note"])["delivery_note"])
"""


def test_init_makes_the_columns_and_frames_have_them(
    client: Client, settings: Settings, owner: Engine, put: Put, command: Command,
    owner_login: dict[str, str],
) -> None:  # fmt: skip
    command("init", "--roles", **owner_login)
    put("dump/a.ndjson", lines(rich(1), rich(2, custom={"note": 5})))
    load = ("run", "--run-date", str(DAY), "--workers", "1", "--json")
    assert outcome(command(*load)) == "published"
    issue = ("custom.note", "text_from_scalar")
    assert rows_of(
        owner,
        "select delivery_note, field, code from orders.fact_order, orders_ops.data_issue order by 1",
    ) == [("5", *issue), ("Ring twice", *issue)]
    assert command("-c", READ).stdout == "Zoë,Zoë\nTrue,True\nRing twice,5\n"

    changed = COLUMNS.replace('"text"\nsource = "custom.note"', '"count"\nsource = "custom.note"')
    for arguments in (("migrate",), ("init",), load):
        login = {} if arguments is load else owner_login
        refused = command(*arguments, columns=changed, code=2, **login).stderr
        assert "column orders_store.fact_order.delivery_note has the type text" in refused

    # Without the file: the part with more columns is used, and what is left null reconciles.
    assert run(DAY, settings=settings, client=client).outcome == "up_to_date"
    assert run(DAY, settings=settings, client=client, force=True).outcome == "published"
    assert rows_of(owner, "select count(distinct part) from orders_ops.load_part") == [(1,)]
    sums = "select count(delivery_note), sum(engraving_fee), sum(price) from orders.fact_order_line"
    sums += " join orders.fact_order using (run_date, order_id)"
    assert rows_of(owner, sums) == [(0, None, Decimal(20))]
    migrate(settings=as_user(settings, owner_login))
    assert rows_of(owner, "select delivery_note from orders.order_current limit 1") == [(None,)]


def test_workers_with_other_tables_are_refused_by_name(
    client: Client, settings: Settings, put: Put, command: Command, owner_login: dict[str, str]
) -> None:
    command("init", "--roles", **owner_login)
    put("dump/a.ndjson", lines(rich(1)))
    address = client.scheduler_info()["address"]
    load = ("run", "--run-date", str(DAY))
    refused = command(*load, code=2, DASK_SCHEDULER_ADDRESS=address).stderr
    workers = ", ".join(f"worker {each}" for each in sorted(client.scheduler_info()["workers"]))
    assert (
        "fact_order.delivery_note is text from custom.note on the client and not declared on "
        f"{workers}" in refused
    )
