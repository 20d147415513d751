"""Sales figures: the worked example of docs/sales.md, and laws that hold for any dump."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from distributed import Client
from sqlalchemy import Engine

from orders_dask import run
from orders_dask.settings import Settings
from orders_dask.synthetic import generate
from tests.support import REPOSITORY
from tests.support.builders import DAY, lines, order
from tests.support.types import Put, Query
from tests.support.worked_orders import FIRST, FIRST_DUMP, LATER, LATER_DUMP

PAGE = REPOSITORY / "docs" / "sales.md"

BY_ORDER = """
select order_id, sum(gross_sales), sum(discounts), sum(returns), sum(net_sales), sum(shipping),
    sum(taxes), sum(total_sales), sum(gift_card_sales - gift_card_returns), sum(tips),
    coalesce(sum(quantity) filter (where kind = 'sale' and line_type = 'product'), 0),
    coalesce(-sum(quantity) filter (where kind = 'reversal' and line_type = 'product'), 0)
from orders.sale group by order_id order by order_id
"""
BY_DAY = """
select event_local_date, order_count, gross_sales, discounts, returns, net_sales, shipping, taxes,
    total_sales, gift_card_sales - gift_card_returns, units_sold, units_returned,
    average_order_value
from orders.sales_by_day order by 1
"""


def rows_of_page(first_heading: str) -> list[list[str]]:
    """Return the cells of the table of the page that has this first heading."""
    _, _, table = PAGE.read_text().partition(f"\n| {first_heading} |")
    rows = table.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.removesuffix("|")[1:].split("|")] for row in rows]


def questions_of_page() -> list[str]:
    """Return the queries of the page."""
    return re.findall(r"```sql\n(.*?);\n```", PAGE.read_text(), re.DOTALL)


def shown(value: object) -> str:
    """Return a value as the page shows it."""
    if isinstance(value, Decimal) and value.as_tuple().exponent:
        return f"{value:.2f}"
    return "" if value is None else str(value)


@pytest.fixture
def by_date(settings: Settings) -> Settings:
    return settings.model_copy(update={"source": settings.source + "{run_date}/"})


def test_the_worked_example_gives_the_figures_of_the_page(
    client: Client, by_date: Settings, put: Put, query: Query, owner: Engine
) -> None:
    for day, orders in ((FIRST_DUMP, FIRST), (LATER_DUMP, LATER)):
        put(f"dump/{day}/a.ndjson", lines(*orders))
        run(day, settings=by_date, client=client)
    by_order = [[cells[0], *cells[2:]] for cells in rows_of_page("order")]
    assert [[*map(shown, row)] for row in query(BY_ORDER)] == by_order
    assert [[*map(shown, row)] for row in query(BY_DAY)] == rows_of_page("day")
    with owner.connect() as connection:
        connection.exec_driver_sql("create temp table signed as select * from orders.sales_by_day")
        *answers, changed = (
            connection.exec_driver_sql(question).all() for question in questions_of_page()
        )
    assert all(answers)
    assert changed == []


WORTH = """
with worth as (
    select order_id,
        sum(total_sales + gift_card_sales - gift_card_returns + tips) as value,
        sum(total_sales + gift_card_sales + tips) filter (where kind = 'sale') as sold
    from orders.sale group by order_id
)
select order_id, sold, value, total_price, current_total_price
from orders.order_current left join worth using (order_id)
where test is not true
    and (sold, value) is distinct from (total_price, current_total_price)
"""

GROUPED = """
select currency, sum(order_count), sum(gross_sales), sum(discounts), sum(returns), sum(net_sales),
    sum(shipping), sum(taxes), sum(total_sales), sum(gift_card_sales), sum(gift_card_returns),
    sum(units_sold), sum(units_returned)
from {} group by currency order by currency
"""
TOTAL = "select sum({}) from {}"

UNEXPLAINED = """
select refund_id from orders.refund_summary
where refunded_value is distinct from returns + shipping + taxes + gift_card_returns + tips
"""

SUMMARY = "(select *, 1 as order_count from orders.order_summary where not is_test) as summary"


def test_what_orders_are_worth_is_what_was_paid_and_all_views_agree(
    client: Client, settings: Settings, query: Query
) -> None:
    generate(settings.source, start=DAY, days=1, orders=1500)
    source = f"{settings.source}run_date={DAY}/"
    run(DAY, settings=settings.model_copy(update={"source": source}), client=client)
    assert query(WORTH) == []
    by_day = query(GROUPED.format("orders.sales_by_day"))
    assert len(by_day) > 1
    assert query(GROUPED.format("orders.daily_sales")) == by_day
    assert query(GROUPED.format(SUMMARY)) == by_day
    for view, figure in (
        ("sales_by_day_and_channel", "net_sales"),
        ("product_sales", "gross_sales"),
        ("order_line_summary", "gross_sales"),
        ("customer_summary", "net_sales"),
        ("customer_cohort_month", "net_sales"),
    ):
        orders = f"{SUMMARY} where customer_id is not null" if "customer" in view else SUMMARY
        assert query(TOTAL.format(figure, f"orders.{view}")) == query(TOTAL.format(figure, orders))
    assert query(UNEXPLAINED) == []


def test_equal_customers_have_equal_scores(
    client: Client, by_date: Settings, put: Put, query: Query
) -> None:
    buyers = [7, 7, *range(8, 17)]
    orders = (order(n, customer={"id": buyer}) for n, buyer in enumerate(buyers, 1))
    put(f"dump/{DAY}/a.ndjson", lines(*orders))
    run(DAY, settings=by_date, client=client)
    scores = (
        "select customer_id = 7, recency_quintile, frequency_quintile, count(*)"
        " from orders.customer_summary group by 1, 2, 3 order by 1"
    )
    assert query(scores) == [(False, 1, 1, 9), (True, 1, 5, 1)]


def test_a_cohort_orders_in_its_own_currency(
    client: Client, by_date: Settings, put: Put, query: Query
) -> None:
    """Else more customers than it has would come back to it."""
    february, march = "2026-02-02T10:00:00Z", "2026-03-02T10:00:00Z"
    bought = [(1, february, "EUR"), (1, march, "EUR"), (2, february, "USD"), (2, march, "EUR")]
    orders = (
        order(n, customer={"id": buyer}, created_at=at, currency=currency)
        for n, (buyer, at, currency) in enumerate(bought, 1)
    )
    put(f"dump/{DAY}/a.ndjson", lines(*orders))
    run(DAY, settings=by_date, client=client)
    cohorts = (
        "select extract(month from cohort_month)::int, months_since, customer_count"
        " from orders.customer_cohort_month where currency = 'EUR' order by 1, 2"
    )
    assert query(cohorts) == [(2, 0, 1), (2, 1, 1), (3, 0, 1)]
