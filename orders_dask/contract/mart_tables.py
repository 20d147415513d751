"""Sums of sales that each publish changes, so that a report need not read all of history.

A figure of a row is a sum over events of ``orders_store.version_sale``, so that of several sets of
orders it is the sum of theirs. ``Column.info["figure"]`` says which :class:`Sum` or :class:`Count`
it is: :mod:`orders_dask.transform.mart_sums` adds it up for a part, and
:mod:`orders_dask.load.marts` says it in SQL. The bounds of a row, its first and last days, have
``Column.info["bound"]``: they are no sums, and are looked up when orders go away. All other columns
of :data:`MARTS` are the key. See docs/sales.md#sums-that-are-stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import Column, Index, Numeric, Table

from orders_dask.contract.columns import (
    COUNT,
    DATE,
    ID,
    METADATA,
    STORE,
    TEXT,
    TIMESTAMP,
    SqlType,
    computed_column,
)

_SUM: Final = Numeric()
"""Type of a sum of amounts, as PostgreSQL's ``sum`` gives it."""

_ORDER_DAY: Final = "order_local_date"
_ORDER_AT: Final = "order_at"

_AMOUNTS: Final = (
    *("gross_sales", "discounts", "returns", "net_sales", "shipping", "taxes", "total_sales"),
    *("gift_card_sales", "gift_card_returns"),
)
_FURTHER_AMOUNTS: Final = ("tips", "duties", "fees")

EVENT_COLUMNS: Final = (
    *("event_local_date", "currency", "source_name", "location_id", "user_id", "device_id"),
    *("order_id", _ORDER_DAY, _ORDER_AT, "customer_id", "kind", "line_type", "quantity"),
    *_AMOUNTS,
    *_FURTHER_AMOUNTS,
)
"""The columns of events that keys and figures are made of: with all of them, a CTE of the events of
50,000 orders does not fit into memory."""

LONGEST_TEXT: Final = 255
"""Characters of a currency or channel in an event: a longer text does not fit into an index."""

MOST_UNITS: Final = 10**12
"""A greater quantity of an event is unknown: the sums of 9 million such events fit into int64."""

FIRST_OF_ORDER: Final = "is_first"
"""Marks one sale of each order: to count the marks takes less than to count distinct orders, for
which the events of 200,000 orders were sorted by the texts of the key, in 4 of 18 s."""


@dataclass(frozen=True)
class Sum:
    """A sum of a column of events, 0 without any; null values count as nothing.

    Attributes
    ----------
    of
        The column.
    where
        Values that other columns of the events have.
    negated
        The sum is subtracted from 0.
    """

    of: str
    where: tuple[tuple[str, str], ...] = ()
    negated: bool = False


@dataclass(frozen=True)
class Count:
    """A number of events.

    Attributes
    ----------
    null
        Only events in which this column is null; None for all.
    of_orders
        Only :data:`FIRST_OF_ORDER`: the number of orders that were placed.
    """

    null: str | None = None
    of_orders: bool = False


@dataclass(frozen=True)
class Bound:
    """The least or greatest value of a column of events.

    Attributes
    ----------
    aggregate
        ``min`` or ``max``.
    of
        The column.
    """

    aggregate: Literal["min", "max"]
    of: str


_UNKNOWN: Final = ("gross_sales", "discounts", "returns", "shipping", "taxes", "total_sales")


def _figure(name: str, kind: SqlType, figure: Sum | Count, comment: str) -> Column[Any]:
    column = computed_column(name, kind, comment, nullable=False)
    column.info["figure"] = figure
    return column


def _order_count() -> Column[Any]:
    return _figure("order_count", COUNT, Count(of_orders=True), "Orders")


def _amount(name: str) -> Column[Any]:
    return _figure(name, _SUM, Sum(name), f"Sum of {name} where it is known")


def _unknown(name: str) -> Column[Any]:
    return _figure(f"unknown_{name}", COUNT, Count(null=name), f"Events whose {name} is unknown")


def _units(name: str, kind: str, *, negated: bool = False) -> Column[Any]:
    units = Sum("quantity", (("kind", kind), ("line_type", "product")), negated)
    return _figure(name, COUNT, units, "Units of lines that are no gift card and no tip")


def _bound(name: str, kind: SqlType, bound: Bound, comment: str) -> Column[Any]:
    column = computed_column(name, kind, comment)
    column.info["bound"] = bound
    return column


def _unique(name: str, columns: Sequence[Column[Any]]) -> Index:
    names = (column.name for column in columns)
    return Index(name, *names, unique=True, postgresql_nulls_not_distinct=True)


def _load_id() -> Column[Any]:
    return computed_column("load_id", ID, "The load", nullable=False)


def _currency() -> Column[Any]:
    return computed_column("currency", TEXT, "ISO 4217 code of the amounts")


def _day_key() -> tuple[Column[Any], ...]:
    """Return the key of a row for each day, currency, channel, location, staff and till."""
    return (
        computed_column("event_local_date", DATE, "The shop's day of the events"),
        _currency(),
        computed_column("source_name", TEXT, "The channel"),
        computed_column("location_id", ID, "The location"),
        computed_column("user_id", ID, "The member of staff"),
        computed_column("device_id", ID, "The till"),
    )


def _day_figures() -> tuple[Column[Any], ...]:
    return (
        _order_count(),
        *map(_amount, _AMOUNTS),
        _units("units_sold", "sale"),
        _units("units_returned", "reversal", negated=True),
        *map(_amount, _FURTHER_AMOUNTS),
        *map(_unknown, _UNKNOWN),
        _figure("event_count", COUNT, Count(), "Events; 0 where all of them went away"),
    )


def _customer_key() -> tuple[Column[Any], ...]:
    """Return the key of a row for each customer and currency."""
    customer = computed_column("customer_id", ID, "The customer", nullable=False)
    return customer, _currency()


def _customer_figures() -> tuple[Column[Any], ...]:
    first, last = Bound("min", _ORDER_DAY), Bound("max", _ORDER_DAY)
    return (
        _bound("first_order_date", DATE, first, "The shop's day of the first order"),
        _bound("last_order_date", DATE, last, "The shop's day of the last order"),
        _bound("first_order_at", TIMESTAMP, Bound("min", _ORDER_AT), "When the first was made"),
        _order_count(),
        *map(_amount, ("gross_sales", "discounts", "net_sales")),
        _units("units_sold", "sale"),
    )


sales_day = Table(
    "sales_day",
    METADATA,
    *(day_key := _day_key()),
    *_day_figures(),
    _unique("sales_day_key", day_key),
    schema=STORE,
    comment="Sums of the events of current orders, changed by every publish and rollback",
)

load_sales_day = Table(
    "load_sales_day",
    METADATA,
    *(day_key := (_load_id(), *_day_key())),
    *_day_figures(),
    part := computed_column(
        "part", TEXT, "The part whose orders they are; null: all of the load, counted in SQL"
    ),
    # So that no part is ever counted twice, and no load in SQL.
    _unique("load_sales_day_part", (*day_key, part)),
    schema=STORE,
    comment="The same sums over all orders of a load, current or not, by part",
)

sales_customer = Table(
    "sales_customer",
    METADATA,
    *(customer_key := _customer_key()),
    *_customer_figures(),
    _unique("sales_customer_key", customer_key),
    schema=STORE,
    comment="Sums of current orders by customer, changed by every publish and rollback",
)

load_sales_customer = Table(
    "load_sales_customer",
    METADATA,
    _load_id(),
    *_customer_key(),
    *_customer_figures(),
    Index("load_sales_customer_load_id", "load_id"),
    schema=STORE,
    comment="The same sums over all orders of a load, current or not, several rows a customer",
)

MARTS: Final = (sales_day, sales_customer)
"""The tables that views read."""

LOAD_MARTS: Final = (load_sales_day, load_sales_customer)
"""What each load adds to :data:`MARTS` when it is published, in the same order."""


def figures(mart: Table) -> dict[str, Sum | Count]:
    """Return what each figure of a mart is."""
    return {column.name: column.info["figure"] for column in mart.c if "figure" in column.info}


def bounds(mart: Table) -> dict[str, Bound]:
    """Return what each bound of a mart is."""
    return {column.name: column.info["bound"] for column in mart.c if "bound" in column.info}


def key(mart: Table) -> list[str]:
    """Return the key of one of :data:`MARTS`."""
    values = {*figures(mart), *bounds(mart)}
    return [column.name for column in mart.c if column.name not in values]
