"""The checks that are built in. docs/checks.md tells what each is for, and how often it is right.

Each looks at a comparison, and yields what it finds as a severity and a message: the severity is
the one that it asks for, and the one in the settings counts if it is milder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from orders_dask.checks.comparison import Comparison, Found, Severity, unusual
from orders_dask.checks.measures import CURRENCY_CODE, Measures
from orders_dask.checks.usual import MIN_DAYS, Figure, amount, share
from orders_dask.contract.order_tables import fact_order, fact_order_line

MIN_ROWS: Final = 10
"""Rows that a share needs to be compared."""

MIN_ORDERS: Final = 10
"""Orders of the usual day that it takes for none of them to mean anything."""

LATER_COLUMNS: Final = {
    f"{column.table.name}.{column.name}"
    for column in (
        fact_order.c.closed_at,
        fact_order.c.cancelled_at,
        fact_order.c.cancel_reason,
        fact_order.c.fulfillment_status,
        fact_order_line.c.fulfillment_status,
    )
}
"""Columns that are null until something happens to an order: how many are depends on its age.

In a real dump that was taken at once, `fulfillment_status` was null in all orders of the last week.
"""

MIN_RECENT: Final = 7
"""Earlier days, of all weekdays, that it takes for a value to be new."""


@dataclass(frozen=True)
class Check:
    """A check that is built in.

    Attributes
    ----------
    find
        Yields what it finds in a comparison by a threshold.
    severity, threshold
        Its severity and threshold unless the settings say otherwise. A check without a threshold
        has 0.
    meaning
        What it finds.
    """

    find: Callable[[Comparison, float], Found]
    severity: Severity
    threshold: float
    meaning: str


def _nothing_loaded(comparison: Comparison, _: float) -> Found:
    load = comparison.load
    if load.read and not load.orders:
        reason = _reason(comparison)
        yield "hold", f"records: {load.read:,}, and none became an order{reason}"


def _mostly_rejected(comparison: Comparison, threshold: float) -> Found:
    load = comparison.load
    if load.orders and load.rejected > threshold * load.read:
        reason = _reason(comparison)
        yield "hold", f"rejected: {load.rejected:,} of {load.read:,} records{reason}"


def _reason(comparison: Comparison) -> str:
    return f", most often {comparison.reject_reason}" if comparison.reject_reason else ""


def _fewer_orders(comparison: Comparison, threshold: float) -> Found:
    load, published = comparison.load, comparison.published
    if not published:
        return
    is_enough = published.orders >= MIN_ORDERS or not load.orders
    if is_enough and load.orders < (1 - threshold) * published.orders:
        yield "hold", f"orders: {load.orders:,}, and {published.orders:,} are published"


def _less_money(comparison: Comparison, threshold: float) -> Found:
    if not comparison.published:
        return
    now, orders = comparison.load.currency_amounts, comparison.published.currency_orders
    for currency, before in comparison.published.currency_amounts.items():
        if orders[currency] < MIN_ORDERS:
            continue  # one edited order may be a fifth of its currency
        if before > 0 and float(now.get(currency, 0)) < (1 - threshold) * float(before):
            less = f"{now.get(currency, 0):,.2f}, and {before:,.2f} are published"
            yield "hold", f"{named_currency(currency)}: {less}"


def _empty_day(comparison: Comparison, _: float) -> Found:
    orders = [day.measures.orders for day in comparison.weekday]
    is_known = len(orders) > 1 and min(orders)
    if not comparison.load.orders and is_known and median(orders) >= MIN_ORDERS:
        yield "hold", f"orders: 0, where {_range(comparison, orders)}"


def _missing_currency(comparison: Comparison, _: float) -> Found:
    days = [day.measures.currency_orders for day in comparison.weekday]
    for currency in sorted({name for day in days for name in day}):
        orders = [day.get(currency, 0) for day in days]
        is_usual = len(orders) >= MIN_DAYS and min(orders) and median(orders) >= MIN_ORDERS
        if is_usual and comparison.load.orders and currency not in comparison.load.currency_orders:
            yield (
                "hold",
                f"orders in {named_currency(currency)}: 0, where {_range(comparison, orders)}",
            )


def _files(comparison: Comparison, _: float) -> Found:
    days = [day.measures.files for day in comparison.weekday]
    if len(days) >= MIN_DAYS and comparison.load.files < min(days) == max(days):
        # An export by pages of 250 orders has fewer files on a slow day.
        yield "warn", f"files: {comparison.load.files:,}, where {_range(comparison, days)}"


def _orders(comparison: Comparison, threshold: float) -> Found:
    # A sales day or a campaign has five times the usual orders: more is never held.
    def of_day(day: Measures) -> Figure | None:
        return amount(day.orders, day.orders) if day.orders else None

    yield from unusual(comparison, "orders", of_day, threshold, above="warn")


def _money(comparison: Comparison, threshold: float) -> Found:
    for currency in _currencies(comparison):

        def of_day(day: Measures, currency: str = currency) -> Figure | None:
            orders = day.currency_orders.get(currency, 0)
            return amount(float(day.currency_amounts[currency]), orders) if orders else None

        yield from unusual(comparison, named_currency(currency), of_day, threshold, above="warn")


def _order_value(comparison: Comparison, threshold: float) -> Found:
    for currency in _currencies(comparison):

        def of_day(day: Measures, currency: str = currency) -> Figure | None:
            orders = day.currency_orders.get(currency, 0)
            if orders < MIN_ROWS:
                return None
            return amount(float(day.currency_amounts[currency]) / orders, orders)

        yield from unusual(comparison, f"{named_currency(currency)} an order", of_day, threshold)


def _lines_per_order(comparison: Comparison, threshold: float) -> Found:
    def of_day(day: Measures) -> Figure | None:
        return amount(day.lines / day.orders, day.orders) if day.orders >= MIN_ROWS else None

    yield from unusual(comparison, "lines an order", of_day, threshold)


def _nulls(comparison: Comparison, threshold: float) -> Found:
    for column in sorted(comparison.load.nulls.keys() - LATER_COLUMNS):

        def of_day(day: Measures, column: str = column) -> Figure | None:
            rows = day.lines if column.startswith("fact_order_line.") else day.orders
            return _share(day.nulls[column], rows) if column in day.nulls else None

        yield from unusual(
            comparison, f"without {column}", of_day, threshold, below=None, above="hold"
        )


def _rejected(comparison: Comparison, threshold: float) -> Found:
    yield from unusual(
        comparison,
        "rejected",
        lambda day: _share(day.rejected, day.read),
        threshold,
        below=None,
    )


def _superseded(comparison: Comparison, threshold: float) -> Found:
    yield from unusual(
        comparison,
        "superseded by another version of the same day",
        lambda day: _share(day.superseded, day.read),
        threshold,
        below=None,
    )


def _other_days(comparison: Comparison, threshold: float) -> Found:
    yield from unusual(
        comparison,
        "made on another day than the run date",
        lambda day: _share(day.other_days, day.orders),
        threshold,
        below=None,
    )


def _afternoon(comparison: Comparison, threshold: float) -> Found:
    yield from unusual(
        comparison,
        "made after noon",
        lambda day: _share(day.afternoon, day.orders),
        threshold,
        above="warn",  # an evening of a campaign
    )


def _new_currency(comparison: Comparison, _: float) -> Found:
    yield from _new(comparison, "currency", lambda day: map(named_currency, day.currency_orders))


def _new_status(comparison: Comparison, _: float) -> Found:
    yield from _new(comparison, "status", lambda day: day.statuses)


def _new_keys(comparison: Comparison, _: float) -> Found:
    yield from _new(comparison, "key", lambda day: day.unknown_keys)


def _without_offset(comparison: Comparison, _: float) -> Found:
    before = [day.measures.without_offset for day in comparison.earlier]
    if comparison.load.without_offset and len(before) >= MIN_RECENT and not any(before):
        yield (
            "warn",
            f"timestamps without offset: {comparison.load.without_offset:,}, where all had one",
        )


CHECKS: Final[dict[str, Check]] = {
    "nothing_loaded": Check(
        _nothing_loaded, "hold", 0, "Records were read, and none became an order."
    ),
    "mostly_rejected": Check(
        _mostly_rejected, "hold", 0.5, "More than this share of the records was rejected."
    ),
    "fewer_orders": Check(
        _fewer_orders, "hold", 0.2, "Orders are fewer than what is published, by this share."
    ),
    "less_money": Check(
        _less_money, "hold", 0.2, "A currency's sum is less than what is published, by this share."
    ),
    "empty_day": Check(
        _empty_day, "hold", 0, "There are no orders, and the weekday always had some."
    ),
    "missing_currency": Check(
        _missing_currency,
        "hold",
        0,
        "A currency has no orders, and the weekday always had some.",
    ),
    "files": Check(
        _files, "warn", 0, "There are fewer files, and the weekday always had the same number."
    ),
    "orders": Check(_orders, "hold", 6, "The number of orders is unusual; more is only warned of."),
    "money": Check(_money, "hold", 6, "A currency's sum is unusual; more is only warned of."),
    "order_value": Check(_order_value, "hold", 5, "The mean value of an order is unusual."),
    "lines_per_order": Check(_lines_per_order, "hold", 5, "The lines an order are unusual."),
    "nulls": Check(_nulls, "hold", 7, "A column has unusually many rows without a value."),
    "rejected": Check(_rejected, "hold", 7, "Unusually many records were rejected."),
    "superseded": Check(
        _superseded, "hold", 5, "Unusually many orders stand in the dump more than once."
    ),
    "other_days": Check(
        _other_days, "hold", 5, "Unusually many orders were made on another day than the run date."
    ),
    "afternoon": Check(
        _afternoon, "hold", 5, "Unusually many, or few, orders were made after noon, local time."
    ),
    "new_currency": Check(_new_currency, "warn", 0, "A currency is new."),
    "new_status": Check(_new_status, "warn", 0, "A financial or fulfilment status is new."),
    "new_keys": Check(_new_keys, "warn", 0, "A key that the contract doesn't know is new."),
    "without_offset": Check(
        _without_offset, "warn", 0, "Timestamps have no offset, and all had one."
    ),
}
"""By name. The threshold of an *unusual* figure is a robust z-score; half of it is warned of."""


def _new(
    comparison: Comparison, what: str, of_day: Callable[[Measures], Iterator[str] | Sequence[str]]
) -> Found:
    """Yield the values that no earlier day had, if there are enough earlier days."""
    if len(comparison.earlier) < MIN_RECENT:
        return
    before = {value for day in comparison.earlier for value in of_day(day.measures)}
    new = sorted({*of_day(comparison.load)} - before)
    # Anything else may be a text of a person that stands in the wrong field.
    shown = [value for value in new if _CODE.fullmatch(value)][:5]
    if len(shown) < len(new):
        shown.append(f"{len(new) - len(shown)} that this doesn't show")
    if shown:
        yield "warn", f"new {what}: {', '.join(shown)}"


_CODE: Final = re.compile(r"[\w.\[\]-]+(=[A-Za-z_-]+)?|no currency")
"""Names of keys, currencies and statuses as shops have them."""


def _share(part: int, whole: int) -> Figure | None:
    return share(part, whole) if whole >= MIN_ROWS else None


def _currencies(comparison: Comparison) -> list[str]:
    """Return the currencies that orders of the load or of the same weekday have."""
    days = [comparison.load, *(day.measures for day in comparison.weekday)]
    return sorted({currency for day in days for currency in day.currency_orders})


def named_currency(currency: str) -> str:
    """Return a currency for people; what is no code may be a text of a person."""
    if not currency:
        return "no currency"
    return currency if CURRENCY_CODE.fullmatch(currency) else "another currency"


def _range(comparison: Comparison, orders: Sequence[int]) -> str:
    return (
        f"the last {len(orders)} {comparison.run_date:%A}s had {min(orders):,} to {max(orders):,}"
    )
