"""Good, repaired and nulled values of every type of field, and orders with them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from orders_dask.contract.table_groups import ACTIVE_GROUPS, GROUPS

GOOD = '{"id":9,"line_items":[],"order_number":1}'


def order_with(path: str, value: str) -> str:
    """Return a good order with a JSON value at a path such as ``line_items[].price``."""
    marker = (
        "" if path.startswith(("line_items", "total_price", "order_number")) else '"line_items":[],'
    )
    return f'{{"id":1,{marker}{_member_at(path, value)}}}'


def _member_at(path: str, value: str) -> str:
    head, _, rest = path.partition(".")
    child_id = "" if rest == "id" else '"id":5,'
    inner = f"{{{child_id}{_member_at(rest, value)}}}" if rest else value
    return f'"{head.removesuffix("[]")}":' + (f"[{inner}]" if head.endswith("[]") else inner)


INT = "order_number"
MONEY = "total_price"
TIMESTAMP = "closed_at"
BOOLEAN = "test"
TEXT = "note"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


GOOD_VALUES = [
    (INT, "12", 12),
    (INT, "-0", 0),
    (INT, "-7", -7),
    (INT, "9223372036854775807", 2**63 - 1),
    (INT, "-9223372036854775808", -(2**63)),
    (INT, "null", None),
    ("line_items[].quantity", "-3", -3),
    (MONEY, '"12.5"', Decimal("12.5")),
    (MONEY, "12.5", Decimal("12.5")),
    (MONEY, '"-.5"', Decimal("-0.5")),
    (MONEY, '"+1e2"', Decimal(100)),
    (MONEY, '" 1.50\\t"', Decimal("1.5")),
    (MONEY, "1E-2", Decimal("0.01")),
    (MONEY, '"-0.00"', Decimal(0)),
    (MONEY, '"130.64999999999998"', Decimal("130.65")),
    (MONEY, '"0.123400001"', Decimal("0.1234")),
    (MONEY, f'"2.5{"0" * 30}1"', Decimal("2.5")),
    (MONEY, '"1e-400000000"', Decimal(0)),
    (MONEY, '"0e400000000"', Decimal(0)),
    (MONEY, '"999999999999999999.9999"', Decimal("999999999999999999.9999")),
    (MONEY, f'"{"0" * 500}1.5"', Decimal("1.5")),
    ("line_items[].tax_lines[].price", '"0.10"', Decimal("0.1")),
    ("total_shipping_price_set.shop_money.amount", "5", Decimal(5)),
    (TIMESTAMP, '"2017-10-30T19:58:29-04:00"', utc("2017-10-30T23:58:29")),
    (TIMESTAMP, '"2017-10-30t19:58:29Z"', utc("2017-10-30T19:58:29")),
    (TIMESTAMP, '"2017-10-30 19:58 +0530"', utc("2017-10-30T14:28")),
    (TIMESTAMP, '"2017-10-30 19:58:29.123456789+05"', utc("2017-10-30T14:58:29.123456")),
    (TIMESTAMP, '"2017-10-30T19:58:29.5-00:00"', utc("2017-10-30T19:58:29.5")),
    (TIMESTAMP, '"2016-02-29T23:59:59+23:59"', utc("2016-02-29T00:00:59")),
    (TIMESTAMP, '"0001-01-01T00:00:00Z"', utc("0001-01-01")),
    (TIMESTAMP, '"9999-12-31T23:59:59.999999Z"', utc("9999-12-31T23:59:59.999999")),
    (TIMESTAMP, '"0000-12-31T23:00-02:00"', utc("0001-01-01T01:00")),
    (BOOLEAN, "true", True),
    (TEXT, '""', ""),
    (TEXT, '"NULL"', "NULL"),
    (TEXT, '"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
    (TEXT, '"x.\\u003c"', "x.<"),
    ("payment_gateway_names[]", "null", None),
    ("customer.id", "-1", -1),
    ("line_items[].tip_payment_gateway", "null", 1),
    ("line_items[].tip_payment_gateway", '"visa"', 1),
    ("line_items[].tip_payment_gateway", '[{"a":0}]', 1),
    ("line_items[].discount_allocations[].amount", '"0.10"', Decimal("0.1")),
    ("line_items[].price_set.presentment_money.amount", '"-0.5"', Decimal("-0.5")),
    ("total_tax_set.presentment_money.amount", "5", Decimal(5)),
    ("refunds[].refund_line_items[].subtotal_set.shop_money.amount", "60.93", Decimal("60.93")),
    ("payment_terms.payment_schedules[].due_at", '"2026-10-30T00:00:00Z"', utc("2026-10-30")),
    ("payment_terms.payment_schedules[].due_at", "null", None),
    ("po_number", '"NULL"', "NULL"),
]

REPAIRED = [
    ("integer_from_text", INT, '"12"', 12),
    ("integer_from_text", INT, "12.0", 12),
    ("integer_from_text", INT, '"12.0"', 12),
    ("integer_from_text", INT, "1e3", 1000),
    ("integer_from_text", INT, '"1e3"', 1000),
    ("integer_from_text", INT, '" 5 "', 5),
    ("integer_from_text", INT, '"+007"', 7),
    ("integer_from_text", INT, '"9223372036854775807"', 2**63 - 1),
    ("integer_from_text", INT, f'"0.{"0" * 30}5e31"', 5),
    ("integer_from_text", "line_items[].grams", '"3"', 3),
    ("integer_from_text", "line_items[].id", '"5"', 5),
    ("integer_from_text", "refunds[].id", "5.0", 5),
    ("money_rounded", MONEY, '"1.00005"', Decimal("1.0001")),
    ("money_rounded", MONEY, "-1.00005", Decimal("-1.0001")),
    ("money_rounded", MONEY, '"1.00004999"', Decimal("1.0000")),
    ("money_rounded", MONEY, '"0.0000000011"', Decimal(0)),
    ("money_rounded", MONEY, f'"0.12345{"0" * 30}"', Decimal("0.1235")),
    ("money_rounded", MONEY, '"999999999999999999.99994"', Decimal("999999999999999999.9999")),
    ("money_rounded", "line_items[].tax_lines[].price", '"0.33333"', Decimal("0.3333")),
    ("money_rounded", "refunds[].transactions[].amount", '"0.33333"', Decimal("0.3333")),
    ("instant_without_offset", TIMESTAMP, '"2017-10-30T19:58:29"', utc("2017-10-30T23:58:29")),
    ("instant_without_offset", TIMESTAMP, '"2017-10-30 19:58"', utc("2017-10-30T23:58")),
    ("instant_without_offset", TIMESTAMP, '"2025-11-02T01:30:00"', utc("2025-11-02T05:30")),
    ("instant_without_offset", TIMESTAMP, '"2025-03-09T02:30:00"', utc("2025-03-09T07:30")),
    ("instant_without_offset", TIMESTAMP, '"2050-07-01T12:00:00"', utc("2050-07-01T16:00")),
    (
        "instant_without_offset",
        "customer.created_at",
        '"2017-10-30T19:58:29.5"',
        utc("2017-10-30T23:58:29.5"),
    ),
    ("instant_with_zone_name", TIMESTAMP, '"2017-10-30 19:58:29 UTC"', utc("2017-10-30T19:58:29")),
    ("instant_with_zone_name", TIMESTAMP, '"2017-10-30T19:58UTC"', utc("2017-10-30T19:58")),
    (
        "instant_with_zone_name",
        "refunds[].created_at",
        '"2017-10-30 19:58:29.25 UTC"',
        utc("2017-10-30T19:58:29.25"),
    ),
    ("flag_from_text", BOOLEAN, '"true"', True),
    ("flag_from_text", BOOLEAN, '"FALSE"', False),
    ("flag_from_text", BOOLEAN, '"tRuE"', True),
    ("flag_from_text", BOOLEAN, "0", False),
    ("flag_from_text", BOOLEAN, "1", True),
    ("flag_from_text", BOOLEAN, "1.0", True),
    ("flag_from_text", BOOLEAN, "0e7", False),
    ("flag_from_text", "line_items[].taxable", "1", True),
    ("text_from_scalar", TEXT, "1001", "1001"),
    ("text_from_scalar", TEXT, "1.50E+3", "1.50E+3"),
    ("text_from_scalar", TEXT, "true", "true"),
    ("text_from_scalar", TEXT, "9" * 5000, "9" * 5000),
    ("text_from_scalar", "payment_gateway_names[]", "5", "5"),
    ("text_from_scalar", "discount_codes[].code", "false", "false"),
    ("text_from_array", "tags", '["a b","c"]', "a b, c"),
    ("text_from_array", "tags", '["a"]', "a"),
    ("text_from_array", "tags", "[]", ""),
    ("text_from_array", "customer.tags", '["a","\\u0000"]', "a, \ufffd"),
    ("bad_unicode", TEXT, '"a\\u0000b"', "a\ufffdb"),
    ("bad_unicode", TEXT, '"\\ud83d"', "\ufffd"),
    ("bad_unicode", TEXT, '"\\ude00\\ud83d"', "\ufffd\ufffd"),
    ("bad_unicode", TEXT, '"\\ud83d\\ud83d\\ude00\\u0000"', "\ufffd\N{GRINNING FACE}\ufffd"),
    ("integer_from_text", "company.location_id", '"5"', 5),
    ("integer_from_text", "shipping_lines[].id", '"5"', 5),
    ("money_rounded", "line_items[].discount_allocations[].amount", "0.33333", Decimal("0.3333")),
    ("money_rounded", "shipping_lines[].tax_lines[].price", '"0.33333"', Decimal("0.3333")),
    (
        "money_rounded",
        "refunds[].order_adjustments[].tax_amount_set.shop_money.amount",
        '"0.33333"',
        Decimal("0.3333"),
    ),
    (
        "instant_without_offset",
        "payment_terms.payment_schedules[].due_at",
        '"2026-10-30T00:00:00"',
        utc("2026-10-30T04:00"),
    ),
    ("flag_from_text", "shipping_lines[].is_removed", "1", True),
    ("text_from_scalar", "po_number", "1001", "1001"),
    ("text_from_scalar", "client_details.user_agent", "5", "5"),
    ("bad_unicode", "billing_address.city", '"a\\u0000"', "a\ufffd"),
    ("bad_unicode", "line_items[].title", b'"\xff"', "\ufffd"),
    ("bad_unicode", TEXT, b'"\xe2\x82 \xed\xa0\x80"', "\ufffd \ufffd\ufffd\ufffd"),
    ("bad_unicode", TEXT, b'"\xf0\x9f\x98"', b"\xf0\x9f\x98".decode(errors="replace")),
]
"""Code, path, JSON value, what is stored."""

NULLED = [
    ("bad_integer", INT, '"4216-fake"'),
    ("bad_integer", INT, '""'),
    ("bad_integer", INT, "1.5"),
    ("bad_integer", INT, "true"),
    ("bad_integer", INT, "[]"),
    ("bad_integer", INT, "9223372036854775808"),
    ("bad_integer", INT, '"-9223372036854775809"'),
    ("bad_integer", INT, "1e400000000"),
    ("bad_integer", INT, "9" * 5000),
    ("bad_integer", INT, '"1_0"'),
    ("bad_integer", INT, '"\\u0663"'),
    ("bad_integer", "line_items[].quantity", '"x"'),
    ("bad_integer", "customer.id", "{}"),
    ("bad_money", MONEY, '""'),
    ("bad_money", MONEY, '"NaN"'),
    ("bad_money", MONEY, '"Infinity"'),
    ("bad_money", MONEY, '"1,299.00"'),
    ("bad_money", MONEY, '"$19.99"'),
    ("bad_money", MONEY, '"."'),
    ("bad_money", MONEY, '"1."'),
    ("bad_money", MONEY, '"1.e3"'),
    ("bad_money", MONEY, '"1\\u002e"'),
    ("bad_money", MONEY, '"1e0x5"'),
    ("bad_money", MONEY, '"1e+-5"'),
    ("bad_money", MONEY, '"1 000"'),
    ("bad_money", MONEY, '"\\u00a01"'),
    ("bad_money", MONEY, "false"),
    ("bad_money", MONEY, "{}"),
    ("bad_money", MONEY, '"1000000000000000000"'),
    ("bad_money", MONEY, "-999999999999999999.99995"),
    ("bad_money", MONEY, "984222509611114783577404"),
    ("bad_money", MONEY, '"1e400000000"'),
    ("bad_money", MONEY, '"1e99999999999999999999"'),
    ("bad_money", "line_items[].price", '"x"'),
    ("bad_money", "total_shipping_price_set.shop_money.amount", '"x"'),
    ("bad_instant", TIMESTAMP, '"2025-10-07"'),
    ("bad_instant", TIMESTAMP, '""'),
    ("bad_instant", TIMESTAMP, "1760000000"),
    ("bad_instant", TIMESTAMP, "true"),
    ("bad_instant", TIMESTAMP, '"2025-10-07T10:00:60Z"'),
    ("bad_instant", TIMESTAMP, '"2025-10-07T24:00:00Z"'),
    ("bad_instant", TIMESTAMP, '"2025-10-07T11: 28: 07-05: 00"'),
    ("bad_instant", TIMESTAMP, '"2025-10-07T10:00:00z"'),
    ("bad_instant", TIMESTAMP, '"2025-10-07T10:00:00,5Z"'),
    ("bad_instant", TIMESTAMP, '"2025-10-07T10:00:00.Z"'),
    ("bad_instant", TIMESTAMP, '"2025-10-07T10:00:00  Z"'),
    ("bad_instant", TIMESTAMP, '"2025-10-07T10:00:00Z\\n"'),
    ("bad_instant", TIMESTAMP, '"2025-10-07T10:00:00+24:00"'),
    ("bad_instant", TIMESTAMP, '"2025-10-07T10:00:00+05:60"'),
    ("bad_instant", TIMESTAMP, '"2025-02-29T10:00:00+05:00"'),
    ("bad_instant", TIMESTAMP, '"2025-13-01T10:00:00+05:00"'),
    ("bad_instant", TIMESTAMP, '"2025-00-01T10:00:00+05:00"'),
    ("bad_instant", TIMESTAMP, '"0000-01-01T00:00:00Z"'),
    ("bad_instant", TIMESTAMP, '"0001-01-01T00:00:00+00:01"'),
    ("bad_instant", TIMESTAMP, '"9999-12-31T23:59:59-00:01"'),
    ("bad_instant", TIMESTAMP, '"2025-10-07T10:00:00\\u0000"'),
    ("bad_instant", "refunds[].created_at", '"yesterday"'),
    ("bad_instant", TIMESTAMP, '"2025-10-07 10:00:00  UTC"'),
    ("bad_instant", TIMESTAMP, '"2025-10-07 10:00:00 utc"'),
    ("bad_instant", TIMESTAMP, '"2025-10-07 10:00:00 GMT"'),
    ("bad_instant", TIMESTAMP, '"2025-10-07 UTC"'),
    ("bad_integer", "company.id", '"ACME"'),
    ("bad_money", "shipping_lines[].price", '"free"'),
    ("bad_money", "current_total_duties_set.shop_money.amount", '"x"'),
    ("bad_money", "line_items[].price_set.presentment_money.amount", '"x"'),
    (
        "bad_money",
        "refunds[].refund_shipping_lines[].subtotal_amount_set.shop_money.amount",
        '"x"',
    ),
    ("bad_instant", "payment_terms.payment_schedules[].due_at", '"2026-10-30"'),
    ("bad_flag", BOOLEAN, '"yes"'),
    ("bad_flag", BOOLEAN, '""'),
    ("bad_flag", BOOLEAN, '"1"'),
    ("bad_flag", BOOLEAN, '" true"'),
    ("bad_flag", BOOLEAN, "2"),
    ("bad_flag", BOOLEAN, "[]"),
    ("bad_flag", "customer.verified_email", '"no"'),
    ("bad_text", TEXT, '{"text":"x"}'),
    ("bad_text", TEXT, "[]"),
    ("bad_text", "tags", "{}"),
    ("bad_text", "tags", '["a",5]'),
    ("bad_text", "customer.tags", '["a",null]'),
    ("bad_text", "refunds[].transactions[].currency", "[]"),
    ("bad_text", TEXT, "[" * 5000 + "]" * 5000),
    ("bad_flag", "shipping_lines[].is_removed", '"no"'),
    ("bad_text", "po_number", "{}"),
    ("bad_text", "payment_terms.payment_terms_name", "[]"),
    ("bad_text", "discount_codes[].code", "{}"),
    ("bad_text", "payment_gateway_names[]", "{}"),
    ("bad_children", "line_items", '"3 items"'),
    ("bad_children", "line_items", "{}"),
    ("bad_children", "refunds", "5"),
    ("bad_children", "customer", '"guest"'),
    ("bad_children", "customer", "[]"),
    ("bad_children", "shipping_address", "true"),
    ("bad_children", "total_shipping_price_set", '"5.00"'),
    ("bad_children", "total_shipping_price_set.shop_money", "5"),
    ("bad_children", "discount_codes", '"TENOFF"'),
    ("bad_children", "discount_codes[]", '"TENOFF"'),
    ("bad_children", "discount_codes[]", "null"),
    ("bad_children", "payment_gateway_names", '"cash"'),
    ("bad_children", "line_items[].tax_lines", '{"price":"1.00"}'),
    ("bad_children", "line_items[].tax_lines[]", "5"),
    *(
        ("bad_children", path, "[]")
        for path in ("refunds[].transactions[]", "refunds[].refund_shipping_lines[]")
        if "payments" not in ACTIVE_GROUPS  # else these are rejected
    ),
    ("bad_children", "refunds[].refund_line_items", "1"),
    ("bad_children", "shipping_lines", '"free"'),
    ("bad_children", "shipping_lines[].tax_lines[]", "null"),
    ("bad_children", "line_items[].discount_allocations[]", "5"),
    ("bad_children", "line_items[].price_set", '"5.00"'),
    ("bad_children", "refunds[].refund_line_items[].subtotal_set", '"5.00"'),
    ("bad_children", "refunds[].order_adjustments[].amount_set.shop_money", "[]"),
    ("bad_children", "billing_address", '"10 Mill Lane"'),
    ("bad_children", "client_details", "[]"),
    ("bad_children", "company", '"ACME"'),
    ("bad_children", "payment_terms", '"Net 30"'),
    ("bad_children", "payment_terms.payment_schedules[]", '"2026-10-30T00:00:00Z"'),
]
"""Code, path, JSON value."""


RATE = "line_items[].tax_lines[].rate"

if ACTIVE_GROUPS == GROUPS:  # values that only tables of optional groups have
    GOOD_VALUES += [
        (RATE, "0.08875", Decimal("0.08875")),
        (RATE, '"0.19"', Decimal("0.19")),
        (RATE, '" +1e-2 "', Decimal("0.01")),
        (RATE, "-0.0", Decimal(0)),
        (RATE, "0.08874999999999999", Decimal("0.08875")),
        (RATE, '"0.000000010999"', Decimal("0.00000001")),
        (RATE, "9999999999.99999999", Decimal("9999999999.99999999")),
        (RATE, "null", None),
        ("line_items[].discount_allocations[].discount_application_index", "0", 0),
        ("note_attributes[].value", '"NULL"', "NULL"),
        ("fulfillments[].location_id", "-1", -1),
        (
            "refunds[].refund_shipping_lines[].subtotal_amount_set.shop_money.amount",
            "5",
            Decimal(5),
        ),
    ]
    REPAIRED += [
        ("rate_rounded", RATE, "0.123456785", Decimal("0.12345679")),
        ("rate_rounded", RATE, '"-0.0000000011"', Decimal(0)),
        ("rate_rounded", RATE, '"9999999999.999999994"', Decimal("9999999999.99999999")),
        ("text_from_scalar", "line_items[].properties[].value", "true", "true"),
        ("text_from_scalar", "note_attributes[].value", "7.50", "7.50"),
        ("flag_from_text", "line_items[].tax_lines[].channel_liable", '"False"', False),
        ("integer_from_text", "fulfillments[].line_items[].id", '"5"', 5),
        ("integer_from_text", "refunds[].transactions[].id", "5.0", 5),
        ("money_rounded", "discount_applications[].value", '"33.33333"', Decimal("33.3333")),
        ("bad_unicode", "fulfillments[].tracking_number", '"1Z\\u0000"', "1Z\ufffd"),
        (
            "instant_without_offset",
            "fulfillments[].updated_at",
            '"2017-10-30T19:58:29"',
            utc("2017-10-30T23:58:29"),
        ),
    ]
    NULLED += [
        ("bad_rate", RATE, '"19 %"'),
        ("bad_rate", RATE, '"0,19"'),
        ("bad_rate", RATE, "true"),
        ("bad_rate", RATE, '""'),
        ("bad_rate", RATE, "{}"),
        ("bad_rate", RATE, "10000000000"),
        ("bad_rate", RATE, '"9999999999.999999995"'),
        ("bad_rate", RATE, '"1e400000000"'),
        ("bad_money", "discount_codes[].amount", '"10%"'),
        ("bad_instant", "refunds[].transactions[].processed_at", '"2025-10-07"'),
        ("bad_text", "note_attributes[].value", "[]"),
        ("bad_text", "line_items[].properties[].value", "{}"),
        ("bad_flag", "refunds[].transactions[].test", "2"),
        (
            "bad_integer",
            "line_items[].discount_allocations[].discount_application_index",
            '"first"',
        ),
        ("bad_children", "note_attributes", '{"gift":"yes"}'),
        ("bad_children", "note_attributes[]", '"gift"'),
        ("bad_children", "line_items[].properties", '"engraved"'),
        ("bad_children", "line_items[].properties[]", "null"),
        ("bad_children", "discount_applications[]", "[]"),
        ("bad_children", "fulfillments", "{}"),
        ("bad_children", "fulfillments[].line_items", "1"),
        ("bad_children", "refunds[].refund_shipping_lines", '"all"'),
    ]


def spliced(path: str, value: str | bytes) -> bytes:
    if isinstance(value, str):
        return order_with(path, value).encode()
    return order_with(path, "@").encode().replace(b"@", value)
