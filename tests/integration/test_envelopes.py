"""Dumps of Airbyte and of Debezium load as the plain dump does, and say how where nobody said it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from distributed import Client
from sqlalchemy import Engine

from orders_dask import replay, run
from orders_dask.errors import DataRefused, LoadHeld
from orders_dask.jobs.inspect import dump_fingerprint
from orders_dask.settings import Settings
from tests.support.builders import DAY, lines, order
from tests.support.replays import changed
from tests.support.types import Put, Query

ORDERS: list[dict[str, Any]] = [
    order(1, "10.005"),
    order(2, "5.5", line_items=[{"id": 20, "quantity": "3", "price": "1.10"}, {"id": 0}]),
    order(2, "7.5", updated_at="2026-10-01T11:00:00+02:00"),
    order(0),
    order(3, "1", refunds=[{"id": 5, "transactions": [
        {"kind": "refund", "status": "success", "amount": "0.25", "currency": "EUR"}]}]),
]  # fmt: skip


def airbyte(body: dict[str, Any]) -> dict[str, Any]:
    return {"_airbyte_ab_id": "7c0", "_airbyte_emitted_at": 1790000000000, "_airbyte_data": body}


def debezium(body: dict[str, Any]) -> dict[str, Any]:
    column = {"id": body["id"], "body": json.dumps(body, indent=1)}
    source = {"connector": "postgresql", "table": "orders"}
    payload = {"before": None, "after": column, "source": source, "op": "c", "ts_ms": 1}
    return {"schema": {"type": "struct", "fields": []}, "payload": payload}


CONTENT = (
    "select order_id, total_price, gross_line_amount, unit_count, source_position"
    " from orders.fact_order order by 1",
    "select order_id, line_id, quantity, price from orders.fact_order_line order by 1, 2",
    "select order_id, refund_id, refunded_amount from orders.fact_refund order by 1, 2",
    "select position, path, code from orders_ops.rejected_record r join orders_store.published p"
    " using (load_id) order by 1, 2",
    "select field, code, value_count from orders_ops.data_issue join orders_store.published"
    " using (load_id) order by 1, 2",
    "select order_read, order_loaded, order_superseded, order_rejected, order_line_read,"
    " order_line_loaded, order_line_superseded, order_line_rejected"
    " from orders_ops.load_file join orders_store.published using (load_id)",
    "select * from orders.daily_sales",
)


@pytest.mark.parametrize(
    ("setting", "wrap"),
    [("airbyte", airbyte), ("_airbyte_data", airbyte), ("debezium.body", debezium)],
)
def test_a_dump_in_an_envelope_is_loaded_as_the_plain_one(
    client: Client,
    settings: Settings,
    query: Query,
    put: Put,
    setting: str,
    wrap: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    put("dump/a.ndjson", lines(*ORDERS))
    run(DAY, settings=settings, client=client)
    plain = [query(each) for each in CONTENT]
    assert plain[0], "something was loaded"
    put("dump/a.ndjson", lines(*map(wrap, ORDERS)))
    within = settings.model_copy(update={"record": setting})
    assert run(DAY, settings=within, client=client).outcome == "published"
    assert [query(each) for each in CONTENT] == plain
    assert run(DAY, settings=within, client=client).outcome == "up_to_date"


@pytest.mark.parametrize(
    ("number", "raised", "setting", "wrap"),
    [
        (3, LoadHeld, "airbyte", airbyte),
        (12, DataRefused, "airbyte", airbyte),
        (3, LoadHeld, "debezium.body", debezium),
        (12, DataRefused, "debezium.body", debezium),
    ],
)
def test_without_the_setting_nothing_is_published_and_the_message_proposes_one(
    client: Client,
    settings: Settings,
    query: Query,
    put: Put,
    number: int,
    raised: type[Exception],
    setting: str,
    wrap: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    put("dump/a.ndjson", lines(*(wrap(order(n)) for n in range(1, number + 1))))
    with pytest.raises(raised) as caught:
        run(DAY, settings=settings, client=client)
    keys = ", ".join(wrap(order(1)))
    assert (
        f"most often not_an_order ({number}): An object with the keys {keys} is no order, but one "
        f"stands within it: set ORDERS_DASK_RECORD={setting}"
    ) in str(caught.value)
    assert query("select count(*) from orders.fact_order") == [(0,)]
    within = settings.model_copy(update={"record": setting})
    assert run(DAY, settings=within, client=client).orders == number


def test_messages_and_deletions_reconcile(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    record: dict[str, Any] = {"type": "RECORD", "stream": "orders"}
    put(
        "dump/a.jsonl",
        lines(
            {"type": "SCHEMA", "stream": "orders", "schema": {}, "key_properties": ["id"]},
            *(record | {"record": order(n)} for n in range(1, 4)),
            {"type": "STATE", "value": {}},
            record | {"record": order(4, _sdc_deleted_at="2026-10-01T10:00:00Z")},
            record | {"record": order(5)},
        ),
    )
    singer = settings.model_copy(update={"record": "singer", "block_size": 600})
    result = run(DAY, settings=singer, client=client)
    assert (result.orders, result.rejected) == (4, 1)
    assert query("select position, code from orders_ops.rejected_record") == [(4, "deleted_order")]
    assert query("select order_id, source_position from orders.fact_order order by 1") == [
        (1, 1),
        (2, 2),
        (3, 3),
        (5, 5),
    ]
    assert query("select field, code, value_count from orders_ops.data_issue") == [
        ("type", "message_without_order", 2)
    ]


def test_records_that_were_rejected_for_the_setting_are_replayed_with_another(
    client: Client, settings: Settings, query: Query, put: Put, warehouse: Engine
) -> None:
    lenient = settings.model_copy(update={"check_severities": {"mostly_rejected": "off"}})
    put(
        "dump/a.ndjson",
        lines(
            {"_airbyte_data": order(1)},
            {"detail": {"payload": order(2)}},
            {"_airbyte_data": order(0)},
            {"_airbyte_data": order(4, line_items=[{"id": 0}, {"id": 1}])},
        ),
    )
    run(DAY, settings=lenient.model_copy(update={"record": "airbyte"}), client=client)
    other = lenient.model_copy(update={"record": "detail.payload"})
    assert replay(DAY, "not_an_order", settings=other, client=client).taken_in == 1
    changed(warehouse, 3, "corrected_raw = :text", "", text=json.dumps(order(3)))
    changed(
        warehouse,
        4,
        "corrected_raw = replace(order_raw, '\"id\": 0', '\"id\": 7')",
        "line_items%",
    )
    within = lenient.model_copy(update={"record": "airbyte"})
    assert replay(DAY, settings=within, client=client).taken_in == 2
    assert query("select order_id, source_position from orders.fact_order order by 1") == [
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 4),
    ]
    assert query("select count(*) from orders.fact_order_line where order_id = 4") == [(2,)]


def test_the_setting_is_part_of_the_fingerprint_and_of_the_plan(
    settings: Settings, put: Put, warehouse: Engine
) -> None:
    put("dump/a.ndjson", lines(airbyte(order(1))))
    plain, one, other = (
        dump_fingerprint(DAY, settings.model_copy(update={"record": record}))
        for record in (None, "airbyte", "_airbyte_data")
    )
    assert len({plain, one, other}) == 3
