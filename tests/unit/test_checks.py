"""Checks that are built in: what is usual, what is not, and that docs/checks.md has them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orders_dask.checks.builtin import CHECKS
from orders_dask.checks.comparison import Comparison, EarlierDay, Finding
from orders_dask.checks.measures import Measures
from orders_dask.checks.run import Checks, evaluate
from orders_dask.checks.usual import MIN_DAYS, amount, distance, share
from tests.support import REPOSITORY

DAY = date(2026, 10, 1)

DEFAULT = Checks(
    {name: check.severity for name, check in CHECKS.items()},
    {name: check.threshold for name, check in CHECKS.items()},
)

USUAL = Measures(
    orders=100,
    lines=250,
    read=102,
    superseded=2,
    other_days=1,
    afternoon=60,
    files=2,
    currency_orders={"EUR": 70, "USD": 30},
    currency_amounts={"EUR": Decimal(3500), "USD": Decimal(1500)},
    nulls={"fact_order.email": 10, "fact_order_line.sku": 5},
    statuses=("financial_status=paid",),
    unknown_keys=("a",),
)


def found(load: Measures, *earlier: EarlierDay, published: Measures | None = None) -> set[str]:
    """Return the findings of a load as ``severity check``."""
    comparison = Comparison(DAY, load, published, earlier)
    return {f"{each.severity} {each.check_name}" for each in evaluate(comparison, DEFAULT)}


def weeks(measures: Measures = USUAL, number: int = 8) -> list[EarlierDay]:
    return [EarlierDay(DAY - timedelta(weeks=n), measures) for n in range(1, number + 1)]


def test_a_usual_day_has_no_finding() -> None:
    assert found(USUAL, *weeks(), published=USUAL) == set()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"orders": 1, "lines": 2, "afternoon": 1}, {"hold orders"}),
        ({"currency_amounts": {"EUR": Decimal(35), "USD": Decimal(1500)}}, {"hold money"}),
        ({"lines": 2500}, {"hold lines_per_order"}),
        ({"nulls": {"fact_order.email": 100}}, {"hold nulls"}),
        ({"rejected": 60, "read": 160}, {"hold rejected"}),
        ({"superseded": 102, "read": 202}, {"hold superseded"}),
        ({"other_days": 100}, {"hold other_days"}),
        ({"afternoon": 0}, {"hold afternoon"}),
        ({"files": 1}, {"warn files"}),
        ({"orders": 900, "lines": 2250, "afternoon": 540, "other_days": 9}, {"warn orders"}),
        (
            {"currency_orders": {"EUR": 100}, "currency_amounts": {"EUR": Decimal(5000)}},
            {"hold missing_currency"},
        ),
        ({"statuses": ("financial_status=voided",)}, {"warn new_status"}),
        ({"unknown_keys": ("a", "b")}, {"warn new_keys"}),
        ({"without_offset": 3}, {"warn without_offset"}),
    ],
)
def test_an_unusual_day_is_found_by_its_check(
    changes: dict[str, object], expected: set[str]
) -> None:
    assert expected <= found(replace(USUAL, **changes), *weeks())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        (replace(USUAL, orders=79), {"hold fewer_orders"}),
        (replace(USUAL, orders=80), set()),
        (
            replace(USUAL, currency_amounts={"EUR": Decimal(2799), "USD": Decimal(1500)}),
            {"hold less_money"},
        ),
        (Measures(read=3, rejected=3), {"hold nothing_loaded", "hold fewer_orders"}),
        (Measures(orders=1, read=3, rejected=2), {"hold mostly_rejected"}),
    ],
)
def test_less_than_what_is_published_is_held(load: Measures, expected: set[str]) -> None:
    findings = found(load, published=USUAL)
    assert expected <= findings
    assert bool(expected) == bool(findings)


def test_columns_that_are_null_in_recent_orders_raise_no_alarm() -> None:
    recent = replace(USUAL, nulls={"fact_order.fulfillment_status": 100})
    earlier = replace(USUAL, nulls={"fact_order.fulfillment_status": 0})
    assert found(recent, *weeks(earlier)) == set()


def test_a_young_shop_has_no_usual_day() -> None:
    assert found(replace(USUAL, orders=1), *weeks(number=MIN_DAYS - 1)) == set()


def test_a_small_shop_may_have_a_day_without_orders() -> None:
    small = replace(USUAL, orders=3, read=3, currency_orders={"EUR": 3}, files=1)
    assert "hold empty_day" not in found(Measures(files=1), *weeks(small))
    assert "hold empty_day" in found(Measures(files=2), *weeks())


def test_what_somebody_accepted_is_not_unusual_any_more() -> None:
    few = replace(USUAL, orders=1, lines=2, afternoon=1)
    accepted = EarlierDay(DAY - timedelta(days=1), few, accepted=["orders"])
    assert "hold orders" in found(few, *weeks())
    assert "hold orders" not in found(few, *weeks(), accepted)


def test_what_was_accepted_excuses_its_own_check_alone_and_only_what_is_near() -> None:
    few = replace(USUAL, orders=1, lines=2, afternoon=1)
    day = DAY - timedelta(days=1)
    of_another_check = EarlierDay(day, few, accepted=["nulls"])
    assert "hold orders" in found(few, *weeks(), of_another_check)
    usual = EarlierDay(day, USUAL, accepted=["orders"])
    none = EarlierDay(day, replace(USUAL, orders=2), accepted=["orders"])
    between = replace(few, orders=25, lines=60, afternoon=15)
    assert "hold orders" in found(between, *weeks())
    assert "hold orders" in found(between, *weeks(), usual, none)


def test_measures_are_the_same_after_a_way_through_the_ledger() -> None:
    assert Measures.from_json(USUAL.to_json()) == USUAL


def test_no_text_of_a_dump_but_codes_is_in_a_message() -> None:
    rubbish = replace(USUAL, statuses=("financial_status=jane@example.com",))
    [finding] = evaluate(Comparison(DAY, rubbish, None, weeks()), DEFAULT)
    assert finding == Finding("new_status", "warn", "new status: 1 that this doesn't show")


@given(st.lists(st.integers(0, 10_000), min_size=MIN_DAYS, max_size=8), st.integers(0, 10_000))
def test_a_count_is_the_further_away_the_more_it_differs(history: list[int], count: int) -> None:
    earlier = [amount(each, each) for each in history]
    nearer, further = (distance(amount(n, n), earlier) for n in (count, count + 1))
    assert nearer <= further


@given(st.integers(1, 10_000), st.data())
def test_a_share_lies_between_none_and_all(whole: int, data: st.DataObject) -> None:
    part = data.draw(st.integers(0, whole))
    assert share(0, whole).scaled <= share(part, whole).scaled <= share(whole, whole).scaled


def test_the_page_has_every_check_with_its_severity_and_threshold() -> None:
    page = (REPOSITORY / "docs" / "checks.md").read_text(encoding="utf-8")
    for name, check in CHECKS.items():
        threshold = f", {check.threshold:g}" if check.threshold else ""
        assert f"| `{name}` | {check.meaning} | {check.severity}{threshold} |" in page
