"""The version of the tables of a database, and whether this code can work on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, func, literal_column, select, table, text

from orders_dask.contract.columns import METADATA, OPS
from orders_dask.contract.ledger_tables import schema_info
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.versions import CONTRACT_VERSION
from orders_dask.errors import DatabaseNotReady
from orders_dask.load.name_conflicts import require_types
from orders_dask.load.partitions import PartitionWidth


@dataclass(frozen=True)
class SchemaVersion:
    """What the tables of a database are.

    Attributes
    ----------
    contract
        Version of the contract that they have.
    oldest_code
        Oldest contract version whose code can work on them.
    partition_width
        What a partition of the storage holds: ``month`` or ``day``.
    """

    contract: int
    oldest_code: int
    partition_width: PartitionWidth


def read_version(connection: Connection) -> SchemaVersion | None:
    """Return the version of the tables, of whatever version they are; None if they are not ours."""
    for name in (schema_info.name, _NAME_BEFORE_6):
        if connection.scalar(text("select to_regclass(:name)"), {"name": f"{OPS}.{name}"}):
            whole_row = func.to_jsonb(literal_column(name))
            row = connection.scalar(select(whole_row).select_from(table(name, schema=OPS)))
            return _from_row(row or {})
    return None


_NAME_BEFORE_6: Final = "installed"


def _from_row(row: dict[str, Any]) -> SchemaVersion | None:
    if "contract" in row:  # before version 6
        return SchemaVersion(row["contract"], row["contract"], row["leaf"])
    if "contract_version" not in row:
        return None
    version = row["contract_version"]
    oldest = row.get("oldest_code_version") or version
    return SchemaVersion(version, oldest, row["partition_width"])


def require_usable(version: SchemaVersion) -> None:
    """Raise unless this code can work on tables of a version.

    Raises
    ------
    DatabaseNotReady
        They are older than this code, or changed by a later one in a way that this can't cope with.
    """
    if version.contract < CONTRACT_VERSION:
        raise DatabaseNotReady(
            f"The tables are of version {version.contract} of the contract and this is version "
            f"{CONTRACT_VERSION}: run `orders-dask migrate` as their owner."
        )
    if version.oldest_code > CONTRACT_VERSION:
        raise DatabaseNotReady(
            f"The tables are of version {version.contract} of the contract, for code of version "
            f"{version.oldest_code} or later, and this is version {CONTRACT_VERSION}: install a "
            "later orders_dask."
        )


def require_complete(connection: Connection) -> None:
    """Raise unless the database has every table and column that this code declares.

    Raises
    ------
    DatabaseNotReady
        It lacks one: the message names the first.
    SettingsError
        One has another type.
    """
    found: dict[str, dict[str, str]] = {str(declared): {} for declared in _TABLES}
    for row in connection.execute(_COLUMNS, {"tables": [*found]}):
        found[row.table][row.column] = row.type
    missing = [
        f"{declared}.{column.name}"
        for declared in _TABLES
        for column in declared.c
        if column.name not in found[str(declared)]
    ]
    if missing:
        raise lacks(missing)
    for declared in _TABLES:
        require_types(declared, found[str(declared)])


def undeclared_columns(engine: Engine) -> list[str]:
    """Return the columns of facts that the database has and this process does not declare.

    A database of a later version may have more, which are none of somebody's own.
    """
    declared = {str(fact): {*fact.c.keys()} for fact in FACTS}
    with engine.connect() as connection:
        version = read_version(connection)
        found = connection.execute(_COLUMNS, {"tables": [*declared]}).all()
    if version is None or version.contract != CONTRACT_VERSION:
        return []
    return sorted(
        f"{row.table.partition('.')[2]}.{row.column}"
        for row in found
        if row.column not in declared[row.table]
    )


def lacks(columns: list[str]) -> DatabaseNotReady:
    """Return the error that a database lacks columns of this declaration."""
    count = len(columns) - 1
    others = f" and {count:,} more column{'s' if count > 1 else ''}" if count else ""
    return DatabaseNotReady(
        f"The database lacks {columns[0]}{others} of this orders_dask with its settings: run "
        "`orders-dask migrate` as the owner of the tables."
    )


_TABLES: Final[tuple[Table, ...]] = tuple(METADATA.tables.values())

_COLUMNS: Final = text(
    """
    select nspname || '.' || relname as table, attname as column,
      format_type(atttypid, atttypmod) as type
    from pg_attribute
    join pg_class c on c.oid = attrelid join pg_namespace n on n.oid = relnamespace
    where nspname || '.' || relname = any(:tables) and attnum > 0 and not attisdropped
    """
)
