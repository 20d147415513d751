"""Schemas, tables, partitions, public views and grants: what ``init`` makes, idempotently."""

from __future__ import annotations

from datetime import date
from typing import Final

from sqlalchemy import Connection, Engine, func, inspect, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.schema import CreateSchema

from orders_dask.contract.columns import METADATA, OPS, PUBLIC, STORE
from orders_dask.contract.ledger_tables import schema_info
from orders_dask.contract.order_tables import FACTS, fact_order
from orders_dask.contract.versions import CONTRACT_VERSION, OLDEST_CODE_VERSION
from orders_dask.errors import DatabaseNotReady, SettingsError
from orders_dask.load import name_conflicts
from orders_dask.load.connect import driver_cursor
from orders_dask.load.error_translation import translating_errors
from orders_dask.load.locks import Lock
from orders_dask.load.owners import owner_of
from orders_dask.load.partitions import PartitionWidth, ensure_partitions, partition_bounds
from orders_dask.load.schema_version import (
    SchemaVersion,
    lacks,
    read_version,
    require_usable,
)
from orders_dask.load.sql_files import sql_file
from orders_dask.load.views import VIEWS, create_views

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
    should stays as it is, and so do tables and views of a later version. The first user to run it
    owns all objects, and has to run later ones.

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
        version = _check_ours(connection, width)
        # What a later version has made is not replaced by what it was before.
        if version is None or version.contract == CONTRACT_VERSION:
            _create(connection, width)
    grant_roles(engine, roles)
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


def _create(connection: Connection, width: PartitionWidth) -> None:
    """Create the schemas, tables, views and functions that are missing."""
    existing = inspect(connection).get_schema_names()
    for schema in (STORE, PUBLIC, OPS):
        if schema not in existing:
            connection.execute(CreateSchema(schema))
    with name_conflicts.translating_conflicts():
        METADATA.create_all(connection)
        _record_version(connection, width)
        create_views(connection)
        with translating_errors():
            driver_cursor(connection).execute(sql_file("partitions.sql"))


def _check_encoding(connection: Connection) -> None:
    encoding = connection.execute(text("show server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise DatabaseNotReady(
            f"The database has encoding {encoding}, which can't hold every text: create one with "
            "encoding UTF8."
        )


def _check_ours(connection: Connection, width: PartitionWidth) -> SchemaVersion | None:
    """Return the version of the tables; raise if an object under one of our names is not ours."""
    objects = name_conflicts.find_objects(connection, VIEWS)
    version = read_version(connection)
    if version is None:
        name_conflicts.require_none(objects)
        return None
    check_owner(connection)
    require_usable(version)
    if version.partition_width != width:
        raise SettingsError(
            f"ORDERS_DASK_PARTITION is {width}, but the tables were made with partitions of a "
            f"{version.partition_width}: set it to {version.partition_width}."
        )
    name_conflicts.require_ours(objects, VIEWS)
    missing = name_conflicts.missing_columns(objects)
    missing |= {fact: list(fact.c) for fact in FACTS if (STORE, fact.name) not in objects}
    if missing:
        raise lacks(
            [f"{table}.{column.name}" for table, columns in missing.items() for column in columns]
        )
    return version


def check_owner(connection: Connection) -> None:
    """Raise if another user owns the tables: PostgreSQL would name the first that it refuses.

    Raises
    ------
    SettingsError
        Another user does: the message names it.
    """
    owner = owner_of(connection, fact_order)
    if owner and not owner.ours:
        raise SettingsError(
            f"The tables belong to the user {owner.name}: run this command as that user, with "
            "_PGSQL_USER."
        )


def _record_version(connection: Connection, width: PartitionWidth) -> None:
    """Record versions and partition width, the first time."""
    if read_version(connection) is None:
        connection.execute(
            insert(schema_info).values(
                contract_version=CONTRACT_VERSION,
                oldest_code_version=OLDEST_CODE_VERSION,
                partition_width=width,
                views_hash="",
            )
        )


# Roles.


def grant_roles(engine: Engine, roles: bool) -> None:
    """Make the roles and grant their rights, if `roles` says so or it was done before.

    In a short transaction of its own: an ``init`` of another database of the server that makes the
    same roles waits for its end.
    """
    with engine.begin() as connection:
        connection.execute(select(func.pg_advisory_xact_lock(Lock.INIT, 0)))
        if roles or connection.scalar(_GRANTED, {"role": LOADER, "schema": STORE}):
            connection.execute(select(func.set_config("lock_timeout", _LOCK_TIMEOUT, True)))
            with translating_errors():
                driver_cursor(connection).execute(sql_file("roles.sql"))


_GRANTED: Final = text(
    "select has_schema_privilege(oid, :schema, 'usage') from pg_roles where rolname = :role"
)
