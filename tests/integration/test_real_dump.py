"""A real dump of 25,000 orders with independently counted totals; collected if it exists."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from distributed import Client

from orders_dask.jobs.backfill import backfill
from orders_dask.settings import Settings
from tests.support.dumps import REAL, days_of, made_at
from tests.support.types import Put, Query

RANGE = (date(2017, 10, 30), date(2017, 12, 30))


@pytest.mark.slow
def test_the_real_dump_is_published_exactly_and_then_left_alone(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    put("dump/orders_2017.zip", REAL.read_bytes())
    zip_settings = settings.model_copy(
        update={"source": f"zip://{{run_date}}.json::{settings.source}orders_2017.zip"}
    )
    for expected in ("published", "up_to_date"):
        results = backfill(*RANGE, settings=zip_settings, client=client)
        outcomes = [result.outcome for result in results]
        assert (outcomes.count(expected), outcomes.count("missing")) == (60, 2), results
    assert query("select count(*) from orders_ops.load_run") == [(60,)]
    check_figures(query)
    made = query(
        "select order_id, created_at, created_local_date, created_utc_offset_min"
        " from orders.order_current"
    )
    records = [record for day in days_of(REAL).values() for record in day]
    assert {order_id: tuple(rest) for order_id, *rest in made} == made_at(records)


def check_figures(query: Query) -> None:
    """Check all figures that were counted independently against the public views."""
    [orders] = query(
        "select count(*), count(distinct order_id), sum(total_price), sum(subtotal_price),"
        " sum(total_tax), sum(total_discounts), sum(total_line_items_price),"
        " count(distinct user_id),"
        " count(distinct location_id), count(distinct device_id), count(distinct app_id),"
        " sum(unit_count), count(*) filter (where test) from orders.fact_order"
    )
    amounts = ["4611578.76", "4238825.97", "372752.79", "41060.01", "4341417.60"]
    assert orders == (25_000, 25_000, *map(Decimal, amounts), 43, 5, 22, 1, 66_306, 1)
    assert query("select distinct currency from orders.fact_order") == [("USD",)]
    assert query(
        "select count(*), count(distinct line_id), sum(quantity),"
        " count(distinct (product_id, variant_id)) from orders.fact_order_line"
    ) == [(60_555, 60_555, 66_306, 261)]
    assert query(
        "select run_date, count(*) from orders.order_summary"
        " where run_date <= '2017-11-01' group by 1 order by 1"
    ) == [(date(2017, 10, 30), 27), (date(2017, 10, 31), 204), (date(2017, 11, 1), 277)]
    assert query(
        "select count(*), sum(total_amount), sum(refunded_amount) from orders.order_summary"
    ) == [(25_000, Decimal(amounts[0]), 0)]
    assert query("select order_id, total_amount from orders.order_summary where is_test") == [
        (26463698947, Decimal(0))
    ]
    # Lines without a price have no known sales.
    assert query(
        "select sum(order_count), sum(gross_sales), sum(unknown_order_count) from orders.daily_sales"
    ) == [(24_999, None, 24_999)]
    assert query("select count(*) from orders_ops.rejected_record") == [(0,)]
    # Dimensions have the distinct ids; a null product and variant is no row.
    assert query(
        "select (select count(*) from orders.dim_user), (select count(*) from orders.dim_location),"
        " (select count(*) from orders.dim_device), (select count(*) from orders.dim_app),"
        " (select count(*) from orders.dim_product_variant),"
        " (select count(*) from orders.dim_customer)"
    ) == [(43, 5, 22, 1, 260, 0)]
