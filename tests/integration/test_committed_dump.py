"""The dump of tests/data is published with the figures that were counted independently."""

from __future__ import annotations

from datetime import date

import pytest
from distributed import Client

from orders_dask.jobs.backfill import backfill
from orders_dask.jobs.run import run
from orders_dask.settings import Settings
from tests.support.dumps import COMMITTED, Figures, counted, current, days_of, made_at
from tests.support.types import Put, Query

DAYS = days_of(COMMITTED)
RECORDS = [record for day in DAYS.values() for record in day]


@pytest.fixture
def zip_settings(settings: Settings, put: Put) -> Settings:
    """Return settings that read the run dates from the zip."""
    put(f"dump/{COMMITTED.name}", COMMITTED.read_bytes())
    source = f"zip://{{run_date}}.json::{settings.source}{COMMITTED.name}"
    return settings.model_copy(update={"source": source})


def test_each_run_date_is_published_exactly_and_then_left_alone(
    client: Client, zip_settings: Settings, query: Query
) -> None:
    for expected in ("published", "up_to_date"):
        results = backfill(min(DAYS), max(DAYS), settings=zip_settings, client=client)
        assert [result.outcome for result in results] == [expected] * len(DAYS)
    assert {day: facts(query, day) for day in DAYS} == {
        day: counted(records) for day, records in DAYS.items()
    }
    assert query(
        "select run_date, code from orders_ops.rejected_record"
        " join orders_ops.load_run using (load_id)"
    ) == [(day, "bad_order_id") for day, records in DAYS.items() if counted(records).rejected]
    # Float noise does not count as rounding, and all other amounts are exact.
    assert query("select field, code from orders_ops.data_issue") == []


def test_of_an_order_that_was_edited_later_the_last_version_is_current(
    client: Client, zip_settings: Settings, query: Query
) -> None:
    backfill(min(DAYS), max(DAYS), settings=zip_settings, client=client)
    whole = counted(RECORDS)
    edited = sum(counted(records).orders for records in DAYS.values()) - whole.orders
    assert edited == 4
    rows = query(
        "select currency, count(*), sum(s.line_count), sum(unit_count), sum(s.refund_count),"
        " sum(total_amount), sum(refunded_amount)"
        " from orders.order_summary s join orders.order_current using (order_id, currency)"
        " group by 1"
    )
    assert [sum(column) for column in list(zip(*rows, strict=True))[1:5]] == [
        whole.orders,
        whole.lines,
        whole.units,
        whole.refunds,
    ]
    assert {row[0]: row[5:] for row in rows} == {
        currency: (amount, whole.refunded[currency])
        for currency, amount in whole.total_price.items()
    }
    tests = [order for order in current(RECORDS).values() if order["test"]]
    assert query("select sum(order_count) from orders.daily_sales") == [
        (whole.orders - len(tests),)
    ]
    made = query(
        "select order_id, created_at, created_local_date, created_utc_offset_min"
        " from orders.order_current"
    )
    assert {order_id: tuple(rest) for order_id, *rest in made} == made_at(RECORDS)


def test_dimensions_have_the_ids_that_orders_name(
    client: Client, zip_settings: Settings, query: Query
) -> None:
    backfill(min(DAYS), max(DAYS), settings=zip_settings, client=client)
    orders = [order for day in DAYS.values() for order in current(day).values()]

    def named(key: str) -> list[tuple[int]]:
        return sorted({(order[key],) for order in orders if order[key] is not None})

    for dimension in ("user", "location", "device", "app"):
        ids = f"select {dimension}_id from orders.dim_{dimension} order by 1"  # noqa: S608
        assert query(ids) == named(f"{dimension}_id"), dimension
    pairs = {(line["product_id"], line["variant_id"]) for o in orders for line in o["line_items"]}
    assert (None, None) in pairs, "a custom line has no product"
    assert query("select product_id, variant_id from orders.dim_product_variant order by 1, 2") == (
        sorted(pair for pair in pairs if None not in pair)
    )


def test_lines_in_gzip_are_the_records_of_all_run_dates(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    day = max(DAYS)
    put("dump/orders.ndjson.gz", COMMITTED.with_suffix(".ndjson.gz").read_bytes())
    assert run(day, settings=settings, client=client).outcome == "published"
    assert facts(query, day) == counted(RECORDS)


def facts(query: Query, day: date) -> Figures:
    """Return the figures of a run date from the facts and the ledger."""
    [(records, rejected, superseded)] = query(
        "select order_read, order_rejected, order_superseded from orders_ops.load_file"
        " join orders_store.published using (load_id) where run_date = :day",
        day=day,
    )
    prices = query(
        "select currency, sum(total_price) from orders.fact_order where run_date = :day group by 1",
        day=day,
    )
    [(orders, lines, units, refunds)] = query(
        "select count(*), sum(line_count), sum(unit_count), sum(refund_count)"
        " from orders.fact_order where run_date = :day",
        day=day,
    )
    [(of_lines, of_units)] = query(
        "select count(*), sum(quantity) from orders.fact_order_line where run_date = :day", day=day
    )
    assert (of_lines, of_units) == (lines, units)
    paid_back = query(
        "select o.currency, coalesce(sum(r.refunded_amount), 0), count(r)"
        " from orders.fact_order o left join orders.fact_refund r using (run_date, order_id)"
        " where run_date = :day group by 1",
        day=day,
    )
    assert sum(count for *_, count in paid_back) == refunds
    refunded = {currency: amount for currency, amount, _ in paid_back}
    return Figures(
        records, rejected, superseded, orders, lines, units, refunds, dict(prices), refunded
    )
