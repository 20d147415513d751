"""What is really in the storage of a load: rows, sums of money, and which file they stem from."""

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
from orders_dask.contract.columns import MONEY
from orders_dask.contract.control_totals import CURRENCY, ControlTotals, money_columns
from orders_dask.contract.order_tables import FACTS, fact_order
from orders_dask.contract.storage_tables import COPIED_TABLES
from orders_dask.load.planner import prefer_hash_plans

FETCH_GROUPS: Final = 1_000
"""Groups of a query that Python holds at once; libpq has all of them, some 0.3 KB each: as many of a fact as files."""


@dataclass(frozen=True)
class StoredTotals:
    """What a table holds of a load.

    Attributes
    ----------
    totals
        Its rows and, of a fact, its sums of money.
    rows_by_file
        Rows of a fact that stem from each file, by the ledger's id.
    """

    totals: ControlTotals
    rows_by_file: Mapping[int, int]


def totals_in_storage(database: Engine, run_date: date, load_id: int) -> dict[str, StoredTotals]:
    """Return what each table of :data:`~orders_dask.contract.storage_tables.COPIED_TABLES` holds of a load.

    Two sessions work at once.
    """

    def look(
        at: Callable[[Connection, date, int], dict[str, StoredTotals]],
    ) -> dict[str, StoredTotals]:
        with database.begin() as connection:
            prefer_hash_plans(connection)
            return at(connection, run_date, load_id)

    with ThreadPoolExecutor(2) as pool:
        children, orders, others = pool.map(look, (_children, _orders, _row_counts))
    return orders | children | others


def fact_totals_in_storage(
    connection: Connection, run_date: date, load_id: int
) -> dict[str, StoredTotals]:
    """Do the same for the facts alone, in an open transaction."""
    return _orders(connection, run_date, load_id) | _children(connection, run_date, load_id)


def _orders(connection: Connection, run_date: date, load_id: int) -> dict[str, StoredTotals]:
    rows = _rows(fact_order, run_date, load_id, fact_order.c[FILE])
    return _summed(connection, (fact_order,), rows)


def _children(connection: Connection, run_date: date, load_id: int) -> dict[str, StoredTotals]:
    """Look at all children together: their orders, which name the files, are read once for all of them."""
    children = FACTS[1:]
    width = max(len(money_columns(fact.name)) for fact in children)
    rows = union_all(*(_rows(fact, run_date, load_id, width=width) for fact in children)).subquery()
    its_order = and_(
        rows.c.order_id == fact_order.c.order_id, _of_load(fact_order, run_date, load_id)
    )
    # One without an order counts all the same.
    joined = select(*rows.c, fact_order.c[FILE]).join_from(
        rows, fact_order, its_order, isouter=True
    )
    return _summed(connection, children, joined)


def _rows(
    fact: Table, run_date: date, load_id: int, *others: ColumnElement[Any], width: int = 0
) -> SelectBase:
    """Select the rows of a fact: its name, order, currency and amounts, of which there are `width` at least."""
    amounts: list[ColumnElement[Any]] = [fact.c[name] for name in money_columns(fact.name)]
    amounts += [null().cast(MONEY)] * (width - len(amounts))
    return select(
        literal(fact.name).label("fact"),
        fact.c.order_id,
        fact.c[CURRENCY],
        *others,
        *(amount.label(f"amount_{place}") for place, amount in enumerate(amounts)),
    ).where(_of_load(fact, run_date, load_id))


def _summed(
    connection: Connection, facts: Sequence[Table], rows: SelectBase
) -> dict[str, StoredTotals]:
    """Add up rows as :func:`_rows` gives them, with their file."""
    each = rows.subquery()
    amounts = [column for column in each.c if column.name.startswith("amount_")]
    group = each.c.fact, each.c[FILE], each.c[CURRENCY]
    query = select(*group, func.count(), *map(func.sum, amounts)).group_by(*group)
    books = {fact.name: ControlTotals() for fact in facts}
    files = {fact.name: Counter[int]() for fact in facts}
    for groups in connection.execute(query).partitions(FETCH_GROUPS):
        for name, file_id, _, count, *_ in groups:
            if file_id is not None:
                files[name][file_id] += count
        for name in books:
            books[name] += _totals(name, groups)
    return {name: StoredTotals(books[name], files[name]) for name in books}


def _totals(name: str, groups: Sequence[Any]) -> ControlTotals:
    """Make the books of a fact from groups of :func:`_summed`."""
    money = money_columns(name)
    of_fact = [counted for fact, _, *counted in groups if fact == name]
    sums = (
        (currency, column, total)
        for currency, _, *totals in of_fact
        # The widest fact has more of them.
        for column, total in zip(money, totals[: len(money)], strict=True)
    )
    return ControlTotals.of(sum(rows for _, rows, *_ in of_fact), sums)


def _row_counts(connection: Connection, run_date: date, load_id: int) -> dict[str, StoredTotals]:
    """Count the rows of the tables that are no facts."""
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
    """Select the rows of a load; of a table with run dates by the leaf, and the beginning of its key."""
    of_load = table.c.load_id == load_id
    return and_(of_load, table.c.run_date == run_date) if "run_date" in table.c else of_load
