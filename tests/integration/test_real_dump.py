"""A real dump of 25,000 orders, whose totals were counted independently (skipped where it is absent)."""

from __future__ import annotations

import json
import zipfile
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from distributed import Client

from orders_dask.jobs.backfill import backfill
from orders_dask.settings import Settings
from tests.support.types import Put, Query

DUMP = Path(__file__).parents[3] / "shared" / "data" / "orders_2017.zip"
RANGE = (date(2017, 10, 30), date(2017, 12, 30))

pytestmark = [
    pytest.mark.skipif(not DUMP.exists(), reason="the real dump is not here"),
    pytest.mark.slow,
]


def test_the_real_dump_is_published_exactly_and_then_left_alone(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    put("dump/orders_2017.zip", DUMP.read_bytes())
    of_zip = settings.model_copy(
        update={"source": f"zip://{{run_date}}.json::{settings.source}orders_2017.zip"}
    )
    for expected in ("published", "up to date"):
        results = backfill(*RANGE, settings=of_zip, client=client)
        outcomes = [result.outcome for result in results]
        assert (outcomes.count(expected), outcomes.count("missing")) == (60, 2), results
    assert query("select count(*) from orders_ops.load_run") == [(60,)]
    check_figures(query)
    check_instants(query)


def check_figures(query: Query) -> None:
    """Every figure that was counted independently stands in the public views."""
    [orders] = query(
        "select count(*), count(distinct order_id), sum(total_price), sum(subtotal_price), sum(total_tax),"
        " sum(total_discounts), sum(total_line_items_price), count(distinct user_id),"
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
        "select run_date, count(*) from orders.order_summary where run_date <= '2017-11-01' group by 1 order by 1"
    ) == [(date(2017, 10, 30), 27), (date(2017, 10, 31), 204), (date(2017, 11, 1), 277)]
    assert query(
        "select count(*), sum(gross_amount), sum(net_amount) from orders.order_summary"
    ) == [(25_000, Decimal(amounts[0]), Decimal(amounts[0]))]
    assert query("select order_id, gross_amount from orders.order_summary where is_test") == [
        (26463698947, Decimal(0))
    ]
    assert query("select sum(order_count), sum(gross_amount) from orders.daily_sales") == [
        (24_999, Decimal(amounts[0]))
    ]
    assert query("select count(*) from orders_ops.rejected_record") == [(0,)]
    # The dimensions have the distinct ids; the null pair of product and variant is no variant.
    assert query(
        "select (select count(*) from orders.dim_user), (select count(*) from orders.dim_location),"
        " (select count(*) from orders.dim_device), (select count(*) from orders.dim_app),"
        " (select count(*) from orders.dim_product_variant), (select count(*) from orders.dim_customer)"
    ) == [(43, 5, 22, 1, 260, 0)]


def check_instants(query: Query) -> None:
    """Every order has the exact instant, the shop's day and the offset that were written."""
    rows = query(
        "select order_id, created_at, created_local_date, created_utc_offset_min from orders.order_current"
    )
    stored = {order_id: tuple(rest) for order_id, *rest in rows}
    with zipfile.ZipFile(DUMP) as dump:
        for member in dump.namelist():
            for order in json.loads(dump.read(member))["orders"]:
                written = datetime.fromisoformat(order["created_at"])
                offset = written.utcoffset()
                assert offset is not None
                minutes = offset.total_seconds() / 60
                assert stored.pop(order["id"]) == (written, written.date(), minutes)
    assert not stored
