"""Each row of the contract's tables of bad values, in a line and as an element of a page."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from orders_dask.contract.rejects import Issue, Rejected
from orders_dask.extract.decode.block import Block, decode_records
from orders_dask.extract.records import Records
from tests.support.bad_values import GOOD, GOOD_VALUES, INT, NULLED, REPAIRED, order_with, spliced

pytestmark = pytest.mark.groups

ZONE = ZoneInfo("America/New_York")
Layout = Callable[..., Block]


def as_lines(*records: str | bytes) -> Block:
    """Decode records as lines of newline-delimited text."""
    text = b"".join(encoded(each) + b"\n" for each in records)
    return decode_records(Records(text, in_page=False, strict=False), ZONE)


def as_page(*records: str | bytes) -> Block:
    """Decode records as elements of one page on a line."""
    page = b'{"count":1,"orders":[' + b",".join(map(encoded, records)) + b"]}\n"
    return decode_records(Records(page, in_page=False, strict=False), ZONE)


def as_page_records(*records: str | bytes) -> Block:
    """Decode records that were unwrapped from a pretty-printed page."""
    text = b"".join(encoded(each) + b"\n" for each in records)
    return decode_records(Records(text, in_page=True, strict=True), ZONE)


@pytest.fixture(params=[as_lines, as_page])
def layout(request: pytest.FixtureRequest) -> Layout:
    decode: Layout = request.param
    return decode


def encoded(record: str | bytes) -> bytes:
    return record if isinstance(record, bytes) else record.encode()


def around(layout: Layout, bad: str | bytes) -> Block:
    """Decode a bad record between two good ones, which must not change."""
    block = layout(GOOD, bad, GOOD)
    positions = block.orders["source_position"].to_pylist()
    assert [at for at in positions if at != 2] == [1, 3], "the good neighbours must stand"
    assert block.read == 3
    return block


def stored(block: Block, path: str) -> Any:
    """Return the value at a path such as ``line_items.0.price`` of the order at position 2."""
    (value,) = (row for row in block.orders.to_pylist() if row["source_position"] == 2)
    for step in path.split("."):
        value = value[int(step) if step.isdigit() else step]
    return value


def found(block: Block) -> list[tuple[str, str, int]]:
    return [(issue.field, issue.code, issue.count) for issue in block.issues]


# -------------------------------------------------------------------- values repaired and nulled


@pytest.mark.parametrize(("path", "value", "expected"), GOOD_VALUES)
def test_good_values_are_taken_without_a_code(
    layout: Layout, path: str, value: str, expected: object
) -> None:
    block = around(layout, order_with(path, value))
    assert stored(block, path.replace("[]", ".0")) == expected
    assert found(block) == []
    assert block.rejected == ()


@pytest.mark.parametrize(
    ("code", "path", "value", "expected"),
    [*REPAIRED, *((code, path, value, None) for code, path, value in NULLED)],
)
def test_a_bad_value_is_stored_converted_or_null_and_counted(
    layout: Layout, code: str, path: str, value: str | bytes, expected: object
) -> None:
    block = around(layout, spliced(path, value))
    assert block.rejected == ()
    assert found(block) == [(path, code, 1)]
    (issue,) = block.issues
    assert [position for position, _ in issue.samples] == [2]
    assert stored(block, path.replace("[]", ".0")) == expected


def test_an_element_that_is_no_object_becomes_null_and_the_others_stand(layout: Layout) -> None:
    codes = '[{"code":"A"},"TENOFF",null,{"code":5}]'
    block = around(layout, order_with("discount_codes", codes))
    assert [code and code["code"] for code in stored(block, "discount_codes")] == [
        *("A", None, None, "5")
    ]
    assert sorted(found(block)) == [
        ("discount_codes[]", "bad_children", 2),
        ("discount_codes[].code", "text_from_scalar", 1),
    ]


# ------------------------------------------------------------------------------------ rejections


def rejection(block: Block) -> Rejected:
    (one,) = block.rejected
    return one


@pytest.mark.parametrize("others", [2, 40_000], ids=["few", "many"])
def test_an_order_has_at_most_100_000_children_without_ids_at_one_path(others: int) -> None:
    def order_of(number: int) -> str:
        lines = ",".join(f'{{"id":{n},"tax_lines":[{"{}," * number}{{}}]}}' for n in (1, 2))
        return f'{{"id":1,"line_items":[{lines}]}}'

    # With many other records, the reader has room for the elements and would take them.
    block = as_lines(order_of(49_999), order_of(50_000), *[GOOD] * others)
    assert block.orders.num_rows == others + 1
    one = rejection(block)
    assert (one.position, one.path, one.code) == (2, "", "bad_child_id")
    assert one.message == "The order has more than 100,000 elements of line_items[].tax_lines[]."


@pytest.mark.parametrize(
    "value",
    [
        "null",
        "0",
        "-7",
        "1.5",
        "true",
        '"4216-fake"',
        '""',
        '"0"',
        "9223372036854775808",
        "[1]",
        "-0.0",
    ],
)
def test_bad_order_id_is_rejected(layout: Layout, value: str) -> None:
    text = f'{{"id":{value},"line_items":[{{"id":1}},5],"refunds":[{{"id":2,"refund_line_items":[{{}}]}}],"note":7}}'
    one = rejection(around(layout, text))
    assert (one.position, one.path, one.code, one.raw) == (2, "", "bad_order_id", text)
    assert one.counts == {
        "fact_order": 1,
        "fact_order_line": 2,
        "fact_refund": 1,
        "fact_refund_line": 1,
    }


def test_an_order_without_an_id_is_rejected(layout: Layout) -> None:
    assert rejection(around(layout, '{"line_items":[]}')).code == "bad_order_id"


def test_an_order_id_from_text_is_repaired(layout: Layout) -> None:
    block = around(layout, '{"id":" 1e1 ","line_items":[]}')
    assert stored(block, "id") == 10
    assert found(block) == [("id", "integer_from_text", 1)]


@pytest.mark.parametrize(
    ("graphql_id", "good"),
    [
        ('"gid://shopify/Order/1"', True),
        ('"gid://shopify/Order/2"', False),
        ('"gid://shopify/Order/01"', False),
        ('"gid://other/shop/Order/12"', False),
        ('"gid://shopify/Order/1?x=2"', True),
        ('"gid://shopify/Order/"', True),
        ('"gid://shopify/DraftOrder/2"', True),
        ('"Order/2"', True),
        ('"gid://shopify/Order/2\\n"', True),
        ("2", True),
        ("{}", True),
        ("null", True),
    ],
)
def test_id_mismatch_is_rejected(layout: Layout, graphql_id: str, good: bool) -> None:
    block = around(
        layout, f'{{"id":1,"admin_graphql_api_id":{graphql_id},"line_items":[{{"id":1}}]}}'
    )
    assert found(block) == []
    if good:
        assert stored(block, "id") == 1
    else:
        one = rejection(block)
        assert (one.code, one.position) == ("id_mismatch", 2)
        assert one.counts == {"fact_order": 1, "fact_order_line": 1}


@pytest.mark.parametrize(
    "value", ["5", '"Exceeded 2 calls per second"', "null", "true", "[[]]", "[5]"]
)
def test_what_is_no_object_in_a_page_is_not_an_order(value: str) -> None:
    for layout in (as_page, as_page_records):
        one = rejection(around(layout, value))
        assert (one.code, one.position, one.counts) == ("not_an_order", 2, {"fact_order": 1})


@pytest.mark.parametrize(
    "value", ["5", '"text"', "null", "true", '{"id":1,"name":"#1"}', "{}", '{"data":{}}']
)
def test_a_line_without_an_order_key_is_not_an_order(value: str) -> None:
    one = rejection(around(as_lines, value))
    assert (one.code, one.position, one.raw) == ("not_an_order", 2, value)
    if "name" in value:
        assert "id, name" in one.message, "the message names the keys"


ANA = '"ana@example.com"'


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (ANA, "not_an_order"),
        (f"[{ANA}]", "not_an_order"),
        (f'{{"id":1,"email":{ANA},{ANA}:3}}', "not_an_order"),
        (f'{{"orders":{ANA},{ANA}:3}}', "not_an_order"),
        (f'{{"email":{ANA}', "invalid_json"),
        (f'{{"email":{ANA}\\q"}}', "invalid_json"),
        (f'{{"id":{ANA},"line_items":[]}}', "bad_order_id"),
        (f'{{"id":[{ANA}],"line_items":[]}}', "bad_order_id"),
        (f'{{"id":{{"a":{ANA}}},"line_items":[]}}', "bad_order_id"),
        ('{"id":1,"line_items":[],"admin_graphql_api_id":"gid://ana@/Order/2"}', "id_mismatch"),
        (f'{{"id":1,"line_items":[{ANA}]}}', "bad_child_id"),
        (f'{{"id":1,"line_items":[{{"id":{ANA}}}]}}', "bad_child_id"),
        (f'{{"id":1,"line_items":[{{"id":2,"sku":{ANA}}},{{"id":2}}]}}', "duplicate_child"),
    ],
)
def test_the_message_of_a_rejection_quotes_nothing_that_may_be_of_a_person(
    record: str, code: str
) -> None:
    """The message of a rejection is in logs and in ``status`` when a load is refused."""
    block = as_lines(GOOD, record, GOOD)
    assert [one.code for one in block.rejected] == [code]
    for one in block.rejected:
        assert "ana" not in one.message
        assert one.message.endswith(".")


@pytest.mark.parametrize(
    ("given", "described"),
    [
        ("0", "0"),
        ("-5", "-5"),
        ("null", "null"),
        ("true", "true"),
        ('""', "an empty text"),
        ('"x"', "a text"),
    ],
)
def test_the_message_describes_the_value_that_is_no_id(
    layout: Layout, given: str, described: str
) -> None:
    one = rejection(around(layout, f'{{"id":{given},"line_items":[]}}'))
    assert one.message == f"The order's id is {described}, not a positive integer."


def test_any_object_in_a_page_is_an_order(layout: Layout) -> None:
    block = (
        layout('{"id":1,"orders":5}', GOOD) if layout is not as_lines else as_page('{"id":1}', GOOD)
    )
    assert block.orders["id"].to_pylist() == [1, 9]
    assert block.rejected == ()


@pytest.mark.parametrize("value", ["5", "{}", '"x"', "true"])
def test_orders_that_is_no_array_is_not_an_order(value: str) -> None:
    one = rejection(around(as_lines, f'{{"orders":{value},"line_items":[]}}'))
    assert (one.code, one.position) == ("not_an_order", 2)


@pytest.mark.parametrize("key", ["line_items", "total_price", "financial_status"])
def test_an_order_key_counts_also_when_null(key: str) -> None:
    assert as_lines(f'{{"id":1,"{key}":null}}').orders["id"].to_pylist() == [1]


@pytest.mark.parametrize(
    "text",
    [
        '{"id":1,"line_items":[]',
        '{"id":1,"line_items":[],}',
        '{"id":1,"line_items":[],"zz":NaN}',
        '{"id":1,"line_items":[],"zz":[-Infinity ]}',
        '{"id":1,"line_items":[],"zz":01}',
        '{"id":1,"line_items":[],"note":"a\tb"}',
        '{"id":1,"line_items":[],"note":"\\x"}',
        '{"id":1,"line_items":[]} x',
        '{"id":1,"line_items":[]/**/}',
        "{'id':1}",
        '{\ufeff"id":1,"line_items":[]}',
        '{"id":1\ufeff,"line_items":[]}',
        '{"id":1,"line_items":[]\ufeff}',
        '\ufeff{"id":1,"line_items":[}',
        '\ufeff\ufeff5 {"id":1,"line_items":[]}',
        '{"id":1,"line_items":[]}\0',
        "{" * 100_000,
        "429 Too Many Requests",
        '{"order": {"id":1,}}',
    ],
)
def test_a_line_that_is_not_json_is_rejected(text: str) -> None:
    block = around(as_lines, text)
    one = rejection(block)
    assert (one.code, one.position, one.path, one.counts) == (
        "invalid_json",
        2,
        "",
        {"fact_order": 1},
    )
    assert one.raw == text.replace("\0", "\ufffd")[: 64 * 1024]
    assert not block.unreadable


@pytest.mark.parametrize(
    "text",
    ["[", ' [{"id":1,"line_items":[]}', f'{{"orders":[{GOOD},{GOOD}', f'{{ "orders" : [{GOOD}]',
     f"[{GOOD}]}}", '[{"id":1,"line_items":[],"zz":NaN}]', f'{{"orders":[{GOOD}],"next":NaN}}', f"[{GOOD},{{]"],
)  # fmt: skip
def test_a_broken_line_that_may_hold_many_orders_makes_the_file_unreadable(text: str) -> None:
    block = around(as_lines, text)
    one = rejection(block)
    assert (one.code, one.position, one.raw) == ("unreadable_file", 2, text)
    assert block.unreadable
    assert not block.stopped, "the other lines stand"


def test_a_broken_last_line_without_newline_makes_the_file_unreadable() -> None:
    text = f'{GOOD}\n{{"id":2,'.encode()
    block = decode_records(Records(text, in_page=False, strict=False), ZONE)
    assert (rejection(block).code, rejection(block).position) == ("unreadable_file", 2)
    assert block.orders.num_rows == 1
    assert block.unreadable


def test_a_good_last_line_without_newline_is_loaded() -> None:
    block = decode_records(Records(f"{GOOD}\n{GOOD}".encode(), in_page=False, strict=False), ZONE)
    assert block.orders.num_rows == block.read == 2
    assert not block.unreadable


def test_what_is_not_json_ends_text_that_is_not_newline_delimited() -> None:
    block = as_page_records(GOOD, '{"id":2,"note":NaN}', GOOD, '{"id":')
    assert block.orders["source_position"].to_pylist() == [1]
    one = rejection(block)
    assert (one.code, one.position) == ("unreadable_file", 2)
    assert block.unreadable
    assert block.stopped
    assert block.read == 2


def test_the_raw_text_is_clean_and_cut_at_a_character() -> None:
    text = (
        b'{"id":0,"line_items":[],"note":"'
        + b"\xff"
        + "\N{GRINNING FACE}".encode() * 20_000
        + b'"}'
    )
    raw = rejection(as_lines(text)).raw
    assert raw.startswith('{"id":0,"line_items":[],"note":"\ufffd\N{GRINNING FACE}')
    assert 64 * 1024 - 3 <= len(raw.encode()) <= 64 * 1024
    assert set(raw[33:]) == {"\N{GRINNING FACE}"}


# -------------------------------------------------------------------------------------- children


@pytest.mark.parametrize(
    "child",
    ["{}", '{"id":null}', '{"id":0}', '{"id":-1}', '{"id":1.5}', '{"id":"x"}', "5", "null", "[]"],
)
@pytest.mark.parametrize(
    ("path", "fact"),
    [
        ("line_items[]", "fact_order_line"),
        ("refunds[]", "fact_refund"),
        ("refunds[].refund_line_items[]", "fact_refund_line"),
        ("refunds[].order_adjustments[]", "fact_refund_adjustment"),
    ],
)
def test_bad_child_id_rejects_the_child_alone(
    layout: Layout, path: str, fact: str, child: str
) -> None:
    block = around(
        layout, order_with(path.removesuffix("[]"), f'[{{"id":1,"note":"a"}},{child},{{"id":3}}]')
    )
    one = rejection(block)
    where = path.removesuffix("[]").replace("[]", "[0]")
    assert (one.position, one.path, one.code) == (2, f"{where}[1]", "bad_child_id")
    assert (one.raw, one.counts) == (child, {fact: 1})
    assert found(block) == []
    children = stored(block, path.removesuffix("[]").replace("[]", ".0"))
    assert [each and each["id"] for each in children] == [1, None, 3], "null keeps the place"


def test_a_rejected_refund_takes_its_children_and_their_issues_along(layout: Layout) -> None:
    refund = '{"id":0,"note":5,"refund_line_items":[{"id":1},{}],"order_adjustments":[7],"transactions":5}'
    block = around(layout, order_with("refunds", f"[{refund}]"))
    one = rejection(block)
    assert (one.path, one.raw) == ("refunds[0]", refund)
    assert one.counts == {"fact_refund": 1, "fact_refund_line": 2, "fact_refund_adjustment": 1}
    assert found(block) == []


def test_of_duplicate_children_the_last_is_loaded(layout: Layout) -> None:
    lines = '[{"id":7,"sku":"a"},{"id":8},{"id":"7","sku":"b"},{"id":7.0,"sku":"c","quantity":"2"}]'
    block = around(layout, order_with("line_items", lines))
    assert [(one.path, one.code) for one in block.rejected] == [
        ("line_items[0]", "duplicate_child"),
        ("line_items[2]", "duplicate_child"),
    ]
    assert block.rejected[0].raw == '{"id":7,"sku":"a"}'
    assert block.rejected[0].counts == {"fact_order_line": 1}
    assert [line and line["sku"] for line in stored(block, "line_items")] == [None, None, None, "c"]
    assert sorted(found(block)) == [
        ("line_items[].id", "integer_from_text", 1),
        ("line_items[].quantity", "integer_from_text", 1),
    ]


def test_the_same_id_in_two_arrays_is_no_duplicate(layout: Layout) -> None:
    lines = '"refund_line_items":[{"id":1}]'
    block = around(layout, order_with("refunds", f'[{{"id":1,{lines}}},{{"id":2,{lines}}}]'))
    assert block.rejected == ()
    assert found(block) == []


@pytest.mark.parametrize(
    "path",
    ["line_items", "refunds", "discount_codes", "payment_gateway_names", "line_items[].tax_lines"],
)
def test_null_and_empty_arrays_stay_apart_and_count_nothing(layout: Layout, path: str) -> None:
    assert stored(around(layout, order_with(path, "null")), path.replace("[]", ".0")) is None
    block = around(layout, order_with(path, "[]"))
    assert stored(block, path.replace("[]", ".0")) == []
    assert found(block) == []


@pytest.mark.parametrize("path", ["customer", "shipping_address", "total_shipping_price_set"])
def test_a_null_object_counts_nothing(layout: Layout, path: str) -> None:
    block = around(layout, order_with(path, "null"))
    assert stored(block, path) is None
    assert found(block) == []


# -------------------------------------------------------------------------------- duplicate keys


@pytest.mark.parametrize(
    ("text", "path", "count"),
    [
        ('{"id":1,"line_items":[],"note":"a","note":"b"}', "note", 1),
        ('{"id":1,"line_items":[],"note":"a","note":null,"note":"b"}', "note", 2),
        ('{"id":1,"line_items":[],"note":null,"n\\u006fte":"b"}', "note", 1),
        ('{"id":1,"id":1,"line_items":[],"note":"b"}', "id", 1),
        ('{"id":1,"line_items":5,"line_items":[],"note":"b"}', "line_items", 1),
        ('{"id":1,"line_items":[{"id":3,"sku":"a","sku":"a"}],"note":"b"}', "line_items[].sku", 1),
        (
            '{"id":1,"line_items":[{"id":3,"tip_payment_gateway":null,"tip_payment_gateway":5}],'
            '"note":"b"}',
            "line_items[].tip_payment_gateway",
            1,
        ),
        ('{"id":1,"line_items":[],"customer":null,"customer":{"id":3,"id":4},"note":"b"}', None, 2),
    ],
)
def test_of_a_duplicate_key_the_last_value_counts(
    layout: Layout, text: str, path: str | None, count: int
) -> None:
    block = around(layout, text)
    assert stored(block, "note") == "b"
    if path:
        assert found(block) == [(path, "duplicate_key", count)]
    else:
        assert sorted(found(block)) == [
            ("customer", "duplicate_key", 1),
            ("customer.id", "duplicate_key", 1),
        ]


def test_a_duplicate_unknown_key_counts_nothing(layout: Layout) -> None:
    assert found(around(layout, '{"id":1,"line_items":[],"zz":1,"zz":2}')) == []


# -------------------------------------------------------------------- counting, positions, pages


def test_issues_are_added_up_and_show_the_first_three() -> None:
    block = as_lines(
        *(order_with("line_items[].price", f'"{n}.00005"') for n in (5, 4, 3, 2)),
        order_with(INT, '"x"'),
    )
    assert block.issues == (
        Issue(
            "line_items[].price",
            "money_rounded",
            4,
            ((1, "5.00005"), (2, "4.00005"), (3, "3.00005")),
        ),
        Issue("order_number", "bad_integer", 1, ((5, "x"),)),
    )


def test_values_of_rejected_records_are_not_counted(layout: Layout) -> None:
    assert (
        found(
            around(
                layout,
                '{"id":0,"line_items":[],"note":5,"total_price":"1.00005","processed_at":"x"}',
            )
        )
        == []
    )


def test_pages_and_wrappers_on_a_line_take_the_positions_of_their_orders() -> None:
    a, b, c, d, e = (f'{{"id":{n},"line_items":[],"order_number":"{n}"}}' for n in range(1, 6))
    lines = [
        a, f'{{"orders":[{b},5,{c}]}}', '{"orders":[]}', '{"orders":null}', "[]", '{"order":null}',
        '{"orders":null,"line_items":[],"id":77}', f'[{d},{{"order":{e}}},{{"orders":[{a}]}}]', b,
    ]  # fmt: skip
    block = as_lines(*lines)
    assert block.orders["id"].to_pylist() == [1, 2, 3, 4, 5, 1, 2]
    assert block.orders["source_position"].to_pylist() == [1, 2, 4, 5, 6, 7, 8]
    assert (rejection(block).position, rejection(block).code) == (3, "not_an_order")
    assert block.read == 8
    assert found(block) == [("order_number", "integer_from_text", 7)]


def test_a_page_with_orders_twice_gives_both() -> None:
    block = as_lines(f'{{"orders":[{GOOD}],"count":2,"orders":[{GOOD}]}}')
    assert block.orders["source_position"].to_pylist() == [1, 2]


def test_deep_nesting_in_an_unknown_key_is_ignored(layout: Layout) -> None:
    deep = '{"a":[' * 50_000 + "]}" * 50_000
    block = around(layout, f'{{"id":1,"line_items":[],"note":5,"zz":{deep}}}')
    assert stored(block, "note") == "5"


# ------------------------------------------------------------------------------------ local days


@pytest.mark.parametrize(
    ("text", "day", "minutes"),
    [
        ("2017-10-30T23:30:00-04:00", date(2017, 10, 30), -240),
        ("2017-10-30T23:30:00+05:30", date(2017, 10, 30), 330),
        ("2017-10-30T23:30:00+00:00", date(2017, 10, 30), 0),
        ("2017-10-30T01:30:00Z", date(2017, 10, 29), -240),
        ("2017-12-30T04:30:00-00:00", date(2017, 12, 29), -300),
        ("2017-12-30T04:30:00-00", date(2017, 12, 29), -300),
        ("2025-03-09T02:30:00", date(2025, 3, 9), -240),
        ("2025-11-02T01:30:00", date(2025, 11, 2), -240),
        ("2060-07-01T02:00:00Z", date(2060, 6, 30), -240),
        ("2017-10-30", None, None),
    ],
)
def test_the_local_day_is_as_written_or_the_shops(
    layout: Layout, text: str, day: date | None, minutes: int | None
) -> None:
    block = around(layout, order_with("created_at", json.dumps(text)))
    assert stored(block, "created_local_date") == day
    assert stored(block, "created_utc_offset_min") == minutes


@pytest.mark.parametrize(
    ("processed", "created", "day"),
    [
        ("2017-10-31T00:30:00+05:30", "2017-10-30T23:30:00-04:00", date(2017, 10, 31)),
        ("2017-10-31T01:30:00Z", "2017-10-29T12:00:00-04:00", date(2017, 10, 30)),
        (None, "2017-10-30T23:30:00-04:00", date(2017, 10, 30)),
        ("yesterday", "2017-10-30T23:30:00-04:00", date(2017, 10, 30)),
        ("2017-10-30T23:30:00-04:00", None, date(2017, 10, 30)),
        ("2017-10-30T23:30:00-04:00", "today", date(2017, 10, 30)),
        (None, None, None),
    ],
)
def test_the_day_of_a_sale_or_refund_is_that_of_processed_at_else_of_created_at(
    layout: Layout, processed: str | None, created: str | None, day: date | None
) -> None:
    times = {"processed_at": processed, "created_at": created}
    refunds = [{"id": 2} | times, {"id": 0} | times, {"id": 3}]
    block = around(layout, json.dumps({"id": 1, "line_items": [], "refunds": refunds} | times))
    assert stored(block, "processed_local_date") == day
    first, rejected, bare = stored(block, "refunds")
    assert (first["refunded_local_date"], rejected) == (day, None)
    assert bare["refunded_local_date"] is None


def test_of_a_tip_only_the_presence_of_its_key_counts(layout: Layout) -> None:
    tip = '{"id":1,"note":5,"line_items":[{"id":2,"tip_payment_gateway":%s},{"id":3}]}'
    for value in ("null", '"visa"', "5", "{}", '[{"id":[]}]', "1.5e3", "true"):
        block = around(layout, tip % value)
        lines = stored(block, "line_items")
        assert [line["tip_payment_gateway"] for line in lines] == [1, None], value
        assert found(block) == [("note", "text_from_scalar", 1)]
