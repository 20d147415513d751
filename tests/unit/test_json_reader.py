"""The compiled reader agrees with Python's decoders, or leaves a line to the rules."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from orders_dask.contract.json_parser import NotJson, is_sanitised, parse
from orders_dask.contract.values import money
from orders_dask.extract.decode.json_reader import all_json, read_lines
from orders_dask.extract.lines import Lines

LARGEST = 2**63 - 1


MARK = '"subtotal_price":"1",'
"""Makes an object an order."""


def read(lines: Sequence[bytes]) -> list[dict[str, Any]]:
    """Return the rows of the lines that the reader reads as orders."""
    raw, *_ = read_lines(Lines(b"".join(line + b"\n" for line in lines)), in_page=True)
    raw.validate(full=True)
    rows: list[dict[str, Any]] = raw.to_pylist()
    return rows


def prices(line: dict[str, Any]) -> list[dict[str, Any]] | None:
    taxes: list[dict[str, Any]] | None = line["tax_lines"]
    return taxes and [{"price": tax["price"]} for tax in taxes]


def taken(key: str, value: str) -> list[Any]:
    """Return the value read at a key of an otherwise good order, or nothing, as a list."""
    return [order[key] for order in read([f'{{{MARK}"id":1,"{key}":{value}}}'.encode()])]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
CONTAINERS = st.lists(VALUES) | st.dictionaries(st.text() | st.just("value"), VALUES)


@settings(deadline=None)  # the first example loads the machine code
@given(
    CONTAINERS,
    st.sampled_from([(",", ":"), (", ", " : ")]),
    st.booleans(),
    st.lists(
        st.tuples(
            st.integers(0, 10_000),
            st.sampled_from([b"", *(b"%c" % c for c in b'"\\/{}[],:+-.0e1 \rtnu\x00\x1f\xff')]),
            st.booleans(),
        ),
        max_size=2,
    ),
)
def test_a_text_is_json_to_the_reader_exactly_where_it_is_to_python(
    value: Any,
    separators: tuple[str, str],
    ascii_only: bool,
    changes: list[tuple[int, bytes, bool]],
) -> None:
    text = json.dumps(value, separators=separators, ensure_ascii=ascii_only).encode(
        "utf-8", "surrogatepass"
    )
    for index, put, over in changes:
        index %= len(text) + 1
        text = text[:index] + put + text[index + over :]
    if not text.startswith((b"{", b"[")):
        return
    try:
        parse(text)
    except NotJson:
        assert not all_json([text + b"\n"]), text
    else:
        assert all_json([text + b"\n"]), text


@settings(deadline=None)  # the first example loads the machine code
@given(
    st.from_regex(r"[+-]?[0-9]{0,20}(\.[0-9]{0,9})?([eE][0-9])?", fullmatch=True)
    | st.from_regex(
        r"-?(9{17,18}|[1-9][0-9]{0,9}|0)\.([0-9]{4}|9999)(0000[01]|99999)0{0,9}[0-9]{0,3}",
        fullmatch=True,
    ),
    st.booleans(),
)
@example("999999999999999999.99995", True)
@example("-0.00000000000000000001", False)
def test_an_amount_is_read_as_the_rules_would_or_left_to_them(text: str, quoted: bool) -> None:
    found = taken("total_price", f'"{text}"' if quoted else text)
    plain = re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", text)
    stored, code = money(text) if plain or quoted else (None, "no JSON")
    if found:
        assert code is None, text
        assert found == [Decimal(str(stored))], text
    elif plain:
        assert code is not None, f"{text} is not taken"


@settings(deadline=None)  # the first example loads the machine code
@given(
    st.integers(-(2**66), 2**66)
    | st.integers(-LARGEST - 9, -LARGEST + 9)
    | st.integers(LARGEST - 9, LARGEST + 9)
)
def test_an_integer_is_read_where_it_is_an_int64(value: int) -> None:
    assert taken("order_number", str(value)) == [value] * (-LARGEST - 1 <= value <= LARGEST)


@settings(deadline=None)  # the first example loads the machine code
@given(st.sampled_from(["1.0", "1e3", "01", "-", "-01", "1.", '"1"', "true", "+1", "", "0x1"]))
def test_no_other_form_is_read_as_an_integer(text: str) -> None:
    assert taken("order_number", text) == []


@settings(deadline=None)  # the first example loads the machine code
@given(
    st.text(st.characters()) | st.text(st.sampled_from('\\"/\b\f\n\r\t\0\x7fé€😀\ud83d\ude00')),
    st.booleans(),
)
def test_a_text_is_read_as_python_reads_it(text: str, ascii_only: bool) -> None:
    written = json.dumps(text, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    decoded = json.loads(written)
    line = b'{"id":1,"order_number":1,"note":%b}' % written
    assert [order["note"] for order in read([line])] == [decoded] * is_sanitised(decoded)


@settings(deadline=None)  # the first example loads the machine code
@given(
    st.lists(
        st.lists(st.lists(st.integers(), max_size=9) | st.none(), max_size=30) | st.none(),
        max_size=9,
    )
)
def test_arrays_have_their_elements_however_many_there_are(orders: list[Any]) -> None:
    lines = [
        None
        if taxes is None
        else [
            {
                "id": number + 1,
                "tax_lines": None if prices is None else [{"price": n % 1000} for n in prices],
            }
            for number, prices in enumerate(taxes)
        ]
        for taxes in orders
    ]
    found = read(
        [json.dumps({"id": 1, "order_number": 1, "line_items": each}).encode() for each in lines]
    )
    shown = [
        None
        if order["line_items"] is None
        else [{"id": line["id"], "tax_lines": prices(line)} for line in order["line_items"]]
        for order in found
    ]
    assert shown == lines


def test_a_line_is_one_value_or_no_json() -> None:
    for line in (b'[],"b":2', b'{},"value":1', b'1,"b":2', b"[]]", b"[] []", b"", b"nul"):
        assert not all_json([line + b"\n", b"[]\n"]), line
    assert all_json([b"[{}]\n", b" 1e5 \n", b"null\r\n", b'"a"'])


def test_an_array_of_very_many_elements_is_left_to_the_rules() -> None:
    many = b'{"id":1,"order_number":1,"discount_codes":[%b{}]}' % (b"{}," * 300_000)
    assert read([many, b'{"id":2,"order_number":1}', many])[0]["id"] == 2


def test_a_line_that_is_left_to_the_rules_adds_no_values() -> None:
    good = b'{"id":1,"customer":{"id":5},"line_items":[{"id":2,"sku":"a"}]}'
    bad = b'{"id":3,"email":"x","customer":{"id":7,"email":"y"},"line_items":[{"id":4,"sku":"b"},{"id":5,"sku":6}]}'
    assert read([bad, good, bad, bad, good]) == read([good, good])


def test_a_key_with_escapes_is_left_to_the_rules() -> None:
    assert read([b'{"\\u0069d":1}']) == []


def test_a_duplicate_key_is_left_to_the_rules_also_where_it_is_null() -> None:
    for twice in (
        b'"note":null,"note":"a"',
        b'"customer":{},"customer":null',
        b'"refunds":[],"refunds":[]',
    ):
        assert read([b'{"id":1,"order_number":1,%b}' % twice]) == [], twice
    assert len(read([b'{"id":1,"order_number":1,"unknown":1,"unknown":2}'])) == 1
