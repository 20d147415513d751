"""Shops that don't exist: measures of a year of days each, drawn by a seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

import numpy as np
from numpy.random import Generator

from orders_dask.checks.measures import Measures

FIRST: Final = date(2025, 1, 1)
DAYS: Final = 365
WARM_UP: Final = 56
"""Days before the year that is judged: a young shop has no history either, and no alarm."""


@dataclass(frozen=True)
class Shop:
    """What stays the same in a shop's year.

    Attributes
    ----------
    orders
        Expected orders of each day, trend, weekday, season, sales and noise included.
    value, value_spread
        Mean value of an order of each day, and its coefficient of variation.
    currencies
        Shares of the currencies.
    lines
        Mean lines an order beyond the first.
    nulls
        Share of orders without a value, by column.
    rejected, superseded, other_days, afternoon
        Share of records that are rejected and superseded, and of orders made on another day and
        after noon.
    files
        Number of files of a day; their mean, if it is no integer.
    """

    orders: np.ndarray[tuple[int], np.dtype[np.float64]]
    value: np.ndarray[tuple[int], np.dtype[np.float64]]
    value_spread: float
    currencies: dict[str, float]
    lines: float
    nulls: dict[str, float]
    rejected: float
    superseded: float
    other_days: float
    afternoon: float
    files: float


def shop(random: Generator) -> Shop:
    """Draw a shop. Half of them have 20 to 180 orders a day, one in 20 more than 800."""
    days = WARM_UP + DAYS
    t = np.arange(days)
    weekday = (FIRST - timedelta(days=WARM_UP)).weekday() + t
    size = np.clip(np.exp(random.normal(np.log(60), 1.6)), 1, 20_000)
    growth = np.exp(random.normal(0.1, 0.4) * t / 365)
    by_weekday = np.exp(random.normal(0, 0.25, 7))
    if random.random() < 0.15:
        by_weekday[6] = 0  # closed on Sundays
    season = 1 + 0.5 * random.random() * np.exp(-(((t - WARM_UP - 340) / 20) ** 2))
    noise = np.exp(_wandering(random, days, random.uniform(0.05, 0.3)))
    events = np.ones(days)
    for _ in range(random.poisson(6)):  # sales and campaigns
        begin, length = random.integers(days), random.integers(1, 5)
        events[begin : begin + length] *= random.uniform(1.5, 6)
    if random.random() < 0.6:  # Black Friday and the days around
        events[WARM_UP + 331 : WARM_UP + 335] *= random.uniform(2, 8)
    for _ in range(10):  # holidays
        events[random.integers(days)] *= random.uniform(0.2, 0.9)
    for _ in range(random.poisson(2)):  # the site is down for some hours
        events[random.integers(days)] *= random.uniform(0.3, 0.9)
    if random.random() < 0.2:  # closed on three holidays
        events[random.integers(days, size=3)] = 0
    number = 1 if random.random() < 0.6 else int(random.integers(2, 4))
    shares = random.dirichlet(np.full(number, 3.0))
    return Shop(
        orders=size * growth * by_weekday[weekday % 7] * season * noise * events,
        value=np.exp(random.normal(np.log(60), 0.8))
        * np.exp(_wandering(random, days, 0.05))
        * np.where(events > 1.4, 0.85, 1.0),
        value_spread=random.uniform(0.5, 1.5),
        currencies=dict(zip(("EUR", "USD", "GBP"), map(float, shares), strict=False)),
        lines=random.uniform(0.2, 3),
        nulls={
            f"fact_order.column_{n}": float(random.choice([0, 1, random.beta(1, 3)]))
            for n in range(30)
        },
        rejected=random.choice([0, 0.0005, 0.002]),
        superseded=random.uniform(0, 0.1),
        other_days=random.uniform(0, 0.01) if random.random() < 0.6 else random.uniform(0.3, 0.7),
        afternoon=random.uniform(0.5, 0.8),
        files=random.choice([1, 1, 2, 4, 24, random.uniform(1.5, 8)]),
    )


def _wandering(
    random: Generator, days: int, spread: float
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return noise of which half carries over to the next day."""
    noise = np.zeros(days)
    for day in range(1, days):
        noise[day] = 0.5 * noise[day - 1] + random.normal(0, spread * np.sqrt(0.75))
    return noise


def year(random: Generator, drawn: Shop) -> Iterator[tuple[date, Measures]]:
    """Yield the days of a shop, those of the warm-up first."""
    for number, (expected, value) in enumerate(zip(drawn.orders, drawn.value, strict=True)):
        yield (
            FIRST + timedelta(days=number - WARM_UP),
            day(random, drawn, int(random.poisson(expected)), value),
        )


def day(random: Generator, drawn: Shop, orders: int, value: float) -> Measures:
    """Return a day of a number of orders."""
    names, shares = zip(*drawn.currencies.items(), strict=True)
    by_currency = dict(zip(names, map(int, random.multinomial(orders, shares)), strict=True))
    rejected = int(random.binomial(orders, drawn.rejected))
    superseded = int(random.binomial(orders, drawn.superseded))
    return Measures(
        orders=orders,
        lines=orders + int(random.poisson(orders * drawn.lines)),
        read=orders + rejected + superseded,
        rejected=rejected,
        superseded=superseded,
        other_days=int(random.binomial(orders, drawn.other_days)),
        # Days differ: on some, people order in the evening.
        afternoon=int(random.binomial(orders, np.clip(random.normal(drawn.afternoon, 0.03), 0, 1))),
        files=int(drawn.files)
        if drawn.files == int(drawn.files)
        else 1 + int(random.poisson(drawn.files)),
        currency_orders={name: n for name, n in by_currency.items() if n},
        currency_amounts={
            name: _amount(random, n, value, drawn.value_spread)
            for name, n in by_currency.items()
            if n
        },
        nulls={name: int(random.binomial(orders, p)) for name, p in drawn.nulls.items()},
    )


def _amount(random: Generator, orders: int, mean: float, spread: float) -> Decimal:
    """Return the sum of the values of some orders, which are log-normal."""
    sigma = np.sqrt(np.log(1 + spread**2))
    values = np.exp(random.normal(np.log(mean) - sigma**2 / 2, sigma, min(orders, 2_000)))
    return Decimal(round(float(values.mean()) * orders, 2)).quantize(Decimal("0.01"))


def scaled(measures: Measures, share: float) -> Measures:
    """Return a day of which a share of all records is there."""

    def part(count: int) -> int:
        return round(count * share)

    return replace(
        measures,
        orders=part(measures.orders),
        lines=part(measures.lines),
        read=part(measures.read),
        rejected=part(measures.rejected),
        superseded=part(measures.superseded),
        other_days=part(measures.other_days),
        afternoon=part(measures.afternoon),
        currency_orders={k: part(v) for k, v in measures.currency_orders.items() if part(v)},
        currency_amounts={
            k: v * Decimal(share)
            for k, v in measures.currency_amounts.items()
            if part(measures.currency_orders[k])
        },
        nulls={k: part(v) for k, v in measures.nulls.items()},
    )
