"""A replayed text gives one order, or stays rejected with its reason."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from orders_dask.contract.arrow import POSITION, decoded_schema
from orders_dask.contract.envelopes import parse_envelope
from orders_dask.contract.order_tables import FACTS, fact_order, fact_order_line
from orders_dask.contract.rejects import StoredReject
from orders_dask.extract.decode import block
from orders_dask.extract.decode.replay import ReplayedBatch, replay_records
from orders_dask.extract.records import BLOCK_BYTES, BLOCK_RECORDS
from orders_dask.pipeline.staged_rows import normalise_replayed

ORDER: dict[str, Any] = {"id": 7, "total_price": "1.5", "line_items": [{"id": 71, "price": "1"}]}
GOOD = json.dumps(ORDER)


def stored_reject(
    text: str, code: str = "bad_order_id", position: int = 5, file: str = "a"
) -> StoredReject:
    counts = {fact_order.name: 1, fact_order_line.name: 2}
    return StoredReject(ord(file), file, 1, "etag", position, code, text, counts)


def reject_of_loaded(
    children: list[str],
    line_items: list[Any],
    *,
    corrected: bool = False,
    position: int = 5,
    **more: Any,
) -> StoredReject:
    """Return the reject of an order that was loaded without some children."""
    text = json.dumps(ORDER | {"line_items": line_items} | more)
    counts = dict.fromkeys((fact.name for fact in FACTS), 0) | {fact_order_line.name: len(children)}
    of_file = ord("a"), "a", 1, "etag"
    return StoredReject(
        *of_file, position, "bad_child_id", text, counts, tuple(children), corrected
    )


def replayed(*records: StoredReject, setting: str | None = None) -> list[ReplayedBatch]:
    envelope = parse_envelope(setting) if setting else None
    return list(replay_records(records, ZoneInfo("UTC"), envelope))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (GOOD, "bad_order_id"),
        (GOOD, "invalid_json"),
        (json.dumps(ORDER, indent=2).replace("\n", "\r\n"), "bad_order_id"),
        (json.dumps({"order": ORDER}), "invalid_json"),
        (json.dumps([ORDER]), "not_an_order"),
        (json.dumps({"orders": [ORDER]}), "not_an_order"),
        # Known to be orders, so their keys neither decide that nor make them containers.
        ('{"id": 7}', "id_mismatch"),
        ('{"order": 5, "orders": [1, 2], "id": "7"}', "bad_order_id"),
    ],
)
def test_one_good_order_is_loaded_at_its_position(text: str, code: str) -> None:
    [found] = replayed(stored_reject(text, code))
    assert [tuple(outcome) for outcome in found.outcomes] == [(97, 5, "", 7, None, None, 0)]
    assert found.decoded.orders.schema == decoded_schema()
    assert found.decoded.orders[POSITION].to_pylist() == [5]
    assert found.rejected_before == {fact_order.name: 1, fact_order_line.name: 2}


@pytest.mark.parametrize(
    ("text", "code", "still", "message"),
    [
        ("{", "bad_order_id", "invalid_json", "not JSON"),
        ("", "invalid_json", "invalid_json", "not JSON"),
        (f"{GOOD}\n{GOOD}", "invalid_json", "invalid_json", "Extra data"),
        (f"{GOOD},{GOOD}", "bad_order_id", "invalid_json", "Extra data"),
        (f"[{GOOD},{GOOD}]", "invalid_json", "not_an_order", "holds 2 records"),
        ('{"orders": []}', "not_an_order", "not_an_order", "holds 0 records"),
        ('{"order": {"id": null}}', "invalid_json", "bad_order_id", "id is null"),
        ('{"id": 7}', "invalid_json", "not_an_order", "no order"),
        ("[1]", "bad_order_id", "not_an_order", "An order is an object"),
        (f"[{GOOD}]", "bad_order_id", "not_an_order", "An order is an object"),
        (json.dumps({"order": ORDER}), "id_mismatch", "bad_order_id", "missing"),
        ("[" * 10_000 + "]" * 10_000, "bad_order_id", "not_an_order", ""),
        ('{"a":' * 10_000 + "1" + "}" * 10_000, "not_an_order", "not_an_order", ""),
        ("[" * 10_000 + "]" * 10_000, "not_an_order", "not_an_order", ""),
    ],
)
def test_what_is_not_one_good_order_stays_rejected(
    text: str, code: str, still: str, message: str
) -> None:
    [found] = replayed(stored_reject(text, code))
    [outcome] = found.outcomes
    assert (outcome.order_id, outcome.code) == (None, still)
    assert message in (outcome.message or "")
    assert found.decoded.orders.num_rows == 0
    assert not found.rejected_before


def test_each_record_of_many_has_its_own_outcome_and_position() -> None:
    texts = [json.dumps(ORDER | {"id": n, "total_price": f"{n}x"}) for n in range(1, 5)]
    records = [
        *(stored_reject(text, "id_mismatch", n * 10) for n, text in enumerate(texts, 1)),
        stored_reject("{", "bad_order_id", 15),
        stored_reject(json.dumps({"order": ORDER}), "invalid_json", 16),
        stored_reject(texts[0], "invalid_json", 17),
        stored_reject('{"id": 0}', "bad_order_id", 18),
        stored_reject(GOOD, position=1, file="b"),
    ]
    of_a, of_b = replayed(*records)
    found = {v.position: v.order_id or v.code for v in of_a.outcomes}
    assert found == {
        **{n * 10: n for n in range(1, 5)},
        **{15: "invalid_json", 16: 7, 17: 1, 18: "bad_order_id"},
    }
    orders = of_a.decoded.orders
    assert orders[POSITION].to_pylist() == [v.position for v in of_a.outcomes if v.order_id]
    assert orders["id"].to_pylist() == [v.order_id for v in of_a.outcomes if v.order_id]
    [issue] = of_a.decoded.issues
    assert (issue.code, issue.count) == ("bad_money", 5)
    assert issue.samples == ((10, "1x"), (17, "1x"), (20, "2x"))
    assert of_b.decoded.file.name == "b"


def test_records_are_replayed_in_batches_of_bounded_size() -> None:
    note = "x" * (BLOCK_BYTES // 3)
    records = [stored_reject(json.dumps(ORDER | {"note": note}), position=n) for n in range(1, 8)]
    assert [len(some.outcomes) for some in replayed(*records)] == [3, 3, 1]


def test_the_counters_of_a_file_change_by_what_is_good_now() -> None:
    children = ORDER | {"line_items": [{"id": 1}, {"id": 2}, {"id": None}]}
    blocks = replayed(
        stored_reject(json.dumps(children), position=3), stored_reject("{", position=4)
    )
    [((file,), tables, *_)] = normalise_replayed(blocks)
    none = {fact.name: 0 for fact in FACTS}
    assert file.positions == 0
    assert file.read == none | {fact_order.name: 0, fact_order_line.name: 3 - 2}
    assert file.rejected == none | {fact_order.name: -1, fact_order_line.name: 1 - 2}
    assert file.lines_rejected == 1
    rows = tables["replayed"].to_pylist()
    assert {row["position"]: row["order_row"] for row in rows} == {3: 0, 4: None}
    assert tables["rejected"]["path"].to_pylist() == ["line_items[2]"]


# Orders that were loaded without their rejected children.

BAD, GOOD_LINE = {"id": "x"}, {"id": 1}


def codes_by_path(found: ReplayedBatch) -> dict[str, int | str | None]:
    """Return for each child its issue code, or its order's id if it is good now."""
    return {outcome.path: outcome.code or outcome.order_id for outcome in found.outcomes}


def test_an_order_is_replayed_as_a_whole_when_one_of_its_children_is_good_now() -> None:
    both = ["line_items[0]", "line_items[1]"]
    [found] = replayed(reject_of_loaded(both, [GOOD_LINE, BAD, {"id": 2}]))
    assert codes_by_path(found) == {"line_items[0]": 7, "line_items[1]": "bad_child_id"}
    assert [outcome.row for outcome in found.outcomes] == [0, 0]
    assert found.decoded.orders[POSITION].to_pylist() == [5]
    assert [(r.position, r.path) for r in found.decoded.rejected] == [(5, "line_items[1]")]
    assert found.decoded.rejected[0].order_raw == json.dumps(
        ORDER | {"line_items": [GOOD_LINE, BAD, {"id": 2}]}
    )
    assert (
        found.rejected_before[fact_order.name],
        found.rejected_before[fact_order_line.name],
    ) == (0, 2)
    assert found.lines_rejected_before == 2


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (reject_of_loaded(["line_items[0]"], [BAD, GOOD_LINE]), "bad_child_id"),
        (reject_of_loaded(["line_items[0]"], [GOOD_LINE, GOOD_LINE]), "duplicate_child"),
        (reject_of_loaded(["line_items[0]"], [GOOD_LINE], id=None), "bad_order_id"),
        (reject_of_loaded(["line_items[0]"], [GOOD_LINE], id=None, corrected=True), "bad_order_id"),
        (
            reject_of_loaded(["refunds[0].refund_line_items[1]"], [], refunds=[{"id": 0}]),
            "bad_child_id",
        ),
    ],
    ids=["child", "duplicate", "order", "corrected order", "above"],
)
def test_an_order_without_a_child_that_is_good_now_is_left_alone(
    record: StoredReject, code: str
) -> None:
    [found] = replayed(record)
    [outcome] = found.outcomes
    assert (outcome.path, outcome.code, outcome.row) == (record.children[0], code, None)
    assert outcome.message
    assert not found.decoded.orders.num_rows
    assert not found.decoded.rejected
    assert not found.rejected_before
    assert not found.lines_rejected_before


def test_a_corrected_order_is_replayed_even_if_its_child_is_as_bad_as_before() -> None:
    [found] = replayed(reject_of_loaded(["line_items[0]"], [BAD], corrected=True, total_price="2"))
    assert codes_by_path(found) == {"line_items[0]": "bad_child_id"}
    assert found.decoded.orders.num_rows == 1
    assert found.rejected_before[fact_order_line.name] == 1


def test_loaded_orders_are_distinguished_from_others_in_the_same_batch() -> None:
    one = ["line_items[0]"]
    [found] = replayed(
        reject_of_loaded(one, [BAD], position=1, total_price="x"),
        stored_reject(GOOD, position=2),
        reject_of_loaded(one, [GOOD_LINE], position=3, total_price="x"),
        reject_of_loaded(one, [GOOD_LINE], position=4, corrected=True, id=8),
        stored_reject("{", position=5),
    )
    rows = {v.position: v.row for v in found.outcomes}
    positions = found.decoded.orders[POSITION].to_pylist()
    assert {at: None if row is None else positions[row] for at, row in rows.items()} == {
        **{1: None, 2: 2, 3: 3, 4: 4},
        5: None,
    }
    # The issues of an order that is left alone were counted when it was loaded.
    [issue] = found.decoded.issues
    assert (issue.code, issue.samples) == ("bad_money", ((3, "x"),))


def test_orders_with_more_bad_children_than_a_block_may_have_are_read_in_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(block, "MAX_REJECTED", 5)
    orders = [
        reject_of_loaded(["line_items[0]"], [GOOD_LINE] + [0] * 3, position=n) for n in range(1, 6)
    ]
    [found] = replayed(*orders, stored_reject(json.dumps([0] * 6), "not_an_order", 6))
    assert len(found.decoded.rejected) == 15
    positions = found.decoded.orders[POSITION].to_pylist()
    results = {v.position: v.code if v.row is None else positions[v.row] for v in found.outcomes}
    assert results == {**{n: n for n in range(1, 6)}, 6: "not_an_order"}


def test_children_count_for_the_size_of_a_batch() -> None:
    paths = [f"line_items[{index}]" for index in range(BLOCK_RECORDS // 2)]
    found = replayed(*(reject_of_loaded(paths, [BAD], position=n) for n in range(1, 4)))
    assert [len({v.position for v in some.outcomes}) for some in found] == [2, 1]


def test_a_text_is_replayed_out_of_its_envelope_and_a_corrected_one_without_it_too() -> None:
    within = json.dumps({"type": "RECORD", "record": ORDER})
    quoted = json.dumps({"record": GOOD})
    records = [
        stored_reject(within, "bad_order_id", 1),
        stored_reject('{"type": "STATE", "value": {}}', "not_an_order", 2),
        stored_reject(quoted, "not_an_order", 3),
        stored_reject(GOOD, "not_an_order", 4),
        replace(stored_reject(GOOD, "not_an_order", 5), corrected=True),
        replace(stored_reject(within, "bad_order_id", 6), corrected=True),
        replace(stored_reject("{", "bad_order_id", 7), corrected=True),
        stored_reject(json.dumps([{"record": ORDER}]), "invalid_json", 8),
        stored_reject(json.dumps({"record": ORDER | {"deleted_at": "x"}}), "bad_order_id", 9),
    ]
    found = replayed(*records, setting="singer")
    outcomes = {each.position: each.code for batch in found for each in batch.outcomes}
    assert outcomes == {
        1: None,
        2: "not_an_order",
        3: None,
        4: "not_an_order",
        5: None,
        6: None,
        7: "invalid_json",
        8: None,
        9: "deleted_order",
    }
    positions = [n for batch in found for n in batch.decoded.orders[POSITION].to_pylist()]
    assert sorted(positions) == [1, 3, 5, 6, 8]


def test_the_order_of_a_rejected_child_is_replayed_out_of_its_envelope() -> None:
    [bare] = [reject_of_loaded(["line_items[0]"], [{"id": 5}])]
    record = replace(bare, text=json.dumps({"_airbyte_data": json.loads(bare.text)}))
    [found] = replayed(record, setting="airbyte")
    assert [(each.path, each.code, each.row) for each in found.outcomes] == [
        ("line_items[0]", None, 0)
    ]
