"""Orders within the envelopes of other systems are read as those of a plain dump."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orders_dask.contract.envelopes import parse_envelope
from orders_dask.contract.versions import DECODER_VERSION, STAGE_FORMAT_VERSION
from orders_dask.extract.decode.block import Block, decode_records
from orders_dask.extract.framing.documents import documents
from orders_dask.extract.records import Records, SourceFile, Split
from orders_dask.stage.layout import content_of, part_url
from tests.support import bad_values
from tests.support.builders import DAY, lines, order
from tests.support.decoding import only_the_rules

ZONE = ZoneInfo("America/New_York")
TOPIC = "X-Shopify-Topic"


def in_event(payload: str, topic: str = "orders/create") -> str:
    metadata = json.dumps({"Content-Type": "application/json", TOPIC: topic})
    return (
        '{"version":"0","detail-type":"shopifyWebhook","source":"aws.partner/shopify.com/1/a",'
        f'"detail":{{"metadata":{metadata},"payload":{payload}}}}}'
    )


FORMS = {
    "airbyte v1": ("airbyte", '{"_airbyte_ab_id":"7","_airbyte_emitted_at":1,"_airbyte_data":@}'),
    "airbyte v2": ("airbyte", '{"_airbyte_raw_id":"7","_airbyte_meta":{},"_airbyte_data":@}'),
    "airbyte message": (
        "airbyte",
        '{"type":"RECORD","record":{"stream":"orders","data":@,"emitted_at":1}}',
    ),
    "singer": ("singer", '{"type":"RECORD","stream":"orders","record":@,"version":1}'),
    "eventbridge": ("eventbridge", in_event("@")),
    "debezium": (
        "debezium",
        '{"schema":{"type":"struct"},"payload":{"before":{"id":1},"after":@,"op":"u","ts_ms":1}}',
    ),
    "debezium without schemas": ("debezium", '{"before":null,"after":@,"op":"c"}'),
    "debezium snapshot": ("debezium", '{"op":"r","after":@}'),
    "debezium flattened": ("debezium", '{"schema":{},"payload":@}'),
    "debezium column": (
        "debezium.body",
        '{"after":{"id":1,"__deleted":"false","body":@},"op":"c"}',
    ),
    "path": ("detail.payload", '{"detail":{"payload":@}}'),
    "one key": ("_airbyte_data", '{"_airbyte_data":@}'),
}
"""The setting, and a record with ``@`` where the order stands."""


def decode(text: bytes, setting: str | None, *, layout: str = "lines") -> Block:
    """Decode one block of records, which the reader and the rules must read alike."""
    envelope = parse_envelope(setting) if setting else None
    if layout == "lines":
        [records] = [Records(text, in_page=False, strict=False)]
    else:
        array = b"[" + b",".join(text.splitlines()) + b"]"
        [records] = documents([array if layout == "array" else b'{"orders":%b}' % array])
    block = decode_records(records, ZONE, 1, envelope)
    with only_the_rules():
        by_rules = decode_records(records, ZONE, 1, envelope)
    assert block.orders.equals(by_rules.orders), "reader and rules differ"
    assert sorted(block.issues, key=repr) == sorted(by_rules.issues, key=repr)
    assert block.rejected == by_rules.rejected
    assert block.drift == by_rules.drift
    assert (
        block.read
        == by_rules.read
        == block.orders.num_rows + len([one for one in block.rejected if not one.path])
    )
    return block


def around(form: str, *texts: str, quoted: bool = False) -> bytes:
    _, record = FORMS[form]
    return "".join(
        record.replace("@", json.dumps(text) if quoted else text) + "\n" for text in texts
    ).encode()


def codes(block: Block) -> list[str]:
    return [one.code for one in block.rejected]


@pytest.mark.parametrize("quoted", [False, True], ids=["object", "text"])
@pytest.mark.parametrize("layout", ["lines", "array", "page"])
@pytest.mark.parametrize("form", FORMS)
def test_orders_in_an_envelope_are_those_of_the_plain_dump(
    form: str, layout: str, quoted: bool
) -> None:
    texts = [json.dumps(order(n, f"{n}.50", test=False)) for n in range(1, 5)]
    plain = decode("".join(f"{text}\n" for text in texts).encode(), None, layout=layout)
    within = decode(around(form, *texts, quoted=quoted), FORMS[form][0], layout=layout)
    assert within.orders.equals(plain.orders)
    assert (within.issues, within.rejected, within.read) == ((), (), 4)


VALUES = [
    *((path, value) for path, value, _ in bad_values.GOOD_VALUES),
    *((path, value) for _, path, value, _ in bad_values.REPAIRED if isinstance(value, str)),
    # What is cut out of a text of more than 200 levels depends on the level it stands at.
    *((path, value) for _, path, value in bad_values.NULLED if value.count("[") < 200),
]
ODD = [
    "{}",
    "null",
    "5",
    "[]",
    '"no"',
    '{"id":0,"line_items":[]}',
    '{"id":1,"line_items":[{"id":1},{"id":1}]}',
    '{"id":1,"line_items":[{"id":0}],"__deleted":"false"}',
    '{"id":1,"line_items":[],"_sdc_deleted_at":null,"total_price":"5","total_price":"6"}',
    '{"id":1,"line_items":[],"__deleted":false}',
    '{"id":1,"line_items":[],"_sdc_deleted_at":"2026-10-01T00:00:00Z"}',
    '{"id":1,"line_items":[],"__deleted":"true"}',
    '{"id":1,"line_items":[],"deleted_at":5}',
    '{"id":1,"line_items":[],"order":5}',
    '{"id":1,"line_items":[],"errors":5}',
    '{"id":1}',
]


@settings(deadline=None)
@given(
    st.sampled_from(sorted(FORMS)),
    st.lists(
        st.one_of(
            st.sampled_from(VALUES).map(lambda each: bad_values.order_with(*each)),
            st.sampled_from(ODD),
        ),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
)
def test_what_is_wrong_with_an_order_is_found_in_an_envelope_too(
    form: str, texts: list[str], quoted: bool
) -> None:
    plain = decode("".join(f"{text}\n" for text in texts).encode(), None)
    within = decode(around(form, *texts, quoted=quoted), FORMS[form][0])
    if "5" in texts or not all(text.startswith("{") for text in texts):
        return  # null is a tombstone of Debezium's; arrays are containers in a plain dump
    if '"order":5' not in "".join(texts):
        assert within.orders.equals(plain.orders)
        assert within.issues == plain.issues
        assert [(r.position, r.path, r.code) for r in within.rejected] == [
            (r.position, r.path, r.code) for r in plain.rejected
        ]
    assert all(one.message and "\n" not in one.message for one in within.rejected)


@pytest.mark.parametrize(
    ("setting", "messages", "kinds"),
    [
        (
            "singer",
            ['{"type":"SCHEMA","stream":"orders","schema":{}}', '{"type":"STATE","value":{}}'],
            ["SCHEMA", "STATE"],
        ),
        ("singer", ['{"type":"ACTIVATE_VERSION","stream":"orders","version":1}'] * 2, None),
        ("airbyte", ['{"type":"STATE","state":{}}', '{"type":"LOG","log":{}}'], ["LOG", "STATE"]),
        ("debezium", ["null", '{"schema":null,"payload":null}'], ["null", "null"]),
        ("debezium", ['{"op":"m","message":{}}', '{"payload":{"op":"m"}}'], None),
    ],
)
@pytest.mark.parametrize("layout", ["lines", "array"])
def test_messages_that_are_no_records_have_no_position_and_are_counted(
    setting: str, messages: list[str], kinds: list[str] | None, layout: str
) -> None:
    form = next(name for name, (each, _) in FORMS.items() if each == setting)
    first, second = (around(form, json.dumps(order(n))).decode().strip() for n in (1, 2))
    text = lines(messages[0], first, messages[1], '{"id":5}', second)
    block = decode(text, setting, layout=layout)
    assert block.orders["source_position"].to_pylist() == [1, 3]
    assert [(one.position, one.code) for one in block.rejected] == [(2, "not_an_order")]
    counted = [issue for issue in block.issues if issue.code == "message_without_order"]
    assert sum(issue.count for issue in counted) == 2
    if kinds:
        assert sorted(text for issue in counted for _, text in issue.samples) == kinds


ORDER = json.dumps(order(1))


@pytest.mark.parametrize(
    ("setting", "record"),
    [
        ("debezium", f'{{"before":{ORDER},"after":null,"op":"d"}}'),
        ("debezium", f'{{"payload":{{"before":{ORDER},"after":null,"op":"d"}}}}'),
        ("debezium", '{"before":null,"after":null,"op":"t"}'),
        ("debezium", f'{{"payload":{ORDER[:-1]},"__deleted":"true"}}}}'),
        ("debezium.body", f'{{"op":"u","after":{{"__deleted":"true","body":{ORDER}}}}}'),
        ("singer", f'{{"type":"RECORD","record":{ORDER[:-1]},"_sdc_deleted_at":"2026-10-01"}}}}'),
        ("airbyte", f'{{"_airbyte_data":{ORDER[:-1]},"_ab_cdc_deleted_at":"2026-10-01"}}}}'),
        ("airbyte", '{"_airbyte_data":{"id":1,"deleted_at":"2026-10-01T10:00:00Z"}}'),
        ("eventbridge", in_event('{"id":1}', "orders/delete")),
        ("eventbridge", in_event(ORDER, "orders/delete")),
        (None, f'{ORDER[:-1]},"_sdc_deleted_at":"2026-10-01T10:00:00Z"}}'),
        (None, f'{ORDER[:-1]},"__deleted":"true"}}'),
        (None, f'{ORDER[:-1]},"__deleted":true}}'),
    ],
)
def test_an_order_that_its_source_deleted_is_rejected(setting: str | None, record: str) -> None:
    block = decode(lines(record), setting)
    assert (codes(block), block.orders.num_rows, block.read) == (["deleted_order"], 0, 1)


@pytest.mark.parametrize(
    ("setting", "record"),
    [
        ("eventbridge", in_event('{"id":1,"line_items":[],"order_id":2}', "fulfillments/create")),
        ("eventbridge", in_event(ORDER, "draft_orders/create")),
        ("singer", f'{{"type":"BATCH","record":{ORDER}}}'),
        ("singer", f'{{"type":5,"record":{ORDER}}}'),
        ("debezium", f'{{"after":{ORDER},"op":"x"}}'),
        ("airbyte", f'{{"_airbyte_data":{{"order":{ORDER}}}}}'),
        ("airbyte", '{"_airbyte_data":{"id":1,"email":"ana@example.com"}}'),
        ("airbyte", '{"_airbyte_data":null}'),
        ("airbyte", '{"_airbyte_data":"{\\"id\\":1,"}'),
        ("airbyte", ORDER),
        ("airbyte", "5"),
    ],
)
def test_what_is_no_order_in_an_envelope_is_rejected(setting: str, record: str) -> None:
    block = decode(lines(record), setting)
    assert codes(block) == ["not_an_order"]
    assert "ana" not in block.rejected[0].message


@pytest.mark.parametrize(
    ("setting", "record", "path"),
    [
        ("debezium", json.dumps({"op": "x", "after": order(1)}), "op"),
        ("airbyte", json.dumps({"type": "NEWS", "record": {"data": order(1)}}), "type"),
        ("eventbridge", in_event(json.dumps(order(1)), "orders/edited"), TOPIC),
    ],
)
def test_no_setting_is_suggested_for_a_record_of_an_unknown_kind(
    setting: str, record: str, path: str
) -> None:
    [rejected] = decode(lines(record), setting).rejected
    assert rejected.code == "not_an_order"
    assert rejected.message.startswith("Nothing is known of orders in a record of ")
    assert rejected.message.endswith(f"{path}.")


def test_a_key_that_occurs_twice_in_an_envelope_is_counted_and_the_last_stands() -> None:
    block = decode(lines(f'{{"_airbyte_data":{{"id":5}},"_airbyte_data":{ORDER}}}'), "airbyte")
    assert block.orders["id"].to_pylist() == [1]
    assert [(i.field, i.code, i.count) for i in block.issues] == [
        ("_airbyte_data", "duplicate_key", 1)
    ]


def test_the_text_of_an_order_may_have_line_ends_and_bad_unicode() -> None:
    pretty = json.dumps(order(1, note="a\0b\ud800"), indent=1)
    plain = decode(lines(order(1, note="a\0b\ud800")), None)
    block = decode(around("airbyte v2", pretty, quoted=True), "airbyte")
    assert block.orders.equals(plain.orders)
    assert block.issues == plain.issues


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("quoted", [False, True], ids=["object", "text"])
def test_without_the_setting_the_rejection_proposes_one_that_works(form: str, quoted: bool) -> None:
    text = around(form, ORDER, quoted=quoted)
    [rejected] = decode(text, None).rejected
    _, found, setting = rejected.message.removesuffix(".").partition("ORDERS_DASK_RECORD=")
    assert found, rejected.message
    assert decode(text, setting).orders.num_rows == 1
    if form.startswith(("airbyte", "singer", "eventbridge")) or '"op"' in FORMS[form][1]:
        assert setting == FORMS[form][0]


def test_names_of_parts_stay_what_they_are_without_the_setting() -> None:
    split = Split((SourceFile("a", "a", None, 1, "etag"),))
    name = json.dumps([STAGE_FORMAT_VERSION, split.identity, DECODER_VERSION, "UTC"])
    url = part_url("/stage", DAY, split, "UTC")
    content = sha256(name.encode()).hexdigest()[:32]
    assert content_of(url) == f"/stage/run_date={DAY}/part={content}"
    others = {part_url("/stage", DAY, split, "UTC", each) for each in ("airbyte", "singer")}
    assert len(others | {url}) == 3


def test_a_proposal_is_made_of_keys_that_look_like_names_alone() -> None:
    for key in ("ana@example.com", "a b", "k" * 41, "+49 30 1234"):
        [rejected] = decode(lines(json.dumps({key: order(1), "x": 1})), None).rejected
        assert "ORDERS_DASK_RECORD" not in rejected.message
        assert key not in rejected.message
    many: dict[str, Any] = {f"key_{n}": 1 for n in range(99)}
    [rejected] = decode(lines(json.dumps(many)), None).rejected
    assert rejected.message.endswith("key_9 and 89 more is no order.")


def test_the_message_on_a_plain_dump_with_the_setting_is_to_leave_it_unset() -> None:
    [rejected] = decode(lines(ORDER), "airbyte").rejected
    assert rejected.message.endswith("but is one itself: leave ORDERS_DASK_RECORD unset.")


@pytest.mark.parametrize(
    "setting",
    ["", ".", "a.", ".a", "a..b", " a", "a ", "a\nb", "a.b.c.d.e.f.g.h.i", "order", "orders.x"],
)
def test_a_malformed_path_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=r"^must "):
        parse_envelope(setting)


def test_an_envelope_with_an_id_of_its_own_is_no_order_in_a_page_either() -> None:
    for text in (f'{{"id":5,"data":{ORDER}}}', json.dumps({"id": 5, "data": ORDER})):
        [rejected] = decode(lines(text), None, layout="page").rejected
        assert rejected.message.endswith("set ORDERS_DASK_RECORD=data.")
    assert decode(lines('{"id":5,"data":{"id":1}}'), None, layout="page").read == 1
    assert decode(lines(f'{{"id":5,"data":{ORDER}}}'), "data", layout="page").rejected == ()
