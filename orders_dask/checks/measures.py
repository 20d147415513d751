"""Measures of a load: the figures that checks compare, kept in the ledger for later loads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Table, and_, extract, func, select

from orders_dask.contract.control_totals import CURRENCY
from orders_dask.contract.ledger_tables import counter_column, data_issue, load_file, load_run
from orders_dask.contract.order_tables import fact_order, fact_order_line
from orders_dask.contract.schema_drift import Drift

AMOUNT: Final = fact_order.c.total_price
"""The amount of an order that checks add up by currency."""

STATUS_COLUMNS: Final = (fact_order.c.financial_status, fact_order.c.fulfillment_status)
"""Columns whose values are few, and whose new values are worth a word."""

_STATUS: Final = re.compile("[A-Za-z_-]{1,40}")

CURRENCY_CODE: Final = re.compile("[A-Za-z]{3}")
OTHER_CURRENCY: Final = "other"
"""Stands for all that is no code of a currency."""

MAX_GROUPS: Final = 1_000
"""Currencies with statuses that are kept of a load: rubbish in these columns may be endless."""


@dataclass(frozen=True)
class Measures:
    """Figures of a load, of the order rows and lines that it would show.

    Attributes
    ----------
    orders, lines
        Number of orders and lines.
    read, rejected, superseded
        Number of order records that were read, that were rejected, and that another version of the
        run date supersedes.
    other_days
        Number of orders that were made on another local day than the run date.
    afternoon
        Number of orders that were made after noon, local time.
    files
        Number of files that were read.
    currency_orders, currency_amounts
        Number of orders, and sum of their ``total_price``, by currency; ``""`` for none,
        ``other`` for what is no code of one.
    nulls
        Number of rows without a value, by column such as ``fact_order.email``.
    statuses
        Values of the columns of statuses, as ``column=value``.
    unknown_keys
        Dotted paths of keys that the contract doesn't know.
    without_offset
        Number of timestamps without offset.
    """

    orders: int = 0
    lines: int = 0
    read: int = 0
    rejected: int = 0
    superseded: int = 0
    other_days: int = 0
    afternoon: int = 0
    files: int = 0
    currency_orders: Mapping[str, int] = field(default_factory=dict)
    currency_amounts: Mapping[str, Decimal] = field(default_factory=dict)
    nulls: Mapping[str, int] = field(default_factory=dict)
    statuses: tuple[str, ...] = ()
    unknown_keys: tuple[str, ...] = ()
    without_offset: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return them as JSON of the ledger; amounts are texts, to stay exact."""
        amounts = {currency: str(amount) for currency, amount in self.currency_amounts.items()}
        return asdict(self) | {"currency_amounts": amounts}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Measures:
        """Return the measures that :meth:`to_json` wrote."""
        amounts = {name: Decimal(text) for name, text in stored["currency_amounts"].items()}
        lists = {name: tuple(stored[name]) for name in ("statuses", "unknown_keys")}
        return cls(**{**stored, "currency_amounts": amounts, **lists})


def measure(connection: Connection, run_date: date, load_id: int) -> Measures:
    """Return the measures of a sealed load."""
    of_load = _of_load(fact_order, run_date, load_id)
    groups = fact_order.c[CURRENCY], *STATUS_COLUMNS
    rows = connection.execute(
        select(*groups, func.count(), func.coalesce(func.sum(AMOUNT), 0))
        .where(of_load)
        .group_by(*groups)
        .order_by(func.count().desc(), *groups)
        .limit(MAX_GROUPS)
    ).all()
    by_currency: dict[str, tuple[int, Decimal]] = {}
    for text, *_, orders, amount in rows:
        # Anything else may be a text of a person.
        currency = text if not text or CURRENCY_CODE.fullmatch(text) else OTHER_CURRENCY
        before = by_currency.get(currency or "", (0, Decimal(0)))
        by_currency[currency or ""] = before[0] + orders, before[1] + amount
    statuses = {
        f"{column.name}={value}"
        for row in rows
        for column, value in zip(STATUS_COLUMNS, row[1:], strict=False)
        # Anything else may be a text of a person.
        if value is not None and _STATUS.fullmatch(value)
    }
    local_time = func.timezone("UTC", fact_order.c.created_at) + func.make_interval(
        0, 0, 0, 0, 0, fact_order.c.created_utc_offset_min
    )
    other_days, afternoon = connection.execute(
        select(
            func.count().filter(fact_order.c.created_local_date != run_date),
            func.count().filter(extract("hour", local_time) >= 12),
        ).where(of_load)
    ).one()
    orders, order_nulls = _count_nulls(connection, fact_order, run_date, load_id)
    lines, line_nulls = _count_nulls(connection, fact_order_line, run_date, load_id)
    return Measures(
        orders=orders,
        lines=lines,
        other_days=other_days,
        afternoon=afternoon,
        currency_orders={name: orders for name, (orders, _) in by_currency.items()},
        currency_amounts={name: amount for name, (_, amount) in by_currency.items()},
        nulls=order_nulls | line_nulls,
        statuses=tuple(sorted(statuses)),
        **_of_ledger(connection, load_id),
    )


def _of_load(fact: Table, run_date: date, load_id: int) -> ColumnElement[bool]:
    return and_(fact.c.run_date == run_date, fact.c.load_id == load_id)


def _count_nulls(
    connection: Connection, fact: Table, run_date: date, load_id: int
) -> tuple[int, dict[str, int]]:
    """Return the rows of a load in a fact, and how many have no value, by column."""
    columns = [column for column in fact.c if column.nullable]
    rows, *given = connection.execute(
        select(func.count(), *map(func.count, columns)).where(_of_load(fact, run_date, load_id))
    ).one()
    return rows, {
        f"{fact.name}.{column.name}": rows - values
        for column, values in zip(columns, given, strict=True)
    }


def _of_ledger(connection: Connection, load_id: int) -> dict[str, Any]:
    """Return the measures that the ledger has already."""
    read, rejected, superseded = (
        func.coalesce(func.sum(load_file.c[counter_column(fact_order, counter)]), 0)
        for counter in ("read", "rejected", "superseded")
    )
    counted = connection.execute(
        select(read, rejected, superseded, func.count()).where(load_file.c.load_id == load_id)
    ).one()
    without_offset = connection.scalar(
        select(func.coalesce(func.sum(data_issue.c.value_count), 0)).where(
            data_issue.c.load_id == load_id, data_issue.c.code == "instant_without_offset"
        )
    )
    drift = connection.scalar(select(load_run.c.schema_drift).where(load_run.c.load_id == load_id))
    return {
        **dict(zip(("read", "rejected", "superseded", "files"), map(int, counted), strict=True)),
        "unknown_keys": Drift.from_json(drift).paths,
        "without_offset": int(without_offset or 0),
    }
