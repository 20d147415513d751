"""Unknown keys are counted in every record, alike by the reader and the rules, however it is cut."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orders_dask.contract import schema_drift
from orders_dask.contract.arrow import paths
from orders_dask.contract.envelopes import parse_envelope
from orders_dask.contract.known_keys import KnownObject, known_keys
from orders_dask.contract.schema_drift import (
    KINDS,
    NO_DRIFT,
    OTHER,
    Drift,
    DriftCounter,
    UnknownKey,
    merge_drift,
)
from orders_dask.extract import json_scanner, records, splits
from orders_dask.extract.decode.block import decode_records
from orders_dask.extract.decode.decode import decode
from orders_dask.extract.discover import discover
from orders_dask.extract.records import Records
from orders_dask.synthetic import generate
from tests.support.builders import DAY, lines, order
from tests.support.decoding import only_the_rules
from tests.support.dumps import REAL

UTC = ZoneInfo("UTC")


def drift_of(*orders: dict[str, Any] | str, setting: str | None = None) -> Drift:
    """Return the drift of lines, which the reader and the rules must count alike."""
    block = Records(lines(*orders), in_page=False, strict=False, number=len(orders))
    envelope = parse_envelope(setting) if setting else None
    found = decode_records(block, UTC, 1, envelope).drift
    with only_the_rules():
        assert decode_records(block, UTC, 1, envelope).drift == found
    return found


def drift_in(folder: Path, block_size: int = 1 << 20) -> Drift:
    """Return the drift of the files in a folder."""
    found = discover(folder.as_uri(), DAY, block_size)
    return merge_drift(block.drift for split in found for block in decode(split, UTC))


def counted(drift: Drift) -> dict[str, int]:
    return {key.path: key.records for key in drift.keys}


def unknown(value: Any, known: KnownObject | None) -> Iterator[str]:
    """Yield the unknown paths of a document that Python's own decoder read: the oracle."""
    if isinstance(value, list):
        for element in value:
            yield from unknown(element, known)
    elif isinstance(value, dict) and known is not None:
        for key, inner in value.items():
            if key in known.keys:
                yield from unknown(inner, known.keys[key])
            else:
                yield known.prefix + (OTHER if key in NAMELESS else key)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=50),
    st.sampled_from(["1.50", "-0.10", "1.", ".5", "2026-10-01", "2026-10-01T10:00:00+02:00"]),
    st.sampled_from(["2026-10-01 10:00", "2026-10-01T1", "20261001", "", " ", "\\", 'a"b', "é"]),
)
NAMELESS = ("a.b", "", "x" * 101, "a\nb")
KEYS = st.sampled_from(
    [
        *("zz", "yy", "é", "line_items", "customer", "shipping_lines", "client_details"),
        *("refunds", "price_set", "id", "note", "tags", "shop_money", "amount", *NAMELESS),
    ]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=6), max_size=5), st.booleans())
def test_counts_are_those_of_an_independent_reading(
    orders: list[dict[str, Any]], ascii_only: bool
) -> None:
    texts = [json.dumps({"subtotal_price": "1", **o}, ensure_ascii=ascii_only) for o in orders]
    expected = Counter(path for order in orders for path in {*unknown(order, known_keys())})
    assert counted(drift_of(*texts)) == expected


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.one_of(
            st.integers(0, 30).map(lambda n: f'{{"id":1,"line_items":[],"k{n}":"a{n}"}}'),
            st.sampled_from(["", " \t", "\r", "x", '{"a":1}', '{"orders":[{"id":1,"z":1}]}']),
            st.sampled_from(['{"id":0,"line_items":[],"z":2}', '{"id":1,"line_items":3,"z":"b"}']),
        ),
        max_size=30,
    ),
    st.integers(1, 300),
    st.booleans(),
)
def test_drift_is_the_same_however_a_file_is_split(
    texts: list[str], block_size: int, ended: bool
) -> None:
    text = "\n".join(['{"id":1,"line_items":[]}', *texts, *[""] * ended])
    with (
        TemporaryDirectory() as folder,
        patch.object(records, "BLOCK_BYTES", block_size),
        patch.object(splits, "_MIN_TEXT_SPLIT_BYTES", 1),
        patch.object(schema_drift, "MAX_PATHS", 7),
    ):
        (Path(folder) / "a").write_text(text)
        assert drift_in(Path(folder), block_size) == drift_in(Path(folder), 1 << 20)


def test_each_order_counts_once_rejected_or_not(tmp_path: Path) -> None:
    known = '{"id":1,"line_items":[],"tags":"a"}'
    odd = (
        '{"id":1,"line_items":[{"id":1,"colour":"red"},{"id":2,"colour":null}],'
        '"customer":{"vip":1},"tax_lines":[{"zz":1}],"zz":{"a":1}}'
    )
    rejected = '{"id":0,"line_items":[],"zz":{"a":1}}'
    some = [odd, '{"data":1}', *[known] * 97, rejected]
    (tmp_path / "a").write_text("\n".join([*some, "not JSON", ""]))
    (tmp_path / "b").write_text(f'{{"orders":[{known},{odd}],"next":1}}\n' + rejected)
    (tmp_path / "c").write_text("[" + ",\n".join(some) + "]")
    found = drift_in(tmp_path)
    assert counted(found) == {
        "customer.vip": 3,
        "line_items[].colour": 3,
        "tax_lines[].zz": 3,
        "zz": 6,
    }
    assert [key.sample for key in found.keys] == ["9", "xxx", "9", "{a}"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["x", None, "2026-10-01"], "text"),
        (["1.50", 1, 2.5], "decimal"),
        ([1, 2], "integer"),
        ([1, 1e3], "decimal"),
        ([True, None], "boolean"),
        (["2026-10-01"], "date"),
        (["2026-10-01T10:00:00+02:00", "2026-10-01 10:00"], "timestamp"),
        ([{"a": 1}], "object"),
        ([[1], []], "array"),
        ([1, "x"], "mixed"),
        ([None], "null"),
    ],
)
def test_the_type_is_what_all_values_have_in_common(values: list[Any], kind: str) -> None:
    [key] = drift_of(*(order(n, zz=value) for n, value in enumerate(values, 1))).keys
    assert key.type == kind


@pytest.mark.parametrize(
    ("value", "sample"),
    [
        ("Ada 42, ada@example.org", "xxx 99, xxx@xxxxxxx.xxx"),
        ("Žofie\u0000", "xxxxxx"),
        (-12.5, "-99.9"),
        (True, "true"),
        ({"a": "secret", "Ada Lovelace": 1}, f"{{a, {OTHER}}}"),
        ([{"b": 1}], "[{b}]"),
        ([], ""),
        ([""], "[]"),
        ("y" * 50, "x" * 37 + "..."),
    ],
)
def test_a_sample_has_no_letters_or_digits_of_the_dump(value: Any, sample: str) -> None:
    [key] = drift_of(order(1, zz=None), order(2, zz=""), order(3, zz=value)).keys
    assert key.sample == sample


def test_more_keys_than_are_counted_say_so() -> None:
    many: dict[str, Any] = {f"k{n:04}": n for n in range(3_000)}
    found = drift_of(order(1, **many), *(order(n, k0000=1) for n in range(2, 5)))
    assert found.paths == tuple(sorted(many)[: schema_drift.MAX_PATHS])
    assert found.more
    assert found.keys[0].records == 4
    assert len(json.dumps(found.to_json())) < 64_000
    assert Drift.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_parts_add_up_in_any_order() -> None:
    drifts = [drift_of(order(n, **{f"k{n % 3}": f"{n}-a"})) for n in range(1, 8)]
    together = merge_drift(drifts)
    shuffled = [*enumerate(drifts)]
    random.Random(1).shuffle(shuffled)
    counter = DriftCounter()
    for rank, drift in shuffled:
        counter.add_all(drift, rank)
    assert counter.drift() == together
    assert counted(together) == {"k0": 2, "k1": 3, "k2": 2}


def test_keys_around_an_order_are_none_of_its_own() -> None:
    within = '{"id":1,"line_items":[],"zz":1}'
    assert counted(
        drift_of(
            '{"type":"SCHEMA","zz":1}',
            f'{{"type":"RECORD","odd":1,"record":{within}}}',
            f'{{"type":"RECORD","record":{json.dumps(within)}}}',
            setting="singer",
        )
    ) == {"zz": 2}


def test_drift_of_earlier_versions_can_be_read() -> None:
    assert Drift.from_json(None) == Drift.from_json({}) == NO_DRIFT
    assert Drift.from_json(["b", "a"]).paths == ("b", "a")
    assert Drift.from_json(["a"]).keys == (UnknownKey("a", 0, ()),)


def test_the_kinds_of_the_scanner_are_those_of_the_rules() -> None:
    named = (
        *("NULL_VALUE", "TEXT_VALUE", "DECIMAL_TEXT", "DATE_TEXT", "TIMESTAMP_TEXT"),
        *("INTEGER_VALUE", "DECIMAL_VALUE", "BOOLEAN_VALUE", "OBJECT_VALUE", "ARRAY_VALUE"),
    )
    assert [getattr(json_scanner, name) for name in named] == [*range(len(KINDS))]


PLAIN = order(
    1,
    admin_graphql_api_id="gid://shopify/Order/1",
    company={"id": 1, "location_id": 2},
    current_shipping_price_set={"shop_money": {"amount": "1.00", "currency_code": "EUR"}},
    duties_included=False,
    merchant_business_entity_id="MTE",
    line_item_groups=[{"id": 1}],
    returns=[],
    payment_terms={"id": 1, "payment_schedules": [{"due_at": None}]},
    discount_applications=[{"type": "manual", "value": "5.0", "description": "Sale"}],
    billing_address={"address1": "Mill Lane", "latitude": 52.1},
    customer={"id": 1, "default_address": {"id": 1, "country_name": "Germany", "default": True}},
    fulfillments=[{"id": 1, "line_items": [{"id": 1}], "receipt": {"any": 1}, "name": "#1.1"}],
    line_items=[
        {
            "id": 10,
            "price_set": {"shop_money": {"amount": "1.00", "currency_code": "EUR"}},
            "properties": [{"name": "Engraving", "value": "Ada"}],
            "sales_line_item_group_id": None,
            "tax_lines": [{"channel_liable": False, "rate": 0.19, "title": "VAT"}],
            "discount_allocations": [{"amount": "1.00", "discount_application_index": 0}],
        }
    ],
    shipping_lines=[{"id": 1, "is_removed": False, "phone": None, "tax_lines": []}],
    total_shipping_price_set={"presentment_money": {"amount": "1.00", "currency_code": "EUR"}},
    refunds=[
        {
            "id": 1,
            "return": {"id": 1},
            "refund_shipping_lines": [{"id": 1, "subtotal_amount_set": {}}],
            "refund_line_items": [{"id": 1, "line_item": {"id": 10}, "subtotal_set": {}}],
            "transactions": [{"id": 1, "parent_id": 2, "receipt": {"any": 1}}],
        }
    ],
)


def test_a_plain_order_has_only_known_keys() -> None:
    assert drift_of(PLAIN) == NO_DRIFT


@pytest.mark.skipif(not REAL.exists(), reason="the real dump is not here")
def test_the_real_dump_has_only_known_keys() -> None:
    found = discover(REAL.as_uri(), DAY, 1 << 30)
    assert merge_drift(block.drift for split in found for block in decode(split, UTC)) == NO_DRIFT


def test_a_generated_dump_has_only_known_keys(tmp_path: Path) -> None:
    generate(tmp_path.as_uri(), start=DAY, days=1, orders=300)
    assert drift_in(tmp_path) == NO_DRIFT


def test_all_that_the_contract_reads_is_known() -> None:
    for path, _ in paths():
        known: KnownObject | None = known_keys()
        for key in path.replace("[]", "").split("."):
            assert known is not None
            known = known.keys[key]
