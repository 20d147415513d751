"""Raw texts in the stage: a date is decoded once more, and replayed, when its dump is gone."""

from __future__ import annotations

import json
from typing import Any

import pytest
import s3fs
from distributed import Client
from sqlalchemy import Engine

from orders_dask import SourceMissing, backfill, prune, replay, run
from orders_dask.contract.raw_text import RAW
from orders_dask.filesystem import filesystem
from orders_dask.jobs.backfill import refresh_dates
from orders_dask.ledger.queries import dates_without
from orders_dask.read import read_staged
from orders_dask.settings import Settings
from tests.support.builders import DAY, lines, order, zipped
from tests.support.commands import orders_dask
from tests.support.replays import changed
from tests.support.types import Put, Query

NO_ID = json.dumps(order(7) | {"id": None})


@pytest.fixture
def environment(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Keep raw texts, and let dumps of which most is rejected be published."""
    more = {
        "ORDERS_DASK_KEEP_RAW": "parquet",
        "ORDERS_DASK_CHECK_SEVERITY": "mostly_rejected=off",
    }
    for name, value in more.items():
        monkeypatch.setenv(name, value)
    return environment | more


@pytest.fixture
def without_raw(settings: Settings) -> Settings:
    return settings.model_copy(update={"keep_raw": "off"})


def delete_dump(settings: Settings) -> None:
    s3fs.S3FileSystem().rm(settings.source, recursive=True)


def figures(query: Query) -> dict[str, list[Any]]:
    """Return what is published, and what the ledger has of its files, by file name."""
    return {
        "orders": query(
            "select f.name, o.source_position, o.order_id, o.total_price from orders.fact_order o"
            " join orders_ops.load_file f on f.file_id = o.source_file_id order by 1, 2"
        ),
        "files": query(
            "select name, etag, bytes, unreadable, order_read, order_rejected, order_superseded,"
            " order_line_read from orders_ops.load_file join orders_store.published using (load_id)"
            " order by name"
        ),
        "rejects": query(
            "select f.name, r.position, r.path, r.code, r.message, r.raw, r.order_raw"
            " from orders_ops.rejected_record r join orders_ops.load_file f using (file_id)"
            " join orders_store.published p on p.load_id = f.load_id order by 1, 2, 3"
        ),
        "issues": query(
            "select f.name, d.field, d.code, d.value_count, d.samples"
            " from orders_ops.data_issue d join orders_ops.load_file f using (file_id)"
            " join orders_store.published p on p.load_id = f.load_id order by 1, 2, 3"
        ),
        "drift": query(
            "select schema_drift from orders_ops.load_run join orders_store.published"
            " using (load_id)"
        ),
    }


def test_a_date_whose_dump_was_deleted_is_refreshed_from_its_raw_texts(
    client: Client, settings: Settings, query: Query, owner: Engine, put: Put
) -> None:
    many = [order(n, "1e" if n == 7 else "1", colour="red") for n in range(1, 21)]
    put("dump/a.ndjson", lines(*many[:9], "oops", NO_ID, *many[9:]))
    page = {"orders": [order(1, "9", updated_at="2026-10-01T11:00:00Z"), order(30)]}
    bad_line = order(31, line_items=[{"id": 1}, {"id": 0}])
    put("dump/b.zip", zipped({"x.json": json.dumps(page).encode(), "y.json": lines(bad_line)}))
    small = settings.model_copy(update={"block_size": 1_000, "max_rejected": 1})
    run(DAY, settings=small, client=client)
    first = figures(query)
    assert len(first["orders"]) == 22
    assert len(first["rejects"]) == 3
    dump = {
        file: s3fs.S3FileSystem().cat_file(file)
        for file in s3fs.S3FileSystem().find(settings.source)
    }
    delete_dump(settings)
    [missing] = backfill(DAY, DAY, settings=small, client=client)
    assert missing.outcome == "missing", "what is published stands"

    with owner.begin() as connection:
        connection.exec_driver_sql(
            "update orders_ops.load_run set columns = columns - 'fact_order.note'"
        )
    assert refresh_dates("note", settings=small) == [DAY]
    [planned] = backfill(DAY, DAY, settings=small, force=True, dry_run=True)
    assert (planned.outcome, planned.files) == ("planned", 3)
    assert figures(query) == first
    for _ in range(2):  # the second time from the raw texts of the first
        [refreshed] = backfill(DAY, DAY, settings=small, client=client, force=True)
        assert (refreshed.outcome, refreshed.orders) == ("published", 22), refreshed.message
        assert figures(query) == first
    assert refresh_dates("all", settings=small) == []
    [(ages,)] = query("select count(distinct source_read_at) from orders_ops.load_run")
    assert ages == 1, "rejected texts are as old as those of the dump"

    for file, content in dump.items():
        s3fs.S3FileSystem().pipe_file(file, content)
    unchanged = run(DAY, settings=small, client=client)
    assert unchanged.outcome == "up_to_date", "a load of the raw texts is one of the dump"
    texts = read_staged(DAY, RAW).compute(scheduler="sync")
    assert len(texts) == 20 + 2 + 2 + 1
    assert texts["order_id"].isna().sum() == 2
    put("dump/a.ndjson", lines(*many, order(21)))
    assert run(DAY, settings=small, client=client, force=True).orders == 23, "the dump counts"


def test_a_date_without_raw_texts_is_up_to_date_and_staged_anew_when_refreshed(
    client: Client, settings: Settings, without_raw: Settings, warehouse: Engine, put: Put
) -> None:
    put("dump/a.ndjson", lines(order(1)))
    run(DAY, settings=without_raw, client=client)
    assert run(DAY, settings=settings, client=client).outcome == "up_to_date"
    assert dates_without(warehouse) == {}
    assert "1 published run date lacks raw.text" in orders_dask("status")[1]
    with pytest.raises(SourceMissing, match="has no raw texts"):
        read_staged(DAY, RAW)
    assert refresh_dates("raw", settings=settings) == [DAY]
    run(DAY, settings=settings, client=client, force=True)
    assert refresh_dates("raw", settings=settings) == []
    assert read_staged(DAY, RAW).compute(scheduler="sync")["order_id"].tolist() == [1]


def test_without_raw_texts_a_date_whose_dump_was_deleted_is_missing_even_if_forced(
    client: Client, without_raw: Settings, query: Query, put: Put
) -> None:
    put("dump/a.ndjson", lines(order(1)))
    run(DAY, settings=without_raw, client=client)
    delete_dump(without_raw)
    [result] = backfill(DAY, DAY, settings=without_raw, client=client, force=True)
    assert result.outcome == "missing"
    assert query("select order_id from orders.fact_order") == [(1,)]


@pytest.mark.parametrize("keep_raw", ["parquet", "off"])
def test_a_replay_needs_no_dump_and_raw_texts_stay_those_of_the_dump(
    client: Client, settings: Settings, warehouse: Engine, query: Query, put: Put, keep_raw: str
) -> None:
    settings = settings.model_copy(update={"keep_raw": keep_raw})
    put("dump/a.ndjson", lines(order(1), NO_ID, order(2)))
    run(DAY, settings=settings, client=client)
    delete_dump(settings)
    changed(warehouse, 2, "corrected_raw = :text", "", text=json.dumps(order(7)))
    assert replay(DAY, settings=settings, client=client).taken_in == 1
    assert query("select order_id from orders.fact_order order by 1") == [(1,), (2,), (7,)]
    if keep_raw == "off":
        return
    texts = read_staged(DAY, RAW).compute(scheduler="sync")
    assert [json.loads(text)["id"] for text in texts["text"]] == [1, None, 2]
    assert refresh_dates("raw", settings=settings) == []
    run(DAY, settings=settings, client=client, force=True)
    assert query("select order_id from orders.fact_order order by 1") == [(1,), (2,)], (
        "as after a forced run of the dump, which has no corrections"
    )


@pytest.mark.usefixtures("tomorrow")
def test_raw_texts_stay_as_long_as_their_load_and_are_deleted_with_its_parts(
    client: Client, settings: Settings, warehouse: Engine, put: Put
) -> None:
    def raw_files() -> list[str]:
        fs, path = filesystem(settings.stage_url)
        fs.invalidate_cache()
        return sorted(fs.glob(f"{path}/**/{RAW}.parquet"))

    put("dump/a.ndjson", lines(order(1)))
    run(DAY, settings=settings, client=client)
    prune(settings=settings)
    [first] = raw_files()
    put("dump/a.ndjson", lines(order(2)))
    run(DAY, settings=settings, client=client)
    assert len(raw_files()) == 2
    prune(settings=settings)
    [second] = raw_files()
    assert second != first
