"""Pruning: what it deletes by age, what stays, and what still works afterwards."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from distributed import Client
from sqlalchemy import Engine, text

from orders_dask.contract.ledger_tables import load_part
from orders_dask.contract.mart_tables import LOAD_MARTS
from orders_dask.contract.storage_tables import COPIED_TABLES
from orders_dask.errors import LeaseLost, NothingToRestore, ServiceUnavailable
from orders_dask.filesystem import filesystem
from orders_dask.jobs.prune import prune
from orders_dask.jobs.rollback import rollback
from orders_dask.jobs.run import run
from orders_dask.ledger import leases
from orders_dask.load.locks import Lock
from orders_dask.read import read_staged
from orders_dask.retention import loads as retention
from orders_dask.settings import Settings
from orders_dask.stage.layout import REJECTED, run_date_folder
from orders_dask.stage.manifest import Manifest, latest_manifest, write_manifest
from orders_dask.stage.parts import find_part
from orders_dask.stage.tables import read_table
from tests.support.builders import lines, order
from tests.support.loads import DAY, NEXT, published, verified
from tests.support.types import Put, Query

Aged = Callable[..., None]


def load(*order_ids: int) -> dict[str, Any]:
    return {
        "fact_order": [{"order_id": i} for i in order_ids],
        "dim_customer": [{"customer_id": i, "email": "a@example.com"} for i in order_ids],
    }


@pytest.fixture
def aged(owner: Engine) -> Aged:
    """Return a function that moves all times of loads into the past by some days."""

    def aged(days: int, *loads: int) -> None:
        older = text(
            """
            update orders_ops.load_run set
              started_at = started_at - :by, source_read_at = source_read_at - :by,
              finished_at = finished_at - :by, published_at = published_at - :by,
              unpublished_at = unpublished_at - :by
            where load_id = any(:loads)
            """
        )
        with owner.begin() as connection:
            connection.execute(older, {"by": timedelta(days), "loads": list(loads)})

    return aged


def rows_of(query: Query, load_id: int) -> int:
    tables = (*COPIED_TABLES, *LOAD_MARTS, load_part)
    return sum(len(query(f"select from {table} where load_id = {load_id}")) for table in tables)


def terminate_leases(owner: Engine) -> None:
    """Terminate the sessions of this database that have a lease on a run date."""
    terminate = text(
        """
        select pg_terminate_backend(pid, 5000) from pg_locks
        where locktype = 'advisory' and classid = :class
          and database = (select oid from pg_database where datname = current_database())
        """
    )
    with owner.begin() as connection:
        connection.execute(terminate, {"class": int(Lock.RUN_DATE)})


def statuses(query: Query) -> list[tuple[Any, ...]]:
    return query("select status, pruned_at is not null from orders_ops.load_run order by load_id")


def test_an_old_replaced_load_is_deleted_and_the_published_one_stays(
    settings: Settings, warehouse: Engine, query: Query, aged: Aged
) -> None:
    first = published(warehouse, DAY, load(1, 2))
    second = published(warehouse, DAY, load(2, 3))
    aged(40, first, second)
    planned = prune(settings=settings, dry_run=True)
    assert rows_of(query, first)
    pruned = prune(settings=settings)
    assert replace(pruned, skipped=()) == planned
    assert (pruned.loads, pruned.rows, pruned.made_irreversible) == (1, 7, 2)
    assert rows_of(query, first) == 0
    assert query("select order_id from orders.order_current order by 1") == [(2,), (3,)]
    assert statuses(query) == [("replaced", True), ("published", False)]
    assert len(query("select from orders_ops.load_file where load_id = :l", l=first)) == 1
    with pytest.raises(
        NothingToRestore,
        match=f"Load {second} of 2017-11-03 can't be rolled back, for what it replaced was",
    ):
        rollback(DAY, settings=settings)
    assert prune(settings=settings).loads == 0


def test_a_load_that_a_recent_publish_replaced_stays_for_its_rollback(
    settings: Settings, warehouse: Engine, query: Query, aged: Aged
) -> None:
    first, second, third = (published(warehouse, DAY, load(n)) for n in (1, 2, 3))
    # As if third had been rolled back, and published once more today.
    aged(40, first, second)
    assert prune(settings=settings).loads == 1
    assert rows_of(query, first) == 0
    assert rollback(DAY, settings=settings).published == second
    assert query("select order_id from orders.order_current") == [(2,)]
    with pytest.raises(NothingToRestore):
        rollback(DAY, settings=settings)
    aged(40, third)
    prune(settings=settings)
    assert rows_of(query, third) == 0


def test_loads_that_were_never_published_are_deleted_by_the_age_of_their_end(
    settings: Settings, warehouse: Engine, query: Query, aged: Aged
) -> None:
    loads = []
    for status in ("refused", "failed", "comparison"):
        with leases.acquire_lease(warehouse, DAY) as lease:
            loads.append(verified(lease, load(1)))
            leases.finish(lease, loads[-1], status)
    with leases.acquire_lease(warehouse, DAY) as lease:
        young = verified(lease, load(1))
        leases.finish(lease, young, "failed")
    with leases.acquire_lease(warehouse, NEXT) as lease:
        died = verified(lease, load(1))
    aged(40, *loads, died)
    assert prune(settings=settings).loads == 3
    assert rows_of(query, young) == rows_of(query, died) == 4
    # The load of the dead run is abandoned now: its age counts from here.
    assert query("select status from orders_ops.load_run where load_id = :l", l=died) == [
        ("abandoned",)
    ]
    aged(40, died)
    assert prune(settings=settings).loads == 1
    assert rows_of(query, died) == 0


def test_a_prune_continues_where_another_was_killed(
    settings: Settings,
    warehouse: Engine,
    owner: Engine,
    query: Query,
    aged: Aged,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = published(warehouse, DAY, load(*range(10)))
    aged(40, first, published(warehouse, DAY, load(3)))
    monkeypatch.setattr(retention, "BATCH_ROWS", 7)
    delete_rows = retention.delete_rows

    def killed(lease: leases.Lease) -> int:
        removed = delete_rows(lease)
        terminate_leases(owner)
        delete_rows(lease)
        return removed

    with monkeypatch.context() as patch:
        patch.setattr(retention, "delete_rows", killed)
        with pytest.raises(ServiceUnavailable):
            prune(settings=settings)
    left = rows_of(query, first)
    assert 0 < left < 31
    assert prune(settings=settings).rows == left
    assert rows_of(query, first) == 0
    assert query("select order_id from orders.order_current") == [(3,)]


def test_two_prunes_at_once_and_a_run_date_that_is_worked_on(
    settings: Settings, warehouse: Engine, query: Query, aged: Aged
) -> None:
    first = published(warehouse, DAY, load(1, 2))
    other = published(warehouse, NEXT, load(4))
    aged(40, first, other, published(warehouse, DAY, load(3)), published(warehouse, NEXT, load(5)))
    with leases.acquire_lease(warehouse, NEXT) as lease:
        working = verified(lease, load(6))
        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(prune, settings=settings) for _ in range(2)]
            ended = [each.result() for each in both]
        assert all(NEXT in each.skipped for each in ended)
        assert rows_of(query, other)
        assert rows_of(query, working)
    prune(settings=settings)
    assert rows_of(query, first) == rows_of(query, other) == 0
    assert query("select order_id from orders.order_current order by 1") == [(3,), (5,)]


def test_texts_of_old_loads_are_redacted_and_their_other_columns_stay(
    settings: Settings, warehouse: Engine, owner: Engine, query: Query, aged: Aged
) -> None:
    old, young = published(warehouse, DAY, load(1)), published(warehouse, NEXT, load(2))
    fill = text(
        """
        with r as (insert into orders_ops.rejected_record (
            load_id, file_id, position, path, code, message, raw, order_raw, corrected_raw)
          select l, 1, 1, '', 'bad_order_id', 'It has none.', 'raw', 'order', 'corrected'
          from unnest(cast(:loads as bigint[])) l)
        insert into orders_ops.data_issue select l, 1, 'email', 'not_text', 1, '[[1, "x"]]'
          from unnest(cast(:loads as bigint[])) l
        """
    )
    with owner.begin() as connection:
        connection.execute(fill, {"loads": [old, young]})
    aged(100, old)
    assert prune(settings=settings, dry_run=True).redacted_rows == 2
    assert prune(settings=settings).redacted_rows == 2
    assert query(
        "select load_id, code, raw, order_raw, corrected_raw"
        " from orders_ops.rejected_record order by 1"
    ) == [
        (old, "bad_order_id", None, None, None),
        (young, "bad_order_id", "raw", "order", "corrected"),
    ]
    assert query("select value_count, samples from orders_ops.data_issue order by load_id") == [
        (1, []),
        (1, [[1, "x"]]),
    ]


# Whole runs, and the stage in S3. Objects there can't be made older, so everything counts as old
# (fixture `tomorrow`).


def staged(settings: Settings) -> list[str]:
    fs, path = filesystem(run_date_folder(settings.stage_url, DAY))
    return [name.removeprefix(f"{path}/") for name in fs.find(path)]


def ids(frame: Any) -> list[int]:
    return sorted(frame.compute(scheduler="sync")["order_id"])


@pytest.mark.slow
@pytest.mark.usefixtures("tomorrow")
def test_the_stage_keeps_what_published_loads_and_other_databases_need(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    put("dump/a.ndjson", lines(order(1), order(2)))
    first = run(DAY, settings=settings, client=client)
    [others] = latest_manifest(settings.stage_url, DAY).parts
    put("dump/a.ndjson", lines(order(3), order(6)))
    run(DAY, settings=settings, client=client)
    put("dump/a.ndjson", lines(order(4), order(5)))
    last = run(DAY, settings=settings, client=client)
    assert first.load_id
    write_manifest(settings.stage_url, DAY, Manifest("another", first.load_id, [others], {}))
    parts = {name.partition("/")[0] for name in staged(settings) if name.startswith("part=")}
    planned = prune(settings=settings, dry_run=True)

    pruned = prune(settings=settings)
    assert (pruned.loads, pruned.parts) == (planned.loads, planned.parts) == (2, 1)
    assert (pruned.rows, pruned.bytes) == (planned.rows, planned.bytes)
    left = staged(settings)
    assert {name.partition("/")[0] for name in left if name.startswith("part=")} < parts
    manifests = [name for name in left if name.startswith("manifest-")]
    assert {name.split("-")[2] for name in manifests} == {str(first.load_id), str(last.load_id)}

    fs, path = filesystem(run_date_folder(settings.stage_url, DAY))
    fs.rm([f"{path}/{name}" for name in left if name.endswith("-another.json")])
    assert ids(read_staged(DAY, stage_url=settings.stage_url)) == [4, 5]
    forced = run(DAY, settings=settings, client=client, force=True)
    assert (forced.outcome, forced.orders) == ("published", 2)
    assert prune(settings=settings).parts == 1


@pytest.mark.usefixtures("tomorrow")
def test_texts_are_redacted_in_the_stage_and_its_parts_stay_usable(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    put("dump/a.ndjson", lines(order(1, email=7), "oops", order(2), "what"))
    run(DAY, settings=settings, client=client)
    [name] = latest_manifest(settings.stage_url, DAY).parts
    url = f"{run_date_folder(settings.stage_url, DAY)}/{name}"
    before = find_part(url)
    assert before
    assert prune(settings=settings, dry_run=True).redacted_parts == 1
    pruned = prune(settings=settings)
    assert (pruned.parts, pruned.redacted_parts) == (0, 1)
    part = find_part(url)
    assert part
    rejected = read_table(part, REJECTED)
    assert rejected["raw"].to_pylist() == [None, None]
    assert rejected["code"].to_pylist() == ["invalid_json", "invalid_json"]
    assert [issue.samples for file in part.files for issue in file.issues] == [()]
    assert [replace(issue, samples=()) for file in before.files for issue in file.issues] == [
        issue for file in part.files for issue in file.issues
    ]
    assert prune(settings=settings).redacted_parts == 0
    forced = run(DAY, settings=settings, client=client, force=True)
    assert (forced.orders, forced.rejected) == (2, 2)
    assert query("select distinct raw from orders_ops.rejected_record") == [(None,)]


def test_a_run_beside_two_prunes_is_complete(
    client: Client, settings: Settings, query: Query, put: Put, tomorrow: None
) -> None:
    put("dump/a.ndjson", lines(*(order(n) for n in range(1, 201))))
    run(DAY, settings=settings, client=client)
    with ThreadPoolExecutor(1) as pool, ThreadPoolExecutor(2) as pruners:
        running = [
            pool.submit(run, DAY, settings=settings, client=client, force=True) for _ in range(2)
        ]
        while not all(each.done() for each in running):
            list(pruners.map(lambda _: prune(settings=settings), range(2)))
        assert [each.result().orders for each in running] == [200, 200]
    assert query("select count(*) from orders.order_current") == [(200,)]
    assert len(ids(read_staged(DAY, stage_url=settings.stage_url))) == 200


def test_a_session_without_its_lease_deletes_nothing(
    warehouse: Engine, owner: Engine, query: Query, aged: Aged
) -> None:
    first = published(warehouse, DAY, load(1))
    aged(40, first, published(warehouse, DAY, load(2)))
    with leases.acquire_lease(warehouse, DAY) as lease:
        assert retention.mark(lease, datetime.now(UTC) - timedelta(days=30)) == [first]
        terminate_leases(owner)
        with pytest.raises(ServiceUnavailable):
            retention.delete_rows(lease)
        with pytest.raises(LeaseLost):
            retention.delete_rows(lease)
    assert rows_of(query, first)
