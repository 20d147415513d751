"""What a refund gave back: its value in the shop's currency, and its shipping."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from orders_dask.extract.decode.block import decode_records
from orders_dask.extract.records import Records
from orders_dask.transform.normalise import normalise

Json = dict[str, Any]


def refund(*, taxes_included: bool | None = False, **members: Any) -> Json:
    """Return the row of the only refund of an order, which has some members."""
    order = {
        "id": 1,
        "line_items": [],
        "currency": "INR",
        "taxes_included": taxes_included,
        "refunds": [{"id": 2, "transactions": []} | members],
    }
    text = json.dumps(order).encode() + b"\n"
    block = decode_records(Records(text, in_page=False, strict=False), ZoneInfo("UTC"))
    [row] = normalise(block.orders, 0, 0).tables["fact_refund"].to_pylist()
    found: Json = row
    return found


def shop(amount: str | None) -> Json:
    return {
        "shop_money": {"amount": amount, "currency_code": "INR"},
        "presentment_money": {"amount": "0.90", "currency_code": "CAD"},
    }


def line(subtotal: str | None, tax: str | None = "0.00", child_id: Any = 3) -> Json:
    return {"id": child_id, "quantity": 1, "subtotal": subtotal, "total_tax": tax}


def adjustment(amount: str | None, kind: str = "refund_discrepancy", **more: Any) -> Json:
    return {"id": 4, "kind": kind, "amount": amount, "tax_amount": "0.00"} | more


def shipping_line(amount: str | None) -> Json:
    return {"id": 5, "shipping_line_id": 6, "subtotal_amount_set": shop(amount)}


def test_a_refund_in_the_customers_currency_has_a_value_in_the_shops() -> None:
    found = refund(
        transactions=[{"kind": "refund", "status": "success", "amount": "1.80", "currency": "CAD"}],
        refund_line_items=[{"id": 3, "subtotal_set": shop("60.93"), "total_tax_set": shop("0.00")}],
        refund_shipping_lines=[shipping_line("60.93")],
        order_adjustments=[
            {
                "id": 4,
                "kind": "shipping_refund",
                "amount_set": shop("-60.93"),
                "tax_amount_set": shop("0.00"),
            }
        ],
    )
    assert found["refunded_amount"] is None
    assert found["refunded_value"] == Decimal("121.86")
    assert found["refunded_shipping"] == Decimal("60.93")


SHIPPING = "shipping_refund"


@pytest.mark.parametrize(
    ("adjustments", "shipping_lines", "shipping"),
    [
        ([adjustment("-5.00", SHIPPING)], [shipping_line("5.00")], Decimal(5)),
        ([adjustment("-5.00", SHIPPING)], [], Decimal(5)),
        ([adjustment("-5.00", SHIPPING)], None, Decimal(5)),
        ([], [shipping_line("5.00")], Decimal(5)),
        (None, [shipping_line("2.00"), shipping_line("3.00")], Decimal(5)),
        ([adjustment("-1.00")], [shipping_line("5.00")], Decimal(5)),
        ([adjustment("-5.00", SHIPPING)], [shipping_line("7.00")], Decimal(5)),
        ([adjustment(None, SHIPPING)], [shipping_line("5.00")], None),
        ([], [shipping_line("2.00"), shipping_line(None)], None),
        ([adjustment("-5.00", "Shipping_refund")], [], Decimal(0)),
        ([], [], Decimal(0)),
        (None, None, Decimal(0)),
    ],
)
def test_refunded_shipping_counts_once_by_its_adjustments_else_by_its_lines(
    adjustments: list[Json] | None, shipping_lines: list[Json] | None, shipping: Decimal | None
) -> None:
    found = refund(order_adjustments=adjustments, refund_shipping_lines=shipping_lines)
    assert found["refunded_shipping"] == shipping


@pytest.mark.parametrize(
    ("members", "value"),
    [
        ({}, Decimal(0)),
        ({"refund_line_items": [line("10.00", "2.00")]}, Decimal(12)),
        ({"refund_line_items": [line("10.00"), line("5.00", "1.00", 7)]}, Decimal(16)),
        ({"order_adjustments": [adjustment("-10.00")]}, Decimal(10)),
        ({"order_adjustments": [adjustment("25.00")]}, Decimal(-25)),
        ({"order_adjustments": [adjustment("-5.00", SHIPPING, tax_amount="-1.00")]}, Decimal(6)),
        (
            {
                "refund_line_items": [line("10.00", "2.00")],
                "order_adjustments": [adjustment("4.00"), adjustment("-5.00", SHIPPING, id=8)],
                "refund_shipping_lines": [shipping_line("5.00")],
            },
            Decimal(13),
        ),
        ({"refund_shipping_lines": [shipping_line("5.00")]}, Decimal(5)),
        (
            {
                "order_adjustments": [adjustment("135.00"), adjustment("-135.00", SHIPPING, id=8)],
                "refund_shipping_lines": [shipping_line("135.00")],
            },
            Decimal(0),
        ),
        ({"refund_line_items": [line(None)]}, None),
        ({"refund_line_items": [line("10.00", None)]}, None),
        ({"order_adjustments": [adjustment(None)]}, None),
        ({"order_adjustments": [adjustment("-10.00", tax_amount=None)]}, None),
        ({"refund_shipping_lines": [shipping_line(None)]}, None),
        ({"refund_line_items": [line("10.00"), line("9.00", child_id="none")]}, Decimal(10)),
    ],
)
def test_the_value_is_lines_with_taxes_and_shipping_less_adjustments(
    members: Json, value: Decimal | None
) -> None:
    assert refund(**members)["refunded_value"] == value


@pytest.mark.parametrize(
    ("taxes_included", "tax", "value"),
    [
        (False, "2.00", Decimal(12)),
        (None, "2.00", Decimal(12)),
        (True, "2.00", Decimal(10)),
        (True, None, Decimal(10)),
    ],
)
def test_taxes_count_once_where_prices_include_them(
    taxes_included: bool | None, tax: str | None, value: Decimal
) -> None:
    found = refund(taxes_included=taxes_included, refund_line_items=[line("10.00", tax)])
    assert found["refunded_value"] == value
