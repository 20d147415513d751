"""Rejected texts that are read again: each gives one order, or stays rejected with its reason."""

from __future__ import annotations

import json
from zoneinfo import ZoneInfo

import pytest

from orders_dask.contract.arrow import POSITION, decoded_schema
from orders_dask.contract.findings import Kept
from orders_dask.contract.tables import FACTS, fact_order, fact_order_line
from orders_dask.extract.again import ReadAgain, read_again
from orders_dask.extract.records import BLOCK
from orders_dask.tasks import replayed

ORDER = {"id": 7, "total_price": "1.5", "line_items": [{"id": 71, "price": "1"}]}
GOOD = json.dumps(ORDER)


def kept(text: str, code: str = "bad_order_id", position: int = 5, file: str = "a") -> Kept:
    refused = {fact_order.name: 1, fact_order_line.name: 2}
    return Kept(ord(file), file, 1, "etag", position, code, text, refused)


def again(*records: Kept) -> list[ReadAgain]:
    return list(read_again(records, ZoneInfo("UTC")))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (GOOD, "bad_order_id"),
        (GOOD, "invalid_json"),
        (json.dumps(ORDER, indent=2).replace("\n", "\r\n"), "bad_order_id"),
        (json.dumps({"order": ORDER}), "invalid_json"),
        (json.dumps([ORDER]), "not_an_order"),
        (json.dumps({"orders": [ORDER]}), "not_an_order"),
        # Known as orders: neither are they told by their keys, nor is any key of theirs an envelope's.
        ('{"id": 7}', "id_mismatch"),
        ('{"order": 5, "orders": [1, 2], "id": "7"}', "bad_order_id"),
    ],
)
def test_one_good_order_is_taken_in_at_its_place(text: str, code: str) -> None:
    [found] = again(kept(text, code))
    assert [tuple(verdict) for verdict in found.verdicts] == [(97, 5, 7, None, None)]
    assert found.decoded.orders.schema == decoded_schema()
    assert found.decoded.orders[POSITION].to_pylist() == [5]
    assert found.before == {fact_order.name: 1, fact_order_line.name: 2}


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
    [verdict] = found.verdicts
    assert (verdict.order_id, verdict.code) == (None, still)
    assert says in (verdict.message or "")
    assert found.decoded.orders.num_rows == 0
    assert not found.before


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
    found = {v.position: v.order_id or v.code for v in of_a.verdicts}
    assert found == {
        **{n * 10: n for n in range(1, 5)},
        **{15: "invalid_json", 16: 7, 17: 1, 18: "bad_order_id"},
    }
    orders = of_a.decoded.orders
    assert orders[POSITION].to_pylist() == [v.position for v in of_a.verdicts if v.order_id]
    assert orders["id"].to_pylist() == [v.order_id for v in of_a.verdicts if v.order_id]
    [issue] = of_a.decoded.issues
    assert (issue.code, issue.count) == ("bad_money", 5)
    assert issue.samples == ((10, "1x"), (17, "1x"), (20, "2x"))
    assert of_b.decoded.file.name == "b"


def test_records_are_read_in_batches_of_bounded_size() -> None:
    note = "x" * (BLOCK // 3)
    records = [kept(json.dumps(ORDER | {"note": note}), position=n) for n in range(1, 8)]
    assert [len(block.verdicts) for block in again(*records)] == [3, 3, 1]


def test_the_books_of_a_file_change_by_what_is_good_now() -> None:
    children = ORDER | {"line_items": [{"id": 1}, {"id": 2}, {"id": None}]}
    blocks = again(kept(json.dumps(children), position=3), kept("{", position=4))
    [(file, tables)] = replayed(blocks)
    none = {fact.name: 0 for fact in FACTS}
    assert file.positions == 0
    assert file.read == none | {fact_order.name: 0, fact_order_line.name: 3 - 2}
    assert file.rejected == none | {fact_order.name: -1, fact_order_line.name: 1 - 2}
    assert file.lines_rejected == 1
    assert tables["replayed"]["order_row"].to_pylist() == [0, None]
    assert tables["rejected"]["path"].to_pylist() == ["line_items[2]"]
