"""Control totals of what the storage really contains of a load, and row counts by file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    SelectBase,
    Table,
    and_,
    func,
    literal,
    null,
    select,
    union_all,
)

from orders_dask.contract.arrow import FILE
from orders_dask.contract.columns import MONEY, TEXT
from orders_dask.contract.control_totals import CURRENCY, ControlTotals, money_columns
from orders_dask.contract.order_tables import FACTS, fact_order
from orders_dask.contract.storage_tables import COPIED_TABLES
from orders_dask.load.planner import prefer_hash_plans

FETCH_GROUPS: Final = 1_000
"""Groups in Python objects at once; libpq buffers all, a group a fact and file, 0.3 KB each."""


@dataclass(frozen=True)
class StoredTotals:
    """What a table contains of a load.

    Attributes
    ----------
    totals
        Number of rows and, for a fact, sums of money.
    rows_by_file
        For a fact, the number of rows by file id of the ledger; else empty.
    """

    totals: ControlTotals
    rows_by_file: Mapping[int, int]


def totals_in_storage(database: Engine, run_date: date, load_id: int) -> dict[str, StoredTotals]:
    """Return what each table contains of a load, by table name. Two sessions query concurrently.

    The tables are those of :data:`~orders_dask.contract.storage_tables.COPIED_TABLES`.
    """

    def query(
        function: Callable[[Connection, date, int], dict[str, StoredTotals]],
    ) -> dict[str, StoredTotals]:
        with database.begin() as connection:
            prefer_hash_plans(connection)
            return function(connection, run_date, load_id)

    with ThreadPoolExecutor(2) as pool:
        children, orders, others = pool.map(query, (_children, _orders, _row_counts))
    return orders | children | others


def fact_totals_in_storage(
    connection: Connection, run_date: date, load_id: int
) -> dict[str, StoredTotals]:
    """Return like :func:`totals_in_storage`, facts only, in the caller's transaction."""
    return _orders(connection, run_date, load_id) | _children(connection, run_date, load_id)


def _orders(connection: Connection, run_date: date, load_id: int) -> dict[str, StoredTotals]:
    rows = _rows(fact_order, run_date, load_id, fact_order.c[FILE])
    return _summed(connection, (fact_order,), rows)


def _children(connection: Connection, run_date: date, load_id: int) -> dict[str, StoredTotals]:
    """Return the totals of all children by one query, which reads their orders' files once."""
    children = FACTS[1:]
    width = max(len(money_columns(fact.name)) for fact in children)
    rows = union_all(*(_rows(fact, run_date, load_id, width=width) for fact in children)).subquery()
    its_order = and_(
        rows.c.order_id == fact_order.c.order_id, _of_load(fact_order, run_date, load_id)
    )
    # An outer join: a child without an order counts too.
    joined = select(*rows.c, fact_order.c[FILE]).join_from(
        rows, fact_order, its_order, isouter=True
    )
    return _summed(connection, children, joined)


def _rows(
    fact: Table, run_date: date, load_id: int, *others: ColumnElement[Any], width: int = 0
) -> SelectBase:
    """Select name, order, currency, `others` and amounts of a fact's rows.

    Missing amounts up to `width` are null, so that facts can be joined by UNION ALL. So is the
    currency of a fact without amounts.
    """
    amounts_of_fact = [fact.c[name] for name in money_columns(fact.name)]
    missing = [null().cast(MONEY)] * (width - len(amounts_of_fact))
    amounts: list[ColumnElement[Any]] = [*amounts_of_fact, *missing]
    return select(
        literal(fact.name).label("fact"),
        fact.c.order_id,
        fact.c[CURRENCY] if amounts_of_fact else null().cast(TEXT).label(CURRENCY),
        *others,
        *(amount.label(f"amount_{number}") for number, amount in enumerate(amounts)),
    ).where(_of_load(fact, run_date, load_id))


def _summed(
    connection: Connection, facts: Sequence[Table], rows: SelectBase
) -> dict[str, StoredTotals]:
    """Return the totals of rows selected by :func:`_rows`, with a column of their file."""
    columns = rows.subquery().c
    amounts = [column for column in columns if column.name.startswith("amount_")]
    group = columns.fact, columns[FILE], columns[CURRENCY]
    query = select(*group, func.count(), *map(func.sum, amounts)).group_by(*group)
    totals = {fact.name: ControlTotals() for fact in facts}
    files = {fact.name: Counter[int]() for fact in facts}
    for groups in connection.execute(query).partitions(FETCH_GROUPS):
        for name, file_id, _, count, *_ in groups:
            if file_id is not None:
                files[name][file_id] += count
        for name in totals:
            totals[name] += _totals(name, groups)
    return {name: StoredTotals(totals[name], files[name]) for name in totals}


def _totals(name: str, groups: Sequence[Any]) -> ControlTotals:
    """Return a fact's control totals from groups of :func:`_summed`."""
    money = money_columns(name)
    of_fact = [aggregates for fact, _, *aggregates in groups if fact == name]
    sums = (
        (currency, column, amount)
        for currency, _, *amounts in of_fact
        # The widest fact has more amounts.
        for column, amount in zip(money, amounts[: len(money)], strict=True)
    )
    return ControlTotals.of(sum(rows for _, rows, *_ in of_fact), sums)


def _row_counts(connection: Connection, run_date: date, load_id: int) -> dict[str, StoredTotals]:
    """Return the row counts of the tables that are not facts."""
    others = [table for table in COPIED_TABLES if table not in FACTS]
    counts = (
        select(func.count())
        .select_from(table)
        .where(_of_load(table, run_date, load_id))
        .scalar_subquery()
        for table in others
    )
    rows = connection.execute(select(*counts)).one()
    return {
        table.name: StoredTotals(ControlTotals(number), {})
        for table, number in zip(others, rows, strict=True)
    }


def _of_load(table: Table, run_date: date, load_id: int) -> ColumnElement[bool]:
    """Return the condition for a load's rows: with the run date, one partition and index range."""
    of_load = table.c.load_id == load_id
    return and_(of_load, table.c.run_date == run_date) if "run_date" in table.c else of_load
