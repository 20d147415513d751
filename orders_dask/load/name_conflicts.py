"""Objects that `init` did not make, under names that `init` gives: it never replaces them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import psycopg2
from sqlalchemy import Column, Connection, Table, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from orders_dask.contract.columns import METADATA, OPS, PUBLIC, STORE
from orders_dask.contract.order_tables import FACTS
from orders_dask.errors import SettingsError

QualifiedName = tuple[str, str]
"""Schema and name."""


class CatalogObject(NamedTuple):
    """A relation, type or function in one of our schemas.

    Attributes
    ----------
    kind
        ``pg_class.relkind``; ``T`` for a type and ``F`` for a function.
    columns
        The type of each column by its name.
    """

    kind: str
    columns: dict[str, str]


_KINDS: Final = {
    **dict.fromkeys("rp", "table"),
    **dict.fromkeys("iI", "index"),
    **dict.fromkeys("cT", "type"),
    **{"v": "view", "m": "materialized view", "f": "foreign table", "S": "sequence"},
    "F": "function",
}


def find_objects(
    connection: Connection, views: Collection[str]
) -> dict[QualifiedName, CatalogObject]:
    """Return the objects in our schemas that have a name that `init` gives.

    Parameters
    ----------
    connection
        The session.
    views
        Names of the public views.
    """
    schemas = {"schemas": [STORE, PUBLIC, OPS], "store": STORE}
    objects = {
        (row.schema, row.name): CatalogObject(row.kind, row.columns)
        for row in connection.execute(_OBJECTS, schemas)
    }
    public = ((PUBLIC, view) for view in views)
    wanted = {*_tables(), *_indexes(), *public, (STORE, "make_partition")}
    return {name: obj for name, obj in objects.items() if name in wanted or _is_partition(name)}


# Of several objects of one name the last row counts: a relation, else a type. A table has a type of
# its name too.
_OBJECTS: Final = text(
    r"""
    select nspname as schema, proname as name, 'F' as kind, '{}'::jsonb as columns
    from pg_proc join pg_namespace n on n.oid = pronamespace
    where nspname = :store and proname = 'make_partition'
      and proargtypes::text = 'date'::regtype::oid::text
    union all
    select nspname, typname, 'T', '{}' from pg_type join pg_namespace n on n.oid = typnamespace
    where nspname = any(:schemas) and typrelid = 0
    union all
    select nspname, relname, relkind::text, (
      select coalesce(jsonb_object_agg(attname, format_type(atttypid, atttypmod)), '{}')
      from pg_attribute
      where attrelid = c.oid and attnum > 0 and not attisdropped)
    from pg_class c join pg_namespace n on n.oid = relnamespace where nspname = any(:schemas)
    """
)


def require_none(objects: dict[QualifiedName, CatalogObject]) -> None:
    """Raise if there is any object: before the first `init`, none of them is ours.

    Raises
    ------
    SettingsError
        There is one: the message names it.
    """
    _refuse(objects, sorted(objects))


def require_ours(objects: dict[QualifiedName, CatalogObject], views: Collection[str]) -> None:
    """Raise if an object has another kind or key than `init` gives it, or a column another type.

    A table may lack columns: ``orders-dask migrate`` adds them.

    Parameters
    ----------
    objects
        What :func:`find_objects` found.
    views
        Names of the public views.

    Raises
    ------
    SettingsError
        One has: the message names it.
    """
    tables, indexes = _tables(), _indexes()
    _refuse(
        objects,
        [
            name
            for name, obj in sorted(objects.items())
            if (name in tables and not _has_key_of(obj, tables[name]))
            or (name[0] == PUBLIC and name[1] in views and obj.kind != "v")
            or (name in indexes and obj.kind not in "iI")
        ],
    )
    for name, table in tables.items():
        require_types(table, objects[name].columns if name in objects else {})


def require_types(table: Table, has: Mapping[str, str]) -> None:
    """Raise if a column of a table has another type in the database.

    Parameters
    ----------
    table
        The table.
    has
        The type of each of its columns in the database, by name.

    Raises
    ------
    SettingsError
        One has: the message names the first.
    """
    for column in table.c:
        declared = type_of(column)
        if has.get(column.name, declared) != declared:
            raise SettingsError(
                f"The column {table}.{column.name} has the type {has[column.name]} in the "
                f"database, and {declared} in this orders_dask with its settings: give it another "
                "name, or the type that it has."
            )


def missing_columns(objects: dict[QualifiedName, CatalogObject]) -> dict[Table, list[Column[Any]]]:
    """Return the declared columns that existing tables lack, by table."""
    missing = {
        table: [column for column in table.c if column.name not in objects[name].columns]
        for name, table in _tables().items()
        if name in objects
    }
    return {table: columns for table, columns in missing.items() if columns}


@contextmanager
def translating_conflicts() -> Iterator[None]:
    """Translate PostgreSQL's errors about other conflicts, such as a view with other columns.

    Raises
    ------
    SettingsError
        An object is in the way: PostgreSQL's message names it.
    """
    try:
        yield
    except (DBAPIError, psycopg2.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if not isinstance(cause, psycopg2.Error) or cause.pgcode not in _CONFLICTS:
            raise
        raise SettingsError(
            f"PostgreSQL says {cause.diag.message_primary}: what is there was not made by "
            "`orders-dask init`; rename it, or use another database."
        ) from error


# Another kind of object, a view or function that can't be replaced, a name that is taken.
_CONFLICTS: Final = ("42809", "42P16", "42P13", "42P07", "42710", "42723")


def _refuse(objects: dict[QualifiedName, CatalogObject], names: list[QualifiedName]) -> None:
    if not names:
        return
    first = names[0]
    others = f", and so are {len(names) - 1:,} more names of ours" if len(names) > 1 else ""
    raise SettingsError(
        f"The {_KINDS.get(objects[first].kind, 'relation')} {'.'.join(first)} is there, and was "
        f"not made by `orders-dask init`{others}: rename it, or use another database."
    )


def _tables() -> dict[QualifiedName, Table]:
    return {(str(table.schema), table.name): table for table in METADATA.tables.values()}


def _indexes() -> set[QualifiedName]:
    return {
        (str(table.schema), str(index.name))
        for table in METADATA.tables.values()
        for index in table.indexes
    }


def _is_partition(name: QualifiedName) -> bool:
    return name[0] == STORE and _PARTITION.fullmatch(name[1]) is not None


_PARTITION: Final = re.compile(
    rf"({'|'.join(fact.name for fact in FACTS)})_[0-9]{{4}}_[0-9]{{2}}(_[0-9]{{2}})?"
)


def _has_key_of(obj: CatalogObject, table: Table) -> bool:
    """Return whether an object has the kind of `table`, and its key or else its first column."""
    kind = "p" if table in FACTS else "r"
    key = list(table.primary_key.columns) or list(table.c)[:1]
    return obj.kind == kind and all(obj.columns.get(c.name) == type_of(c) for c in key)


def type_of(column: Column[Any]) -> str:
    """Return a column's type as ``format_type`` of PostgreSQL names it."""
    name = column.type.compile(dialect=_DIALECT).lower().replace(", ", ",")
    return "double precision" if name == "float" else name


_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]
