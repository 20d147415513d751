"""Replay of rejected children: the corrected order replaces its former version."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from distributed import Client
from sqlalchemy import Engine

from orders_dask import replay, rollback, run
from orders_dask.jobs.prune import prune
from orders_dask.read import read_staged
from orders_dask.settings import Settings
from tests.support.builders import DAY, lines, order
from tests.support.replays import changed, outcomes_by_record, replay_killed_before_its_publish
from tests.support.types import Put, Query

Change = Callable[..., int]
Lines = Callable[[], dict[int, list[int]]]


def line(line_id: Any, price: str = "1") -> dict[str, Any]:
    return {"id": line_id, "quantity": 1, "price": price, "product_id": 1, "variant_id": line_id}


def with_lines(order_id: int, *line_ids: Any, **more: Any) -> dict[str, Any]:
    return order(order_id, line_items=[line(line_id) for line_id in line_ids], **more)


@pytest.fixture
def change(warehouse: Engine) -> Change:
    """Return a function that updates rejected children at a position and counts them."""

    def change(position: int, what: str, path: str = "%", **values: Any) -> int:
        return changed(warehouse, position, what, path, **values)

    return change


@pytest.fixture
def correct(change: Change) -> Callable[..., None]:
    """Return a function that sets the corrected order of the child at a position and path."""

    def correct(position: int, path: str, corrected: dict[str, Any]) -> None:
        text = json.dumps(corrected)
        assert change(position, "corrected_raw = :text", path, text=text) == 1

    return correct


@pytest.fixture
def seen(query: Query) -> Lines:
    """Return a function that reads the line ids of each order."""

    def seen() -> dict[int, list[int]]:
        return dict(
            query(
                "select order_id, array_agg(line_id order by line_id)"
                " from orders.fact_order_line group by 1"
            )
        )

    return seen


def counters(query: Query, load_id: int | None) -> dict[str, tuple[Any, ...]]:
    """Return read, loaded, superseded and rejected orders and lines of the file of a load."""
    names = ("read", "loaded", "superseded", "rejected")
    facts = ("order", "order_line")
    columns = ", ".join(f"{fact}_{name}" for fact in facts for name in names)
    [row] = query(
        f"select {columns} from orders_ops.load_file where load_id = :load_id",  # noqa: S608
        load_id=load_id,
    )
    return dict(zip(facts, (row[:4], row[4:]), strict=True))


def test_an_order_with_one_of_two_rejected_lines_corrected_replaces_itself(
    client: Client, settings: Settings, query: Query, put: Put, correct: Any, seen: Lines
) -> None:
    put("dump/a.ndjson", lines(order(1), with_lines(2, 21, "x", None, 24)))
    first = run(DAY, settings=settings, client=client)
    assert counters(query, first.load_id) == {"order": (2, 2, 0, 0), "order_line": (5, 3, 0, 2)}
    correct(2, "line_items[1]", with_lines(2, 21, 22, None, 24))

    ended = replay(DAY, settings=settings, client=client)
    assert (ended.taken_in, ended.superseded, ended.still_rejected) == (1, 0, {"bad_child_id": 1})
    new = ended.run.load_id
    assert ended.run.outcome == "published"
    assert seen() == {1: [10], 2: [21, 22, 24]}
    assert query(
        "select line_count, gross_line_amount, source_position"
        " from orders.order_current where order_id = 2"
    ) == [(3, Decimal(3), 2)]
    assert query("select variant_id from orders.dim_product_variant order by 1") == [
        (21,),
        (22,),
        (24,),
    ]
    assert counters(query, new) == {"order": (3, 2, 1, 0), "order_line": (7, 4, 2, 1)}
    results = outcomes_by_record(query)
    assert results == {
        (first.load_id, 2, "line_items[1]"): "taken in with order 2",
        (first.load_id, 2, "line_items[2]"): results[first.load_id, 2, "line_items[2]"],
        (new, 2, "line_items[2]"): None,
    }
    assert (results[first.load_id, 2, "line_items[2]"] or "").startswith(
        "still bad_child_id: The id"
    )
    assert query(
        "select distinct replay_load_id from orders_ops.rejected_record where load_id = :load_id",
        load_id=first.load_id,
    ) == [(new,)]
    staged = read_staged(DAY, "fact_order_line", columns=["line_id"]).compute(scheduler="sync")
    assert sorted(staged["line_id"]) == [10, 21, 22, 24]

    # The stored text of the order is the corrected one.
    assert replay(DAY, settings=settings, client=client).run.outcome == "up_to_date"
    correct(2, "line_items[2]", with_lines(2, 21, 22, 23, 24))
    ended = replay(DAY, settings=settings, client=client)
    assert (ended.taken_in, ended.still_rejected) == (1, {})
    assert seen() == {1: [10], 2: [21, 22, 23, 24]}
    assert counters(query, ended.run.load_id) == {
        "order": (4, 2, 2, 0),
        "order_line": (10, 5, 5, 0),
    }
    assert {load_id for load_id, _, _ in outcomes_by_record(query)} == {first.load_id, new}

    for line_ids in ([21, 22, 24], [21, 24]):
        rollback(DAY, settings=settings)
        assert seen() == {1: [10], 2: line_ids}
    ended = replay(DAY, settings=settings, client=client)
    assert (ended.taken_in, ended.still_rejected) == (1, {"bad_child_id": 1})
    assert seen() == {1: [10], 2: [21, 22, 24]}


def test_a_contract_that_reads_more_takes_in_what_it_can_and_no_other_orders(
    client: Client, settings: Settings, query: Query, put: Put, change: Change
) -> None:
    refunds = [{"id": "r5", "note": "late", "refund_line_items": [{"id": 51, "quantity": 1}]}]
    put(
        "dump/a.ndjson",
        lines(with_lines(1, "11!", 12), with_lines(2, 20, 20), with_lines(3, 31, refunds=refunds)),
    )
    first = run(DAY, settings=settings, client=client)
    stored = query("select position, code, order_raw from orders_ops.rejected_record order by 1")
    assert [(position, code) for position, code, _ in stored] == [
        *((1, "bad_child_id"), (2, "duplicate_child")),
        (3, "bad_child_id"),
    ]
    assert json.loads(stored[2][2]) == with_lines(3, 31, refunds=refunds)
    ended = replay(DAY, settings=settings, client=client)
    still = {"bad_child_id": 2, "duplicate_child": 1}
    assert (ended.taken_in, ended.still_rejected, ended.run.outcome) == (0, still, "up_to_date")
    assert all((result or "").startswith("still ") for result in outcomes_by_record(query).values())

    # As if a later contract could read "11!" and "r5".
    for position, bad, good in ((1, '"11!"', "11"), (3, '"r5"', "5")):
        values = {"bad": bad, "good": good}
        assert change(position, "order_raw = replace(order_raw, :bad, :good)", **values) == 1
    ended = replay(DAY, settings=settings, client=client)
    assert (ended.taken_in, ended.still_rejected) == (2, {"duplicate_child": 1})
    assert counters(query, ended.run.load_id)["order"] == (5, 3, 2, 0)
    left = "select position from orders_ops.rejected_record where load_id = :new"
    assert query(left, new=ended.run.load_id) == [(2,)]
    assert query("select order_id, line_count, refund_count from orders.fact_order order by 1") == [
        *((1, 2, 0), (2, 1, 0)),
        (3, 1, 1),
    ]
    assert query("select order_id, refund_id, refund_line_id from orders.fact_refund_line") == [
        (3, 5, 51)
    ]
    assert outcomes_by_record(query)[first.load_id, 3, "refunds[0]"] == "taken in with order 3"


def test_a_corrected_order_is_superseded_by_a_greater_version_like_its_former_one(
    client: Client, settings: Settings, query: Query, put: Put, correct: Any, seen: Lines
) -> None:
    early, late = ({"updated_at": f"2026-10-01T{hour}:00:00Z"} for hour in ("07", "09"))
    put(
        "dump/a.ndjson",
        lines(
            with_lines(1, "x", **early),
            with_lines(1, 12, **late),
            with_lines(2, "x", **late),
            with_lines(2, 22, **early),
        ),
    )
    first = run(DAY, settings=settings, client=client)
    assert seen() == {1: [12]}
    correct(1, "line_items[0]", with_lines(1, 11, **early))
    # The former order has a greater version, and must not take part.
    correct(3, "line_items[0]", with_lines(2, 21, updated_at="2026-10-01T06:00:00Z"))
    ended = replay(DAY, settings=settings, client=client)
    assert (ended.taken_in, ended.superseded, ended.run.superseded) == (2, 2, 4)
    assert seen() == {1: [12], 2: [22]}
    assert outcomes_by_record(query) == {
        (first.load_id, 1, "line_items[0]"): "superseded by another version of order 1",
        (first.load_id, 3, "line_items[0]"): "superseded by another version of order 2",
    }


def test_an_order_that_is_corrected_to_another_id_replaces_its_former_one(
    client: Client, settings: Settings, query: Query, put: Put, correct: Any, seen: Lines
) -> None:
    put("dump/a.ndjson", lines(order(1), with_lines(2, 21, "x")))
    run(DAY, settings=settings, client=client)
    correct(2, "line_items[1]", with_lines(9, 91, 92))
    assert replay(DAY, settings=settings, client=client).taken_in == 1
    assert seen() == {1: [10], 9: [91, 92]}


def test_a_text_that_is_bad_as_a_whole_or_was_not_stored_changes_nothing(
    client: Client,
    settings: Settings,
    query: Query,
    put: Put,
    correct: Any,
    change: Change,
    seen: Lines,
) -> None:
    long = with_lines(4, 41, "x", note="x" * 70_000)
    put(
        "dump/a.ndjson",
        lines(*(with_lines(n, n * 10, "x") for n in (1, 2)), with_lines(3, 30, "x", "y"), long),
    )
    first = run(DAY, settings=settings, client=client)
    before = seen()
    correct(1, "line_items[1]", with_lines(1, 10, 11) | {"id": None})
    assert change(2, "order_raw = null") == 1
    correct(3, "line_items[1]", with_lines(3, 30, 31, "y"))
    correct(3, "line_items[2]", with_lines(3, 30, "x", 32))
    ended = replay(DAY, settings=settings, client=client)
    assert (ended.run.outcome, ended.run.load_id) == ("up_to_date", first.load_id)
    assert ended.still_rejected == {
        "bad_order_id": 1,
        "text removed": 1,
        "one order corrected in two ways": 2,
        "text not kept whole": 1,
    }
    assert seen() == before
    results = {
        position: result or ""
        for (_, position, path), result in outcomes_by_record(query).items()
        if path
    }
    assert results[1].startswith("still bad_order_id: The order's id is null")
    assert "of a child to that of its order" in results[2]
    assert "the same text for all of its children" in results[3]
    correct(4, "line_items[1]", with_lines(4, 41, 42, note="x" * 70_000))
    assert replay(DAY, settings=settings, client=client).taken_in == 1
    assert seen() == before | {4: [41, 42]}


def test_with_a_code_only_orders_with_such_a_child_are_replayed(
    client: Client, settings: Settings, query: Query, put: Put, correct: Any, seen: Lines
) -> None:
    put("dump/a.ndjson", lines(with_lines(1, "x", 12), with_lines(2, 21, 21, "x")))
    first = run(DAY, settings=settings, client=client)
    correct(1, "line_items[0]", with_lines(1, 11, 12))
    correct(2, "line_items[0]", with_lines(2, 21, 22, "x"))
    ended = replay(DAY, "duplicate_child", settings=settings, client=client)
    assert (ended.taken_in, ended.still_rejected) == (1, {"bad_child_id": 1})
    assert seen() == {1: [12], 2: [21, 22]}
    results = outcomes_by_record(query)
    assert results[first.load_id, 1, "line_items[0]"] is None
    assert results[first.load_id, 2, "line_items[0]"] == "taken in with order 2"
    assert (results[first.load_id, 2, "line_items[2]"] or "").startswith("still bad_child_id")


def test_a_record_that_was_taken_in_without_a_child_is_replayed_like_any_order(
    client: Client, settings: Settings, query: Query, put: Put, correct: Any, seen: Lines
) -> None:
    put("dump/a.ndjson", lines(order(1), order(7) | {"id": None}))
    split = settings.model_copy(update={"block_size": 100})
    run(DAY, settings=split, client=client)
    correct(2, "", with_lines(7, 71, "x"))
    ended = replay(DAY, settings=split, client=client)
    assert seen() == {1: [10], 7: [71]}
    correct(2, "line_items[1]", with_lines(7, 71, 72))
    ended = replay(DAY, settings=split, client=client)
    assert (ended.taken_in, ended.still_rejected) == (1, {})
    assert seen() == {1: [10], 7: [71, 72]}
    assert counters(query, ended.run.load_id) == {
        "order": (3, 2, 1, 0),
        "order_line": (4, 3, 1, 0),
    }
    left = "select path from orders_ops.rejected_record where load_id = :new"
    assert query(left, new=ended.run.load_id) == []


def test_texts_of_orders_are_redacted_with_the_others(
    client: Client,
    settings: Settings,
    query: Query,
    put: Put,
    seen: Lines,
    tomorrow: None,
) -> None:
    put("dump/a.ndjson", lines(with_lines(1, "x", 12)))
    run(DAY, settings=settings, client=client)
    prune(settings=settings)
    assert query("select raw, order_raw from orders_ops.rejected_record") == [(None, None)]
    assert replay(DAY, settings=settings, client=client).still_rejected == {"text removed": 1}
    run(DAY, settings=settings, client=client, force=True)
    assert query("select distinct raw, order_raw from orders_ops.rejected_record") == [(None, None)]


@pytest.mark.slow
def test_a_replay_of_children_that_was_killed_before_its_publish_is_repeated_without_harm(
    client: Client, settings: Settings, query: Query, put: Put, correct: Any, seen: Lines
) -> None:
    put("dump/a.ndjson", lines(order(1), with_lines(2, 21, "x", "y")))
    run(DAY, settings=settings, client=client)
    correct(2, "line_items[1]", with_lines(2, 21, 22, "y"))
    replay_killed_before_its_publish()
    assert seen() == {1: [10], 2: [21]}
    repeated = replay(DAY, settings=settings, client=client)
    assert (repeated.taken_in, repeated.still_rejected) == (1, {"bad_child_id": 1})
    assert seen() == {1: [10], 2: [21, 22]}
    assert query("select load_id, path from orders_ops.rejected_record order by 1, 2") == [
        *((1, "line_items[1]"), (1, "line_items[2]")),
        *((2, "line_items[2]"), (3, "line_items[2]")),
    ]
