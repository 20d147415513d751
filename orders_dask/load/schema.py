"""Schemas, tables, leaves and public views: made once by ``init``, completed when it is repeated."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal

from psycopg2 import sql
from sqlalchemy import Column, Connection, Dialect, Engine, Table, func, inspect, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.schema import CreateSchema

from orders_dask.contract.tables import (
    CONTRACT,
    FACTS,
    METADATA,
    OPS,
    PUBLIC,
    STORE,
    fact_order,
    installed,
    published,
    storage_leaf,
)
from orders_dask.errors import DatabaseNotReady, SettingsError
from orders_dask.load.connect import driver_cursor, explaining
from orders_dask.load.locks import Lock

Leaf = Literal["month", "day"]

FILES: Final = ("order_current", "order_summary", "order_history", "daily_sales")
"""The views that stand in ``sql/``, each after those it reads."""

FILES_OF_ORDERS: Final = ("order_current", "order_history")
"""Those that give all columns of ``fact_order``, with its comments."""

LOCKS: Final = 256
"""``max_locks_per_transaction`` below which ``init`` warns.

A query that no run date prunes locks every leaf and index: with 120 leaves, the 25th session of a query of five tables
ran out of shared memory at the default of 64.
"""

_PATIENCE: Final = "10s"
"""How long a changed view waits for its readers; meanwhile new ones wait behind it."""


def initialise(engine: Engine, leaf: Leaf = "month", today: date | None = None) -> list[str]:
    """Create or complete schemas, tables and views, and the leaves of this period and the next.

    Safe to repeat, also while people read and runs load, and safe when two do it at once: what stands as it
    should is not touched.

    Parameters
    ----------
    leaf
        Whether a leaf of the storage holds a month or a day; fixed from the first time on.
    today
        The date whose period is this one; the machine's by default.

    Returns
    -------
    list of str
        Warnings, a sentence each.

    Raises
    ------
    SettingsError
        The leaves were made of another width, or the user may not create what is missing.
    DatabaseNotReady
        The tables are of another version of the contract, or the database can't hold every text.
    ServiceUnavailable
        The server can't be reached, or readers kept a changed view busy.
    """
    today = today or date.today()
    with engine.begin() as connection:
        connection.execute(select(func.pg_advisory_xact_lock(Lock.INIT, 0)))
        connection.execute(select(func.set_config("lock_timeout", _PATIENCE, True)))
        _check_encoding(connection)
        existing = inspect(connection).get_schema_names()
        for schema in (STORE, PUBLIC, OPS):
            if schema not in existing:
                connection.execute(CreateSchema(schema))
        METADATA.create_all(connection)
        _settle(connection, leaf)
        _complete_views(connection)
    with engine.connect() as connection:
        ensure_leaves(connection, today)
        ensure_leaves(connection, _period(leaf, today)[1])
        locks = int(connection.execute(text("show max_locks_per_transaction")).scalar_one())
    if locks >= LOCKS:
        return []
    return [
        f"max_locks_per_transaction of the server is {locks}: set it to {LOCKS} or more in postgresql.conf, "
        "or queries of many run dates may run out of shared memory."
    ]


def _check_encoding(connection: Connection) -> None:
    encoding = connection.execute(text("show server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise DatabaseNotReady(
            f"The database has encoding {encoding}, which can't hold every text: create one with encoding UTF8."
        )


def _settle(connection: Connection, leaf: Leaf) -> None:
    """Write down contract and leaf width the first time; later, check that they are the same."""
    row = connection.execute(select(installed)).one_or_none()
    if row is None:
        connection.execute(insert(installed).values(contract=CONTRACT, leaf=leaf, views=""))
    elif row.contract != CONTRACT:
        raise DatabaseNotReady(_other_contract(row.contract))
    elif row.leaf != leaf:
        raise SettingsError(
            f"ORDERS_DASK_LEAF is {leaf}, but the tables were made with leaves of a {row.leaf}: set it to {row.leaf}."
        )


def _other_contract(version: int) -> str:
    return (
        f"The tables are of version {version} of the contract and this is version {CONTRACT}: "
        "use the orders_dask that made them, or another database."
    )


def ensure_ready(engine: Engine) -> None:
    """Check that ``init`` was run, by a version with this contract.

    Raises
    ------
    DatabaseNotReady
        It was not.
    """
    with engine.connect() as connection:
        version = connection.scalar(select(installed.c.contract))
    if version is None:
        raise DatabaseNotReady("The tables are not there yet: run `orders-dask init`.")
    if version != CONTRACT:
        raise DatabaseNotReady(_other_contract(version))


# Leaves.


def ensure_leaves(connection: Connection, run_date: date) -> None:
    """Make the leaves that hold a run date, in all fact tables, where they are missing.

    Each is made as a table and then attached: ``PARTITION OF`` would wait for every reader. A transaction that
    read before may not see the leaf until it ends, so ``storage_leaf`` keeps which ones these were, for publishing to
    wait for. Safe when several do it at once, and when one dies between its two transactions: the next looks again.

    Parameters
    ----------
    connection
        Without an open transaction.
    """
    with connection.begin():
        leaf: Leaf = connection.execute(select(installed.c.leaf)).scalar_one()
        first, end = _period(leaf, run_date)
        of_leaf = storage_leaf.c.first_date == first
        found = connection.execute(select(storage_leaf.c.watch).where(of_leaf)).one_or_none()
        if found is None:
            connection.execute(select(func.pg_advisory_xact_lock(Lock.INIT, 0)))
            made = insert(storage_leaf).values(first_date=first, end_date=end)
            if connection.execute(made.on_conflict_do_nothing()).rowcount:
                for fact in FACTS:
                    _attach(connection, fact, leaf, first, end)
        elif found.watch is not None:
            return
    with connection.begin():
        watch = connection.execute(_HOLDING, {"parents": [str(fact) for fact in FACTS]}).scalars()
        unseen = storage_leaf.update().where(of_leaf, storage_leaf.c.watch.is_(None))
        connection.execute(unseen.values(watch=list(watch)))


_HOLDING: Final = text(
    """
    select distinct virtualtransaction from pg_locks
    where locktype = 'relation' and relation = any(cast(cast(:parents as text[]) as regclass[]))
      and database = (select oid from pg_database where datname = current_database())
      and granted and pid <> pg_backend_pid()
    """
)


def _attach(connection: Connection, fact: Table, leaf: Leaf, first: date, end: date) -> None:
    """Make and attach one leaf; it is empty, so the check of its rows takes no time."""
    suffix = first.isoformat()[: len("2017-11" if leaf == "month" else "2017-11-03")]
    parent = sql.Identifier(STORE, fact.name)
    name = sql.Identifier(STORE, f"{fact.name}_{suffix}".replace("-", "_"))
    create = sql.SQL("create table {} (like {} including all)").format(name, parent)
    attach = sql.SQL("alter table {} attach partition {} for values from ({}) to ({})").format(
        parent, name, sql.Literal(first), sql.Literal(end)
    )
    cursor = driver_cursor(connection)
    with explaining():
        cursor.execute(create)
        cursor.execute(attach)


def _period(leaf: Leaf, day: date) -> tuple[date, date]:
    """Give the first date of the leaf that holds `day`, and the first one after it."""
    if leaf == "day":
        return day, day + timedelta(days=1)
    first = day.replace(day=1)
    return first, (first + timedelta(days=31)).replace(day=1)


# Views.


def _complete_views(connection: Connection) -> None:
    """Make the public views where one is missing or its definition has changed."""
    statements = [*_fact_views(connection.dialect), *_file_views()]
    cursor = driver_cursor(connection)
    texts = [statement.as_string(cursor) for statement in statements]
    wanted = sha256("\n".join(texts).encode()).hexdigest()
    views = {*(fact.name for fact in FACTS), *FILES}
    missing = views.difference(inspect(connection).get_view_names(PUBLIC))
    if missing or connection.scalar(select(installed.c.views)) != wanted:
        with explaining():
            for statement in texts:
                cursor.execute(statement)
        connection.execute(installed.update().values(views=wanted))


def _fact_views(dialect: Dialect) -> Iterator[sql.Composable]:
    """Give the statements that make each fact's public view: what its published loads say.

    The gate is joined on `load_id` alone: on the run date as well, the planner expects one row, and a month of
    orders with their lines took 1.9 s instead of 0.14.
    """
    for fact in FACTS:
        query = select(*_public_columns(fact)).join_from(
            fact, published, published.c.load_id == fact.c.load_id
        )
        view = sql.Identifier(PUBLIC, fact.name)
        definition = sql.SQL(str(query.compile(dialect=dialect)))
        yield sql.SQL("create or replace view {} as {}").format(view, definition)
        yield sql.SQL("comment on view {} is {}").format(view, sql.Literal(fact.comment))
        yield from _column_comments(fact.name, fact)


def _file_views() -> Iterator[sql.Composable]:
    """Give the statements of ``sql/``: in the wheel it lies in this package, in a checkout beside it."""
    packaged = Path(__file__).parents[1] / "sql"
    folder = packaged if packaged.is_dir() else packaged.parents[1] / "sql"
    for name in FILES:
        yield sql.SQL((folder / f"{name}.sql").read_text(encoding="utf-8"))
    for name in FILES_OF_ORDERS:
        yield from _column_comments(name, fact_order)


def _column_comments(view: str, fact: Table) -> Iterator[sql.Composable]:
    """Give the statements that put the comments of a fact's columns on those of a view."""
    for column in _public_columns(fact):
        name = sql.Identifier(PUBLIC, view, column.name)
        yield sql.SQL("comment on column {} is {}").format(name, sql.Literal(column.comment))


def _public_columns(fact: Table) -> list[Column[Any]]:
    return [column for column in fact.c if column.name != fact.c.load_id.name]
