"""The public views on a small data set."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from random import Random
from typing import Any
from urllib.parse import unquote_plus

import pytest
from sqlalchemy import Engine

from tests.support.loads import moment, published
from tests.support.types import Query

FIRST, SECOND, THIRD = date(2017, 11, 3), date(2017, 11, 4), date(2017, 12, 1)


def order(order_id: int, day: date, price: str | None, currency: str | None, **more: Any) -> Any:
    return {
        "order_id": order_id,
        "created_at": moment(day=day),
        "created_local_date": day,
        "processed_local_date": day,
        "total_price": price and Decimal(price),
        "currency": currency,
        "line_count": 2,
        "unit_count": 5,
        "refund_count": 0,
        **more,
    }


def refund(order_id: int, refund_id: int, amount: str | None, hour: int) -> dict[str, Any]:
    return {
        "order_id": order_id,
        "refund_id": refund_id,
        "refunded_amount": amount and Decimal(amount),
        "refunded_at": moment(day=FIRST, hour=hour),
    }


@pytest.fixture
def shop(warehouse: Engine) -> Engine:
    """Publish three run dates: order 1 is edited on the later ones."""
    lines = [{"order_id": order_id, "line_id": n} for order_id in range(1, 8) for n in (1, 2)]
    published(
        warehouse,
        FIRST,
        {
            "fact_order": [
                order(1, FIRST, "10", "USD", updated_at=moment(day=FIRST, hour=13), refund_count=1),
                order(2, FIRST, "20.5", "USD", refund_count=2, email=None, contact_email="b@x"),
                order(3, FIRST, "30", "EUR", cancelled_at=moment(day=SECOND), unit_count=None),
                order(4, FIRST, "1000", "USD", test=True),
                order(5, FIRST, "40", "EUR", refund_count=2, test=False),
                order(6, FIRST, None, "EUR"),
                order(7, FIRST, "7", None, email="a@x", contact_email="b@x"),
            ],
            "fact_order_line": lines,
            "fact_refund": [
                refund(1, 11, "10", 14),
                refund(2, 21, "0.5", 14),
                refund(2, 22, "3", 15),
                refund(5, 51, "1", 14),
                refund(5, 52, None, 15),
            ],
        },
    )
    published(
        warehouse,
        SECOND,
        {
            "fact_order": [
                order(1, FIRST, "12", "USD", updated_at=moment(day=SECOND), refund_count=2),
                order(8, SECOND, "8", "USD"),
            ],
            "fact_refund": [refund(1, 11, "10", 14), refund(1, 12, "1.25", 16)],
        },
    )
    # A later dump has an older version of order 1, which stays superseded.
    late = order(1, FIRST, "11", "USD", updated_at=moment(day=FIRST, hour=18))
    published(warehouse, THIRD, {"fact_order": [late]})
    return warehouse


def test_order_summary_is_one_exact_row_a_current_order(shop: Engine, query: Query) -> None:
    rows = query(
        """ select order_id, run_date, currency, total_amount, refund_count, refunded_amount,
        last_refunded_at from orders.order_summary order by order_id """
    )
    d = Decimal
    assert rows == [
        (1, SECOND, "USD", d(12), 2, d("11.25"), moment(day=FIRST, hour=16)),
        (2, FIRST, "USD", d("20.5"), 2, d("3.5"), moment(day=FIRST, hour=15)),
        (3, FIRST, "EUR", d(30), 0, d(0), None),
        (4, FIRST, "USD", d(1000), 0, d(0), None),
        (5, FIRST, "EUR", d(40), 2, None, moment(day=FIRST, hour=15)),
        (6, FIRST, "EUR", None, 0, d(0), None),
        (7, FIRST, None, d(7), 0, d(0), None),
        (8, SECOND, "USD", d(8), 0, d(0), None),
    ]


def test_order_summary_keeps_and_flags_test_and_cancelled_orders(
    shop: Engine, query: Query
) -> None:
    rows = query(
        """
        select order_id, is_test, is_cancelled, buyer_email, line_count
        from orders.order_summary where order_id in (2, 3, 4, 7) order by order_id
        """
    )
    assert rows == [
        (2, False, False, "b@x", 2),
        (3, False, True, None, 2),
        (4, True, False, None, 2),
        (7, False, False, "a@x", 2),
    ]


def test_daily_sales_never_mixes_currencies_and_excludes_test_orders(
    shop: Engine, query: Query
) -> None:
    rows = query(
        """
        select order_local_date, currency, order_count, cancelled_order_count, unknown_order_count
        from orders.daily_sales order by order_local_date, currency
        """
    )
    assert rows == [
        (FIRST, "EUR", 3, 1, 3),
        (FIRST, "USD", 2, 0, 2),
        (FIRST, None, 1, 0, 1),
        (SECOND, "USD", 1, 0, 1),
    ]


def test_order_history_numbers_every_published_version(shop: Engine, query: Query) -> None:
    rows = query(
        """
        select order_id, version_number, is_current, run_date, total_price from orders.order_history
        where order_id in (1, 7) order by order_id, version_number
        """
    )
    assert rows == [
        (1, 1, False, FIRST, Decimal(10)),
        (1, 2, False, THIRD, Decimal(11)),
        (1, 3, True, SECOND, Decimal(12)),
        (7, 1, True, FIRST, Decimal(7)),
    ]


def test_versions_without_a_timestamp_are_numbered_first_and_by_run_date(
    warehouse: Engine, query: Query
) -> None:
    published(warehouse, FIRST, {"fact_order": [{"order_id": 1, "created_at": moment(day=FIRST)}]})
    published(warehouse, THIRD, {"fact_order": [{"order_id": 1}]})
    published(warehouse, SECOND, {"fact_order": [{"order_id": 1}]})
    rows = query("select version_number, is_current, run_date from orders.order_history order by 1")
    assert rows == [(1, False, SECOND), (2, False, THIRD), (3, True, FIRST)]


def test_a_replaced_load_is_in_no_view(shop: Engine, query: Query) -> None:
    published(shop, FIRST, {"fact_order": [order(2, FIRST, "1", "USD")]})
    for statement in (
        "select order_id from orders.fact_order where run_date = '2017-11-03'",
        "select order_id from orders.order_summary where run_date = '2017-11-03'",
        "select order_id from orders.order_history where run_date = '2017-11-03'",
    ):
        assert query(statement) == [(2,)], statement
    children = query("select count(*) from orders.fact_order_line where run_date = '2017-11-03'")
    assert children == [(0,)]
    [(refunded,)] = query("select refunded_amount from orders.order_summary where order_id = 2")
    assert refunded == 0, "refunds are those of the same load"


def test_tags_are_split_as_they_were_joined(warehouse: Engine, query: Query) -> None:
    tags = {1: "gift, wholesale", 2: "", 3: None, 4: "one", 5: "a,b, , c"}
    rows = [order(order_id, FIRST, "1", "USD", tags=text) for order_id, text in tags.items()]
    published(warehouse, FIRST, {"fact_order": rows})
    found = query("select order_id, tag_number, tag from orders.order_tag order by 1, 2")
    assert found == [
        *((1, 1, "gift"), (1, 2, "wholesale"), (4, 1, "one")),
        *((5, 1, "a,b"), (5, 2, ""), (5, 3, "c")),
    ]


def decoded(written: str) -> str:
    """Return a part of a query as Python decodes it, or as written where that gives no text."""
    try:
        text = unquote_plus(written, errors="strict")
    except UnicodeDecodeError:
        return written
    return written if "\0" in text else text


def parameters(address: str) -> list[tuple[int, str, str | None]]:
    _, _, query = address.partition("?")
    found = []
    for number, parameter in enumerate(query.partition("#")[0].split("&"), 1):
        name, separator, value = parameter.partition("=")
        if parameter:
            found.append((number, decoded(name), decoded(value) if separator else None))
    return found


def test_parameters_of_an_address_are_those_that_python_finds(
    warehouse: Engine, query: Query
) -> None:
    pieces = [
        *("a", "utm_source", "=", "=", "&", "&", "?", "#", "+", "%", "%2", "%zz", "%41", "%26"),
        *("%C3%BC", "%c3", "%E2%82%AC", "%ED%A0%80", "%f0%9f%98%80", "%F4%90%80%80", "%00", "%C0"),
        *("ü", "😀", "\\", "'", "%25", "\n", "%E0%80%80", "%7F", "%80"),
    ]
    draw = Random(19)
    addresses = [
        "/",
        "/?",
        "/collections/all?utm_source=newsletter&utm_campaign=B%C3%BCcher+%26+mehr&gclid#top",
        "https://shop.example.com/?q=a=b&&q=&%3D=%00&bad=%FF%41",
        *("/?" + "".join(draw.choices(pieces, k=draw.randrange(1, 12))) for _ in range(400)),
        *("".join(draw.choices(pieces, k=draw.randrange(1, 12))) for _ in range(100)),
    ]
    rows = [
        order(order_id, FIRST, "1", "USD", landing_site=address)
        for order_id, address in enumerate(addresses)
    ]
    published(warehouse, FIRST, {"fact_order": [*rows, order(9999, FIRST, "1", "USD")]})
    found: dict[int, list[Any]] = {}
    for order_id, *parameter in query(
        "select order_id, parameter_number, name, value from orders.order_url_parameter order by 1, 2"
    ):
        found.setdefault(order_id, []).append(tuple(parameter))
    assert found == {
        order_id: expected
        for order_id, address in enumerate(addresses)
        if (expected := parameters(address))
    }
