"""Measures of a load: the figures that checks compare, kept in the ledger for later loads."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    bindparam,
    extract,
    func,
    select,
    true,
)

from orders_dask.contract.control_totals import CURRENCY
from orders_dask.contract.ledger_tables import counter_column, data_issue, load_file, load_run
from orders_dask.contract.order_tables import fact_order, fact_order_line
from orders_dask.contract.schema_drift import Drift
from orders_dask.load.planner import hash_plans

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


Rows = Mapping[str, Any]
"""Measures of a load that its rows in the storage have, by their name in :class:`Measures`."""


def measure(
    connection: Connection, loads: Mapping[date, int], rows: Mapping[int, Rows]
) -> dict[int, Measures]:
    """Return the measures of verified loads, given by run date; by load.

    Parameters
    ----------
    connection
        With an open transaction.
    loads
        The loads by run date.
    rows
        What :func:`measure_rows` returned.
    """
    of_ledger = _of_ledger(connection, [*loads.values()])
    return {load: Measures(**rows[load], **of_ledger[load]) for load in loads.values()}


def measure_rows(connection: Connection, loads: Mapping[date, int]) -> dict[int, Rows]:
    """Return what the rows of sealed loads measure, by load, in the open transaction.

    Sealed loads don't change, so this may run while they are verified.
    """
    with hash_plans(connection):
        groups = _groups(connection, loads)
        other_days, afternoon = _days(connection, loads)
        orders, lines = (_given(connection, fact, loads) for fact in (fact_order, fact_order_line))
    return {
        load_id: {
            "orders": orders[load_id][0],
            "lines": lines[load_id][0],
            "other_days": other_days[load_id],
            "afternoon": afternoon[load_id],
            "nulls": orders[load_id][1] | lines[load_id][1],
            **_of_groups(groups[load_id]),
        }
        for load_id in loads.values()
    }


def _groups(
    connection: Connection, loads: Mapping[date, int]
) -> defaultdict[int, list[Sequence[Any]]]:
    """Return orders and amounts by currency and statuses, the largest groups of each load."""
    group = fact_order.c[CURRENCY], *STATUS_COLUMNS
    number = func.row_number().over(
        partition_by=fact_order.c.load_id, order_by=(func.count().desc(), *group)
    )
    counted = (
        select(
            fact_order.c.load_id,
            *group,
            func.count().label("orders"),
            func.coalesce(func.sum(AMOUNT), 0).label("amount"),
            number.label("number"),
        )
        .where(_of_loads(fact_order, loads))
        .group_by(fact_order.c.load_id, *group)
        .subquery()
    )
    largest = select(counted).where(counted.c.number <= MAX_GROUPS)
    groups: defaultdict[int, list[Sequence[Any]]] = defaultdict(list)
    for load_id, *of_group, _ in connection.execute(largest):
        groups[load_id].append(of_group)
    return groups


def _of_groups(rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Return the measures by currency, and the statuses."""
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
    return {
        "currency_orders": {name: orders for name, (orders, _) in by_currency.items()},
        "currency_amounts": {name: amount for name, (_, amount) in by_currency.items()},
        "statuses": tuple(sorted(statuses)),
    }


def _days(connection: Connection, loads: Mapping[date, int]) -> tuple[Counter[int], Counter[int]]:
    """Return how many orders of each load were made on another day, and how many after noon."""
    local_time = func.timezone("UTC", fact_order.c.created_at) + func.make_interval(
        0, 0, 0, 0, 0, fact_order.c.created_utc_offset_min
    )
    counted = connection.execute(
        select(
            fact_order.c.load_id,
            func.count().filter(fact_order.c.created_local_date != fact_order.c.run_date),
            func.count().filter(extract("hour", local_time) >= 12),
        )
        .where(_of_loads(fact_order, loads))
        .group_by(fact_order.c.load_id)
    )
    other_days, afternoon = Counter[int](), Counter[int]()
    for load_id, *counts in counted:
        other_days[load_id], afternoon[load_id] = counts
    return other_days, afternoon


def _of_loads(fact: Table, loads: Mapping[date, int]) -> ColumnElement[bool]:
    return and_(fact.c.run_date.in_(loads), fact.c.load_id.in_(loads.values()))


def _given(
    connection: Connection, fact: Table, loads: Mapping[date, int]
) -> dict[int, tuple[int, dict[str, int]]]:
    """Return the rows of each load in a fact, and how many have no value, by column."""
    counted = connection.execute(
        _counted(fact), {"run_dates": [*loads], "load_ids": [*loads.values()]}
    )
    names = [f"{fact.name}.{column.name}" for column in _nullable(fact)]
    given = {load_id: (0, dict.fromkeys(names, 0)) for load_id in loads.values()}
    for load_id, rows, *values in counted:
        given[load_id] = rows, {n: rows - v for n, v in zip(names, values, strict=True)}
    return given


@cache
def _counted(fact: Table) -> Select[Any]:
    """Return the statement that counts rows and values: SQLAlchemy takes 60 ms to build it."""
    return (
        select(fact.c.load_id, func.count(), *map(func.count, _nullable(fact)))
        .where(
            fact.c.run_date.in_(bindparam("run_dates", expanding=True)),
            fact.c.load_id.in_(bindparam("load_ids", expanding=True)),
        )
        .group_by(fact.c.load_id)
    )


def _nullable(fact: Table) -> list[Column[Any]]:
    return [column for column in fact.c if column.nullable]


def _of_ledger(connection: Connection, load_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return the measures that the ledger has already, by load."""
    names = ("read", "rejected", "superseded", "files")
    of_files = (
        select(
            *(
                func.coalesce(func.sum(load_file.c[counter_column(fact_order, counter)]), 0)
                for counter in names[:-1]
            ),
            func.count(),
        )
        .where(load_file.c.load_id == load_run.c.load_id)
        .subquery()
        .lateral()
    )
    without_offset = (
        select(func.coalesce(func.sum(data_issue.c.value_count), 0))
        .where(
            data_issue.c.load_id == load_run.c.load_id,
            data_issue.c.code == "instant_without_offset",
        )
        .scalar_subquery()
    )
    rows = connection.execute(
        select(load_run.c.load_id, load_run.c.schema_drift, without_offset, of_files)
        .join_from(load_run, of_files, true())
        .where(load_run.c.load_id.in_(load_ids))
    )
    return {
        load_id: {
            **dict(zip(names, map(int, counted), strict=True)),
            "unknown_keys": Drift.from_json(drift).paths,
            "without_offset": int(unknown),
        }
        for load_id, drift, unknown, *counted in rows
    }
