"""Control totals of what the storage really contains of loads, and row counts by file."""

from __future__ import annotations

from collections import Counter, defaultdict
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
from orders_dask.load.planner import hash_plans, prefer_hash_plans

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


TotalsOfLoads = dict[int, dict[str, StoredTotals]]
"""What each table contains, by load and name of the table."""


def totals_in_storage(database: Engine, loads: Mapping[date, int]) -> TotalsOfLoads:
    """Return what each table contains of loads. Two sessions query concurrently.

    The tables are those of :data:`~orders_dask.contract.storage_tables.COPIED_TABLES`.

    Parameters
    ----------
    database
        Engine of the database.
    loads
        The loads by run date.
    """

    def query(function: Callable[[Connection, Mapping[date, int]], TotalsOfLoads]) -> TotalsOfLoads:
        with database.begin() as connection:
            prefer_hash_plans(connection)
            return function(connection, loads)

    with ThreadPoolExecutor(2) as pool:
        children, orders, others = pool.map(query, (_children, _orders, _row_counts))
    return {load: orders[load] | children[load] | others[load] for load in loads.values()}


def totals_in_transaction(connection: Connection, loads: Mapping[date, int]) -> TotalsOfLoads:
    """Return the same as :func:`totals_in_storage` in the caller's transaction."""
    with hash_plans(connection):
        queried = [query(connection, loads) for query in (_children, _orders, _row_counts)]
    return {load: {k: v for each in queried for k, v in each[load].items()} for load in queried[0]}


def fact_totals_in_storage(
    connection: Connection, run_date: date, load_id: int
) -> dict[str, StoredTotals]:
    """Return what the facts contain of a load, in the caller's transaction."""
    loads = {run_date: load_id}
    return _orders(connection, loads)[load_id] | _children(connection, loads)[load_id]


def _orders(connection: Connection, loads: Mapping[date, int]) -> TotalsOfLoads:
    rows = _rows(fact_order, loads, fact_order.c[FILE])
    return _summed(connection, (fact_order,), rows, loads)


def _children(connection: Connection, loads: Mapping[date, int]) -> TotalsOfLoads:
    """Return the totals of all children by one query, which reads their orders' files once."""
    children = FACTS[1:]
    width = max(len(money_columns(fact.name)) for fact in children)
    rows = union_all(*(_rows(fact, loads, width=width) for fact in children)).subquery()
    its_order = and_(
        rows.c.order_id == fact_order.c.order_id,
        rows.c.load_id == fact_order.c.load_id,
        _of_loads(fact_order, loads),
    )
    # An outer join: a child without an order counts too.
    joined = select(*rows.c, fact_order.c[FILE]).join_from(
        rows, fact_order, its_order, isouter=True
    )
    return _summed(connection, children, joined, loads)


def _rows(
    fact: Table, loads: Mapping[date, int], *others: ColumnElement[Any], width: int = 0
) -> SelectBase:
    """Select load, name, order, currency, `others` and amounts of a fact's rows.

    Missing amounts up to `width` are null, so that facts can be joined by UNION ALL. So is the
    currency of a fact without amounts.
    """
    amounts_of_fact = [fact.c[name] for name in money_columns(fact.name)]
    missing = [null().cast(MONEY)] * (width - len(amounts_of_fact))
    amounts: list[ColumnElement[Any]] = [*amounts_of_fact, *missing]
    return select(
        fact.c.load_id,
        literal(fact.name).label("fact"),
        fact.c.order_id,
        fact.c[CURRENCY] if amounts_of_fact else null().cast(TEXT).label(CURRENCY),
        *others,
        *(amount.label(f"amount_{number}") for number, amount in enumerate(amounts)),
    ).where(_of_loads(fact, loads))


def _summed(
    connection: Connection, facts: Sequence[Table], rows: SelectBase, loads: Mapping[date, int]
) -> TotalsOfLoads:
    """Return the totals of rows selected by :func:`_rows`, with a column of their file."""
    columns = rows.subquery().c
    amounts = [column for column in columns if column.name.startswith("amount_")]
    group = columns.load_id, columns.fact, columns[FILE], columns[CURRENCY]
    query = select(*group, func.count(), *map(func.sum, amounts)).group_by(*group)
    totals = {(load, fact.name): ControlTotals() for load in loads.values() for fact in facts}
    files = {key: Counter[int]() for key in totals}
    for groups in connection.execute(query).partitions(FETCH_GROUPS):
        of_key: defaultdict[tuple[int, str], list[Sequence[Any]]] = defaultdict(list)
        for load, name, file_id, *aggregates in groups:
            if file_id is not None:
                files[load, name][file_id] += aggregates[1]
            of_key[load, name].append(aggregates)
        for key, of_fact in of_key.items():
            totals[key] += _totals(key[1], of_fact)
    return {
        load: {f.name: StoredTotals(totals[load, f.name], files[load, f.name]) for f in facts}
        for load in loads.values()
    }


def _totals(name: str, of_fact: Sequence[Sequence[Any]]) -> ControlTotals:
    """Return a fact's control totals from its groups: currency, number of rows, and sums."""
    money = money_columns(name)
    sums = (
        (currency, column, amount)
        for currency, _, *amounts in of_fact
        # The widest fact has more amounts.
        for column, amount in zip(money, amounts[: len(money)], strict=True)
    )
    return ControlTotals.of(sum(rows for _, rows, *_ in of_fact), sums)


def _row_counts(connection: Connection, loads: Mapping[date, int]) -> TotalsOfLoads:
    """Return the row counts of the tables that are not facts."""
    others = [table for table in COPIED_TABLES if table not in FACTS]
    counts = (
        select(table.c.load_id, literal(table.name), func.count())
        .where(_of_loads(table, loads))
        .group_by(table.c.load_id)
        for table in others
    )
    rows = {(load, name): count for load, name, count in connection.execute(union_all(*counts))}
    return {
        load: {
            table.name: StoredTotals(ControlTotals(rows.get((load, table.name), 0)), {})
            for table in others
        }
        for load in loads.values()
    }


def _of_loads(table: Table, loads: Mapping[date, int]) -> ColumnElement[bool]:
    """Return the condition for rows of loads: with the run dates, few partitions and one index."""
    of_loads = table.c.load_id.in_(loads.values())
    return and_(of_loads, table.c.run_date.in_(loads)) if "run_date" in table.c else of_loads
