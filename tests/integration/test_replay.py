"""A replay publishes rejected records that are good now, and the ledger has the result of each."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
import s3fs
from distributed import Client
from sqlalchemy import Engine, text

from orders_dask import diff, prune, replay, rollback, run
from orders_dask.contract.arrow import FILE
from orders_dask.contract.order_tables import FACTS
from orders_dask.errors import DataRefused, NothingToRestore
from orders_dask.jobs.backfill import refresh_dates
from orders_dask.ledger.queries import database_id
from orders_dask.ledger.rejects import rejects
from orders_dask.load.connect import engine
from orders_dask.read import read_staged
from orders_dask.settings import Settings
from orders_dask.stage.manifest import Manifest, latest_manifest, write_manifest
from tests.support.builders import DAY, lines, order
from tests.support.commands import orders_dask
from tests.support.replays import changed, outcomes_by_record, replay_killed_before_its_publish
from tests.support.types import Put, Query

NO_ID = json.dumps(order(7) | {"id": None})

Correct = Callable[[int, str], None]


@pytest.fixture
def environment(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Let dumps of which most is rejected be published: that is what a replay is for."""
    lenient = {"ORDERS_DASK_CHECK_SEVERITY": "mostly_rejected=off"}
    for name, value in lenient.items():
        monkeypatch.setenv(name, value)
    return environment | lenient


@pytest.fixture
def correct(warehouse: Engine) -> Correct:
    """Return a function that sets the corrected text of the record at a position."""

    def correct(position: int, text: str) -> None:
        assert changed(warehouse, position, "corrected_raw = :text", "", text=text) == 1

    return correct


@pytest.fixture
def orders(query: Query) -> Callable[[], list[tuple[int, int, Decimal]]]:
    """Return a function that reads id, position and price of each order."""

    def orders() -> list[Any]:
        return query(
            "select order_id, source_position, total_price from orders.fact_order order by 1"
        )

    return orders


def test_corrected_records_are_published_and_the_others_stay_rejected(
    client: Client,
    settings: Settings,
    query: Query,
    put: Put,
    correct: Correct,
    orders: Callable[[], Any],
) -> None:
    put("dump/a.ndjson", lines(order(1), NO_ID, "oops", order(2)))
    put("dump/b.ndjson", lines("no order", order(3)))
    first = run(DAY, settings=settings, client=client)
    s3fs.S3FileSystem().rm(settings.source, recursive=True)
    correct(2, json.dumps(order(7, "7.5"), indent=1))
    correct(3, "still no json")

    ended = replay(DAY, settings=settings, client=client)
    assert (ended.taken_in, ended.superseded, ended.still_rejected) == (1, 0, {"invalid_json": 2})
    result = ended.run
    assert (result.outcome, result.orders, result.lines, result.rejected) == (
        *("published", 4, 4),
        2,
    )
    assert orders() == [
        *((1, 1, Decimal(10)), (2, 4, Decimal(10))),
        *((3, 2, Decimal(10)), (7, 2, Decimal("7.5"))),
    ]
    old, new = first.load_id, result.load_id
    results = outcomes_by_record(query)
    assert results[old, 2, ""] == "taken in as order 7"
    assert results[new, 3, ""] == results[old, 3, ""]
    assert (results[new, 3, ""] or "").startswith("still invalid_json: The text is not JSON: ")
    assert {key[1] for key in results if key[0] == new} == {1, 3}
    replayed = "select count(*) from orders_ops.rejected_record where replay_load_id = :new"
    assert query(replayed, new=new) == [(5,)]
    files = (
        "select order_read, order_loaded, order_rejected, order_line_read from orders_ops.load_file"
    )
    assert query(f"{files} where load_id = :new order by name", new=new) == [
        (4, 3, 1, 3),
        (2, 1, 1, 1),
    ]
    assert query(
        "select corrected_raw from orders_ops.rejected_record"
        " where load_id = :new and position = 3",
        new=new,
    ) == [("still no json",)]
    staged = read_staged(DAY, columns=["order_id"]).compute(scheduler="sync")
    assert sorted(staged["order_id"]) == [1, 2, 3, 7]


def test_a_run_of_the_same_files_keeps_a_replay_and_a_rollback_undoes_it(
    client: Client, settings: Settings, put: Put, correct: Correct, orders: Callable[[], Any]
) -> None:
    put("dump/a.ndjson", lines(order(1), NO_ID))
    first = run(DAY, settings=settings, client=client)
    before = orders()
    correct(2, json.dumps(order(7)))
    replayed = replay(DAY, settings=settings, client=client).run
    unchanged = run(DAY, settings=settings, client=client)
    assert (unchanged.outcome, unchanged.load_id) == ("up_to_date", replayed.load_id)

    rollback(DAY, settings=settings)
    assert orders() == before
    repeated = replay(DAY, settings=settings, client=client)
    assert repeated.taken_in == 1
    assert (repeated.run.load_id or 0) > (replayed.load_id or 0) > (first.load_id or 0)


def test_a_second_replay_adds_to_the_first(
    client: Client, settings: Settings, put: Put, correct: Correct, orders: Callable[[], Any]
) -> None:
    put("dump/a.ndjson", lines(order(1), NO_ID, "oops", NO_ID))
    split = settings.model_copy(update={"block_size": 100})
    run(DAY, settings=split, client=client)
    correct(2, json.dumps(order(7)))
    assert replay(DAY, settings=split, client=client).taken_in == 1
    correct(4, json.dumps(order(8)))
    ended = replay(DAY, settings=split, client=client)
    assert (ended.taken_in, ended.still_rejected) == (1, {"invalid_json": 1})
    assert [(o, at) for o, at, _ in orders()] == [(1, 1), (7, 2), (8, 4)]


def test_a_refresh_skips_what_was_corrected_and_a_forced_run_warns(
    client: Client, settings: Settings, owner: Engine, put: Put, correct: Correct
) -> None:
    put("dump/a.ndjson", lines(order(1), NO_ID, NO_ID))
    run(DAY, settings=settings, client=client)
    for position in (2, 3):
        correct(position, json.dumps(order(position)))
        assert replay(DAY, settings=settings, client=client).taken_in == 1
    with owner.begin() as connection:
        lack = "update orders_ops.load_run set columns = columns - 'fact_order.note'"
        connection.exec_driver_sql(lack)
    assert refresh_dates("note", settings=settings) == []
    assert refresh_dates("note", settings=settings, corrected=True) == [DAY]
    _, message = orders_dask("backfill", "--refresh", "note")
    assert "1 run date left out, for the dump lacks corrections" in message
    forced = run(DAY, settings=settings, client=client, force=True)
    assert "lost 2 records that were corrected and replayed" in forced.warnings[0]
    assert run(DAY, settings=settings, client=client, force=True).warnings == ()


def test_a_replay_makes_no_text_younger(
    client: Client, settings: Settings, owner: Engine, query: Query, put: Put, correct: Correct
) -> None:
    put("dump/a.ndjson", lines(order(1), NO_ID, "oops"))
    run(DAY, settings=settings, client=client)
    with owner.begin() as connection:
        connection.execute(
            text(
                "update orders_ops.load_run"
                " set source_read_at = source_read_at - interval '99 days'"
            )
        )
    correct(2, json.dumps(order(7)))
    assert replay(DAY, settings=settings, client=client).taken_in == 1
    prune(rejected_older_than=100, settings=settings)
    assert query("select count(raw) from orders_ops.rejected_record") == [(3,)]
    prune(rejected_older_than=99, settings=settings)
    assert query("select count(raw), count(corrected_raw) from orders_ops.rejected_record") == [
        (0, 0)
    ]


def test_a_corrected_record_takes_part_as_any_version_of_its_order(
    client: Client,
    settings: Settings,
    query: Query,
    put: Put,
    correct: Correct,
    orders: Callable[[], Any],
) -> None:
    put("dump/a.ndjson", lines(order(1, "1"), NO_ID, NO_ID, order(2, "2")))
    first = run(DAY, settings=settings, client=client)
    correct(2, json.dumps(order(1, "3")))  # the same version, further back in the file: it wins
    correct(3, json.dumps(order(2, "4", updated_at="2026-09-01T00:00:00Z")))
    ended = replay(DAY, settings=settings, client=client)
    assert (ended.taken_in, ended.superseded, ended.run.superseded) == (2, 1, 2)
    assert orders() == [(1, 2, Decimal(3)), (2, 4, Decimal(2))]
    results = outcomes_by_record(query)
    assert results[first.load_id, 2, ""] == "taken in as order 1"
    assert results[first.load_id, 3, ""] == "superseded by another version of order 2"


def test_only_records_with_the_given_code_are_replayed(
    client: Client, settings: Settings, query: Query, put: Put, correct: Correct
) -> None:
    put("dump/a.ndjson", lines(order(1), NO_ID, "oops"))
    first = run(DAY, settings=settings, client=client)
    correct(2, json.dumps(order(7)))
    correct(3, json.dumps({"order": order(8)}))
    ended = replay(DAY, "invalid_json", settings=settings, client=client)
    assert (ended.taken_in, ended.still_rejected, ended.run.rejected) == (1, {}, 1)
    results = outcomes_by_record(query)
    assert results[first.load_id, 3, ""] == "taken in as order 8"
    assert results[first.load_id, 2, ""] is None
    assert results[ended.run.load_id, 2, ""] is None
    assert replay(DAY, settings=settings, client=client).taken_in == 1


def test_records_that_can_not_be_replayed_are_reported_and_nothing_is_loaded(
    client: Client, settings: Settings, query: Query, put: Put, warehouse: Engine
) -> None:
    long = json.dumps(order(5, note="x" * 70_000) | {"id": "five"})
    child = order(6, line_items=[{"id": None, "price": "1"}])
    put("dump/a.ndjson", lines(order(1), long, NO_ID, child, "oops") + b"[1, 2")
    allowed = settings.model_copy(update={"allow_unreadable": True})
    first = run(DAY, settings=allowed, client=client)
    with warehouse.begin() as connection:
        connection.execute(
            text("update orders_ops.rejected_record set raw = null where position = 3")
        )
    ended = replay(DAY, settings=allowed, client=client)
    assert (ended.taken_in, ended.run.outcome, ended.run.load_id) == (
        *(0, "up_to_date"),
        first.load_id,
    )
    assert ended.still_rejected == {
        "bad_child_id": 1,
        "invalid_json": 1,
        "rest of a file that can't be read": 1,
        "text not kept whole": 1,
        "text removed": 1,
    }
    results = outcomes_by_record(query)
    assert "text not kept whole" in (results[first.load_id, 2, ""] or "")
    assert "text removed" in (results[first.load_id, 3, ""] or "")
    assert results[first.load_id, 4, "line_items[0]"] == (
        "still bad_child_id: The id of line_items[0] is null, not a positive integer."
    )
    assert "still invalid_json" in (results[first.load_id, 5, ""] or "")
    assert "rest of a file" in (results[first.load_id, 6, ""] or "")
    assert query("select count(*) from orders_ops.load_run") == [(1,)]


def test_rejected_children_of_a_replayed_order_are_counted_and_recorded(
    client: Client, settings: Settings, query: Query, put: Put, correct: Correct
) -> None:
    put("dump/a.ndjson", lines(order(1), NO_ID))
    run(DAY, settings=settings, client=client)
    correct(
        2, json.dumps(order(7, line_items=[{"id": 71, "price": "x"}, {"id": "bad"}, {"id": 72}]))
    )
    ended = replay(DAY, settings=settings, client=client)
    assert (ended.run.lines, ended.run.rejected) == (3, 0)

    def of_load(table: str, *names: str) -> list[tuple[Any, ...]]:
        listed = ", ".join(names)
        return query(
            f"select {listed} from orders_ops.{table} where load_id = :new",  # noqa: S608
            new=ended.run.load_id,
        )

    assert of_load("rejected_record", "position", "path", "code") == [
        (2, "line_items[1]", "bad_child_id")
    ]
    of_lines = ("order_line_read", "order_line_loaded", "order_line_rejected")
    assert of_load("load_file", "order_read", "order_rejected", *of_lines) == [(2, 0, 4, 3, 1)]
    assert of_load("data_issue", "field", "code", "samples") == [
        ("line_items[].price", "bad_money", [[2, "x"]])
    ]


def test_a_replayed_order_has_the_same_rows_as_in_a_run(
    client: Client, settings: Settings, query: Query, put: Put, correct: Correct
) -> None:
    good = json.dumps(
        order(7, "1.5", customer={"id": 5, "email": "a@b"}, refunds=[{"id": 4, "note": "late"}])
    )
    dated = settings.model_copy(update={"source": settings.source + "{run_date}/"})
    put("dump/2026-10-02/a.ndjson", lines(order(1), good))
    run(date(2026, 10, 2), settings=dated, client=client)
    put("dump/2026-10-01/a.ndjson", lines(order(1), good.replace('"id": 7', '"id": "7!"', 1)))
    run(DAY, settings=dated, client=client)
    with_code = (
        "load_id = (select load_id from orders_store.published where run_date = '2026-10-01')"
    )
    assert query(f"select code from orders_ops.rejected_record where {with_code}") == [  # noqa: S608
        ("bad_order_id",)
    ]
    correct(2, good)
    replay(DAY, settings=dated, client=client)
    for fact in FACTS:
        names = [c.name for c in fact.c if c.name not in {"run_date", "load_id", FILE}]
        both = f"select count(*), count(distinct ({', '.join(names)})) from orders.{fact.name}"  # noqa: S608
        [(rows, distinct)] = query(both)
        assert rows == 2 * distinct
    assert query("select customer_id, email, first_seen from orders.dim_customer") == [
        (5, "a@b", DAY)
    ]


@pytest.mark.slow
def test_a_replay_that_was_killed_before_its_publish_is_repeated_without_harm(
    client: Client,
    settings: Settings,
    query: Query,
    put: Put,
    correct: Correct,
    orders: Callable[[], Any],
) -> None:
    put("dump/a.ndjson", lines(order(1), NO_ID, "oops"))
    run(DAY, settings=settings, client=client)
    before = orders()
    correct(2, json.dumps(order(7)))
    replay_killed_before_its_publish()
    assert orders() == before
    assert query("select distinct load_id from orders_ops.rejected_record order by 1") == [
        (1,),
        (2,),
    ]
    shown = [r.load_id for r in rejects(engine(settings))]
    assert shown == [1, 1], "the records of the dead replay hide nothing"

    repeated = replay(DAY, settings=settings, client=client)
    assert (repeated.taken_in, repeated.still_rejected) == (1, {"invalid_json": 1})
    assert [(o, at) for o, at, _ in orders()] == [(1, 1), (7, 2)]
    assert query("select status from orders_ops.load_run order by load_id") == [
        ("replaced",),
        ("abandoned",),
        ("published",),
    ]
    parts = query(
        "select load_id, count(*), min(part), max(part) from orders_ops.load_part group by 1"
    )
    assert [count for _, count, _, _ in sorted(parts)] == [1, 2, 2]
    assert len({(least, most) for _, count, least, most in parts if count == 2}) == 1


def test_without_a_published_load_or_staged_parts_the_error_names_the_command(
    client: Client, settings: Settings, warehouse: Engine, put: Put, correct: Correct
) -> None:
    with pytest.raises(NothingToRestore, match="Nothing is published for 2026-10-01"):
        replay(DAY, settings=settings, client=client)
    put("dump/a.ndjson", lines(order(1), NO_ID))
    run(DAY, settings=settings, client=client)
    correct(2, json.dumps(order(7)))
    fs = s3fs.S3FileSystem()
    [part] = fs.glob(f"{settings.stage_url}/run_date={DAY}/part=*/part.json")
    fs.rm(part)
    with pytest.raises(NothingToRestore, match=r"1 of its parts are not in the stage.*run --force"):
        replay(DAY, settings=settings, client=client)


def test_after_a_later_load_was_refused_a_run_is_needed_first(
    client: Client, settings: Settings, warehouse: Engine, put: Put
) -> None:
    put("dump/a.ndjson", lines(order(1), "oops"))
    run(DAY, settings=settings, client=client)
    put("dump/a.ndjson", lines(order(1), *["oops"] * 11))
    with pytest.raises(DataRefused, match="were rejected"):
        run(DAY, settings=settings, client=client)
    with pytest.raises(NothingToRestore, match=r"was refused or held.*orders-dask run"):
        replay(DAY, settings=settings, client=client)
    put("dump/a.ndjson", lines(order(1), "oops"))
    assert replay(DAY, settings=settings, client=client).still_rejected == {"invalid_json": 1}, (
        "put back"
    )


def test_a_refused_replay_or_diff_hides_no_rejects_and_blocks_no_replay(
    client: Client, settings: Settings, put: Put, correct: Correct, orders: Callable[[], Any]
) -> None:
    put("dump/a.ndjson", lines(order(1), NO_ID, "[" * 9))
    tolerant = settings.model_copy(update={"allow_unreadable": True})
    run(DAY, settings=tolerant, client=client)
    shown = [(r.load_id, r.position) for r in rejects(engine(settings))]
    correct(2, json.dumps(order(7)))
    with pytest.raises(DataRefused):
        replay(DAY, settings=settings, client=client)
    put("dump/a.ndjson", lines(order(1), *["oops"] * 20))
    with pytest.raises(DataRefused):
        diff(DAY, settings=settings, client=client)
    assert [(r.load_id, r.position) for r in rejects(engine(settings))] == shown
    assert replay(DAY, settings=tolerant, client=client).taken_in == 1
    assert [order_id for order_id, *_ in orders()] == [1, 7]


def test_the_parts_are_those_of_the_ledger_whoever_wrote_a_manifest_for_them(
    client: Client,
    settings: Settings,
    warehouse: Engine,
    put: Put,
    correct: Correct,
    orders: Callable[[], Any],
) -> None:
    """A copy of the database has the same database_id, and continues with the same load ids."""
    put("dump/a.ndjson", lines(order(900)))
    run(DAY, settings=settings, client=client)
    [others] = latest_manifest(settings.stage_url, DAY).parts
    put("dump/a.ndjson", lines(order(1), NO_ID))
    load_id = run(DAY, settings=settings, client=client).load_id
    assert load_id
    copied = Manifest(database_id(warehouse), load_id, [others], {})
    write_manifest(settings.stage_url, DAY, copied)
    correct(2, json.dumps(order(7)))
    assert replay(DAY, settings=settings, client=client).taken_in == 1
    assert [order_id for order_id, *_ in orders()] == [1, 7]


def test_after_a_rollback_of_a_replay_its_records_have_no_result(
    client: Client, settings: Settings, put: Put, correct: Correct
) -> None:
    put("dump/a.ndjson", lines(order(1), NO_ID))
    run(DAY, settings=settings, client=client)
    correct(2, json.dumps(order(7)))
    replay(DAY, settings=settings, client=client)
    rollback(DAY, settings=settings)
    [record] = rejects(engine(settings))
    assert (record.position, record.replay_result) == (2, None)


# The commands.


def test_the_command_replay_prints_its_counts_and_the_published_load(
    client: Client, settings: Settings, put: Put, correct: Correct
) -> None:
    put("dump/a.ndjson", lines(order(1), NO_ID, "oops"))
    run(DAY, settings=settings, client=client)
    correct(2, json.dumps(order(7)))
    cluster = ("--workers", "1")
    out, _ = orders_dask("rejects", "replay", "--run-date", str(DAY), *cluster)
    taken_in, published = out.splitlines()
    assert taken_in == f"{DAY}  taken in 1 record, still rejected 1: 1 invalid_json"
    assert published.startswith(f"{DAY}  published: 2 orders, 2 lines, 0 superseded, 1 rejected, ")

    out, _ = orders_dask("rejects", "replay", "--run-date", str(DAY), "--json", *cluster)
    result = json.loads(out)
    assert (result["taken_in"], result["still_rejected"]) == (0, {"invalid_json": 1})
    assert (result["run"]["outcome"], result["run"]["orders"]) == ("up_to_date", 2)

    out, err = orders_dask("rejects", "--json")
    [row] = json.loads(out)
    assert (row["position"], row["corrected_raw"], row["load_id"]) == (
        3,
        None,
        result["run"]["load_id"],
    )
    assert row["replay_result"].startswith("still invalid_json: ")
    assert err == ""
    out, _ = orders_dask("rejects")
    assert "record 3: " in out
    assert "(still invalid_json: " in out


def test_for_an_absent_code_the_present_ones_are_listed(
    client: Client, settings: Settings, put: Put, warehouse: Engine
) -> None:
    assert orders_dask("rejects") == ("", "Nothing was rejected.\n")
    put("dump/a.ndjson", lines(order(1), NO_ID, "oops", NO_ID))
    run(DAY, settings=settings, client=client)
    message = (
        "Nothing was rejected with the code nonsense: there are 2 bad_order_id, 1 invalid_json.\n"
    )
    assert orders_dask("rejects", "--code", "nonsense") == ("", message)
    assert orders_dask("rejects", "--code", "nonsense", "--json") == ("[]\n", message)
    replaying = ("replay", "--run-date", str(DAY), "--workers", "1")
    out, err = orders_dask("rejects", *replaying, "--code", "nonsense")
    assert out.startswith(f"{DAY}  taken in 0 records, still rejected 0\n{DAY}  up to date: ")
    assert message in err


def test_options_in_front_of_replay_are_wrong_usage(environment: dict[str, str]) -> None:
    _, err = orders_dask(
        "rejects", "--code", "bad_order_id", "replay", "--run-date", str(DAY), code=2
    )
    assert "behind its name" in err


def test_nothing_published_is_exit_code_3(
    client: Client, settings: Settings, warehouse: Engine
) -> None:
    arguments = ("replay", "--run-date", str(DAY), "--workers", "1")
    out, err = orders_dask("rejects", *arguments, code=3)
    assert out == ""
    assert "Nothing is published for 2026-10-01" in err
