"""Run dates of little data go together, and each of them is what it would be alone."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from distributed import Client
from sqlalchemy import Column, Connection, Engine, Table, delete, literal_column, select

from orders_dask.contract.dimension_tables import DIMENSIONS
from orders_dask.contract.ledger_tables import (
    data_issue,
    load_file,
    load_part,
    load_run,
    rejected_record,
)
from orders_dask.contract.mart_tables import MARTS
from orders_dask.contract.order_tables import FACTS, fact_order_line
from orders_dask.contract.storage_tables import order_superseded, published
from orders_dask.errors import RunDateLocked
from orders_dask.jobs import load_dates
from orders_dask.jobs.backfill import backfill
from orders_dask.jobs.marts import check_marts
from orders_dask.jobs.rollback import rollback
from orders_dask.jobs.run import run, run_with
from orders_dask.ledger import leases
from orders_dask.pipeline import batch, batch_tasks
from orders_dask.publish.stored_totals import TotalsOfLoads, totals_in_transaction
from orders_dask.read import read_staged
from orders_dask.settings import Settings
from orders_dask.synthetic import generate
from orders_dask.synthetic.defects import DEFECTS
from tests.support.builders import lines, order, zipped
from tests.support.types import Put, Query
from tests.support.waiting import until

FIRST = date(2026, 1, 29)
"""The dates lie in two partitions."""


def day(number: int) -> date:
    return FIRST + timedelta(number)


@pytest.fixture
def dated(settings: Settings) -> Settings:
    return settings.model_copy(update={"source": f"{settings.source}run_date={{run_date}}/"})


def contents(database: Engine) -> dict[str, Counter[str]]:
    """Return all that is published, without ids of loads and files, and what the ledger says."""
    tables = {table.name: table for table in (*FACTS, *DIMENSIONS, order_superseded)}
    selects = {name: select(*_comparable(table)) for name, table in tables.items()}
    for fact in FACTS:
        selects[fact.name] = selects[fact.name].join(
            published, published.c.load_id == fact.c.load_id
        )
    for mart in MARTS:
        selects[mart.name] = select(mart).where(mart.c.order_count != 0)
    of_load = published.c.load_id == load_file.c.load_id
    for name, table in (("issues", data_issue), ("rejected", rejected_record)):
        its_file = load_file.c.file_id == table.c.file_id
        selects[name] = select(load_file.c.name, *_comparable(table)).join(load_file, its_file)
        selects[name] = selects[name].join(published, of_load)
    selects["files"] = select(published.c.run_date, *_comparable(load_file)).join(
        published, of_load
    )
    its_load = published.c.load_id == load_part.c.load_id
    selects["parts"] = select(published.c.run_date, load_part.c.part, load_part.c.rows)
    selects["parts"] = selects["parts"].join(published, its_load)
    names = ("run_date", "fingerprint", "columns", "schema_drift", "left_out", "measures")
    is_published = load_run.c.status == literal_column("'published'")
    selects["loads"] = select(*(load_run.c[name] for name in names)).where(is_published)
    with database.connect() as connection:
        return {
            name: Counter(repr([*map(_without_zeros, row)]) for row in connection.execute(each))
            for name, each in selects.items()
        }


def _without_zeros(value: Any) -> Any:
    """Return a value; of counts by table those that are not 0, in the order of the names."""
    is_counts = isinstance(value, dict) and all(isinstance(n, int) for n in value.values())
    return sorted((k, n) for k, n in value.items() if n) if is_counts else value


def _comparable(table: Table) -> list[Column[Any]]:
    """Return the columns of a table without ids of loads and files."""
    return [c for c in table.c if c.name not in ("load_id", "file_id", "source_file_id")]


def transactions(query: Query) -> int:
    """Return the number of transactions that published what is published."""
    return int(query("select count(distinct xmin::text) from orders_store.published")[0][0])


def test_dates_that_go_together_are_what_each_is_alone(
    client: Client, dated: Settings, query: Query, owner: Engine
) -> None:
    defects = dict.fromkeys(DEFECTS["ndjson"], 0.004)
    generate(
        dated.source.partition("run_date=")[0],
        start=FIRST,
        days=6,
        orders=40,
        compression="gzip",
        files_per_day=2,
        duplicates=0.05,
        edited=0.2,
        defects=defects,
    )
    dates = day(0), day(5)
    together = backfill(*dates, settings=dated, client=client)
    assert {each.outcome for each in together} == {"published"}, together
    assert transactions(query) == 1
    made = contents(owner)
    assert made["rejected"]
    assert made["issues"]
    for number in (3, 0, 5, 1, 4, 2):
        run(day(number), settings=dated, client=client, force=True)
    assert transactions(query) == 6
    alone = contents(owner)
    for name, rows in made.items():
        assert rows == alone[name], f"{name} differs: {rows - alone[name]} {alone[name] - rows}"
    unstaged = dated.model_copy(update={"stage_url": f"{dated.stage_url}other/"})
    retried = backfill(*dates, settings=unstaged, client=client, force=True)
    assert {each.outcome for each in retried} == {"published"}, retried
    assert transactions(query) == 1
    replaced = contents(owner)
    for name, rows in made.items():
        assert rows == replaced[name], f"{name} differs once they are replaced"
    assert check_marts(all_days=True, settings=dated).differences == ()
    assert query("select count(*) from orders_ops.load_run where status = 'failed'") == [(0,)]
    staged = read_staged(day(2), "fact_order", stage_url=dated.stage_url).compute()
    assert len(staged) == together[2].orders
    rollback(day(1), settings=dated)
    assert contents(owner)["fact_order"] == made["fact_order"]


def put_days(put: Put, *dumps: Sequence[dict[str, Any]] | bytes) -> None:
    for number, dump in enumerate(dumps):
        content = dump if isinstance(dump, bytes) else lines(*dump)
        if content:
            put(f"dump/run_date={day(number)}/a.ndjson", content)


def test_a_date_that_is_refused_held_or_missing_takes_no_other_one_with_it(
    client: Client, dated: Settings, put: Put, query: Query
) -> None:
    good = [order(number) for number in range(1, 31)]
    put_days(put, good, lines(*[{"nothing": 1}] * 20), good, b"", good, good[:29])
    ended = backfill(day(0), day(5), settings=dated, client=client)
    outcomes = ["published", "refused", "published", "missing", "published", "published"]
    assert [each.outcome for each in ended] == outcomes
    assert [
        row[0] for row in query("select status from orders_ops.load_run order by run_date")
    ] == [each for each in outcomes if each != "missing"]
    assert "20 of 20 orders were rejected" in str(ended[1].message)
    rejected = "select count(*), count(distinct load_id) from orders_ops.rejected_record"
    assert query(rejected) == [(20, 1)]
    # Beside what is published now, half of the orders are too few.
    put_days(put, [*good, order(31)], good, good[:2], b"", good[:3], good[:28])
    ended = backfill(day(0), day(5), settings=dated, client=client)
    assert [each.outcome for each in ended] == [
        *("published", "published", "held", "missing", "held", "published")
    ]
    assert "fewer_orders" in str(ended[4].message)
    orders = "select run_date, count(*) from orders.fact_order group by 1 order by 1"
    assert query(orders) == [(day(0), 31), (day(1), 30), (day(2), 30), (day(4), 30), (day(5), 28)]


def test_a_date_that_does_not_reconcile_takes_no_other_one_with_it(
    client: Client, dated: Settings, put: Put, query: Query, owner: Engine
) -> None:
    put_days(put, *[[order(10 * number + n) for n in range(1, 9)] for number in range(3)])

    def one_line_short(connection: Connection, loads: dict[date, int]) -> TotalsOfLoads:
        with owner.begin() as session:
            line = (fact_order_line.c.run_date == day(1)) & (fact_order_line.c.line_id == 130)
            assert session.execute(delete(fact_order_line).where(line)).rowcount == 1
        return totals_in_transaction(connection, loads)

    with patch.object(batch, "totals_in_transaction", one_line_short):
        ended = backfill(day(0), day(2), settings=dated, client=client)
    assert [each.outcome for each in ended] == ["published", "refused", "published"]
    assert "does not reconcile in the rows of fact_order_line" in str(ended[1].message)
    assert query("select run_date from orders_store.published order by 1") == [(day(0),), (day(2),)]


def test_a_date_that_somebody_works_on_is_waited_for_and_the_others_are_not(
    client: Client, dated: Settings, put: Put, query: Query, warehouse: Engine
) -> None:
    put_days(put, *[[order(10 * number + 1)] for number in range(3)])
    results = []

    def work() -> None:
        results.extend(backfill(day(0), day(2), settings=dated, client=client))

    thread = threading.Thread(target=work)
    with leases.acquire_lease(warehouse, day(1)):
        thread.start()
        until(
            lambda: (
                query("select run_date from orders_store.published order by 1")
                == [(day(0),), (day(2),)]
            ),
            60,
            "the others are not published",
        )
    thread.join(60)
    assert [each.outcome for each in results] == ["published"] * 3


def test_a_file_that_becomes_large_goes_alone(
    client: Client, dated: Settings, put: Put, query: Query
) -> None:
    put_days(put, *[[order(10 * number + 1)] for number in range(3)])
    client.run(_limit, 1)
    try:
        ended = backfill(day(0), day(2), settings=dated, client=client)
    finally:
        client.run(_limit, batch_tasks.MAX_BATCH_BYTES)
    assert [each.outcome for each in ended] == ["published"] * 3
    assert transactions(query) == 3


def _limit(size: int) -> None:
    """Change the limit in a worker."""
    vars(batch_tasks)["MAX_BATCH_BYTES"] = size


def test_members_of_a_zip_go_together(
    client: Client, settings: Settings, put: Put, query: Query
) -> None:
    members = {f"{day(number)}.json": lines(order(number + 1)) for number in range(5)}
    put("dump/all.zip", zipped({**members, "other.json": lines(order(99))}))
    source = f"zip://{{run_date}}.json::{settings.source}all.zip"
    in_zip = settings.model_copy(update={"source": source})
    ended = backfill(day(0), day(5), settings=in_zip, client=client)
    assert [each.outcome for each in ended] == ["published"] * 5 + ["missing"]
    assert transactions(query) == 1
    assert query("select run_date, order_id from orders.fact_order order by 1") == [
        (day(number), number + 1) for number in range(5)
    ]


def test_dates_that_others_published_meanwhile_have_no_batch_left(
    put: Put, dated: Settings, query: Query
) -> None:
    put(f"dump/run_date={day(1)}/a.ndjson", lines(order(1)))

    def connect(settings: Settings, is_small: bool) -> None:
        """Let another run be first, between the inspection and the lease."""
        run(day(1), settings=settings)

    with pytest.raises(RunDateLocked, match="Another run published"):
        run_with(connect, day(1), dated, force=True)
    assert query("select status from orders_ops.load_run") == [("published",)]


def test_a_file_that_changes_sends_its_batch_one_by_one_at_once(
    put: Put, dated: Settings, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 4):
        put(f"dump/run_date={day(number)}/a.ndjson", lines(order(number)))
    together = load_dates._load_together

    def changing(*args: Any) -> Any:
        put(f"dump/run_date={day(2)}/a.ndjson", lines(order(2), order(20)))
        return together(*args)

    monkeypatch.setattr(load_dates, "_load_together", changing)
    ended = backfill(day(1), day(3), settings=dated)
    assert [each.orders for each in ended] == [1, 2, 1]
    failed = query("select count(*) from orders_ops.load_run where status = 'failed'")
    assert failed == [(3,)], "once, and not three times"
