"""Schemas, tables, partitions, public views and grants: what ``init`` makes, idempotently."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Final

from psycopg2 import sql
from sqlalchemy import Connection, Dialect, Engine, Table, func, inspect, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.schema import CreateSchema

from orders_dask.contract.columns import METADATA, OPS, PUBLIC, STORE
from orders_dask.contract.ledger_tables import schema_info
from orders_dask.contract.order_tables import FACTS, fact_order, public_columns
from orders_dask.contract.storage_tables import published
from orders_dask.contract.versions import CONTRACT_VERSION
from orders_dask.errors import DatabaseNotReady, SettingsError
from orders_dask.load import name_conflicts
from orders_dask.load.connect import driver_cursor, engine
from orders_dask.load.error_translation import translating_errors
from orders_dask.load.locks import Lock
from orders_dask.load.owners import owner_of
from orders_dask.load.partitions import PartitionWidth, ensure_partitions, partition_bounds
from orders_dask.retry import retry_transient
from orders_dask.settings import Settings

VIEW_FILES: Final = ("order_current", "order_summary", "order_history", "daily_sales")
"""Files of ``sql/views/``, each after the views that it reads."""

VIEWS: Final = frozenset((*(fact.name for fact in FACTS), *VIEW_FILES))
"""All public views."""

ORDER_VIEW_FILES: Final = ("order_current", "order_history")
"""Those that have all columns of ``fact_order``, with its comments."""

LOADER: Final = "orders_loader"
"""Role of ``sql/roles.sql`` that loads: if it may use the storage, the roles are in use here."""

MIN_LOCKS: Final = 256
"""``max_locks_per_transaction`` below which ``init`` warns.

A query without a run date locks every partition and index. With 120 partitions and the default of
64, the 25th session that queried five tables ran out of shared memory.
"""

_LOCK_TIMEOUT: Final = "10s"
"""How long a changed view waits for its readers. Meanwhile new readers wait behind it."""


def initialise(
    engine: Engine,
    width: PartitionWidth = "month",
    today: date | None = None,
    *,
    roles: bool = False,
) -> list[str]:
    """Create or complete schemas, tables and views, and partitions of this period and the next.

    Idempotent, and safe to run concurrently, while people read and runs load: what exists as it
    should stays as it is. The first user to run it owns all objects, and has to run later ones.

    Parameters
    ----------
    engine
        Engine of the database.
    width
        Width of a partition: ``month`` or ``day``. The first call fixes it.
    today
        A date in this period; the machine's date by default.
    roles
        Make the roles of ``sql/roles.sql`` that the server lacks, and grant their rights in this
        database. Once that was done here, every call repeats it.

    Returns
    -------
    list of str
        Warnings, a sentence each.

    Raises
    ------
    SettingsError
        The partitions have another width, the tables belong to another user, this user may not
        create what is missing, or an object of somebody else has a name of ours. Then nothing is
        changed.
    DatabaseNotReady
        The tables have another contract version (docs/contract.md#contract-version), or the
        database's encoding is not UTF8.
    ServiceUnavailable
        The server can't be reached, or readers kept a changed view busy.
    """
    today = today or date.today()
    with engine.begin() as connection:
        connection.execute(select(func.pg_advisory_xact_lock(Lock.INIT, 0)))
        connection.execute(select(func.set_config("lock_timeout", _LOCK_TIMEOUT, True)))
        _check_encoding(connection)
        _check_ours(connection, width)
        existing = inspect(connection).get_schema_names()
        for schema in (STORE, PUBLIC, OPS):
            if schema not in existing:
                connection.execute(CreateSchema(schema))
        with name_conflicts.translating_conflicts():
            METADATA.create_all(connection)
            _ensure_schema_info(connection, width)
            _create_views(connection)
            with translating_errors():
                driver_cursor(connection).execute(_file("partitions.sql"))
    _grant(engine, roles)
    with engine.connect() as connection:
        ensure_partitions(connection, today)
        next_first = partition_bounds(width, today)[1]
        if next_first:
            ensure_partitions(connection, next_first)
        locks = int(connection.execute(text("show max_locks_per_transaction")).scalar_one())
    if locks >= MIN_LOCKS:
        return []
    return [
        f"max_locks_per_transaction of the server is {locks}: set it to {MIN_LOCKS} or more in "
        "postgresql.conf, or queries of many run dates may run out of shared memory."
    ]


def _check_encoding(connection: Connection) -> None:
    encoding = connection.execute(text("show server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise DatabaseNotReady(
            f"The database has encoding {encoding}, which can't hold every text: create one with "
            "encoding UTF8."
        )


def _check_ours(connection: Connection, width: PartitionWidth) -> None:
    """Raise if an object under one of our names is not ours, before anything is changed."""
    objects = name_conflicts.find_objects(connection, VIEWS)
    initialised = name_conflicts.was_initialised(objects)
    if initialised:
        _check_owner(connection)
        initialised = bool(connection.scalar(select(func.count()).select_from(schema_info)))
    if not initialised:
        name_conflicts.require_none(objects)
        return
    _ensure_schema_info(connection, width)  # tables of another version have other columns
    name_conflicts.require_ours(objects, VIEWS)


def _check_owner(connection: Connection) -> None:
    """Raise if another user owns the tables: PostgreSQL would name the first that it refuses."""
    owner = owner_of(connection, schema_info)
    if owner and not owner.ours:
        raise SettingsError(
            f"The tables belong to the user {owner.name}: run `orders-dask init` as that user, "
            "with _PGSQL_USER."
        )


def _ensure_schema_info(connection: Connection, width: PartitionWidth) -> None:
    """Write contract version and partition width the first time; later, compare them."""
    row = connection.execute(
        select(schema_info.c.contract_version, schema_info.c.partition_width)
    ).one_or_none()
    if row is None:
        connection.execute(
            insert(schema_info).values(
                contract_version=CONTRACT_VERSION, partition_width=width, views_hash=""
            )
        )
    elif row.contract_version != CONTRACT_VERSION:
        raise DatabaseNotReady(_wrong_version(row.contract_version))
    elif row.partition_width != width:
        raise SettingsError(
            f"ORDERS_DASK_PARTITION is {width}, but the tables were made with partitions of a "
            f"{row.partition_width}: set it to {row.partition_width}."
        )


def _wrong_version(version: int) -> str:
    return (
        f"The tables are of version {version} of the contract and this is version "
        f"{CONTRACT_VERSION}: use the orders_dask that made them, or another database."
    )


def ready_database(settings: Settings) -> Engine:
    """Return an engine for the database of the settings, after :func:`ensure_ready`."""
    database = engine(settings)
    retry_transient(ensure_ready)(database)
    return database


def ensure_ready(engine: Engine) -> None:
    """Raise unless ``init`` was run, by code with this contract version.

    Raises
    ------
    DatabaseNotReady
        It was not.
    """
    with engine.connect() as connection:
        try:
            version = connection.scalar(select(schema_info.c.contract_version))
        except ProgrammingError as error:  # it has no such column
            raise DatabaseNotReady(
                f"The table {schema_info} is not one that `orders-dask init` made: use another "
                "database."
            ) from error
    if version is None:
        raise DatabaseNotReady("The tables are not there yet: run `orders-dask init`.")
    if version != CONTRACT_VERSION:
        raise DatabaseNotReady(_wrong_version(version))


# Roles.


def _grant(engine: Engine, roles: bool) -> None:
    """Make the roles and grant their rights, if `roles` says so or it was done before.

    In a short transaction of its own: an ``init`` of another database of the server that makes the
    same roles waits for its end.
    """
    with engine.begin() as connection:
        connection.execute(select(func.pg_advisory_xact_lock(Lock.INIT, 0)))
        if roles or connection.scalar(_GRANTED, {"role": LOADER, "schema": STORE}):
            connection.execute(select(func.set_config("lock_timeout", _LOCK_TIMEOUT, True)))
            with translating_errors():
                driver_cursor(connection).execute(_file("roles.sql"))


_GRANTED: Final = text(
    "select has_schema_privilege(oid, :schema, 'usage') from pg_roles where rolname = :role"
)


# Views.


def _create_views(connection: Connection) -> None:
    """Make all public views, if one is missing or a definition has changed."""
    statements = [*_fact_views(connection.dialect), *_file_views()]
    cursor = driver_cursor(connection)
    texts = [statement.as_string(cursor) for statement in statements]
    wanted = sha256("\n".join(texts).encode()).hexdigest()
    missing = VIEWS.difference(inspect(connection).get_view_names(PUBLIC))
    if missing or connection.scalar(select(schema_info.c.views_hash)) != wanted:
        with translating_errors():
            for statement in texts:
                cursor.execute(statement)
        connection.execute(schema_info.update().values(views_hash=wanted))


def _fact_views(dialect: Dialect) -> Iterator[sql.Composable]:
    """Yield the statements that make each fact's public view: the rows of published loads.

    The pointer is joined on `load_id` alone. With the run date as well, the planner expects one
    row, and a month of orders with their lines took 1.9 s instead of 0.14.
    """
    for fact in FACTS:
        query = select(*public_columns(fact)).join_from(
            fact, published, published.c.load_id == fact.c.load_id
        )
        view = sql.Identifier(PUBLIC, fact.name)
        definition = sql.SQL(str(query.compile(dialect=dialect)))
        yield sql.SQL("create or replace view {} as {}").format(view, definition)
        yield sql.SQL("comment on view {} is {}").format(view, sql.Literal(fact.comment))
        yield from _column_comments(fact.name, fact)


def _file_views() -> Iterator[sql.Composable]:
    """Yield the statements that make the views of ``sql/views/``."""
    for name in VIEW_FILES:
        yield sql.SQL(_file(f"views/{name}.sql"))
    for name in ORDER_VIEW_FILES:
        yield from _column_comments(name, fact_order)


def _column_comments(view: str, fact: Table) -> Iterator[sql.Composable]:
    """Yield the statements that copy the comments of a fact's columns to a view's columns."""
    for column in public_columns(fact):
        name = sql.Identifier(PUBLIC, view, column.name)
        yield sql.SQL("comment on column {} is {}").format(name, sql.Literal(column.comment))


def _file(name: str) -> str:
    """Return a file of ``sql/``: inside this package in a wheel, beside it in a checkout."""
    packaged = Path(__file__).parents[1] / "sql"
    folder = packaged if packaged.is_dir() else packaged.parents[1] / "sql"
    return (folder / name).read_text(encoding="utf-8")
