"""The worked example of docs/sales.md: an order for each trap of sales figures, as a dump has it.

The shop is in Paris (UTC+1), its currency EUR.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Final

Json = dict[str, Any]

FIRST_DUMP: Final = date(2026, 3, 4)
LATER_DUMP: Final = date(2026, 3, 5)
"""Run dates: the later one has another version of order 15."""


def money(amount: str, presentment: str | None = None) -> Json:
    """Return an amount in both currencies of an order, as ``*_set`` keys have it."""
    return {
        "shop_money": {"amount": amount, "currency_code": "EUR"},
        "presentment_money": {
            "amount": presentment or amount,
            "currency_code": "USD" if presentment else "EUR",
        },
    }


def line(number: int, quantity: int, price: str, **more: Any) -> Json:
    """Return a line; its id tells it within its order."""
    arrays: Json = {"tax_lines": [], "discount_allocations": []}
    return {
        **{"id": number, "product_id": 500 + number, "quantity": quantity, "price": price},
        **arrays,
    } | more


def taxed(price: str) -> Json:
    return {"tax_lines": [{"title": "TVA", "price": price}]}


def discounted(*amounts: str) -> Json:
    return {"discount_allocations": [{"amount": amount} for amount in amounts]}


def shipping(price: str, discounted_price: str, tax: str = "0.00") -> Json:
    prices = {"price": price, "discounted_price": discounted_price}
    return {"id": 1} | prices | taxed(tax) | discounted()


def refunded(number: int, quantity: int, subtotal: str, tax: str = "0.00", **more: Any) -> Json:
    """Return a refunded line."""
    amounts = {"subtotal": subtotal, "total_tax": tax}
    sets = {"subtotal_set": money(subtotal), "total_tax_set": money(tax)}
    return {"id": number, "line_item_id": number, "quantity": quantity} | amounts | sets | more


def adjustment(kind: str, amount: str, tax: str = "0.00") -> Json:
    return {
        **{"id": 1, "kind": kind, "amount": amount, "tax_amount": tax},
        **{"amount_set": money(amount), "tax_amount_set": money(tax)},
    }


def refund(paid: str, *lines: Json, currency: str = "EUR", **more: Any) -> Json:
    """Return a refund of 3 March."""
    return {
        "id": 1,
        "created_at": "2026-03-03T15:00:00+01:00",
        "processed_at": "2026-03-03T15:00:00+01:00",
        "refund_line_items": [*lines],
        "transactions": [
            {"id": 1, "kind": "refund", "status": "success", "amount": paid, "currency": currency}
        ],
    } | more


def order(number: int, total: str, *lines: Json, tax: str = "0.00", **more: Any) -> Json:
    """Return an order of 2 March."""
    return {
        **{"id": number, "name": f"#{number}", "currency": "EUR"},
        "created_at": "2026-03-02T10:00:00+01:00",
        "processed_at": "2026-03-02T10:00:00+01:00",
        "updated_at": "2026-03-03T20:00:00+01:00",
        **{"financial_status": "paid", "taxes_included": False},
        **{"total_price": total, "total_tax": tax, "line_items": [*lines]},
    } | more


def edited(current_quantity: int, updated_at: str) -> Json:
    """Return a version of order 15, whose second line is taken away by an edit."""
    lines = line(1, 1, "30.00"), line(2, 2, "10.00", current_quantity=current_quantity)
    return order(15, "50.00", *lines, updated_at=updated_at)


FIRST: Final[list[Json]] = [
    order(
        1,
        "134.47",
        line(1, 2, "50.00", **taxed("17.10"), **discounted("10.00")),
        line(2, 1, "20.00", **taxed("3.42"), **discounted("2.00")),
        tax="21.47",
        total_discounts="15.00",
        customer={"id": 7, "email": "ada@example.com"},
        shipping_lines=[shipping("8.00", "5.00", "0.95") | discounted("3.00")],
    ),
    order(
        2,
        "40.46",
        line(1, 3, "10.00", **taxed("5.70")),
        tax="6.46",
        shipping_lines=[shipping("4.00", "4.00", "0.76")],
        refunds=[
            refund(
                "16.66",
                refunded(1, 1, "10.00", "1.90"),
                order_adjustments=[adjustment("shipping_refund", "-4.00", "-0.76")],
                refund_shipping_lines=[
                    {"id": 1, "shipping_line_id": 1, "subtotal_amount_set": money("4.00")}
                ],
            )
        ],
    ),
    order(
        3,
        "100.00",
        line(1, 1, "100.00"),
        refunds=[
            refund(
                "85.00",
                refunded(1, 1, "100.00"),
                order_adjustments=[adjustment("refund_discrepancy", "15.00")],
            )
        ],
    ),
    order(
        4,
        "80.00",
        line(1, 1, "80.00"),
        refunds=[refund("7.50", order_adjustments=[adjustment("refund_discrepancy", "-7.50")])],
    ),
    order(5, "70.00", line(1, 1, "20.00"), line(2, 1, "50.00", gift_card=True)),
    order(6, "25.00", line(1, 1, "25.00"), payment_gateway_names=["gift_card"]),
    order(
        7,
        "35.00",
        line(1, 1, "30.00"),
        line(2, 1, "5.00", tip_payment_gateway=None),
        total_tip_received="5.00",
    ),
    order(
        8,
        "100.00",
        line(1, 1, "100.00", price_set=money("100.00", "110.00")),
        presentment_currency="USD",
        refunds=[
            refund(
                "110.00",
                refunded(1, 1, "110.00", subtotal_set=money("100.00", "110.00")),
                currency="USD",
            )
        ],
    ),
    order(
        9,
        "40.00",
        line(1, 1, "40.00"),
        cancelled_at="2026-03-03T15:00:00+01:00",
        financial_status="refunded",
        refunds=[refund("40.00", refunded(1, 1, "40.00"))],
    ),
    order(
        10,
        "65.00",
        line(1, 2, "30.00"),
        shipping_lines=[shipping("5.00", "5.00")],
        cancelled_at="2026-03-04T00:30:00+01:00",
        financial_status="voided",
    ),
    order(11, "999.00", line(1, 1, "999.00"), test=True),
    order(12, "45.00", line(1, 3, "15.00"), processed_at="2026-02-27T18:00:00+01:00"),
    order(
        13,
        "130.90",
        line(1, 1, "119.00", **taxed("19.00")),
        tax="20.90",
        taxes_included=True,
        shipping_lines=[shipping("11.90", "11.90", "1.90")],
        refunds=[refund("119.00", refunded(1, 1, "119.00", "19.00"))],
    ),
    order(
        14,
        "12.00",
        line(1, 1, "12.00"),
        created_at="2026-03-03T00:30:00+01:00",
        processed_at="2026-03-03T00:30:00+01:00",
    ),
    edited(2, "2026-03-02T10:00:00+01:00"),
]

LATER: Final[list[Json]] = [edited(0, "2026-03-04T09:00:00+01:00")]
