"""The rules for one record: parsing, the raw text that is stored, and merging of issues."""

from __future__ import annotations

import json
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orders_dask.contract.json_parser import (
    DuplicateKeys,
    NotJson,
    Number,
    parse,
    to_json,
    truncate_raw,
)
from orders_dask.contract.rejects import Issue, merge_issues
from orders_dask.contract.rules import Repaired, apply_rules

VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
)


def repaired(line: bytes) -> Repaired:
    outcome = apply_rules(line, 1, in_page=True, unwrapped=True, strict=False)
    assert isinstance(outcome, Repaired)
    return outcome


@given(VALUES)
def test_parsed_json_is_written_unchanged(value: object) -> None:
    assert json.loads(to_json(parse(json.dumps(value).encode()))) == value


def test_numbers_stay_as_written() -> None:
    text = f"[1.50, 1E400, -0, {'9' * 10_000}]"
    values = parse(text.encode())
    assert isinstance(values, list)
    assert all(isinstance(value, Number) for value in values)
    assert to_json(values) == text.replace(" ", "")


def test_duplicate_keys_keep_the_overwritten_values() -> None:
    value = parse(b'{"a":1,"b":2,"a":3,"a":4}')
    assert isinstance(value, DuplicateKeys)
    assert value == {"a": "4", "b": "2"}
    assert value.overwritten == [("a", "1"), ("a", "3")]


@pytest.mark.parametrize("depth", [200, 201, 999, 100_000])
def test_any_depth_is_parsed_and_checked(depth: int) -> None:
    parse(b'{"a":' * depth + b"[1]" + b"}" * depth)
    for broken in (b"[1,]", b"[1", b"1]", b"NaN", b'"', b"]["):
        with pytest.raises(NotJson):
            parse(b'{"a":' * depth + broken + b"}" * depth)


@pytest.mark.parametrize(
    "raw", [b"\xff" * 70_000, b"\0" * 70_000, "\N{GRINNING FACE}".encode() * 20_000, b"a" * 70_000]
)
def test_raw_text_has_at_most_64_kib(raw: bytes) -> None:
    text = truncate_raw(raw)
    assert 64 * 1024 - 3 <= len(text.encode()) <= 64 * 1024
    assert raw.decode(errors="replace").replace("\0", "\ufffd").startswith(text)


def test_a_good_record_comes_out_with_the_contracts_keys_alone() -> None:
    line = b'{"id":1,"zz":{"id":2},"note":"a","line_items":[{"id":3,"price":"1.5","zz":4}]}'
    assert json.loads(repaired(line).line) == {
        "id": 1,
        "note": "a",
        "line_items": [{"id": 3, "price": "1.5"}],
    }
    assert not repaired(line).issues
    assert not repaired(line).rejected


def test_samples_do_not_depend_on_the_order_of_blocks() -> None:
    issues = [
        Issue("note", "bad_text", 2, ((5, "b"), (9, "a"))),
        Issue("note", "bad_text", 4, ((1, "x"), (6, "c"), (7, "d"))),
        Issue("note", "bad_text", 1, ((5, "a"),)),
        Issue("note", "bad_unicode", 1, ((2, "u"),)),
    ]
    wanted = {
        Issue("note", "bad_text", 7, ((1, "x"), (5, "a"), (5, "b"))),
        Issue("note", "bad_unicode", 1, ((2, "u"),)),
    }
    assert all(set(merge_issues(some)) == wanted for some in permutations(issues))
