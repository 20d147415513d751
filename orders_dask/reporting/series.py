"""The figures of a report by day, each with what was usual: the checks' own comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from orders_dask.checks.builtin import named_currency
from orders_dask.checks.comparison import Comparison, EarlierDay
from orders_dask.checks.measures import AMOUNT, Measures
from orders_dask.checks.run import EARLIER, days_before
from orders_dask.checks.usual import MIN_DAYS
from orders_dask.reporting.charts import LineChart, line_chart
from orders_dask.reporting.data import Day, ReportData

MAX_CURRENCIES: Final = 3
"""Currencies with a chart: those with the most orders."""

Number = int | float | Decimal


@dataclass(frozen=True)
class Row:
    """A day of a series: its value, and the least and greatest that were usual, for people."""

    run_date: date
    value: str
    usual: str


@dataclass(frozen=True)
class Series:
    """A figure by day.

    Attributes
    ----------
    title
        The figure.
    last, last_day
        Its value, for people, on the last day that has one, and that day.
    chart, rows
        The chart, and its numbers.
    """

    title: str
    last: str
    last_day: str
    chart: LineChart
    rows: Sequence[Row]


def currencies_of(data: ReportData) -> list[str]:
    """Return the currencies of a report's orders, that of most orders first."""
    orders: Counter[str] = Counter()
    for day in data.days:
        orders.update(_measures(day).currency_orders)
    return [currency for currency, _ in orders.most_common()]


def series_of(data: ReportData) -> list[Series]:
    """Return the figures that tell whether the days of a report are as usual."""
    currencies = currencies_of(data)[:MAX_CURRENCIES]
    figures: list[tuple[str, Callable[[Measures], Number | None], str]] = [
        ("Orders", lambda m: m.orders, "{:,}"),
        *(
            (f"Sum of {AMOUNT.name}, {named_currency(c)}", _amount(c), "{:,.2f}")
            for c in currencies
        ),
        *((f"Mean order, {named_currency(c)}", _mean(c), "{:,.2f}") for c in currencies[:1]),
        ("Lines an order", lambda m: m.lines / m.orders if m.orders else None, "{:,.2f}"),
        ("Rejected records", lambda m: m.rejected / m.read if m.read else None, "{:.2%}"),
        (
            "Orders made on another day than the run date",
            lambda m: m.other_days / m.orders if m.orders else None,
            "{:.1%}",
        ),
        (
            "Orders made after noon",
            lambda m: m.afternoon / m.orders if m.orders else None,
            "{:.1%}",
        ),
    ]
    return [_series(data, *figure) for figure in figures]


def _has_measures(day: Day) -> bool:
    return day.load is not None and day.load.measures is not None


def _measures(day: Day) -> Measures:
    return (day.load and day.load.measures) or Measures()


def _amount(currency: str) -> Callable[[Measures], Number | None]:
    return lambda measures: measures.currency_amounts.get(currency)


def _mean(currency: str) -> Callable[[Measures], Number | None]:
    def of_day(measures: Measures) -> Number | None:
        orders = measures.currency_orders.get(currency)
        return measures.currency_amounts[currency] / orders if orders else None

    return of_day


def _series(
    data: ReportData, title: str, figure: Callable[[Measures], Number | None], shown: str
) -> Series:
    values = {day.run_date: figure(_measures(day)) for day in data.days if _has_measures(day)}
    published = _published(data)
    bands = [_usual(day, figure, published) for day in data.days]
    texts = {d: shown.format(value) for d, value in values.items() if value is not None}
    of_days = [values.get(day.run_date) for day in data.days]
    return Series(
        title,
        *next(reversed([(value, str(day)) for day, value in texts.items()]), ("none", "")),
        line_chart(
            [day.run_date for day in data.days],
            [None if value is None else float(value) for value in of_days],
            [band and (float(band[0]), float(band[1])) for band in bands],
            [f"{day.run_date:%a %d %b}: {texts.get(day.run_date, 'none')}" for day in data.days],
            is_share=shown.endswith("%}"),
        ),
        [
            Row(
                day.run_date,
                texts.get(day.run_date, "none"),
                f"{shown.format(band[0])} to {shown.format(band[1])}" if band else "not known",
            )
            for day, band in zip(data.days, bands, strict=True)
        ],
    )


def _published(data: ReportData) -> Mapping[date, Measures]:
    """Return the measures of published days, as the checks of a later day see them."""
    return dict(data.earlier) | {
        day.run_date: _measures(day)
        for day in data.days
        if _has_measures(day) and day.state in ("published", "republished")
    }


def _usual(
    day: Day, figure: Callable[[Measures], Number | None], published: Mapping[date, Measures]
) -> tuple[Number, Number] | None:
    """Return the least and greatest value of the same weekday in the eight weeks before."""
    earlier = [
        EarlierDay(run_date, measures)
        for run_date, measures in published.items()
        if days_before(day.run_date, EARLIER) <= run_date < day.run_date
    ]
    weekday = Comparison(day.run_date, Measures(), None, earlier).weekday
    known = [value for each in weekday if (value := figure(each.measures)) is not None]
    return (min(known), max(known)) if len(known) >= MIN_DAYS else None
