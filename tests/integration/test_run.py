"""Whole runs: published, refused, up to date, forced."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from distributed import Client
from sqlalchemy import Engine

from orders_dask.cluster.clients import given_client
from orders_dask.errors import DatabaseNotReady, DataRefused, SettingsError, SourceMissing
from orders_dask.filesystem import filesystem
from orders_dask.jobs.backfill import backfill
from orders_dask.jobs.dates import date_range
from orders_dask.jobs.load_dates import load_dates
from orders_dask.jobs.run import run
from orders_dask.ledger.queries import database_id
from orders_dask.pipeline import tasks
from orders_dask.read import read_staged
from orders_dask.settings import Settings
from orders_dask.stage import collect
from tests.support.builders import DAY, lines, order
from tests.support.types import Put, Query


def test_a_dump_becomes_a_published_run_date(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    put("dump/a.ndjson", lines(order(1), order(2, "5.5"), "oops", order(1, "11")))
    result = run(DAY, settings=settings, client=client)
    assert (result.outcome, result.orders, result.superseded, result.rejected) == (
        "published",
        2,
        1,
        1,
    )
    assert query(
        "select order_id, total_price, gross_line_amount from orders.order_current order by 1"
    ) == [
        (1, Decimal("11"), Decimal("22")),
        (2, Decimal("5.5"), Decimal("11")),
    ]
    assert query("select position, path, code, raw from orders_ops.rejected_record") == [
        (3, "", "invalid_json", "oops")
    ]
    [counters] = query(
        "select order_read, order_loaded, order_superseded, order_rejected,"
        " order_line_read, order_line_superseded from orders_ops.load_file"
    )
    assert counters == (4, 2, 1, 1, 3, 1)


def test_a_day_without_orders_is_published_and_so_is_an_empty_file_beside_others(
    client: Client, settings: Settings, warehouse: Engine, put: Put
) -> None:
    put("dump/a.ndjson", b"")
    result = run(DAY, settings=settings, client=client)
    assert (result.outcome, result.files, result.orders) == ("published", 1, 0)
    put("dump/b.ndjson", lines(order(1)))
    result = run(DAY, settings=settings, client=client)
    assert (result.outcome, result.files, result.orders) == ("published", 2, 1)


def test_staged_orders_can_be_read_without_the_superseded_ones(
    client: Client, settings: Settings, warehouse: Engine, put: Put
) -> None:
    put(
        "dump/a.ndjson",
        lines(order(1, app_id=7), order(1, "3", app_id=8), order(2, "5", app_id=9)),
    )
    run(DAY, settings=settings, client=client)
    frame = read_staged(DAY, columns=["order_id", "total_price"], stage_url=settings.stage_url)
    rows = frame.compute(scheduler="sync")
    assert sorted(zip(rows["order_id"], rows["total_price"], strict=True)) == [
        (1, Decimal(3)),
        (2, Decimal(5)),
    ]
    assert len(read_staged(DAY, "fact_order_line").compute(scheduler="sync")) == 2
    apps = read_staged(DAY, "dim_app", columns=["app_id"], stage_url=settings.stage_url)
    assert sorted(apps.compute(scheduler="sync")["app_id"]) == [8, 9], (
        "only of the orders that were not superseded"
    )


def test_too_many_lines_rejected_by_themselves_refuse_the_run(
    client: Client, settings: Settings, warehouse: Engine, put: Put
) -> None:
    bad = [order(n, line_items=[{"id": None}, {"id": 1}]) for n in range(1, 13)]
    put("dump/a.ndjson", lines(*bad))
    with pytest.raises(DataRefused) as refused:
        run(DAY, settings=settings, client=client)
    assert str(refused.value) == (
        "12 of 24 lines were rejected, more than ORDERS_DASK_MAX_REJECTED=0.01 allows; "
        "most often bad_child_id (12): "
        "The id of line_items[0] is null, not a positive integer: see `orders-dask rejects`."
    )


def test_a_refusal_has_the_most_frequent_reason(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    put("dump/a.ndjson", lines(*({"uuid": n, "positions": []} for n in range(9)), order(1)))
    put("dump/b.ndjson", lines(*({"uuid": n, "positions": []} for n in range(8)), *["oops"] * 3))
    with pytest.raises(DataRefused) as refused:
        run(DAY, settings=settings, client=client)
    assert str(refused.value) == (
        "20 of 21 orders were rejected, more than ORDERS_DASK_MAX_REJECTED=0.01 allows; "
        "most often not_an_order (17): "
        "An object with the keys uuid, positions is no order: see `orders-dask rejects`."
    )
    assert query("select message from orders_ops.load_run") == [(str(refused.value),)]


def test_a_part_whose_files_are_missing_or_damaged_is_staged_once_more(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    put("dump/a.ndjson", lines(order(1), order(2, "5")))
    run(DAY, settings=settings, client=client)
    fs, path = filesystem(settings.stage_url)
    [damaged] = fs.glob(f"{path}/**/tables.zip")
    fs.pipe_file(damaged, fs.cat_file(damaged)[:100])
    assert run(DAY, settings=settings, client=client, force=True).orders == 2
    [made] = {*fs.glob(f"{path}/**/tables.zip")} - {damaged}
    fs.rm_file(made)
    assert run(DAY, settings=settings, client=client, force=True).orders == 2
    assert query("select count(*), sum(total_price) from orders.fact_order") == [(2, 15)]


def test_tables_are_the_same_from_a_part_that_was_staged_before(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    put("dump/a.ndjson", lines(order(1), order(2, "5")))
    first = run(DAY, settings=settings, client=client)
    forced = run(DAY, settings=settings, client=client, force=True)
    assert (forced.orders, forced.lines) == (first.orders, first.lines) == (2, 2)
    assert query("select count(distinct part), count(*) from orders_ops.load_part") == [(1, 2)]


def test_a_worker_with_another_database_of_the_same_name_loads_nothing(
    settings: Settings, warehouse: Engine
) -> None:
    with pytest.raises(SettingsError, match="is not the one of the client"):
        tasks.check_database(settings, "the id of another database")
    tasks.check_database(settings, database_id(warehouse))


def test_the_dashboard_groups_tasks_by_the_steps(
    client: Client, settings: Settings, warehouse: Engine, put: Put
) -> None:
    put("dump/a.ndjson", lines(order(1)))
    run(DAY, settings=settings, client=client)
    put("dump/a.ndjson", lines(*(order(number) for number in range(100))))
    large = settings.model_copy(update={"block_size": 1 << 12})
    run(DAY, settings=large, client=client)
    prefixes = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.task_prefixes))
    assert {"load-dates", "decode-normalise-stage", "resolve", "load"} <= set(prefixes)


def test_an_unchanged_run_date_is_left_alone_unless_forced(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    put("dump/a.ndjson", lines(order(1)))
    first = run(DAY, settings=settings, client=client)
    unchanged = run(DAY, settings=settings, client=client)
    forced = run(DAY, settings=settings, client=client, force=True)
    assert [r.outcome for r in (first, unchanged, forced)] == [
        "published",
        "up_to_date",
        "published",
    ]
    assert query("select status from orders_ops.load_run order by load_id") == [
        ("replaced",),
        ("published",),
    ]
    assert query("select count(*) from orders.fact_order") == [(1,)]


def test_a_changed_file_replaces_the_run_date(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    put("dump/a.ndjson", lines(order(1), order(2)))
    run(DAY, settings=settings, client=client)
    put("dump/a.ndjson", lines(order(2, "7"), order(3)))
    assert run(DAY, settings=settings, client=client).outcome == "published"
    assert query("select order_id, total_price from orders.fact_order order by 1") == [
        (2, Decimal(7)),
        (3, Decimal(10)),
    ]


def test_a_refused_run_keeps_its_rejects_and_what_was_published(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    put("dump/a.ndjson", lines(order(1)))
    run(DAY, settings=settings, client=client)
    put("dump/a.ndjson", lines(order(2), *["oops"] * 11))
    with pytest.raises(DataRefused, match=r"11 of 12 orders were rejected"):
        run(DAY, settings=settings, client=client)
    assert query("select order_id from orders.fact_order") == [(1,)]
    assert query("select status from orders_ops.load_run order by load_id") == [
        ("published",),
        ("refused",),
    ]
    assert query("select count(*) from orders_ops.rejected_record") == [(11,)]


def test_pending_tasks_of_a_failed_run_are_cancelled_while_the_client_is_open(
    client: Client, settings: Settings, query: Query, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The traceback keeps the generator of the results, which must not outlive the client."""

    def broken(*_: object) -> None:
        raise LookupError("on the client, between two results")

    monkeypatch.setattr(collect, "_interned", broken)
    put("dump/a.ndjson", lines(*(order(n) for n in range(1, 41))))
    split = settings.model_copy(update={"block_size": 500})
    with pytest.raises(LookupError) as caught:
        run(DAY, settings=split, client=client)
    assert caught.tb
    pending = [key for key, state in client.futures.items() if state.status == "pending"]
    assert pending == [], "they would be cancelled with the traceback, on a closed loop"
    assert query("select status from orders_ops.load_run") == [("failed",)]


def test_an_unreadable_file_refuses_the_run_unless_allowed(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    put("dump/a.ndjson", lines(order(1)) + b'{"id": 2, "total_pri')
    why = (
        r"a\.ndjson could not be read to the end "
        r"\(The record is not JSON: .* at character \d+\): see"
    )
    with pytest.raises(DataRefused, match=why):
        run(DAY, settings=settings, client=client)
    allowed = settings.model_copy(update={"allow_unreadable": True})
    assert run(DAY, settings=allowed, client=client).orders == 1


def test_a_run_that_an_unreadable_file_refuses_names_its_likely_format(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    put("dump/a.ndjson", lines(order(1)))
    put("dump/b.csv", b"id,name,total_price\n1,#1,10.00\n")
    with pytest.raises(DataRefused, match=r"b\.csv could not be read to the end"):
        run(DAY, settings=settings, client=client)
    [(code, message)] = query("select code, message from orders_ops.rejected_record")
    assert code == "unreadable_file"
    assert "looks like CSV, so export its orders as JSON" in message


def test_a_run_date_without_a_file_is_refused_and_in_a_backfill_missing(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    dated = settings.model_copy(update={"source": settings.source + "{run_date}/"})
    put("dump/2026-10-02/a.ndjson", lines(order(1)))
    with pytest.raises(SourceMissing, match="2026-10-01"):
        run(DAY, settings=dated, client=client)
    results = backfill(DAY, date(2026, 10, 3), settings=dated, client=client)
    assert [r.outcome for r in results] == ["missing", "published", "missing"]


def test_an_order_edited_later_is_current_once_and_in_the_history_twice(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    dated = settings.model_copy(update={"source": settings.source + "{run_date}/"})
    put("dump/2026-10-01/a.ndjson", lines(order(1), order(2)))
    later = order(1, "12", updated_at="2026-10-02T08:00:00Z")
    put("dump/2026-10-02/a.ndjson", lines(later))
    backfill(DAY, date(2026, 10, 2), settings=dated, client=client, max_parallel=2)
    assert query("select order_id, run_date, total_price from orders.order_current order by 1") == [
        (1, date(2026, 10, 2), Decimal(12)),
        (2, DAY, Decimal(10)),
    ]
    assert query("select count(*) from orders.order_history where order_id = 1") == [(2,)]


def test_positions_count_through_the_whole_file_however_it_is_split(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    orders = [order(n, "1e" if n == 37 else "1") for n in range(1, 41)]
    put("dump/a.ndjson", lines(*orders[:20], "oops", *orders[20:]))
    split = settings.model_copy(update={"block_size": 500})
    run(DAY, settings=split, client=client)
    positions = query("select order_id, source_position from orders.fact_order order by 1")
    assert positions == [(n, n if n <= 20 else n + 1) for n in range(1, 41)]
    assert query("select position from orders_ops.rejected_record") == [(21,)]
    assert query("select field, code, samples from orders_ops.data_issue order by 1") == [
        ("line_items[].price", "bad_money", [[38, "1e"]]),
        ("total_price", "bad_money", [[38, "1e"]]),
    ]
    assert query("select count(*) from orders_ops.load_part") > [(5,)]


def test_a_dry_run_changes_nothing(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    put("dump/a.ndjson", lines(order(1)))
    assert run(DAY, settings=settings, client=client, dry_run=True).outcome == "planned"
    assert query("select count(*) from orders_ops.load_run") == [(0,)]


def test_a_database_that_was_not_initialised_is_reported(
    client: Client, settings: Settings, put: Put
) -> None:
    put("dump/a.ndjson", lines(order(1)))
    with pytest.raises(DatabaseNotReady, match="orders-dask init"):
        run(DAY, settings=settings, client=client)


def test_a_range_that_is_up_to_date_is_recognised_without_a_cluster(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    dated = settings.model_copy(update={"source": settings.source + "{run_date}/"})
    put("dump/2026-10-01/a.ndjson", lines(order(1)))
    days = date_range(DAY, date(2026, 10, 2))
    asked: list[bool] = []

    def connect(settings: Settings, is_small: bool) -> Client | None:
        asked.append(is_small)
        return given_client(client)(settings, is_small)

    load_dates(connect, days, dated)
    assert asked == [True]
    found = load_dates(connect, days, dated)
    assert [result.outcome for result in found] == ["up_to_date", "missing"]
    assert asked == [True], "there was nothing to do"
    put("dump/2026-10-02/a.ndjson", lines(order(1)))
    load_dates(connect, days, dated)
    assert asked == [True, True]
    with pytest.raises(SettingsError, match="is empty"):
        date_range(date(2026, 10, 2), DAY)
