"""The document scanner against Python's own JSON decoder."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orders_dask.extract.framing import json_cursor
from orders_dask.extract.framing.documents import documents, unwrap
from orders_dask.extract.records import MIB, Records, Unreadable
from tests.support.documents import DECODER, Pairs, expected, sequence

# The reference: whole documents, parsed by `json`, objects as lists of pairs so that no key is
# lost.


def found(records: list[Records]) -> list[tuple[Any, bool]]:
    assert all(some.strict for some in records)
    assert all(
        some.text.endswith(b"\n") or (some.overwritten and not some.text) for some in records
    )
    return [
        (DECODER.decode(line.decode()), some.in_page)
        for some in records
        for line in some.text.splitlines()
    ]


def parsed(text: str) -> list[Any] | None:
    """Return a sequence of documents, or None if the text is not JSON."""
    try:
        return [*sequence(text)]
    except ValueError:
        return None


def cut(text: bytes, size: int) -> list[bytes]:
    return [text[at : at + size] for at in range(0, len(text), size)]


# Texts of documents, with every kind of blank, key and nesting.

blank = st.sampled_from(["", "", "", " ", "\n", "\r\n  ", "\t"])
key = st.sampled_from(
    [
        *("orders", "orders", "order", "id", "note", "ordersx", "Orders", "", "o", "line_items"),
        # Escaped, as they stand in the text.
        *(r"\u006frders", r"ord\u0065r\u0073", r"or\u0064er", r"\\orders", r"orders\"", "é[{"),
    ]
).map('"{}"'.format)
scalar = st.one_of(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(["orders", "order", '"', "\\", '\\"', "}{", "],[", "\n", "a\\"]),
).flatmap(lambda value: st.booleans().map(lambda plain: json.dumps(value, ensure_ascii=plain)))


@st.composite
def listed(draw: st.DrawFn, values: st.SearchStrategy[str], brackets: str) -> str:
    inside = draw(st.lists(values, max_size=4))
    comma = f"{draw(blank)},{draw(blank)}"
    return f"{brackets[0]}{draw(blank)}{comma.join(inside)}{draw(blank)}{brackets[1]}"


def containers(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    member = st.tuples(key, blank, blank, values).map(lambda m: f"{m[0]}{m[1]}:{m[2]}{m[3]}")
    return listed(member, "{}") | listed(values, "[]") | listed(member, "{}")


value = st.recursive(scalar, containers, max_leaves=10)
between = st.sampled_from(["\n", " ", "\r\n\n", "\t"])


@st.composite
def sequences(draw: st.DrawFn) -> str:
    texts = draw(st.lists(value, max_size=3))
    return draw(blank) + draw(between).join(texts) + draw(blank)


@settings(deadline=None)  # a cut at every byte takes long on a busy machine
@given(text=sequences(), size=st.integers(1, 60))
@example(text='{"orders":[{"id":1},{"id":2}]}', size=7)
@example(text='{"note":"\\\\","order":{}}{"a":"\\\\\\""}', size=2)
def test_any_documents_cut_anywhere_give_what_json_gives(text: str, size: int) -> None:
    reference = parsed(text)
    assert reference is not None
    wanted = [record for document in reference for record in expected(document)]
    assert found(list(documents(cut(text.encode(), size)))) == wanted


@settings(deadline=None)
@given(
    text=sequences(),
    at=st.integers(0),
    new=st.sampled_from([*'{}[]",:\\\n0a ', ""]),
    size=st.integers(1, 60),
)
def test_what_is_not_json_is_never_taken_whole(text: str, at: int, new: str, size: int) -> None:
    at %= len(text) + 1
    text = text[:at] + new + text[at + 1 :]
    reference = parsed(text)
    records: list[Records] = []
    try:
        for some in documents(cut(text.encode(), size)):
            records.append(some)
        rejected = False
    except Unreadable:
        rejected = True
    if reference is None:
        rejected = rejected or any(
            parsed(line) is None for some in records for line in some.text.decode().split("\n")
        )
        assert rejected, "text that is not JSON went through"
    else:
        assert not rejected, "JSON was refused"
        assert found(records) == [r for document in reference for r in expected(document)]


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["id", "note"]), st.text()), max_size=30))
def test_layouts_of_the_same_orders_give_the_same_lines(orders: list[dict[str, str]]) -> None:
    wanted = [json.loads(json.dumps(order)) for order in orders]
    layouts = [
        json.dumps({"orders": orders}),
        json.dumps({"count": [], "orders": orders, "next": None}, indent=4),
        json.dumps(orders, separators=(",", ":")),
        json.dumps(orders, indent="\t"),
        "\n".join(json.dumps(order, indent=1) for order in orders),
        "".join(json.dumps({"order": order}) for order in orders),
    ]
    for layout in layouts:
        lines = b"".join(some.text for some in documents([layout.encode()])).splitlines()
        assert [json.loads(line) for line in lines] == wanted, layout


def test_a_run_longer_than_the_lookahead_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_cursor, "_RUN", 3)
    page = json.dumps({"orders": [{"id": number} for number in range(100)]})
    assert [order for order, _ in found(unwrap(page.encode()))] == [
        Pairs([("id", number)]) for number in range(100)
    ]


@pytest.mark.parametrize(
    "document", ["[]", '{"orders": []}', '{"orders": null}', '{"order": null}', '[{"orders": []}]']
)
def test_empty_containers_have_no_records(document: str) -> None:
    assert unwrap(document.encode()) == []


def test_orders_that_is_no_array_is_a_record_to_reject() -> None:
    records = unwrap(b'[{"orders": [{"id": 1}]}, {"orders": {"id": 2}}, {"orders": 3}]')
    assert [(some.text, some.in_page) for some in records] == [
        (b'{"id": 1}\n', True),
        (b'{"orders": {"id": 2}}\n{"orders": 3}\n', False),
    ]


def test_a_page_with_orders_wins_over_a_wrapper_and_the_last_order_counts() -> None:
    assert found(unwrap(b'{"order": {"id": 1}, "orders": [{"id": 2}], "line_items": []}')) == [
        (Pairs([("id", 2)]), True)
    ]
    assert found(unwrap(b'{"order": {"id": 1}, "order": {"id": 2}}')) == [
        (Pairs([("id", 2)]), True)
    ]


def read(chunks: list[bytes]) -> tuple[list[bytes], Unreadable | None]:
    """Return the lines of the records, and the error that ended the reading."""
    lines: list[bytes] = []
    try:
        for some in documents(chunks):
            lines += some.text.splitlines()
    except Unreadable as error:
        return lines, error
    return lines, None


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        (b'{"orders": [{"id": 1}, {"id": 2}, {"id": 3', b'{"id": 3'),
        (b'{"orders": [{"id": 1}, {"id": 2} {"id": 3}]}', b'{"id": 3}]}'),
        (b'{"orders": [{"id": 1}, {"id": 2},]}', b"]}"),
        (b'{"orders": [{"id": 1}, {"id": 2}}', b"}"),
        (b'{"orders": [{"id": 1}, {"id": 2}], "next": tru}', b"tru}"),
        (b'{"orders": [{"id": 1}, {"id": 2}], "next": {"a": tru}}', b'{"a": tru}}'),
        (b'{"orders": [{"id": 1}, {"id": 2}], "next": {"a": NaN}}', b'{"a": NaN}}'),
        (b'{"orders": [{"id": 1}, {"id": 2}]}]', b"]"),
        (b'{"id": 1}\n{"id": 2}\ngarbage', b"garbage"),
        (b'[{"id": 1}, {"id": 2}', b""),
    ],
)
def test_records_before_text_that_is_not_json_are_read(text: bytes, rest: bytes) -> None:
    lines, error = read([text])
    assert [json.loads(line) for line in lines] == [{"id": 1}, {"id": 2}]
    assert error is not None
    assert error.raw == rest


def test_a_line_end_inside_a_string_gives_a_line_that_is_not_json() -> None:
    lines, error = read([b'[{"note": "a\nb"}, {"note": "c"}]'])
    assert error is None
    assert [parsed(line.decode()) is None for line in lines] == [True, False]


def test_a_document_larger_than_a_record_may_be_is_streamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(json_cursor, "MAX_RECORD_BYTES", 1000)
    monkeypatch.setattr(json_cursor, "_MAX_CHECKED_BYTES", 500)
    order = json.dumps({"id": 1, "note": "x" * 100}).encode()
    page = b'{"orders": [%b], "other": [%b], "more": null}' % ((b", ".join([order] * 5000),) * 2)
    sizes = [some.text.count(b"\n") for some in documents(cut(page, 500))]
    assert sum(sizes) == 5000


def test_a_value_that_nobody_wants_may_be_larger_than_a_record() -> None:
    big = b"[%b]" % b",".join([b'{"a": "]"}'] * 200_000)
    assert len(big) > 2 * MIB
    assert found(unwrap(b'{"orders": [{"id": 1}], "b": %b, "orders": [{"id": 2}]}' % big)) == [
        (Pairs([("id", 1)]), True),
        (Pairs([("id", 2)]), True),
    ]


def test_a_record_that_is_too_large_is_unreadable_and_those_before_it_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(json_cursor, "MAX_RECORD_BYTES", 1000)
    text = b'[{"id": 1}, {"note": "%b"}]' % (b"x" * 5000)
    lines, error = read(cut(text, 100))
    assert lines == [b'{"id": 1}']
    assert error is not None
    assert error.message.startswith("a record is larger than")


def test_very_deep_nesting_is_framed_in_little_memory() -> None:
    deep = b"[" * MIB + b"]" * MIB
    records = unwrap(b'{"orders": [{"a": %b}, {"id": 1}]}' % deep)
    assert [len(line) for some in records for line in some.text.splitlines()] == [2 * MIB + 7, 9]
