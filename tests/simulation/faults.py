"""Faults of a dump, applied to the measures of a good day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from numpy.random import Generator

from orders_dask.checks.measures import Measures
from tests.simulation.shops import scaled

Fault = Callable[[Generator, Measures, Measures], Measures | None]
"""Returns the day with the fault, by the day and the day before; None if it can't have it."""


def file_missing(random: Generator, day: Measures, before: Measures) -> Measures | None:
    """One of several files is missing."""
    if day.files < 2:
        return None
    return replace(scaled(day, 1 - 1 / day.files), files=day.files - 1)


def half_a_day(random: Generator, day: Measures, before: Measures) -> Measures:
    """The export stopped at noon."""
    return replace(scaled(day, 1 - day.afternoon / day.orders), afternoon=0)


def day_twice(random: Generator, day: Measures, before: Measures) -> Measures:
    """The same orders stand in two files, or twice in one."""
    return replace(
        day,
        read=2 * day.read,
        rejected=2 * day.rejected,
        superseded=2 * day.superseded + day.orders,
    )


def day_before(random: Generator, day: Measures, before: Measures) -> Measures:
    """The dump of the day before stands in the day's folder."""
    return replace(before, other_days=before.orders - before.other_days)


def amounts_times_100(random: Generator, day: Measures, before: Measures) -> Measures:
    """Cents are read as euros."""
    return replace(day, currency_amounts={k: 100 * v for k, v in day.currency_amounts.items()})


def currency_missing(random: Generator, day: Measures, before: Measures) -> Measures | None:
    """The orders of one of the currencies are missing."""
    if len(day.currency_orders) < 2:
        return None
    missing = sorted(day.currency_orders)[int(random.integers(len(day.currency_orders)))]
    left = scaled(day, 1 - day.currency_orders[missing] / day.orders)
    return replace(
        left,
        currency_orders={k: v for k, v in day.currency_orders.items() if k != missing},
        currency_amounts={k: v for k, v in day.currency_amounts.items() if k != missing},
    )


def zone_shifted(random: Generator, day: Measures, before: Measures) -> Measures:
    """Timestamps are off by 5 to 9 hours: as many orders more are of another local day."""
    moved = float(random.uniform(0.1, 0.35))
    return replace(
        day,
        other_days=round(day.other_days + moved * (day.orders - day.other_days)),
        afternoon=round(day.afternoon * (1 - moved)),
    )


def column_missing(random: Generator, day: Measures, before: Measures) -> Measures | None:
    """A column that most orders have is null in all."""
    given = [
        k
        for k in (f"fact_order.column_{n}" for n in range(30))
        if day.nulls.get(k, 0) < 0.5 * day.orders
    ]
    if not given:
        return None
    return replace(day, nulls={**day.nulls, given[int(random.integers(len(given)))]: day.orders})


def nothing(random: Generator, day: Measures, before: Measures) -> Measures:
    """The file is empty."""
    return Measures()


FAULTS: Final[dict[str, Fault]] = {
    "a file missing": file_missing,
    "half a day": half_a_day,
    "the day twice": day_twice,
    "the day before again": day_before,
    "amounts in cents": amounts_times_100,
    "a currency lost": currency_missing,
    "time zone shifted": zone_shifted,
    "a column lost": column_missing,
    "an empty file": nothing,
}
