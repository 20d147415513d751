"""Inject defects into synthetic orders: one function per issue code.

Each function injects one defect into an order, corrects the expected rows and amounts, and returns
the text of the record. A loader must find exactly one issue or rejection, under this code. No
defect changes the currency, so no amount moves to another sum. See docs/contract.md#issue-codes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from random import Random
from typing import Any, Literal

from orders_dask.synthetic.order import Order

Json = dict[str, Any]
Layout = Literal["ndjson", "pages"]

UNREADABLE = "unreadable_file"
"""The only defect of a file instead of a record; :mod:`orders_dask.synthetic` injects it."""

_encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _encode(body: object) -> bytes:
    return _encode_json(body).encode()


def invalid_json(draw: Random, order: Order, body: Json) -> bytes:
    """Cut the text off, add a trailing comma, or write ``NaN``, which JSON doesn't have."""
    text = _encode(body)
    how = draw.randrange(3)
    if how == 0:
        return text[: draw.randrange(1, len(text))]
    return text[:-1] + (b",}" if how == 1 else b',"total_weight":NaN}')


def not_an_order(draw: Random, order: Order, body: Json) -> bytes:
    """Replace the order by a scalar or an array."""
    return draw.choice((b'"Exceeded 2 calls per second for api client"', b"429", b"true", b"[[]]"))


def another_document(draw: Random, order: Order, body: Json) -> bytes:
    """Replace the order by another document, such as the customer alone."""
    documents: tuple[object, ...] = (
        {"customer": body["checkout_id"], "message": "not found"},
        {"id": body["checkout_id"], "email": body["email"], "orders_count": 3},
        {"orders": "none"},
        "Exceeded 2 calls per second for api client",
        429,
    )
    return _encode(draw.choice(documents))


def bad_order_id(draw: Random, order: Order, body: Json) -> bytes:
    """Remove the id, or replace it by a value that is no positive 64-bit integer."""
    del body["admin_graphql_api_id"]
    body["id"] = draw.choice((None, "", "4216-fake", 0, -7, 1.5, True, 2**63))
    if draw.random() < 0.2:
        del body["id"]
    return _encode(body)


def id_mismatch(draw: Random, order: Order, body: Json) -> bytes:
    """Round the id as JavaScript would, so that it differs from `admin_graphql_api_id`."""
    rounded = int(float(body["id"]))
    body["id"] = rounded if rounded != body["id"] else rounded + 1
    return _encode(body)


def deleted_order(draw: Random, order: Order, body: Json) -> bytes:
    """Mark the order as one that its source deleted."""
    body[draw.choice(("__deleted", "_sdc_deleted_at", "deleted_at"))] = body["updated_at"]
    return _encode(body)


def integer_from_text(draw: Random, order: Order, body: Json) -> bytes:
    """Write an integer as text, or with a fraction or exponent of 0."""
    owner, key = draw.choice((
        (body, "id"),
        (body, "order_number"),
        (body, "total_weight"),
        (body["line_items"][0], "id"),
        (body["line_items"][0], "quantity"),
    ))  # fmt: skip
    value = owner[key]
    forms: list[object] = [str(value), f" {value} ", f"{value}.0", f"{value}e0"]
    owner[key] = draw.choice(forms if value >= 2**53 else [*forms, float(value)])
    return _encode(body)


def bad_integer(draw: Random, order: Order, body: Json) -> bytes:
    """Replace an integer by a value that is none."""
    owner, key = draw.choice((
        (body, "number"),
        (body, "user_id"),
        (body, "checkout_id"),
        (body["line_items"][0], "grams"),
        (body["line_items"][0], "variant_id"),
    ))  # fmt: skip
    owner[key] = draw.choice(("4216-fake", "", 1.5, True, 2**63, "1,299", "NaN"))
    return _encode(body)


def money_rounded(draw: Random, order: Order, body: Json) -> bytes:
    """Write the total with more than four decimals, as text or as a number."""
    text = f"{body['total_price']}{draw.choice(('005', '12345', '99995', '4999'))}"
    body["total_price"] = text if draw.random() < 0.5 else float(text)
    order.total_price = Decimal(text).quantize(Decimal("0.0001"), ROUND_HALF_UP)
    return _encode(body)


def bad_money(draw: Random, order: Order, body: Json) -> bytes:
    """Replace the total, a tax or the price of the first line by a value that is no amount."""
    where = draw.choice(("total_price", "total_tax", "current_total_tax", "line"))
    wrong = draw.choice(
        ("", "NaN", "1,299.00", "$19.99", True, "1234567890123456789.00", "12.3.4", "١٢")
    )
    if where == "line":
        body["line_items"][0]["price"] = wrong
        order.gross = None
    else:
        body[where] = wrong
        order.total_price = None if where == "total_price" else order.total_price
    return _encode(body)


def instant_without_offset(draw: Random, order: Order, body: Json) -> bytes:
    """Remove the UTC offset from `processed_at`."""
    local = body["processed_at"][:19]
    body["processed_at"] = draw.choice((local, local.replace("T", " "), local[:16], f"{local}.25"))
    return _encode(body)


def instant_with_zone_name(draw: Random, order: Order, body: Json) -> bytes:
    """Write `processed_at` with UTC in place of its offset, as databases do."""
    body["processed_at"] = f"{body['processed_at'][:19].replace('T', ' ')} UTC"
    return _encode(body)


def bad_instant(draw: Random, order: Order, body: Json) -> bytes:
    """Replace `processed_at` or `updated_at` by a value that is no timestamp.

    Without `updated_at`, `created_at` is the version.
    """
    key = draw.choice(("processed_at", "updated_at"))
    day = body[key][:10]
    wrong: tuple[object, ...] = (
        *(day, "", 1_760_000_000, "0000-00-00T00:00:00Z"),
        *(f"{day}T24:00:00Z", f"{day}T10:00:60Z", f"{day}T11: 28: 07-05: 00"),
    )
    body[key] = draw.choice(wrong)
    if key == "updated_at":
        order.version = order.created
    return _encode(body)


def flag_from_text(draw: Random, order: Order, body: Json) -> bytes:
    """Write a boolean as text, or as 0 or 1."""
    key = draw.choice(("test", "confirmed", "taxes_included", "buyer_accepts_marketing"))
    value = body[key]
    body[key] = draw.choice((str(value), str(value).lower(), str(value).upper(), int(value)))
    return _encode(body)


def bad_flag(draw: Random, order: Order, body: Json) -> bytes:
    """Replace a boolean by a value that is neither true nor false."""
    key = draw.choice(("test", "confirmed", "taxes_included", "buyer_accepts_marketing"))
    body[key] = draw.choice(("yes", "", "1", 2, -1, []))
    return _encode(body)


def text_from_scalar(draw: Random, order: Order, body: Json) -> bytes:
    """Replace a text by a number or a boolean."""
    body[draw.choice(("note", "phone", "tags", "name", "po_number"))] = draw.choice(
        (1001, 15.5, 2**60, True, False)
    )
    return _encode(body)


def text_from_array(draw: Random, order: Order, body: Json) -> bytes:
    """Write the tags as an array, as the GraphQL API does."""
    body["tags"] = draw.choice((["vip", "repeat"], ["gift"], []))
    return _encode(body)


def byte_order_mark(draw: Random, order: Order, body: Json) -> bytes:
    """Put a byte-order mark before the record, as where files were joined."""
    return b"\xef\xbb\xbf" + _encode(body)


def bad_text(draw: Random, order: Order, body: Json) -> bytes:
    """Replace a text by an object or an array."""
    body[draw.choice(("note", "phone", "name", "po_number"))] = draw.choice(
        ({"text": "x"}, ["x"], {}, [])
    )
    return _encode(body)


def bad_unicode(draw: Random, order: Order, body: Json) -> bytes:
    """Put a NUL, half a surrogate pair, or a byte that isn't UTF-8 into a text."""
    body[draw.choice(("note", "email", "tags"))] = "for\0you"
    return _encode(body).replace(
        rb"\u0000", draw.choice((rb"\u0000", rb"\ud83d", rb"\uDE00", b"\xff"))
    )


def bad_children(draw: Random, order: Order, body: Json) -> bytes:
    """Replace an array or object of children, or one of its elements, by another type."""
    key, wrong = draw.choice((
        ("line_items", "3 items"),
        ("refunds", {}),
        ("customer", "guest"),
        ("shipping_address", ["10 Mill Lane"]),
        ("billing_address", "10 Mill Lane"),
        ("payment_terms", "Net 30"),
        ("shipping_lines", "free"),
        ("discount_codes", "TENOFF"),
        ("discount_codes", ["TENOFF"]),
    ))  # fmt: skip
    if key in _DETAILS:
        _reject_children(order, key, body[key])
    body[key] = wrong
    if key == "discount_codes":
        order.details["fact_discount_code"] = 0
    if key == "line_items":
        order.lines, order.gross = 0, Decimal(0)
    if key == "shipping_lines":
        order.shipping_lines = 0
    if key == "refunds":
        order.refunds, order.refund_lines, order.adjustments, order.refunded = 0, 0, 0, Decimal(0)
    return _encode(body)


def bad_child_id(draw: Random, order: Order, body: Json) -> bytes:
    """Replace the first line, or its id, by a bad value: it alone is rejected."""
    lines = body["line_items"]
    order.gross = (order.gross or Decimal(0)) - Decimal(lines[0]["price"]) * lines[0]["quantity"]
    order.lines -= 1
    _reject_children(order, "line_items", lines[:1])
    if draw.random() < 0.3:
        lines[0] = draw.choice(("gone", 12, None))
    else:
        lines[0]["id"] = draw.choice((None, "", "4216-fake", 0, -1, 1.5))
    return _encode(body)


_DETAILS = {
    "line_items": {
        "discount_allocations": "fact_line_discount",
        "tax_lines": "fact_line_tax",
        "properties": "fact_line_property",
        "attributed_staffs": "fact_line_staff",
    },
    "refunds": {
        "transactions": "fact_refund_transaction",
        "refund_shipping_lines": "fact_refund_shipping",
    },
    "shipping_lines": {"tax_lines": "fact_shipping_tax"},
}
"""By key of an order's children: the tables of optional groups that have their children, by key."""


def _reject_children(order: Order, key: str, children: list[Json]) -> None:
    """Take the rows of rejected children's own children out of the figures of an order."""
    for name, table in _DETAILS[key].items():
        order.details[table] -= sum(len(child.get(name, [])) for child in children)


def duplicate_child(draw: Random, order: Order, body: Json) -> bytes:
    """Repeat the first line at the end with another quantity: the last one is loaded."""
    first = body["line_items"][0]
    more = draw.randrange(1, 9)
    body["line_items"].append({**first, "quantity": first["quantity"] + more})
    order.gross = (order.gross or Decimal(0)) + Decimal(first["price"]) * more
    return _encode(body)


def duplicate_key(draw: Random, order: Order, body: Json) -> bytes:
    """Write `total_price` twice: the last value counts."""
    if draw.random() < 0.5:
        return b'{"total_price":"0.01",' + _encode(body)[1:]
    order.total_price = Decimal("77.77")
    return _encode(body)[:-1] + b',"total_price":"77.77"}'


def rate_rounded(draw: Random, order: Order, body: Json) -> bytes:
    """Write the rate of a tax with more than eight decimals, as text or as a number."""
    rate = draw.choice(("0.123456785", "0.088751234", "0.333333333333"))
    _first_tax(order, body)["rate"] = rate if draw.random() < 0.5 else float(rate)
    return _encode(body)


def bad_rate(draw: Random, order: Order, body: Json) -> bytes:
    """Replace the rate of a tax by a value that is no share."""
    _first_tax(order, body)["rate"] = draw.choice(("", "19 %", "0,19", True, "1e99", 10**10))
    return _encode(body)


def _first_tax(order: Order, body: Json) -> Json:
    """Return the first tax of the first line, which test orders lack: they are given one."""
    taxes: list[Json] = body["line_items"][0]["tax_lines"]
    if not taxes:
        taxes.append({"price": "0.00"})
        order.details["fact_line_tax"] += 1
    return taxes[0]


Defect = Callable[[Random, Order, Json], bytes]

IN_PAGES: dict[str, Defect] = {
    "not_an_order": not_an_order,
    "bad_order_id": bad_order_id,
    "id_mismatch": id_mismatch,
    "deleted_order": deleted_order,
    "integer_from_text": integer_from_text,
    "bad_integer": bad_integer,
    "money_rounded": money_rounded,
    "bad_money": bad_money,
    "instant_without_offset": instant_without_offset,
    "instant_with_zone_name": instant_with_zone_name,
    "bad_instant": bad_instant,
    "flag_from_text": flag_from_text,
    "bad_flag": bad_flag,
    "text_from_scalar": text_from_scalar,
    "text_from_array": text_from_array,
    "bad_text": bad_text,
    "bad_unicode": bad_unicode,
    "bad_children": bad_children,
    "bad_child_id": bad_child_id,
    "duplicate_child": duplicate_child,
    "duplicate_key": duplicate_key,
}
DEFECTS: dict[Layout, dict[str, Defect]] = {
    "pages": IN_PAGES,
    # A page that is not JSON is an unreadable file, and any object in it is an order.
    "ndjson": IN_PAGES
    | {
        "invalid_json": invalid_json,
        "not_an_order": another_document,
        "byte_order_mark": byte_order_mark,
    },
}
IN_OPTIONAL_GROUPS: dict[str, Defect] = {"rate_rounded": rate_rounded, "bad_rate": bad_rate}
"""Defects that are found where a table of an optional group reads the value: they must be named."""
REJECTING = frozenset(
    {"invalid_json", "not_an_order", "bad_order_id", "id_mismatch", "deleted_order", UNREADABLE}
)


def inject_defect(layout: Layout, code: str, draw: Random, order: Order) -> bytes:
    """Return an order's text with the defect of a code, and correct the figures of `order`."""
    return (DEFECTS[layout] | IN_OPTIONAL_GROUPS)[code](draw, order, json.loads(order.text))
