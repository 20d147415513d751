"""Rows of the tables of optional groups; collected where all groups are on (`make test`)."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orders_dask.contract.control_totals import ControlTotals, totals_of
from orders_dask.contract.table_groups import GROUPS
from orders_dask.contract.values import rate
from orders_dask.extract.decode.block import Block, decode_records
from orders_dask.extract.decode.json_reader import read_lines
from orders_dask.extract.lines import Lines
from orders_dask.extract.records import Records
from orders_dask.stage.record import merge_files
from orders_dask.synthetic import generate
from orders_dask.transform.normalise import normalise
from tests.support.builders import DAY
from tests.support.parts import resolved, staged

pytestmark = pytest.mark.groups

Json = dict[str, Any]


def decoded(**order: Any) -> Block:
    """Return the decoded block of one order."""
    text = json.dumps({"id": 1, "line_items": [], "currency": "USD"} | order).encode() + b"\n"
    return decode_records(Records(text, in_page=False, strict=False), ZoneInfo("UTC"))


def rows(fact: str, columns: str, **order: Any) -> list[tuple[Any, ...]]:
    """Return some columns of the rows of a fact that one order gives."""
    table = normalise(decoded(**order).orders, 0, 0).tables[fact]
    return [tuple(row.values()) for row in table.select(columns.split()).to_pylist()]


def found(block: Block) -> list[tuple[str, str, int]]:
    return sorted((issue.field, issue.code, issue.count) for issue in block.issues)


def test_children_without_ids_are_numbered_from_1_and_bad_ones_count() -> None:
    attributes = [{"name": "gift", "value": "yes"}, "gift", None, {"name": "gift", "value": "yes"}]
    columns = "order_id attribute_number name value"
    assert rows("fact_order_attribute", columns, note_attributes=attributes) == [
        (1, 1, "gift", "yes"),
        (1, 4, "gift", "yes"),
    ]
    block = decoded(note_attributes=attributes)
    assert found(block) == [("note_attributes[]", "bad_children", 2)]
    assert block.rejected == ()


def test_children_without_ids_below_a_line_have_its_id() -> None:
    lines: list[Any] = [
        {"id": 7, "tax_lines": [{"price": "1.00", "rate": 0.08875, "title": "NY"}, {"price": "2"}]},
        {"id": 8, "tax_lines": []},
        {"id": 9, "tax_lines": [{"price": None}], "properties": [{"name": "engraving"}]},
    ]
    columns = "line_id tax_number rate price currency"
    assert rows("fact_line_tax", columns, line_items=lines) == [
        (7, 1, Decimal("0.08875"), Decimal(1), "USD"),
        (7, 2, None, Decimal(2), "USD"),
        (9, 1, None, None, "USD"),
    ]
    assert rows("fact_line_property", "line_id property_number name", line_items=lines) == [
        (9, 1, "engraving")
    ]
    assert rows("fact_order_line", "line_id line_tax", line_items=lines) == [
        (7, Decimal(3)),
        (8, Decimal(0)),
        (9, None),
    ]


def test_children_without_ids_of_a_rejected_line_are_no_rows_and_not_counted() -> None:
    taxes = [{"price": "1.00"}]
    lines = [{"id": 0, "tax_lines": taxes}, {"id": 7, "tax_lines": taxes}]
    (rejected,) = decoded(line_items=lines).rejected
    assert rejected.counts == {"fact_order_line": 1}
    assert rows("fact_line_tax", "line_id tax_number", line_items=lines) == [(7, 1)]


def test_an_allocation_names_the_discount_by_its_number() -> None:
    order = {
        "discount_applications": [
            {"type": "automatic", "value": "10.0", "value_type": "percentage"},
            {"type": "discount_code", "code": "TENOFF", "value": "5.00"},
        ],
        "discount_codes": [{"code": "TENOFF", "amount": "5.00", "type": "fixed_amount"}],
        "line_items": [
            {
                "id": 7,
                "discount_allocations": [
                    {"amount": "5.00", "discount_application_index": 1},
                    {"amount": "1.00", "discount_application_index": 0},
                    {"amount": "1.00"},
                    {"discount_application_index": 2**63 - 1},
                ],
            }
        ],
    }
    assert rows("fact_discount", "discount_number type code value", **order) == [
        (1, "automatic", None, Decimal(10)),
        (2, "discount_code", "TENOFF", Decimal(5)),
    ]
    columns = "line_id allocation_number discount_number amount"
    assert rows("fact_line_discount", columns, **order) == [
        (7, 1, 2, Decimal(5)),
        (7, 2, 1, Decimal(1)),
        (7, 3, None, Decimal(1)),
        (7, 4, None, None),
    ]
    assert rows("fact_discount_code", "code_number code amount", **order) == [
        (1, "TENOFF", Decimal(5))
    ]
    (issue,) = normalise(decoded(**order).orders, 0, 0).issues
    assert (issue.field, issue.code, issue.count) == ("discount_number", "bad_integer", 1)


def test_fulfilments_and_their_lines_are_rejected_by_themselves() -> None:
    order = {
        "fulfillments": [
            {"id": 3, "status": "success", "line_items": [{"id": 7, "quantity": 2}, {"id": None}]},
            {"id": "x", "line_items": [{"id": 7}, 5]},
        ]
    }
    assert rows("fact_fulfillment", "fulfillment_id status", **order) == [(3, "success")]
    columns = "fulfillment_id line_id quantity"
    assert rows("fact_fulfillment_line", columns, **order) == [(3, 7, 2)]
    assert [(r.path, r.code, r.counts) for r in decoded(**order).rejected] == [
        ("fulfillments[0].line_items[1]", "bad_child_id", {"fact_fulfillment_line": 1}),
        ("fulfillments[1]", "bad_child_id", {"fact_fulfillment": 1, "fact_fulfillment_line": 2}),
    ]


def test_a_transaction_counts_whatever_its_id() -> None:
    paid: Json = {"kind": "refund", "status": "success", "amount": "5.00"}
    payments = [paid | {"id": i} for i in (1, 1, "one")]
    order = {"refunds": [{"id": 2, "transactions": [*payments, {"amount": "1", "kind": "void"}]}]}
    columns = "transaction_number transaction_id amount currency"
    assert rows("fact_refund_transaction", columns, **order) == [
        (1, 1, Decimal(5), None),
        (2, 1, Decimal(5), None),
        (3, None, Decimal(5), None),
        (4, None, Decimal(1), None),
    ]
    assert rows("fact_refund", "refunded_amount", **order) == [(Decimal(15),)]
    block = decoded(**order)
    assert (found(block), block.rejected) == (
        [("refunds[].transactions[].id", "bad_integer", 1)],
        (),
    )


FACTS_OF_A_DUMP = """
import pickle, sys
from zoneinfo import ZoneInfo
from orders_dask.extract.decode.block import decode_records
from orders_dask.extract.records import Records
from orders_dask.transform.normalise import normalise
text = sys.stdin.buffer.read()
block = decode_records(Records(text, in_page=False, strict=False), ZoneInfo("UTC"))
sys.stdout.buffer.write(pickle.dumps(normalise(block.orders, 0, 0).tables))
"""


def facts_of(groups: str, dump: bytes) -> dict[str, pa.Table]:
    """Return the tables that a process with some groups makes of a dump."""
    ended = subprocess.run(
        [sys.executable, "-c", FACTS_OF_A_DUMP],
        input=dump,
        env=os.environ | {"ORDERS_DASK_FACTS": groups},
        stdout=subprocess.PIPE,
        check=True,
    )
    tables: dict[str, pa.Table] = pickle.loads(ended.stdout)
    return tables


def test_groups_change_no_other_table(tmp_path: Path) -> None:
    generate(tmp_path.as_uri(), start=DAY, days=1, orders=800, defects=0.02)
    [file] = tmp_path.rglob("*.ndjson")
    bad: list[Any] = [None, 5, {}, {"id": 1}, {"id": 1}, {"id": "one", "amount": "1.00"}]
    refund = {"transactions": bad, "refund_shipping_lines": bad, "order_adjustments": bad}
    order = {
        "id": 1,
        "line_items": [dict.fromkeys(("tax_lines", "discount_allocations", "properties"), bad)],
        "refunds": [refund | {"id": 5}, {"id": 6, "refund_shipping_lines": bad[3:4]}],
        **dict.fromkeys(("shipping_lines", "fulfillments", "note_attributes"), bad),
        **dict.fromkeys(("discount_applications", "discount_codes"), bad),
    }
    dump = file.read_bytes() + json.dumps(order).encode() + b"\n"
    without, with_all = facts_of("sales", dump), facts_of(",".join(GROUPS), dump)
    different = [name for name, table in without.items() if not table.equals(with_all[name])]
    assert not different, f"{different} depend on the groups that are on"
    assert len(with_all) > len(without)


def test_a_refunded_shipping_line_is_in_the_shops_currency() -> None:
    money = {"shop_money": {"amount": "60.93"}, "presentment_money": {"amount": "0.90"}}
    line = {"id": 5, "shipping_line_id": 6, "subtotal_amount_set": money}
    refunds = [{"id": 3, "refund_shipping_lines": [line]}]
    columns = "refund_id refund_shipping_id shipping_line_id amount tax_amount currency"
    assert rows("fact_refund_shipping", columns, refunds=refunds) == [
        (3, 5, 6, Decimal("60.93"), None, "USD")
    ]


def test_a_fact_without_amounts_has_control_totals_of_its_rows() -> None:
    table = normalise(decoded(note_attributes=[{}, {}]).orders, 0, 0).tables
    assert totals_of("fact_order_attribute", table["fact_order_attribute"]) == ControlTotals(2)


def test_a_generated_dump_gives_the_rows_that_are_expected(tmp_path: Path) -> None:
    shares = dict.fromkeys(["bad_rate", "rate_rounded", "bad_children", "bad_child_id"], 0.03)
    dump = f"{tmp_path}/dump"
    (day,) = generate(dump, start=DAY, days=1, orders=600, duplicates=0.05, defects=shares).days
    parts = staged(f"{dump}/run_date={DAY}/", f"{tmp_path}/stage/", 1 << 20)
    found = Counter[str]()
    for name, table, _ in resolved(parts):
        found[name] += len(table)
    expected = {**day.rows, **day.detail_rows}
    assert {name: found[name] for name in expected} == expected
    assert min(expected.values()) > 0, "some table gets no row"
    codes = Counter[str]()
    for file in merge_files(parts).values():
        for issue in file.issues:
            codes[issue.code] += issue.count
    assert (codes["bad_rate"], codes["rate_rounded"]) == (18, 18)


@settings(deadline=None)  # the first example loads the machine code
@given(
    st.from_regex(r"[+-]?[0-9]{0,12}(\.[0-9]{0,11})?([eE][0-9])?", fullmatch=True)
    | st.from_regex(r"-?(9{10}|[1-9][0-9]{0,3}|0)\.[0-9]{7}[09][019]0{0,9}[0-9]?", fullmatch=True),
    st.booleans(),
)
@example("9999999999.999999995", True)
@example("-0.00000000000000000001", False)
def test_a_rate_is_read_as_the_rules_would_or_left_to_them(text: str, quoted: bool) -> None:
    value = f'"{text}"' if quoted else text
    line = f'{{"id":1,"line_items":[{{"id":2,"tax_lines":[{{"rate":{value}}}]}}]}}\n'
    raw, *_ = read_lines(Lines(line.encode()), in_page=False)
    taken = [order["line_items"][0]["tax_lines"][0]["rate"] for order in raw.to_pylist()]
    plain = re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", text)
    stored, code = rate(text) if plain or quoted else (None, "no JSON")
    if taken:
        assert code is None, text
        assert taken == [Decimal(str(stored))], text
    elif plain:
        assert code is not None, f"{text} is not taken"
