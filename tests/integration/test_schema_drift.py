"""Keys that nobody knows are reported, ignored or refused, and listed across run dates."""

from __future__ import annotations

import json
import tomllib
from datetime import timedelta
from typing import Any, Literal

import pytest
from distributed import Client
from sqlalchemy import Engine, text

from orders_dask.errors import DataRefused
from orders_dask.jobs.run import run
from orders_dask.settings import Settings
from tests.support.builders import DAY, lines, order
from tests.support.commands import orders_dask
from tests.support.types import Put, Query

NEXT = DAY + timedelta(days=1)
ODD: dict[str, Any] = {
    "loyalty_tier": "gold",
    "line_items": [{"id": 10, "quantity": 1, "price": "1", "colour": "red", "gift": {"to": "A"}}],
}


def mode(settings: Settings, value: Literal["ignore", "report", "refuse"]) -> Settings:
    return settings.model_copy(update={"schema_drift": value})


def test_unknown_keys_are_listed_across_run_dates(
    client: Client, settings: Settings, warehouse: Engine, query: Query, put: Put,
    environment: dict[str, str],
) -> None:  # fmt: skip
    put("dump/a.ndjson", lines(order(1, loyalty_tier="Gold 1"), order(2), order(3)))
    published = run(DAY, settings=settings, client=client)
    assert published.unknown_keys == ("loyalty_tier",)
    put("dump/b.ndjson", lines(order(4, **ODD), order(0, **ODD), *map(order, range(5, 11))))
    run(NEXT, settings=settings, client=client, force=True)
    with warehouse.begin() as connection:
        # As an earlier version wrote it.
        connection.execute(text(
            "insert into orders_ops.load_run (run_date, status, source, fingerprint, run_by,"
            " schema_drift) values (:day, 'replaced', '', '', '', '[\"line_items[].colour\"]')"
        ), {"day": DAY - timedelta(days=300)})  # fmt: skip

    listed = json.loads(orders_dask("drift", "--json")[0])
    found = {key["path"]: key for key in listed["keys"]}
    assert (listed["run_dates"], listed["more"]) == ([str(NEXT)], False)
    assert [*found] == ["line_items[].colour", "line_items[].gift", "loyalty_tier"]
    assert found["loyalty_tier"] == {
        "path": "loyalty_tier",
        "type": "text",
        "records": 3,
        "share": 3 / 11,
        "first_seen": str(DAY),
        "sample": "xxxx 9",
    }
    assert found["line_items[].colour"]["first_seen"] == str(DAY - timedelta(days=300))
    assert found["line_items[].gift"]["sample"] == "{to}"
    of_day = json.loads(orders_dask("drift", "--run-date", str(DAY), "--json")[0])
    assert [(key["path"], key["share"]) for key in of_day["keys"]] == [("loyalty_tier", 1 / 3)]
    both = json.loads(orders_dask("drift", "--last", "2", "--json")[0])
    assert [key["records"] for key in both["keys"]] == [2, 2, 4]
    shown, _ = orders_dask("drift")
    assert "line_items[].gift object 18.2% 2026-10-02 {to}" in " ".join(shown.split())
    suggested = tomllib.loads(shown[shown.index("# Lines for columns.toml") :])
    assert suggested["fact_order_line"]["colour"]["source"] == "colour"
    assert suggested["fact_order"]["loyalty_tier"]["type"] == "text"
    assert "it has objects: read a key of them, such as gift.to" in shown
    assert f"{NEXT} has 3 keys that the contract doesn't know" in orders_dask("status")[1]
    orders_dask("drift", "--run-date", "2020-01-01", code=6)


def test_a_dump_with_unknown_keys_is_refused_where_that_is_asked_for(
    client: Client, settings: Settings, warehouse: Engine, query: Query, put: Put
) -> None:
    put("dump/a.ndjson", lines(order(1)))
    assert run(DAY, settings=mode(settings, "refuse"), client=client).outcome == "published"
    put("dump/b.ndjson", lines(order(2, **ODD)))
    with pytest.raises(DataRefused, match=r"line_items\[\].colour, line_items\[\].gift, loyalty"):
        run(DAY, settings=mode(settings, "refuse"), client=client)
    assert query("select order_id from orders.fact_order") == [(1,)]
    recorded = query("select status, schema_drift from orders_ops.load_run order by load_id")
    assert [(status, [*(drift.get("keys", ()))]) for status, drift in recorded] == [
        ("published", []),
        ("refused", ["loyalty_tier", "line_items[].gift", "line_items[].colour"]),
    ]
    shown = json.loads(orders_dask("drift", "--run-date", str(DAY), "--json")[0])
    assert [key["path"] for key in shown["keys"]] == sorted(recorded[1][1]["keys"])
    ignoring = run(DAY, settings=mode(settings, "ignore"), client=client)
    assert (ignoring.outcome, ignoring.unknown_keys) == ("published", ())
