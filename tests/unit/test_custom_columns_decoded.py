"""Values of custom columns: those of our own of the same type, from the reader and the rules."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any, Final

import pytest

from tests.support.bad_values import (
    BOOLEAN,
    GOOD_VALUES,
    INT,
    MONEY,
    NULLED,
    REPAIRED,
    TEXT,
    TIMESTAMP,
)
from tests.support.declared import DecodedElsewhere, call, decoded

TYPE_OF: Final = {
    INT: "count",
    MONEY: "money",
    TIMESTAMP: "timestamp",
    BOOLEAN: "boolean",
    TEXT: "text",
}
RATES = [
    ("rate", "0.08875", Decimal("0.08875"), None),
    ("rate", '" +1e-2 "', Decimal("0.01"), None),
    ("rate", "0.123456785", Decimal("0.12345679"), "rate_rounded"),
    ("rate", '"10%"', None, "bad_rate"),
    ("rate", "{}", None, "bad_rate"),
]
DAYS = [
    ("day", '"2026-10-05"', "2026-10-05", None),
    ("day", '"0001-01-01"', "0001-01-01", None),
    ("day", '"9999-12-31"', "9999-12-31", None),
    ("day", '"2026-10-05T23:30:00-05:00"', "2026-10-05", None),
    ("day", '"2026-10-05 00:30"', "2026-10-05", None),
    ("day", '"2026-10-05T03:30:00Z"', "2026-10-04", None),
    ("day", "null", None, None),
    ("day", '"2026-02-30"', None, "bad_instant"),
    ("day", '"0000-01-01"', None, "bad_instant"),
    ("day", '"2026-1-5"', None, "bad_instant"),
    ("day", '"05.10.2026"', None, "bad_instant"),
    ("day", '"2026-10-05x"', None, "bad_instant"),
    ("day", '""', None, "bad_instant"),
    ("day", "20261005", None, "bad_instant"),
    ("day", "true", None, "bad_instant"),
    ("day", "[]", None, "bad_instant"),
]
VALUES: Final[list[tuple[str, str, Any, str | None]]] = [
    *((TYPE_OF[p], text, stored, None) for p, text, stored in GOOD_VALUES if p in TYPE_OF),
    *(
        (TYPE_OF[path], text, stored, code)
        for code, path, text, stored in REPAIRED
        if path in TYPE_OF and isinstance(text, str)
    ),
    *((TYPE_OF[p], text, None, code) for code, p, text in NULLED if p in TYPE_OF),
    *RATES,
    *DAYS,
]
"""Type, JSON value, what is stored, issue code: our own values at keys that nobody has."""

NAMED: Final[list[tuple[str, str, Any, str | None]]] = [
    ("text", "Zoë", "Zoë", None),
    ("count", "-12", -12, None),
    ("count", "12.0", 12, "integer_from_text"),
    ("count", " 12", 12, "integer_from_text"),
    ("count", "9223372036854775807", 2**63 - 1, "integer_from_text"),
    ("count", "twelve", None, "bad_integer"),
    ("count", "", None, "bad_integer"),
    ("money", "+12.5", Decimal("12.5"), None),
    ("money", "1e2", Decimal(100), None),
    ("money", "99999999999999999.9999", Decimal("99999999999999999.9999"), None),
    ("money", "1.00005", Decimal("1.0001"), "money_rounded"),
    ("money", "$5", None, "bad_money"),
    ("rate", "0.19", Decimal("0.19"), None),
    ("rate", "0.123456785", Decimal("0.12345679"), "rate_rounded"),
    ("rate", "1/2", None, "bad_rate"),
    ("boolean", "true", True, None),
    ("boolean", "FALSE", False, "flag_from_text"),
    ("boolean", "yes", None, "bad_flag"),
    ("timestamp", "2026-10-05T10:00:00+02:00", "2026-10-05 08:00:00+00:00", None),
    ("timestamp", "2026-10-05T10:00:00", "2026-10-05 14:00:00+00:00", "instant_without_offset"),
    ("timestamp", "soon", None, "bad_instant"),
    ("day", "2026-10-05", "2026-10-05", None),
    ("day", "soon", None, "bad_instant"),
]
"""Type, text in an array of names and values, what is stored, issue code."""

TYPES: Final = sorted({kind for kind, *_ in VALUES})
COLUMNS: Final = "".join(
    f'[{table}.of_{kind}]\ntype = "{kind}"\nsource = "own.{kind}"\n'
    f'[{table}.named_{kind}]\ntype = "{kind}"\nsource = "named[name={kind}].value"\n'
    for table in ("fact_order", "fact_order_line")
    for kind in TYPES
)


def order(number: int, members: str, line: str = "") -> str:
    """Return an order with members, and with others in its only line."""
    of_line = f",{line}" if line else ""
    return (
        f'{{"id":{number},"total_price":"1","line_items":[{{"id":{number}{of_line}}}],{members}}}'
    )


def own(kind: str, value: str) -> str:
    return f'"own":{{"{kind}":{value}}}'


def named(kind: str, text: str) -> str:
    return f'"named":{json.dumps([{"name": "x", "value": "0"}, {"name": kind, "value": text}])}'


@pytest.fixture(scope="module")
def found() -> DecodedElsewhere:
    """Return what is made of an order for each value: of the order, and of its line."""
    members = [own(kind, value) for kind, value, *_ in VALUES]
    members += [named(kind, text) for kind, text, *_ in NAMED]
    return decoded(COLUMNS, (order(n, each, each) for n, each in enumerate(members, 1)))


def stored(value: Any) -> Any:
    """Return an expected value as it comes out of the other process; times as text."""
    return value if value is None or isinstance(value, bool | int | Decimal) else str(value)


def shown(value: Any, column: str) -> Any:
    """Return a value that came out of the other process; decimals without zeros behind."""
    is_decimal = column.endswith(("_money", "_rate")) and value is not None
    return Decimal(value) if is_decimal else value


CASES: Final = [
    *((f"of_{kind}", f"own.{kind}", text, *rest) for kind, text, *rest in VALUES),
    *((f"named_{kind}", f"named[name={kind}].value", text, *rest) for kind, text, *rest in NAMED),
]


@pytest.mark.parametrize("table", ["fact_order", "fact_order_line"])
@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda n: f"{CASES[n][0]}-{n}")
def test_a_value_is_stored_as_in_our_own_columns(
    found: DecodedElsewhere, table: str, number: int
) -> None:
    name, _, _, expected, _ = CASES[number]
    assert shown(found.tables[table][number][name], name) == stored(expected)


def test_each_code_is_counted_once_for_each_value_that_has_it(found: DecodedElsewhere) -> None:
    expected: dict[tuple[str, str], int] = {}
    for _, path, _, _, code in CASES:
        for prefix in ("", "line_items[]."):
            if code:
                key = prefix + path, code
                expected[key] = expected.get(key, 0) + 1
    assert {(field, code): count for field, code, count, _ in found.issues} == expected


def test_the_first_element_of_a_name_counts_and_others_are_null() -> None:
    columns = """
    [fact_order_line.engraving]
    type = "text"
    source = "properties[name=engraving].value"
    [fact_order.hint]
    type = "text"
    source = "a.b[key=h.i].c.d"
    """
    properties: list[Any] = [
        [{"name": "engraving", "value": "first"}, {"name": "engraving", "value": "second"}],
        [{"name": "Engraving", "value": "x"}, {"name": "engraving", "value": ""}],
        [{"name": "engraving", "value": None}, {"name": "engraving", "value": "second"}],
        [{"name": "engraving"}],
        [{"value": "x"}],
        [],
        None,
        [None, {"name": "engraving", "value": "after null"}],
    ]
    lines = [{"id": n, "properties": each} for n, each in enumerate(properties, 1)]
    lines.insert(3, {"id": 0, "properties": [{"name": "engraving", "value": "rejected"}]})
    hint = {"b": [{"key": "h", "c": {"d": "no"}}, {"key": "h.i", "c": {"d": "yes"}}]}
    orders = [
        {"id": 1, "total_price": "1", "line_items": lines, "a": hint},
        {"id": 2, "total_price": "1", "line_items": [], "a": {"b": [{"key": "h.i", "c": None}]}},
        {"id": 3, "total_price": "1", "line_items": None, "a": None},
        {"id": 4, "total_price": "1", "line_items": lines[:1]},
    ]
    found = decoded(columns, map(json.dumps, orders))
    engravings = [row["engraving"] for row in found.tables["fact_order_line"]]
    assert engravings == ["first", "", None, None, None, None, None, "after null", "first"]
    assert [row["hint"] for row in found.tables["fact_order"]] == ["yes", None, None, None]
    assert found.drift == []


def test_an_array_joins_texts_or_adds_up_amounts_that_count_in_the_totals() -> None:
    columns = """
    [fact_order.labels]
    type = "text"
    source = "labels[]"
    [fact_order.skus]
    type = "text"
    source = "line_items[].sku"
    [fact_order_line.fee]
    type = "money"
    source = "fees[].amount_set.shop_money.amount"
    [fact_order.again_total]
    type = "money"
    source = "total_price"
    """

    def fee(amount: Any) -> dict[str, Any]:
        return {"amount_set": {"shop_money": {"amount": amount}}}

    lines = [
        {"id": 1, "sku": "A", "fees": [fee("1.5"), fee(0.25)]},
        {"id": 2, "sku": None, "fees": []},
        {"id": 3, "sku": "C", "fees": [fee("1"), fee(None)]},
        {"id": 4, "fees": [fee("999999999999999999.9999")] * 2},
    ]
    order = {"id": 1, "total_price": "7", "currency": "EUR", "labels": ["a", None, "b"]}
    found = decoded(columns, [json.dumps(order | {"line_items": lines})])
    [row] = found.tables["fact_order"]
    assert (row["labels"], row["skus"], row["again_total"]) == ("a, b", "A, C", "7.0000")
    fees = [row["fee"] for row in found.tables["fact_order_line"]]
    assert fees == ["1.7500", "0.0000", None, None]
    assert ["EUR", "fee", "1.7500"] in found.totals["fact_order_line"]["sums"]
    assert ["EUR", "again_total", "7.0000"] in found.totals["fact_order"]["sums"]
    assert [(field, code) for field, code, *_ in found.issues] == [("fee", "bad_money")]


def test_columns_of_groups_copied_names_and_special_keys_hold_their_own_values() -> None:
    columns = """
    [fact_line_tax.kind]
    type = "text"
    source = "source"
    [fact_order_line.note]
    type = "text"
    source = "properties[name=note].value"
    [fact_order.graphql_id]
    type = "text"
    source = "admin_graphql_api_id"
    [fact_order.tag_count]
    type = "count"
    source = "extra.tags"
    """
    line = {
        "id": 5,
        "tax_lines": [{"price": "1", "source": "shop"}],
        "properties": [{"name": "note", "value": "of the line"}],
    }
    order = {
        **{"id": 1, "total_price": "1", "note": "of the order", "line_items": [line]},
        **{"admin_graphql_api_id": "gid://shopify/Order/1", "extra": {"tags": "3"}},
    }
    other = {"id": 2, "total_price": "1", "admin_graphql_api_id": 5, "extra": {"tags": ["a"]}}
    found = decoded(columns, map(json.dumps, (order, other)), ORDERS_DASK_FACTS="taxes,attributes")
    assert [row["kind"] for row in found.tables["fact_line_tax"]] == ["shop"]
    assert [row["note"] for row in found.tables["fact_order_line"]] == ["of the line"]
    assert [(row["graphql_id"], row["tag_count"]) for row in found.tables["fact_order"]] == [
        ("gid://shopify/Order/1", 3),
        ("5", None),
    ]
    assert {(field, code) for field, code, *_ in found.issues} == {
        ("admin_graphql_api_id", "text_from_scalar"),
        ("extra.tags", "integer_from_text"),
        ("extra.tags", "bad_integer"),
    }


def test_free_content_of_which_one_key_is_read_is_no_drift_and_a_new_object_is() -> None:
    columns = """
    [fact_order.reference_of_mine]
    type = "text"
    source = "payment_details.extra.reference"
    [fact_order.method]
    type = "text"
    source = "refunds[].transactions[].receipt.method"
    [fact_order.gift_to]
    type = "text"
    source = "gift.to"
    """.replace("refunds[].transactions[].receipt.method", "fulfillments[].receipt.method")
    order = {
        **{"id": 1, "total_price": "1", "gift": {"to": "A", "from": "B"}},
        "fulfillments": [{"receipt": {"method": "post", "other": {"deep": 1}}}],
    }
    found = decoded(columns, [json.dumps(order)])
    [row] = found.tables["fact_order"]
    assert (row["method"], row["gift_to"]) == ("post", "A")
    assert found.drift == ["gift.from"]


POOL: Final = [
    *("null", '"a"', '"é\\u00e9"', '"\\ud83d"', "1", "-1.50", '"1.5"', "true", "{}", "[]", "1e3"),
    *('"2026-10-05"', '"2026-10-05T10:00:00Z"', '["a"]', '{"name":"text","value":"z"}'),
]


def test_reader_and_rules_agree_on_any_values() -> None:
    draw = random.Random(7)

    def element() -> str:
        if draw.random() < 0.1:
            return draw.choice(POOL)
        kind = draw.choice(TYPES)
        return f'{{"name":"{kind}","value":{draw.choice(POOL)}}}'

    def members() -> str:
        values = ",".join(f'"{kind}":{draw.choice(POOL)}' for kind in TYPES if draw.random() < 0.3)
        inner = draw.choice([f"{{{values}}}", "null", draw.choice(POOL)])
        elements = ",".join(element() for _ in range(draw.randrange(4)))
        array = draw.choice([f"[{elements}]", f"[{elements}]", draw.choice(POOL)])
        return f'"own":{inner},"named":{array}'

    orders = [order(n, members(), members()) for n in range(1, 400)]
    found = decoded(COLUMNS, orders)  # which compares them
    assert len(found.tables["fact_order"]) == len(orders)
    rows = [*found.tables["fact_order"], *found.tables["fact_order_line"]]
    for kind in TYPES:
        for name in (f"of_{kind}", f"named_{kind}"):
            assert any(row[name] is not None for row in rows), name


def test_lineage_names_the_keys_of_custom_columns() -> None:
    program = """
from orders_dask.contract.order_tables import fact_order
from orders_dask.monitoring.column_sources import column_sources
for name in ("of_money", "named_money"):
    for source in column_sources(fact_order, fact_order.c[name]):
        print(*source)
"""
    ended = call("-c", program, columns=COLUMNS)
    assert ended.stdout.decode().splitlines() == [
        "own.money NUMERIC(22, 4) IDENTITY",
        "named[].name TEXT CONDITIONAL",
        "named[].value TEXT AGGREGATION",
    ], ended.stderr.decode()
