"""Diff of two loads of a run date: orders, row counts, and money by currency."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Final, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    Subquery,
    Table,
    and_,
    case,
    func,
    literal,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by, array

from orders_dask.contract.arrow import FILE, POSITION
from orders_dask.contract.columns import TEXT
from orders_dask.contract.control_totals import money_columns
from orders_dask.contract.ledger_tables import load_run
from orders_dask.contract.order_tables import FACTS, fact_order
from orders_dask.contract.storage_tables import STORED_COLUMNS, stored_name
from orders_dask.errors import NothingToRestore
from orders_dask.load.connect import snapshot
from orders_dask.load.planner import prefer_hash_plans
from orders_dask.publish.stored_totals import fact_totals_in_storage

Change = Literal["added", "removed", "changed"]

PROVENANCE_COLUMNS: Final = ("run_date", "load_id", FILE, POSITION)
"""Columns of a row's origin: an order that only moved to another file has not changed."""

FETCH_ROWS: Final = 1000
"""Rows that the client fetches at once."""


@dataclass(frozen=True)
class OrderDiff:
    """An order that differs between two loads.

    Attributes
    ----------
    order_id
        The order.
    change
        ``added`` (only in the later load), ``removed`` (only in the earlier load) or
        ``changed``.
    columns
        Of a changed order: the columns of ``fact_order`` that differ, and the names of other facts
        that have differing rows. Else empty.
    """

    order_id: int
    change: Change
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowCountDiff:
    """Number of rows of a fact in the earlier and in the later load."""

    table: str
    before: int
    after: int


@dataclass(frozen=True)
class MoneyDiff:
    """Sum of a money column of ``fact_order`` over the orders of a currency; NULL counts as 0."""

    currency: str | None
    column: str
    before: Decimal
    after: Decimal
    difference: Decimal


@dataclass(frozen=True)
class DiffResult:
    """The differences between two loads of a run date.

    Attributes
    ----------
    run_date
        The date of the dump.
    published
        Whether readers see the later load. If not, it was loaded for the comparison only: a run
        would publish its rows.
    before, after
        The earlier and the later load.
    added, removed, changed
        Number of orders that only the later load has, that only the earlier load has, and that
        differ between the two.
    rows
        Number of rows of each fact in both loads.
    money
        Sums of each money column of ``fact_order`` by currency, unless 0 in both loads. Presentment
        amounts are left out.
    left_out
        Columns that only one of the loads has, since they were added after the other was loaded.
    database
        Engine of the database that has the loads.
    """

    run_date: date
    published: bool
    before: int
    after: int
    added: int
    removed: int
    changed: int
    rows: tuple[RowCountDiff, ...]
    money: tuple[MoneyDiff, ...]
    left_out: tuple[str, ...]
    database: Engine = field(repr=False, compare=False)

    def orders(self, limit: int | None = None) -> Iterator[OrderDiff]:
        """Yield the differing orders by id, fetching few at a time, so any number fits in memory.

        Parameters
        ----------
        limit
            Maximum number of orders; all by default.

        Raises
        ------
        NothingToRestore
            One of the loads was pruned meanwhile.
        """
        with _both_present(self.database, self.run_date, self.before, self.after) as connection:
            columns = _common_columns(connection, self.before, self.after)
            differing = _order_diffs(self.run_date, self.before, self.after, columns)
            listed = select(differing).order_by(differing.c.order_id).limit(limit)
            streamed = connection.execution_options(yield_per=FETCH_ROWS).execute(listed)
            for order_id, change, differs in streamed:
                changed = differs.split(",") if change == "changed" else ()
                yield OrderDiff(order_id, change, tuple(changed))


def compare(
    database: Engine, run_date: date, before: int, after: int, *, published: bool
) -> DiffResult:
    """Compare two loads of a run date that are in the storage.

    Parameters
    ----------
    database
        Engine of the database.
    run_date
        The run date.
    before, after
        The earlier and the later load.
    published
        Whether readers see the later load.

    Raises
    ------
    NothingToRestore
        One of the loads was pruned.
    """
    with _both_present(database, run_date, before, after) as connection:
        columns = _common_columns(connection, before, after)
        differing = _order_diffs(run_date, before, after, columns)
        by_change = select(differing.c.change, func.count()).group_by(differing.c.change)
        counts = {change: count for change, count in connection.execute(by_change)}
        stored_before, stored_after = (
            fact_totals_in_storage(connection, run_date, load) for load in (before, after)
        )
    orders_before = stored_before[fact_order.name].totals
    orders_after = stored_after[fact_order.name].totals
    order_totals = orders_before, orders_after, orders_after - orders_before
    common = columns.of(fact_order)
    column_number = {
        name: number
        for number, name in enumerate(money_columns(fact_order.name))
        # Presentment amounts are in other currencies than the one that they are grouped by.
        if name in common and ".presentment_money." not in (fact_order.c[name].info["source"] or "")
    }
    sums = {
        (currency, column)
        for currency, column in orders_before.sums.keys() | orders_after.sums.keys()
        if column in column_number
    }
    return DiffResult(
        run_date=run_date,
        published=published,
        before=before,
        after=after,
        added=counts.get("added", 0),
        removed=counts.get("removed", 0),
        changed=counts.get("changed", 0),
        rows=tuple(
            RowCountDiff(
                fact.name,
                stored_before[fact.name].totals.rows,
                stored_after[fact.name].totals.rows,
            )
            for fact in FACTS
            if columns.of(fact)
        ),
        money=tuple(
            MoneyDiff(
                currency,
                column,
                *(totals.sums.get((currency, column), Decimal(0)) for totals in order_totals),
            )
            for currency, column in sorted(
                sums, key=lambda s: (s[0] is not None, s[0] or "", column_number[s[1]])
            )
        ),
        left_out=columns.not_common,
        database=database,
    )


@dataclass(frozen=True)
class _Columns:
    """The columns of two loads.

    Attributes
    ----------
    common
        Those that both have, as ``fact_order.note``.
    not_common
        Those that only one has.
    """

    common: frozenset[str]
    not_common: tuple[str, ...]

    def of(self, fact: Table) -> list[str]:
        """Return the names of a fact's columns that both have."""
        return [column.name for column in fact.c if stored_name(fact, column) in self.common]


def _common_columns(connection: Connection, *load_ids: int) -> _Columns:
    loads = select(load_run.c.columns).where(load_run.c.load_id.in_(load_ids))
    has = [
        {*(STORED_COLUMNS if columns is None else columns)} for columns in connection.scalars(loads)
    ]
    common = frozenset.intersection(*map(frozenset, has)).intersection(STORED_COLUMNS)
    either = set().union(*has).intersection(STORED_COLUMNS)
    only_one = (name.partition(" ")[0] for name in STORED_COLUMNS if name in either - common)
    return _Columns(common, tuple(dict.fromkeys(only_one)))


def replaced_load(database: Engine, load_id: int) -> int | None:
    """Return the load that a published load replaced; None if it replaced none."""
    with database.connect() as connection:
        replaced: int | None = connection.scalar(
            select(load_run.c.replaced_load_id).where(load_run.c.load_id == load_id)
        )
    return replaced


def comparison_load(database: Engine, run_date: date, fingerprint: str) -> int | None:
    """Return the latest comparison load with a fingerprint that is not pruned; None: no such."""
    same = (
        load_run.c.run_date == run_date,
        load_run.c.fingerprint == fingerprint,
        load_run.c.status == "comparison",
        load_run.c.pruned_at.is_(None),
    )
    with database.connect() as connection:
        latest: int | None = connection.scalar(select(func.max(load_run.c.load_id)).where(*same))
    return latest


@contextmanager
def _both_present(database: Engine, run_date: date, *load_ids: int) -> Iterator[Connection]:
    """Yield a connection on a snapshot in which the loads are whole."""
    with snapshot(database) as connection:
        prefer_hash_plans(connection)
        whole = select(load_run.c.load_id).where(
            load_run.c.load_id.in_(load_ids), load_run.c.pruned_at.is_(None)
        )
        pruned = set(load_ids).difference(connection.scalars(whole))
        if pruned:
            raise NothingToRestore(
                f"Load {min(pruned)} of {run_date} can't be compared, for its rows were pruned: "
                "run it again to compare what its files give now."
            )
        yield connection


def _order_diffs(run_date: date, before: int, after: int, columns: _Columns) -> Subquery:
    """Select the orders that differ between two loads, with their differing columns, as text."""
    differing = union_all(
        *(
            _differing_rows(fact, run_date, before, after, columns.of(fact))
            for fact in FACTS
            if columns.of(fact)
        )
    ).subquery()
    rows = differing.c
    change = func.coalesce(func.max(rows.change).filter(rows.change != "changed"), "changed")
    differs = func.string_agg(rows.columns, aggregate_order_by(literal(","), rows.fact_number))
    return (
        select(
            rows.order_id,
            change.label("change"),
            differs.label("columns"),
        )
        .group_by(rows.order_id)
        .subquery()
    )


def _differing_rows(
    fact: Table, run_date: date, before: int, after: int, columns: list[str]
) -> Select[Any, str, str, int]:
    """Select the orders that have differing rows in a fact, for ``fact_order`` with the columns."""
    old, new = (
        select(*(fact.c[name] for name in columns))
        .where(fact.c.run_date == run_date, fact.c.load_id == load)
        .subquery(name)
        for name, load in (("old", before), ("new", after))
    )
    key = fact.info["key"]
    names = [name for name in columns if name not in (*key, *PROVENANCE_COLUMNS)]
    added, removed = old.c.order_id.is_(None), new.c.order_id.is_(None)
    old_values, new_values = (tuple_(*(side.c[name] for name in names)) for side in (old, new))
    of_orders = fact is fact_order
    change = (
        case((added, "added"), (removed, "removed"), else_="changed")
        if of_orders
        else literal("changed")
    )
    differs = _differing_columns(names, old, new) if of_orders else literal(fact.name)
    rows = select(
        func.coalesce(new.c.order_id, old.c.order_id).label("order_id"),
        change.cast(TEXT).label("change"),
        differs.cast(TEXT).label("columns"),
        literal(FACTS.index(fact)).label("fact_number"),
    )
    joined = old.join(new, and_(*(old.c[name] == new.c[name] for name in key)), full=True)
    differing = rows.select_from(joined).where(
        added | removed | old_values.is_distinct_from(new_values)
    )
    return differing if of_orders else differing.distinct()


def _differing_columns(names: list[str], old: Subquery, new: Subquery) -> ColumnElement[str]:
    """Return the names of the differing columns, joined by commas; array_to_string skips nulls."""
    differing: list[Any] = [
        case((old.c[name].is_distinct_from(new.c[name]), name)) for name in names
    ]
    return func.array_to_string(array(differing, type_=TEXT), ",")
