"""Defects for synthetic orders: a function for each code of the contract's table of bad values.

Each function gives one order one defect, corrects what its rows come to, and returns the record's
text. Exactly one entry under its code comes of it, and none under another. None touches the
currency, so no amount changes its group.
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
"""The one defect that is a file's and not a record's; `orders_dask.synthetic` makes it."""

_encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _encode(body: object) -> bytes:
    return _encode_json(body).encode()


def invalid_json(draw: Random, order: Order, body: Json) -> bytes:
    """Cut the text, leave a comma before its end, or write ``NaN``, which JSON doesn't have."""
    text = _encode(body)
    how = draw.randrange(3)
    if how == 0:
        return text[: draw.randrange(1, len(text))]
    return text[:-1] + (b",}" if how == 1 else b',"total_weight":NaN}')


def not_an_order(draw: Random, order: Order, body: Json) -> bytes:
    """Put a scalar or an array in the order's place."""
    return draw.choice((b'"Exceeded 2 calls per second for api client"', b"429", b"true", b"[[]]"))


def another_document(draw: Random, order: Order, body: Json) -> bytes:
    """Put a document of another kind in the order's place, as a careless dump may have it."""
    documents: tuple[object, ...] = (
        {"errors": "Exceeded 2 calls per second for api client"},
        {"id": body["checkout_id"], "email": body["email"], "orders_count": 3},
        {"orders": "none"},
        "Exceeded 2 calls per second for api client",
        429,
    )
    return _encode(draw.choice(documents))


def bad_order_id(draw: Random, order: Order, body: Json) -> bytes:
    """Leave the id out, or make it something that is no positive 64-bit integer."""
    del body["admin_graphql_api_id"]
    body["id"] = draw.choice((None, "", "4216-fake", 0, -7, 1.5, True, 2**63))
    if draw.random() < 0.2:
        del body["id"]
    return _encode(body)


def id_mismatch(draw: Random, order: Order, body: Json) -> bytes:
    """Round the id as JavaScript would, so that it differs from its own `admin_graphql_api_id`."""
    rounded = int(float(body["id"]))
    body["id"] = rounded if rounded != body["id"] else rounded + 1
    return _encode(body)


def integer_from_text(draw: Random, order: Order, body: Json) -> bytes:
    """Write an integer as text, or with a fraction of nought."""
    place, key = draw.choice((
        (body, "id"),
        (body, "order_number"),
        (body, "total_weight"),
        (body["line_items"][0], "id"),
        (body["line_items"][0], "quantity"),
    ))  # fmt: skip
    value = place[key]
    forms: list[object] = [str(value), f" {value} ", f"{value}.0", f"{value}e0"]
    place[key] = draw.choice(forms if value >= 2**53 else [*forms, float(value)])
    return _encode(body)


def bad_integer(draw: Random, order: Order, body: Json) -> bytes:
    """Put what is no integer where one belongs."""
    place, key = draw.choice((
        (body, "number"),
        (body, "user_id"),
        (body, "checkout_id"),
        (body["line_items"][0], "grams"),
        (body["line_items"][0], "variant_id"),
    ))  # fmt: skip
    place[key] = draw.choice(("4216-fake", "", 1.5, True, 2**63, "1,299", "NaN"))
    return _encode(body)


def money_rounded(draw: Random, order: Order, body: Json) -> bytes:
    """Write the total with more than four decimals, as text or as a number."""
    text = f"{body['total_price']}{draw.choice(('005', '12345', '99995', '4999'))}"
    body["total_price"] = text if draw.random() < 0.5 else float(text)
    order.total_price = Decimal(text).quantize(Decimal("0.0001"), ROUND_HALF_UP)
    return _encode(body)


def bad_money(draw: Random, order: Order, body: Json) -> bytes:
    """Put what is no amount in the order's total, its tax, or the price of its first line."""
    where = draw.choice(("total_price", "total_tax", "line"))
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
    """Take the offset from `processed_at`."""
    local = body["processed_at"][:19]
    body["processed_at"] = draw.choice((local, local.replace("T", " "), local[:16], f"{local}.25"))
    return _encode(body)


def bad_instant(draw: Random, order: Order, body: Json) -> bytes:
    """Make `processed_at` or `updated_at` no instant; the latter makes `created_at` the version."""
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
    """Write a flag as text or as 0 or 1."""
    key = draw.choice(("test", "confirmed", "taxes_included", "buyer_accepts_marketing"))
    value = body[key]
    body[key] = draw.choice((str(value), str(value).lower(), str(value).upper(), int(value)))
    return _encode(body)


def bad_flag(draw: Random, order: Order, body: Json) -> bytes:
    """Put what is neither true nor false in a flag."""
    key = draw.choice(("test", "confirmed", "taxes_included", "buyer_accepts_marketing"))
    body[key] = draw.choice(("yes", "", "1", 2, -1, []))
    return _encode(body)


def text_from_scalar(draw: Random, order: Order, body: Json) -> bytes:
    """Put a number or a truth value in a text."""
    body[draw.choice(("note", "phone", "tags", "name"))] = draw.choice(
        (1001, 15.5, 2**60, True, False)
    )
    return _encode(body)


def bad_text(draw: Random, order: Order, body: Json) -> bytes:
    """Put an object or an array in a text."""
    body[draw.choice(("note", "phone", "tags", "name"))] = draw.choice(
        ({"text": "x"}, ["x"], {}, [])
    )
    return _encode(body)


def bad_unicode(draw: Random, order: Order, body: Json) -> bytes:
    """Put a NUL, half a surrogate pair, or a byte that isn't UTF-8 in a text."""
    body[draw.choice(("note", "email", "tags"))] = "for\0you"
    return _encode(body).replace(
        rb"\u0000", draw.choice((rb"\u0000", rb"\ud83d", rb"\uDE00", b"\xff"))
    )


def bad_children(draw: Random, order: Order, body: Json) -> bytes:
    """Make an array or object of children something else, or an element of an array no object."""
    key, wrong = draw.choice((
        ("line_items", "3 items"),
        ("refunds", {}),
        ("customer", "guest"),
        ("shipping_address", ["10 Mill Lane"]),
        ("discount_codes", "TENOFF"),
        ("discount_codes", ["TENOFF"]),
    ))  # fmt: skip
    body[key] = wrong
    if key == "line_items":
        order.lines, order.gross = 0, Decimal(0)
    if key == "refunds":
        order.refunds, order.refund_lines, order.adjustments, order.refunded = 0, 0, 0, Decimal(0)
    return _encode(body)


def bad_child_id(draw: Random, order: Order, body: Json) -> bytes:
    """Spoil the first line's id, or the whole line: it is refused, the rest of the order stands."""
    line = body["line_items"][0]
    order.gross = (order.gross or Decimal(0)) - Decimal(line["price"]) * line["quantity"]
    order.lines -= 1
    if draw.random() < 0.3:
        body["line_items"][0] = draw.choice(("gone", 12, None))
    else:
        line["id"] = draw.choice((None, "", "4216-fake", 0, -1, 1.5))
    return _encode(body)


def duplicate_child(draw: Random, order: Order, body: Json) -> bytes:
    """Repeat the first line at the end with another quantity: the last stands."""
    first = body["line_items"][0]
    more = draw.randrange(1, 9)
    body["line_items"].append({**first, "quantity": first["quantity"] + more})
    order.gross = (order.gross or Decimal(0)) + Decimal(first["price"]) * more
    return _encode(body)


def duplicate_key(draw: Random, order: Order, body: Json) -> bytes:
    """Write `total_price` twice: the last stands."""
    if draw.random() < 0.5:
        return b'{"total_price":"0.01",' + _encode(body)[1:]
    order.total_price = Decimal("77.77")
    return _encode(body)[:-1] + b',"total_price":"77.77"}'


Defect = Callable[[Random, Order, Json], bytes]

IN_PAGES: dict[str, Defect] = {
    "not_an_order": not_an_order,
    "bad_order_id": bad_order_id,
    "id_mismatch": id_mismatch,
    "integer_from_text": integer_from_text,
    "bad_integer": bad_integer,
    "money_rounded": money_rounded,
    "bad_money": bad_money,
    "instant_without_offset": instant_without_offset,
    "bad_instant": bad_instant,
    "flag_from_text": flag_from_text,
    "bad_flag": bad_flag,
    "text_from_scalar": text_from_scalar,
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
    "ndjson": IN_PAGES | {"invalid_json": invalid_json, "not_an_order": another_document},
}
REJECTING = frozenset({"invalid_json", "not_an_order", "bad_order_id", "id_mismatch", UNREADABLE})


def inject_defect(layout: Layout, code: str, draw: Random, order: Order) -> bytes:
    """Give an order the defect of this code; return its text, and correct `order`'s figures."""
    return DEFECTS[layout][code](draw, order, json.loads(order.text))
