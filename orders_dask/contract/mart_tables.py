"""Sums of sales that each publish changes, so that a report need not read all of history.

A figure of a row is a sum over events of ``orders_store.version_sale``, so that of several sets of
orders it is the sum of theirs. ``Column.info["sum"]`` is its SQL expression over events. The bounds
of a row, its first and last days, have ``Column.info["bound"]``: they are no sums, and are looked
up when orders go away. All other columns are the key. See docs/sales.md#sums-that-are-stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

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

FIRST_OF_ORDER: Final = "is_first"
IS_FIRST: Final = "row_number() over (partition by order_id, kind) = 1"
"""Marks one sale of each order: to count the marks takes less than to count distinct orders, for
which the events of 200,000 orders were sorted by the texts of the key, in 4 of 18 s."""

_UNKNOWN: Final = ("gross_sales", "discounts", "returns", "shipping", "taxes", "total_sales")


def _figure(name: str, kind: SqlType, expression: str, comment: str) -> Column[Any]:
    figure = computed_column(name, kind, comment, nullable=False)
    figure.info["sum"] = expression
    return figure


def _order_count() -> Column[Any]:
    expression = f"count(*) filter (where {FIRST_OF_ORDER} and kind = 'sale')"
    return _figure("order_count", COUNT, expression, "Orders")


def _amount(name: str) -> Column[Any]:
    return _figure(name, _SUM, f"coalesce(sum({name}), 0.0000)", f"Sum of {name} where it is known")


def _unknown(name: str) -> Column[Any]:
    expression = f"count(*) filter (where {name} is null)"
    return _figure(f"unknown_{name}", COUNT, expression, f"Events whose {name} is unknown")


def _units(name: str, sign: str, kind: str) -> Column[Any]:
    product = f"kind = '{kind}' and line_type = 'product'"
    expression = f"coalesce({sign}sum(quantity) filter (where {product}), 0)::bigint"
    return _figure(name, COUNT, expression, "Units of lines that are no gift card and no tip")


def _bound(name: str, kind: SqlType, aggregate: str, of: str, comment: str) -> Column[Any]:
    bound = computed_column(name, kind, comment)
    bound.info["bound"] = (aggregate, of)
    return bound


def _mart(name: str, comment: str, key: Sequence[Column[Any]], *columns: Column[Any]) -> Table:
    return Table(
        name,
        METADATA,
        *key,
        *columns,
        Index(
            f"{name}_key",
            *(column.name for column in key),
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
        schema=STORE,
        comment=comment,
    )


def _load_id() -> Column[Any]:
    return computed_column("load_id", ID, "The load", nullable=False)


def _currency() -> Column[Any]:
    return computed_column("currency", TEXT, "ISO 4217 code of the amounts")


def _sales_day(name: str, comment: str, *key: Column[Any]) -> Table:
    """Return a table with a row for each day, currency, channel, location, staff and till."""
    key = (
        *key,
        computed_column("event_local_date", DATE, "The shop's day of the events"),
        _currency(),
        computed_column("source_name", TEXT, "The channel"),
        computed_column("location_id", ID, "The location"),
        computed_column("user_id", ID, "The member of staff"),
        computed_column("device_id", ID, "The till"),
    )
    return _mart(
        name,
        comment,
        key,
        _order_count(),
        *map(_amount, _AMOUNTS),
        _units("units_sold", "", "sale"),
        _units("units_returned", "-", "reversal"),
        *map(_amount, _FURTHER_AMOUNTS),
        *map(_unknown, _UNKNOWN),
        _figure("event_count", COUNT, "count(*)", "Events; 0 where all of them went away"),
    )


def _sales_customer(name: str, comment: str, *key: Column[Any]) -> Table:
    """Return a table with a row for each customer and currency."""
    key = (*key, computed_column("customer_id", ID, "The customer", nullable=False), _currency())
    return _mart(
        name,
        comment,
        key,
        _bound("first_order_date", DATE, "min", _ORDER_DAY, "The shop's day of the first order"),
        _bound("last_order_date", DATE, "max", _ORDER_DAY, "The shop's day of the last order"),
        _bound("first_order_at", TIMESTAMP, "min", _ORDER_AT, "When the first order was made"),
        _order_count(),
        *map(_amount, ("gross_sales", "discounts", "net_sales")),
        _units("units_sold", "", "sale"),
    )


sales_day = _sales_day(
    "sales_day", "Sums of the events of current orders, changed by every publish and rollback"
)

load_sales_day = _sales_day(
    "load_sales_day", "The same sums over all orders of a load, current or not", _load_id()
)

sales_customer = _sales_customer(
    "sales_customer", "Sums of current orders by customer, changed by every publish and rollback"
)

load_sales_customer = _sales_customer(
    "load_sales_customer",
    "The same sums over all orders of a load, current or not",
    _load_id(),
)

MARTS: Final = (sales_day, sales_customer)
"""The tables that views read."""

LOAD_MARTS: Final = (load_sales_day, load_sales_customer)
"""What is counted of a load before its publish takes the lock."""


def sums(mart: Table) -> dict[str, str]:
    """Return the SQL expression over events of each figure of a mart."""
    return {column.name: column.info["sum"] for column in mart.c if "sum" in column.info}


def bounds(mart: Table) -> dict[str, tuple[str, str]]:
    """Return ``min`` or ``max`` of each bound of a mart, and the column of events it is of."""
    return {column.name: column.info["bound"] for column in mart.c if "bound" in column.info}


def key(mart: Table) -> list[str]:
    """Return the key of a mart."""
    values = {*sums(mart), *bounds(mart)}
    return [column.name for column in mart.c if column.name not in values]
