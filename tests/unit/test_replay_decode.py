"""Rejected texts that are read again: each gives one order, or stays rejected with its reason."""

from __future__ import annotations

import json
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from orders_dask.contract.arrow import POSITION, decoded_schema
from orders_dask.contract.order_tables import FACTS, fact_order, fact_order_line
from orders_dask.contract.rejects import StoredReject
from orders_dask.extract.decode import block
from orders_dask.extract.decode.replay import ReplayedBatch, replay_records
from orders_dask.extract.records import BLOCK_BYTES, BLOCK_RECORDS
from orders_dask.pipeline.staged_rows import normalise_replayed

ORDER: dict[str, Any] = {"id": 7, "total_price": "1.5", "line_items": [{"id": 71, "price": "1"}]}
GOOD = json.dumps(ORDER)


def kept(text: str, code: str = "bad_order_id", position: int = 5, file: str = "a") -> StoredReject:
    refused = {fact_order.name: 1, fact_order_line.name: 2}
    return StoredReject(ord(file), file, 1, "etag", position, code, text, refused)


def standing(
    children: list[str],
    line_items: list[Any],
    *,
    mended: bool = False,
    position: int = 5,
    **more: Any,
) -> StoredReject:
    """An order that stands without some children, with the text that is read of it."""
    text = json.dumps(ORDER | {"line_items": line_items} | more)
    refused = dict.fromkeys((fact.name for fact in FACTS), 0) | {
        fact_order_line.name: len(children)
    }
    of_file = ord("a"), "a", 1, "etag"
    return StoredReject(*of_file, position, "bad_child_id", text, refused, tuple(children), mended)


def again(*records: StoredReject) -> list[ReplayedBatch]:
    return list(replay_records(records, ZoneInfo("UTC")))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (GOOD, "bad_order_id"),
        (GOOD, "invalid_json"),
        (json.dumps(ORDER, indent=2).replace("\n", "\r\n"), "bad_order_id"),
        (json.dumps({"order": ORDER}), "invalid_json"),
        (json.dumps([ORDER]), "not_an_order"),
        (json.dumps({"orders": [ORDER]}), "not_an_order"),
        # Known as orders: neither are they told by their keys, nor is any key of theirs an
        # envelope's.
        ('{"id": 7}', "id_mismatch"),
        ('{"order": 5, "orders": [1, 2], "id": "7"}', "bad_order_id"),
    ],
)
def test_one_good_order_is_taken_in_at_its_place(text: str, code: str) -> None:
    [found] = again(kept(text, code))
    assert [tuple(verdict) for verdict in found.outcomes] == [(97, 5, "", 7, None, None, 0)]
    assert found.decoded.orders.schema == decoded_schema()
    assert found.decoded.orders[POSITION].to_pylist() == [5]
    assert found.rejected_before == {fact_order.name: 1, fact_order_line.name: 2}


@pytest.mark.parametrize(
    ("text", "code", "still", "says"),
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
    text: str, code: str, still: str, says: str
) -> None:
    [found] = again(kept(text, code))
    [verdict] = found.outcomes
    assert (verdict.order_id, verdict.code) == (None, still)
    assert says in (verdict.message or "")
    assert found.decoded.orders.num_rows == 0
    assert not found.rejected_before


def test_each_record_of_many_has_its_own_outcome_and_place() -> None:
    texts = [json.dumps(ORDER | {"id": n, "total_price": f"{n}x"}) for n in range(1, 5)]
    records = [
        *(kept(text, "id_mismatch", n * 10) for n, text in enumerate(texts, 1)),
        kept("{", "bad_order_id", 15),
        kept(json.dumps({"order": ORDER}), "invalid_json", 16),
        kept(texts[0], "invalid_json", 17),
        kept('{"id": 0}', "bad_order_id", 18),
        kept(GOOD, position=1, file="b"),
    ]
    of_a, of_b = again(*records)
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


def test_records_are_read_in_batches_of_bounded_size() -> None:
    note = "x" * (BLOCK_BYTES // 3)
    records = [kept(json.dumps(ORDER | {"note": note}), position=n) for n in range(1, 8)]
    assert [len(some.outcomes) for some in again(*records)] == [3, 3, 1]


def test_the_books_of_a_file_change_by_what_is_good_now() -> None:
    children = ORDER | {"line_items": [{"id": 1}, {"id": 2}, {"id": None}]}
    blocks = again(kept(json.dumps(children), position=3), kept("{", position=4))
    [(file, tables)] = normalise_replayed(blocks)
    none = {fact.name: 0 for fact in FACTS}
    assert file.positions == 0
    assert file.read == none | {fact_order.name: 0, fact_order_line.name: 3 - 2}
    assert file.rejected == none | {fact_order.name: -1, fact_order_line.name: 1 - 2}
    assert file.lines_rejected == 1
    told = tables["replayed"].to_pylist()
    assert {row["position"]: row["order_row"] for row in told} == {3: 0, 4: None}
    assert tables["rejected"]["path"].to_pylist() == ["line_items[2]"]


# Orders that stand without children which were refused.

BAD, GOOD_LINE = {"id": "x"}, {"id": 1}


def told(found: ReplayedBatch) -> dict[str, int | str | None]:
    """Of each child the code that it is refused with, or its order's id."""
    return {verdict.path: verdict.code or verdict.order_id for verdict in found.outcomes}


def test_an_order_is_read_again_as_a_whole_when_one_of_its_children_is_good_now() -> None:
    both = ["line_items[0]", "line_items[1]"]
    [found] = again(standing(both, [GOOD_LINE, BAD, {"id": 2}]))
    assert told(found) == {"line_items[0]": 7, "line_items[1]": "bad_child_id"}
    assert [verdict.row for verdict in found.outcomes] == [0, 0]
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
        (standing(["line_items[0]"], [BAD, GOOD_LINE]), "bad_child_id"),
        (standing(["line_items[0]"], [GOOD_LINE, GOOD_LINE]), "duplicate_child"),
        (standing(["line_items[0]"], [GOOD_LINE], id=None), "bad_order_id"),
        (standing(["line_items[0]"], [GOOD_LINE], id=None, mended=True), "bad_order_id"),
        (
            standing(["refunds[0].refund_line_items[1]"], [], refunds=[{"id": 0}]),
            "bad_child_id",
        ),
    ],
    ids=["child", "duplicate", "order", "mended order", "above"],
)
def test_an_order_without_a_child_that_is_good_now_is_left_alone(
    record: StoredReject, code: str
) -> None:
    [found] = again(record)
    [verdict] = found.outcomes
    assert (verdict.path, verdict.code, verdict.row) == (record.children[0], code, None)
    assert verdict.message
    assert not found.decoded.orders.num_rows
    assert not found.decoded.rejected
    assert not found.rejected_before
    assert not found.lines_rejected_before


def test_a_mended_order_is_read_even_if_its_child_is_as_bad_as_before() -> None:
    [found] = again(standing(["line_items[0]"], [BAD], mended=True, total_price="2"))
    assert told(found) == {"line_items[0]": "bad_child_id"}
    assert found.decoded.orders.num_rows == 1
    assert found.rejected_before[fact_order_line.name] == 1


def test_orders_that_stand_are_told_apart_from_others_in_the_same_batch() -> None:
    one = ["line_items[0]"]
    [found] = again(
        standing(one, [BAD], position=1, total_price="x"),
        kept(GOOD, position=2),
        standing(one, [GOOD_LINE], position=3, total_price="x"),
        standing(one, [GOOD_LINE], position=4, mended=True, id=8),
        kept("{", position=5),
    )
    rows = {v.position: v.row for v in found.outcomes}
    places = found.decoded.orders[POSITION].to_pylist()
    assert {at: None if row is None else places[row] for at, row in rows.items()} == {
        **{1: None, 2: 2, 3: 3, 4: 4},
        5: None,
    }
    # What an order that is left alone has of odd values was counted when it was loaded.
    [issue] = found.decoded.issues
    assert (issue.code, issue.samples) == ("bad_money", ((3, "x"),))


def test_orders_with_more_bad_children_than_a_block_may_have_are_read_in_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(block, "MAX_REJECTED", 5)
    orders = [standing(["line_items[0]"], [GOOD_LINE] + [0] * 3, position=n) for n in range(1, 6)]
    [found] = again(*orders, kept(json.dumps([0] * 6), "not_an_order", 6))
    assert len(found.decoded.rejected) == 15
    places = found.decoded.orders[POSITION].to_pylist()
    told = {v.position: v.code if v.row is None else places[v.row] for v in found.outcomes}
    assert told == {**{n: n for n in range(1, 6)}, 6: "not_an_order"}


def test_children_count_for_the_size_of_a_batch() -> None:
    paths = [f"line_items[{place}]" for place in range(BLOCK_RECORDS // 2)]
    found = again(*(standing(paths, [BAD], position=n) for n in range(1, 4)))
    assert [len({v.position for v in some.outcomes}) for some in found] == [2, 1]
