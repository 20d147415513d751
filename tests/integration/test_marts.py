"""Stored sums of sales: ``orders-dask marts``, and what keeps them exact."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from distributed import Client
from sqlalchemy import Engine, func, select, update

from orders_dask import run
from orders_dask.contract.mart_tables import LOAD_MARTS, load_sales_day, sales_day
from orders_dask.jobs.marts import check_marts, rebuild_marts
from orders_dask.jobs.rollback import rollback
from orders_dask.load.schema import initialise
from orders_dask.load.views import view_definitions, views_are_current
from orders_dask.publish import pointer
from orders_dask.settings import Settings
from orders_dask.synthetic import generate
from tests.support.builders import lines, order
from tests.support.commands import orders_dask
from tests.support.loads import unpublished
from tests.support.types import Put, Query
from tests.support.worked_orders import FIRST, FIRST_DUMP, LATER, LATER_DUMP

START = date(2026, 3, 1)


@pytest.fixture
def by_date(settings: Settings) -> Settings:
    return settings.model_copy(update={"source": settings.source + "{run_date}/"})


@pytest.fixture
def three_days(client: Client, settings: Settings, warehouse: Engine) -> Settings:
    """Load three generated days, of which the later ones have orders of those before."""
    generate(settings.source, start=START, days=3, orders=200, edited=0.3)
    source = f"{settings.source}run_date={{run_date}}/"
    settings = settings.model_copy(update={"source": source})
    for after in (0, 2, 1):
        run(START + timedelta(days=after), settings=settings, client=client)
    return settings


def test_stored_sums_are_those_of_the_events_after_any_change(
    three_days: Settings, client: Client, warehouse: Engine
) -> None:
    def different() -> tuple[object, ...]:
        return check_marts(all_days=True, settings=three_days).differences

    assert different() == ()
    run(START, settings=three_days, client=client, force=True)
    assert different() == ()
    rollback(START, settings=three_days)
    assert different() == ()
    unpublished(warehouse, START + timedelta(days=1))
    assert different() == ()


def test_a_wrong_sum_is_named_and_rebuilt(
    three_days: Settings, owner: Engine, owner_login: dict[str, str]
) -> None:
    day = START + timedelta(days=1)
    of_day = sales_day.c.event_local_date == day
    with owner.begin() as connection:
        rows = connection.scalar(select(func.count()).where(of_day))
        connection.execute(
            update(sales_day).where(of_day).values(net_sales=sales_day.c.net_sales + 1)
        )
    found = check_marts(day, settings=three_days)
    assert found.month == START
    assert {(each.figure, each.key["event_local_date"]) for each in found.differences} == {
        ("net_sales", day)
    }
    off = [Decimal(str(each.stored)) - Decimal(str(each.counted)) for each in found.differences]
    assert off == [Decimal(1)] * (rows or 0)
    _, message = orders_dask(
        "marts", "check", "--month", "2026-03", code=3, environment=owner_login
    )
    assert "The stored sums of 2026-03 differ from what their orders add up to" in message
    assert rebuild_marts(settings=three_days) == 3
    output, _ = orders_dask("marts", "check", environment=owner_login)
    assert output == "The sums of 2026-03 are what their orders add up to.\n"


def test_a_month_counts_all_events_of_its_days_and_no_others(
    client: Client, by_date: Settings, put: Put, query: Query
) -> None:
    for day, orders in ((FIRST_DUMP, FIRST), (LATER_DUMP, LATER)):
        put(f"dump/{day}/a.ndjson", lines(*orders))
        run(day, settings=by_date, client=client)
    months = query("select distinct date_trunc('month', event_local_date)::date from orders.sale")
    assert len(months) > 1
    for (month,) in months:
        assert check_marts(month, settings=by_date).differences == ()


def test_code_that_counts_nothing_has_exact_sums_too(
    three_days: Settings, owner: Engine, query: Query
) -> None:
    """Older code publishes by the same rows of the same tables, and counts no load before."""
    with owner.begin() as connection:
        load_id = connection.scalar(select(load_sales_day.c.load_id).limit(1))
        for mart in LOAD_MARTS:
            connection.execute(mart.delete())
        pointer.lock_publishing(connection)
        run_date = next(
            day
            for day, load in query("select run_date, load_id from orders_store.published")
            if load == load_id
        )
        pointer.set_published(connection, {run_date: None}, "unpublished")
        pointer.set_published(connection, {run_date: load_id}, "replaced")
    assert check_marts(all_days=True, settings=three_days).differences == ()


def test_a_day_that_a_replacing_load_knows_is_its_customers_first(
    client: Client, by_date: Settings, put: Put, query: Query
) -> None:
    days = "select first_order_date, last_order_date from orders.customer_summary"
    known: dict[str, Any] = {"customer": {"id": 7}}
    for made, first in (("x", None), ("2026-03-01T09:00:00+01:00", START), ("x", None)):
        put(f"dump/{START}/a.ndjson", lines(order(1, created_at=made, **known)))
        run(START, settings=by_date, client=client)
        assert query(days) == [(first, first)]
        assert check_marts(all_days=True, settings=by_date).differences == ()


def test_a_trigger_that_is_missing_is_made_anew(warehouse: Engine, owner: Engine) -> None:
    with owner.begin() as connection:
        connection.exec_driver_sql("drop trigger marts on orders_store.published")
        assert not views_are_current(connection, view_definitions(connection))
    initialise(owner)
    with owner.connect() as connection:
        assert views_are_current(connection, view_definitions(connection))


FIRST_ORDERS = """
with made as (
    select *, coalesce(processed_at, created_at) as made_at from orders.order_summary
)
select order_id, is_first_order, customer_id, is_test, made_at
from (
    select *, min(made_at) filter (where not is_test) over (partition by customer_id) as first_at
    from made
) m
where is_first_order is distinct from
    case when customer_id is not null and not is_test then made_at = first_at end
"""


def test_first_orders_are_those_of_their_customers(three_days: Settings, query: Query) -> None:
    counts = "select is_first_order, count(*) > 0 from orders.order_summary group by 1 order by 1"
    assert query(counts) == [(False, True), (True, True), (None, True)]
    assert query(FIRST_ORDERS) == []


def test_status_and_campaign_of_an_order(
    client: Client, by_date: Settings, put: Put, query: Query
) -> None:
    site = "/?utm_source=news&utm_medium=e-mail&utm_campaign=may%20sale&x=1"
    closed, cancelled = (
        {"closed_at": "2026-03-02T00:00:00Z"},
        {"cancelled_at": "2026-03-02T00:00:00Z"},
    )
    orders = order(1, landing_site=site), order(2, **closed), order(3, **closed, **cancelled)
    put(f"dump/{START}/a.ndjson", lines(*orders))
    run(START, settings=by_date, client=client)
    status = (
        "select order_status, utm_source, utm_medium, utm_campaign"
        " from orders.order_summary order by order_id"
    )
    assert query(status) == [
        ("open", "news", "e-mail", "may sale"),
        ("closed", None, None, None),
        ("cancelled", None, None, None),
    ]


def test_a_month_that_is_none_is_refused(owner_login: dict[str, str]) -> None:
    _, message = orders_dask(
        "marts", "check", "--month", "2026-13", code=2, environment=owner_login
    )
    assert "'2026-13' is not a month such as 2026-03" in message


def test_a_month_and_all_days_exclude_each_other(owner_login: dict[str, str]) -> None:
    command = ("marts", "check", "--all", "--month", "2026-03")
    _, message = orders_dask(*command, code=2, environment=owner_login)
    assert "--month and --all exclude each other" in message
