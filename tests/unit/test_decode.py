"""The reader and the rules decode blocks of records alike, however they are cut."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orders_dask.contract.arrow import (
    MONEY_TYPE,
    PRESENCE_TYPE,
    TIMESTAMP_TYPE,
    decoded_schema,
    typed_schema,
)
from orders_dask.contract.rejects import Issue, Rejected, merge_issues
from orders_dask.extract.decode.block import Block, decode_records
from orders_dask.extract.records import Records
from tests.support.decoding import only_the_rules

ZONE = ZoneInfo("America/New_York")


def decoded(*lines: bytes, in_page: bool = False, strict: bool = False) -> Block:
    text = b"".join(line + b"\n" for line in lines)
    return decode_records(Records(text, in_page, strict), ZONE)


def by_rules(*lines: bytes, in_page: bool = False, strict: bool = False) -> Block:
    with only_the_rules():
        return decoded(*lines, in_page=in_page, strict=strict)


def assert_same(one: Block, other: Block) -> None:
    assert sorted_issues(one.issues) == sorted_issues(other.issues)
    assert sorted_rejected(one.rejected) == sorted_rejected(other.rejected)
    assert (one.read, one.unreadable, one.stopped) == (other.read, other.unreadable, other.stopped)
    assert one.drift == other.drift
    assert one.orders.schema == decoded_schema()
    assert one.orders.equals(other.orders), "the tables differ"


def sorted_issues(issues: Iterable[Issue]) -> list[Issue]:
    return sorted(issues, key=lambda issue: (issue.field, issue.code))


def sorted_rejected(rejected: Iterable[Rejected]) -> list[Rejected]:
    return sorted(rejected, key=lambda each: (each.position, each.path))


# ----------------------------------------------------------------------------------- odd records

NUMBERS = st.one_of(
    st.sampled_from(
        ["0", "-0", "12", "12.0", "1e3", "1.5", "1E400", f"{2**63}", f"{-(2**63)}", "01"]
    ),
    st.integers().map(str),
    st.from_regex(r"-?(0|[1-9][0-9]{0,22})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,10})?", fullmatch=True),
)
AMOUNTS = st.one_of(
    st.text("0123456789.eE+-xX ", max_size=9),
    st.from_regex(r"[+-]?[0-9]{0,19}\.?[0-9]{0,22}([eE][+-]?[0-9]{1,10})?", fullmatch=True),
    st.sampled_from(
        ["1.", "1.e2", "1e0x5", "1e-0x5", ".e1", "", "999999999999999999.99995", "٣", "1\xa0"]
    ),
)
TIMESTAMPS = st.one_of(
    st.datetimes().map(datetime.isoformat),
    st.from_regex(
        r"(0000|0001|20[0-9]{2}|9999)-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9](:[0-6][0-9](\.[0-9]{1,8})?)?"
        r" ?(Z|z|[+-][0-2][0-9](:?[0-6][0-9])?)?",
        fullmatch=True,
    ),
    st.sampled_from(
        ["2025-10-07", "2025-10-07T11: 28: 07-05: 00", "2025-03-09T02:30:00", "2025-11-02T01:30"]
    ),
)
TEXTS = st.one_of(
    st.text(max_size=5),
    st.sampled_from(
        ["\0", "a\0b", "NaN", "Inf, ", "x.", "1.e5", '"orders": null', "true", "FALSE", "\\u0000"]
    ),
    AMOUNTS,
    TIMESTAMPS,
)


def escaped(text: str, ways: list[bool]) -> str:
    """Return a JSON string in which some characters are escaped by number."""
    quoted = [
        f"\\u{ord(c):04x}"
        if way and ord(c) < 0x10000
        else json.dumps(c, ensure_ascii=ord(c) < 32)[1:-1]
        for c, way in zip(text, ways, strict=False)
    ]
    return '"' + "".join(quoted) + '"'


STRINGS = st.one_of(
    TEXTS.map(json.dumps),
    TEXTS.map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.tuples(TEXTS, st.lists(st.booleans(), min_size=99, max_size=99)).map(
        lambda pair: escaped(*pair)
    ),
    st.sampled_from(
        [
            '"\\ud83d"',
            '"\\ude00\\ud83d"',
            '"\\ud83d\\ude00"',
            '"\\x"',
            '"a\tb"',
            '"\udcff"',
            '"\udced\udca0\udc80"',
            '"',
        ]
    ),
)
SCALARS = st.one_of(
    STRINGS,
    NUMBERS,
    st.sampled_from(["null", "null", "true", "false", "NaN", "-Infinity", "Inf", "{}", "[]"]),
)
UNKNOWN = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda each: "[" + ",".join(each) + "]"),
        st.lists(st.tuples(STRINGS, inner), max_size=3).map(
            lambda each: "{" + ",".join(f"{k}:{v}" for k, v in each) + "}"
        ),
    ),
    max_leaves=4,
)


def values(kind: pa.DataType) -> st.SearchStrategy[str]:
    """Draw JSON texts for an Arrow type: mostly good ones, and all kinds of others."""
    if pa.types.is_struct(kind):
        return st.one_of(*[objects(list(kind))] * 15, st.just("null"), UNKNOWN)
    if pa.types.is_list(kind):
        lists = st.lists(values(kind.value_type), max_size=3)
        return st.one_of(
            *[lists.map(lambda each: "[" + ", ".join(each) + "]")] * 15, st.just("null"), UNKNOWN
        )
    good, odd = {
        pa.int64(): (st.integers().map(str), st.one_of(NUMBERS, AMOUNTS.map(json.dumps))),
        MONEY_TYPE: (
            st.decimals(0, 99, places=7).map('"{}"'.format),
            st.one_of(AMOUNTS.map(json.dumps), NUMBERS),
        ),
        TIMESTAMP_TYPE: (st.datetimes().map('"{}Z"'.format), TIMESTAMPS.map(json.dumps)),
        pa.bool_(): (
            st.sampled_from(["true", "false"]),
            st.sampled_from(["0", "1", '"True"', "2"]),
        ),
        pa.string(): (TEXTS.map(json.dumps), STRINGS),
        PRESENCE_TYPE: (TEXTS.map(json.dumps), UNKNOWN),
    }[kind]
    return st.one_of(*[good] * 12, *[odd] * 5, st.just("null"), UNKNOWN)


def objects(fields: list[pa.Field]) -> st.SearchStrategy[str]:
    """Draw objects with some of the fields, sometimes one twice, and unknown keys."""
    known = st.sampled_from(fields).flatmap(
        lambda item: st.tuples(st.just(json.dumps(item.name)), values(item.type))
    )
    unknown = st.tuples(
        st.sampled_from(
            ['"zz"', '"orders"', '"order"', '"\\u006frders"', '"i\\u0064"', '"\udcff"']
        ),
        UNKNOWN,
    )
    ids = st.integers(1, 9).map(lambda number: [('"id"', str(number))])
    return st.builds(
        lambda first, pairs, blank: (
            "{" + f",{blank}".join(f"{k}:{v}" for k, v in [*first, *pairs]) + "}"
        ),
        st.one_of(*[ids] * 30, st.just([])),
        st.lists(st.one_of(*[known] * 30, unknown), max_size=4),
        st.sampled_from(["", " ", "\t", "\r"]),
    )


ORDERS = objects(list(typed_schema())).map(lambda text: text.replace("{", '{"line_items":[],', 1))
GOOD = st.just(
    '{"id":7,"line_items":[{"id":1,"price":"1.50"}],"created_at":"2025-01-01T00:00:00-05:00"}'
)
PLAIN = st.one_of(*[ORDERS] * 12, *[GOOD] * 3, objects(list(typed_schema())), UNKNOWN).flatmap(
    lambda text: st.sampled_from(
        [text] * 60 + [text + text, text + ",", f" {text} \r", text[:-1], text + "}", "\0" + text]
    )
)
PAGES = st.lists(st.one_of(PLAIN, GOOD), max_size=3).flatmap(
    lambda each: st.sampled_from(
        [
            '{"orders":[%s]}',
            '{"orders":[%s],"n":1}',
            "[%s]",
            '{"order":%s}',
            '{"n":NaN,"orders":[%s]}',
            '{"orders":[%s',
        ]
    ).map(lambda form: form % ",".join(each))
)


def as_line(text: str) -> bytes:
    return text.replace("\n", " ").encode("utf-8", "surrogateescape")


LINES = st.lists(st.one_of(*[PLAIN] * 20, PAGES).map(as_line).filter(bytes.strip), max_size=9)


@settings(max_examples=60, deadline=None)
@example([b'{"line_items":[],"id":1,"__deleted":""}'], False, False)
@example([b'{"id":1,"order_number":2,"invoice_url":"x","deleted_at":"false"}'], False, False)
@given(LINES, st.booleans(), st.booleans())
def test_the_reader_and_the_rules_agree(lines: list[bytes], in_page: bool, strict: bool) -> None:
    fast = decoded(*lines, in_page=in_page, strict=strict)
    assert_same(fast, by_rules(*lines, in_page=in_page, strict=strict))


KEY_OF_TYPE = {
    pa.int64(): "order_number",
    MONEY_TYPE: "total_price",
    TIMESTAMP_TYPE: "created_at",
    pa.bool_(): "test",
    pa.string(): "note",
}


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(list(KEY_OF_TYPE)))
def test_the_reader_and_the_rules_agree_on_single_values(
    data: st.DataObject, kind: pa.DataType
) -> None:
    texts = data.draw(st.lists(values(kind), min_size=1, max_size=40))
    lines = [as_line(f'{{"id":1,"line_items":[],"{KEY_OF_TYPE[kind]}":{text}}}') for text in texts]
    assert_same(decoded(*lines), by_rules(*lines))


@settings(max_examples=30, deadline=None)
@given(LINES, st.data())
def test_a_cut_between_records_changes_nothing(lines: list[bytes], data: st.DataObject) -> None:
    whole = decoded(*lines)
    at = data.draw(st.integers(0, len(lines)))
    begin = decoded(*lines[:at])
    end = decode_records(
        Records(b"".join(line + b"\n" for line in lines[at:]), False, False), ZONE, begin.read + 1
    )
    assert sorted_issues(merge_issues([*begin.issues, *end.issues])) == sorted_issues(whole.issues)
    assert sorted_rejected([*begin.rejected, *end.rejected]) == sorted_rejected(whole.rejected)
    assert pa.concat_tables([begin.orders, end.orders]).equals(whole.orders)
    assert begin.read + end.read == whole.read
