"""Compare the marts with the events that they add up, and add them up anew.

Every publish, rollback and unpublish changes them by the triggers of ``sql/marts.sql``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Date,
    Row,
    Table,
    and_,
    cast,
    column,
    delete,
    except_all,
    exists,
    false,
    func,
    literal_column,
    or_,
    select,
    table,
    true,
    tuple_,
    union_all,
)

from orders_dask.contract.columns import STORE
from orders_dask.contract.ledger_tables import load_run
from orders_dask.contract.mart_tables import (
    EVENT_COLUMNS,
    FIRST_OF_ORDER,
    LOAD_MARTS,
    MARTS,
    figures,
    key,
    sales_customer,
    sales_day,
)
from orders_dask.contract.order_tables import fact_order
from orders_dask.contract.refund_tables import fact_refund
from orders_dask.contract.storage_tables import order_superseded, published
from orders_dask.ledger.leases import UNDECIDED
from orders_dask.load.marts import IS_FIRST, values

Days = tuple[date, date]
"""First day and last."""

_EVENTS: Final = table(
    "version_sale", column("load_id"), column("run_date"), *map(column, EVENT_COLUMNS), schema=STORE
)


@dataclass(frozen=True)
class MartDifference:
    """A figure of a mart that is not what its events add up to.

    Attributes
    ----------
    mart
        Name of the table.
    key
        The row: its day, currency and so on, or customer and currency.
    figure
        Name of the figure.
    stored, counted
        What the table has, and what the events add up to. None: there is no such row.
    """

    mart: str
    key: Mapping[str, Any]
    figure: str
    stored: Decimal | date | None
    counted: Decimal | date | None


def latest_run_date(connection: Connection) -> date | None:
    """Return the latest published run date; None if there is none."""
    latest: date | None = connection.scalar(select(func.max(published.c.run_date)))
    return latest


def find_differences(connection: Connection, days: Days | None = None) -> list[MartDifference]:
    """Add up the events of some days and the customers who ordered then, or all; and compare."""
    return [each for mart in MARTS for each in _differences(connection, mart, days)]


def _differences(connection: Connection, mart: Table, days: Days | None) -> list[MartDifference]:
    names = key(mart)
    stored: dict[tuple[Any, ...], Row[Any]] = {}
    counted: dict[tuple[Any, ...], Row[Any]] = {}
    for row in connection.execute(_differing(mart, days)):
        side = stored if row.is_stored else counted
        side[tuple(getattr(row, name) for name in names)] = row
    return [
        MartDifference(mart.name, dict(zip(names, of, strict=True)), figure, *both)
        for of in dict.fromkeys((*stored, *counted))
        for figure in values(mart)
        for both in [tuple(getattr(side.get(of), figure, None) for side in (stored, counted))]
        if both[0] != both[1]
    ]


def _differing(mart: Table, days: Days | None) -> CompoundSelect[Any]:
    """Return the query for the rows that only one side has: what is stored, or what is counted."""
    by_key: list[ColumnElement[Any]] = [column(name) for name in key(mart)]
    of_events: list[ColumnElement[Any]] = [
        literal_column(expression).label(name) for name, expression in values(mart).items()
    ]
    is_superseded = exists().where(
        order_superseded.c.order_id == _EVENTS.c.order_id,
        order_superseded.c.run_date == _EVENTS.c.run_date,
    )
    of_load = published.c.load_id == _EVENTS.c.load_id
    row_limits, event_limits = _LIMITS[mart](days)
    # A row whose orders all went away stays, and all of it is 0.
    not_empty = or_(*(mart.c[name] != 0 for name in figures(mart)))
    rows = select(*(mart.c[name] for name in (*key(mart), *values(mart))))
    stored = rows.where(not_empty, *row_limits).cte("stored")
    events = (
        select(
            *(_EVENTS.c[name] for name in EVENT_COLUMNS),
            literal_column(IS_FIRST).label(FIRST_OF_ORDER),
        )
        .join(published, of_load)
        .where(~is_superseded, *event_limits)
    )
    counted = (
        select(*by_key, *of_events).select_from(events.subquery()).group_by(*by_key).cte("counted")
    )
    sides = ((true(), stored, counted), (false(), counted, stored))
    return union_all(
        *(
            select(is_stored.label("is_stored"), except_all(select(one), select(other)).subquery())
            for is_stored, one, other in sides
        )
    )


Conditions = Sequence[ColumnElement[bool]]


def _limit_to_days(days: Days | None) -> tuple[Conditions, Conditions]:
    """Return the conditions for rows of ``sales_day`` and for their events.

    The orders that may have events on these days are found by BRIN indexes. The day on which an
    unpaid order was cancelled is that of the shop: up to a day from another.
    """
    if days is None:
        return (), ()
    orders = union_all(
        *(
            select(when.table.c.run_date, when.table.c.order_id).where(_within(when, days, margin))
            for when, margin in (
                (fact_order.c.processed_local_date, 0),
                (fact_order.c.cancelled_at, 2),
                (fact_refund.c.refunded_local_date, 0),
            )
        )
    )
    day = sales_day.c.event_local_date
    of_events = _within(column(day.name), days), _ORDER_KEY.in_(orders)
    return [_within(day, days)], of_events


def _limit_to_customers(days: Days | None) -> tuple[Conditions, Conditions]:
    """Return the conditions for rows of ``sales_customer`` and for their events.

    These are all orders of the customers who ordered on these days.
    """
    customer = sales_customer.c.customer_id
    known: ColumnElement[bool] = column(customer.name).is_not(None)
    if days is None:
        return (), (known,)
    ordered = select(fact_order.c.customer_id).where(
        _within(fact_order.c.processed_local_date, days), fact_order.c.customer_id.is_not(None)
    )
    orders = select(fact_order.c.run_date, fact_order.c.order_id).where(
        fact_order.c.customer_id.in_(ordered)
    )
    of_events = known, column(customer.name).in_(ordered), _ORDER_KEY.in_(orders)
    return [customer.in_(ordered)], of_events


_ORDER_KEY: Final = tuple_(_EVENTS.c.run_date, _EVENTS.c.order_id)

_LIMITS: Final = {sales_day: _limit_to_days, sales_customer: _limit_to_customers}


def _within(when: ColumnElement[Any], days: Days, margin: int = 0) -> ColumnElement[bool]:
    """Return the condition that something is on these days, or some days before or after them."""
    # In SQL, for Python has no day behind 9999.
    first, last = (cast(day, Date) for day in days)
    return and_(when >= first - margin, when < last + (1 + margin))


def count_anew(connection: Connection, load_id: int) -> None:
    """Add up the sales of a load anew, from its facts."""
    for mart in LOAD_MARTS:
        connection.execute(delete(mart).where(mart.c.load_id == load_id))
    connection.execute(select(getattr(func, STORE).count_load(load_id)))


def rebuild(connection: Connection) -> None:
    """Add up the sums of all published loads, in a transaction in which nobody publishes.

    Those of loads that may be published later stay, and all others are added up when they are
    needed.
    """
    connection.execute(select(getattr(func, STORE).rebuild_marts()))
    done = select(load_run.c.load_id).where(load_run.c.status.not_in((*UNDECIDED, "published")))
    for mart in LOAD_MARTS:
        connection.execute(delete(mart).where(mart.c.load_id.in_(done)))
