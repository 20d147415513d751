"""What differs between two loads of a run date: orders, and money by currency."""

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
from orders_dask.errors import NothingToRestore
from orders_dask.load.connect import snapshot
from orders_dask.load.planner import prefer_hash_plans
from orders_dask.publish.stored_totals import fact_totals_in_storage

Change = Literal["added", "removed", "changed"]

PROVENANCE_COLUMNS: Final = ("run_date", "load_id", FILE, POSITION)
"""Columns that tell where a row came from: an order that only moved to another file is the same order."""

FETCH_ROWS: Final = 1000
"""Rows that the client takes at once."""


@dataclass(frozen=True)
class OrderDiff:
    """An order that is not the same in two loads.

    Attributes
    ----------
    order_id
        The order.
    change
        ``added``, ``removed`` or ``changed``.
    columns
        What differs of an order that changed: columns of ``fact_order``, and names of the other
        facts.
    """

    order_id: int
    change: Change
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowCountDiff:
    """How many rows of a fact there were and are."""

    table: str
    before: int
    after: int


@dataclass(frozen=True)
class MoneyDiff:
    """The sum of a money column of ``fact_order`` over the orders of a currency; unknown amounts count as 0."""

    currency: str | None
    column: str
    before: Decimal
    after: Decimal
    difference: Decimal


@dataclass(frozen=True)
class DiffResult:
    """What differs between two loads of a run date.

    Attributes
    ----------
    run_date
        The date of the dump.
    published
        Whether the later load is the one that readers see. Else it was only loaded to be compared:
        it is what a run would publish.
    before, after
        The two loads.
    added, removed, changed
        Number of orders that only the later one has, only the earlier one has, or that both have,
        but not the same.
    rows
        Number of rows of each fact.
    money
        Each money column of ``fact_order``, by currency, whose sum is not 0 in both.
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
    database: Engine = field(repr=False, compare=False)

    def orders(self, limit: int | None = None) -> Iterator[OrderDiff]:
        """Give the orders that are not the same, by their id, as PostgreSQL sends them: any number needs no memory.

        Parameters
        ----------
        limit
            At most so many; all by default.

        Raises
        ------
        NotKept
            One of the loads was pruned meanwhile.
        """
        with _both_present(self.database, self.run_date, self.before, self.after) as connection:
            differing = _order_diffs(self.run_date, self.before, self.after)
            listed = select(differing).order_by(differing.c.order_id).limit(limit)
            streamed = connection.execution_options(yield_per=FETCH_ROWS).execute(listed)
            for order_id, what, columns in streamed:
                changed = columns.split(",") if what == "changed" else ()
                yield OrderDiff(order_id, what, tuple(changed))


def compare(
    database: Engine, run_date: date, before: int, after: int, *, published: bool
) -> DiffResult:
    """Compare two loads of a run date that are in the storage.

    Parameters
    ----------
    before, after
        The earlier and the later load.
    published
        Whether readers see the later one.

    Raises
    ------
    NotKept
        One of them was pruned.
    """
    with _both_present(database, run_date, before, after) as connection:
        differing = _order_diffs(run_date, before, after)
        counted = select(differing.c.what, func.count()).group_by(differing.c.what)
        counts = {what: count for what, count in connection.execute(counted)}
        of_both = (fact_totals_in_storage(connection, run_date, load) for load in (before, after))
        had, has = ({name: of.totals for name, of in stored.items()} for stored in of_both)
    orders = had[fact_order.name], has[fact_order.name]
    change = orders[1] - orders[0]
    entries = orders[0].sums.keys() | orders[1].sums.keys()
    place = {name: number for number, name in enumerate(money_columns(fact_order.name))}
    return DiffResult(
        run_date=run_date,
        published=published,
        before=before,
        after=after,
        added=counts.get("added", 0),
        removed=counts.get("removed", 0),
        changed=counts.get("changed", 0),
        rows=tuple(
            RowCountDiff(fact.name, had[fact.name].rows, has[fact.name].rows) for fact in FACTS
        ),
        money=tuple(
            MoneyDiff(*entry, *(books.sums.get(entry, Decimal(0)) for books in (*orders, change)))
            for entry in sorted(entries, key=lambda e: (e[0] is not None, e[0] or "", place[e[1]]))
        ),
        database=database,
    )


def replaced_load(database: Engine, load_id: int) -> int | None:
    """Give the load that a published one replaced, if there was one."""
    with database.connect() as connection:
        replaced: int | None = connection.scalar(
            select(load_run.c.replaced_load_id).where(load_run.c.load_id == load_id)
        )
    return replaced


def comparison_load(database: Engine, run_date: date, fingerprint: str) -> int | None:
    """Give a load of the same files that was made to be compared and is still whole."""
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
    """Read the database as it stood at one moment, in which the loads are whole."""
    with snapshot(database) as connection:
        prefer_hash_plans(connection)
        whole = select(load_run.c.load_id).where(
            load_run.c.load_id.in_(load_ids), load_run.c.pruned_at.is_(None)
        )
        gone = set(load_ids).difference(connection.scalars(whole))
        if gone:
            raise NothingToRestore(
                f"Load {min(gone)} of {run_date} can't be compared, for its rows were pruned: run it again to compare "
                "what its files give now."
            )
        yield connection


def _order_diffs(run_date: date, before: int, after: int) -> Subquery:
    """Select the orders that are not the same in two loads, with what differs, joined by commas."""
    parts = [_differing_rows(fact, run_date, before, after) for fact in FACTS]
    each = union_all(*parts).subquery()
    what = func.coalesce(func.max(each.c.what).filter(each.c.what != "changed"), "changed")
    columns = func.string_agg(each.c.columns, aggregate_order_by(literal(","), each.c.place))
    return (
        select(
            each.c.order_id,
            what.label("what"),
            columns.label("columns"),
        )
        .group_by(each.c.order_id)
        .subquery()
    )


def _differing_rows(
    fact: Table, run_date: date, before: int, after: int
) -> Select[Any, str, str, int]:
    """Select the orders of which a fact has rows that are not the same: a row of ``fact_order`` tells the columns."""
    had, has = (
        select(fact).where(fact.c.run_date == run_date, fact.c.load_id == load).subquery(name)
        for name, load in (("had", before), ("has", after))
    )
    key = fact.info["key"]
    names = [c.name for c in fact.c if c.name not in (*key, *PROVENANCE_COLUMNS)]
    added, removed = had.c.order_id.is_(None), has.c.order_id.is_(None)
    same = tuple_(*(had.c[n] for n in names)), tuple_(*(has.c[n] for n in names))
    of_orders = fact is fact_order
    what = (
        case((added, "added"), (removed, "removed"), else_="changed")
        if of_orders
        else literal("changed")
    )
    columns = _named(names, had, has) if of_orders else literal(fact.name)
    rows = select(
        func.coalesce(has.c.order_id, had.c.order_id).label("order_id"),
        what.cast(TEXT).label("what"),
        columns.cast(TEXT).label("columns"),
        literal(FACTS.index(fact)).label("place"),
    )
    joined = had.join(has, and_(*(had.c[name] == has.c[name] for name in key)), full=True)
    differing = rows.select_from(joined).where(added | removed | same[0].is_distinct_from(same[1]))
    return differing if of_orders else differing.distinct()


def _named(names: list[str], had: Subquery, has: Subquery) -> ColumnElement[str]:
    """Name the columns that differ, joined by commas: array_to_string leaves nulls out."""
    named: list[Any] = [case((had.c[n].is_distinct_from(has.c[n]), n)) for n in names]
    return func.array_to_string(array(named, type_=TEXT), ",")
