"""What stands where `init` would make something of ours, and is not ours."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import psycopg2
from sqlalchemy import Column, Connection, Table, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from orders_dask.contract.columns import METADATA, OPS, PUBLIC, STORE
from orders_dask.contract.ledger_tables import schema_info
from orders_dask.contract.order_tables import FACTS
from orders_dask.errors import SettingsError

QualifiedName = tuple[str, str]
"""Schema and name."""


class CatalogObject(NamedTuple):
    """Something in one of our schemas.

    Attributes
    ----------
    kind
        As ``pg_class.relkind`` has it; ``T`` for a type and ``F`` for a function.
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
    """List what there is in our schemas under names that we would give.

    Parameters
    ----------
    views
        Names of the public views.
    """
    given = {"schemas": [STORE, PUBLIC, OPS], "store": STORE}
    found = {
        (row.schema, row.name): CatalogObject(row.kind, row.columns)
        for row in connection.execute(_OBJECTS, given)
    }
    public = ((PUBLIC, view) for view in views)
    wanted = {*_tables(), *_indexes(), *public, (STORE, "make_partition")}
    return {name: thing for name, thing in found.items() if name in wanted or _is_partition(name)}


# Of several things under one name a relation counts, then a type: a table has both, and a type without one is theirs.
_OBJECTS: Final = text(
    r"""
    select nspname as schema, proname as name, 'F' as kind, '{}'::jsonb as columns
    from pg_proc join pg_namespace n on n.oid = pronamespace
    where nspname = :store and proname = 'make_partition' and proargtypes::text = 'date'::regtype::oid::text
    union all
    select nspname, typname, 'T', '{}' from pg_type join pg_namespace n on n.oid = typnamespace
    where nspname = any(:schemas) and typrelid = 0
    union all
    select nspname, relname, relkind::text, (
      select coalesce(jsonb_object_agg(attname, format_type(atttypid, atttypmod)), '{}') from pg_attribute
      where attrelid = c.oid and attnum > 0 and not attisdropped)
    from pg_class c join pg_namespace n on n.oid = relnamespace where nspname = any(:schemas)
    """
)


def was_initialised(there: dict[QualifiedName, CatalogObject]) -> bool:
    """Say whether the ledger's first table looks like one of ours, of whatever version."""
    thing = there.get((OPS, schema_info.name))
    return (
        thing is not None
        and thing.kind == "r"
        and {"contract_version", "partition_width"} <= thing.columns.keys()
    )


def require_none(there: dict[QualifiedName, CatalogObject]) -> None:
    """Refuse whatever is there: where `init` was not run, nothing of it is ours.

    Raises
    ------
    SettingsError
        Something is: the message names it.
    """
    _refuse(there, sorted(there))


def require_ours(there: dict[QualifiedName, CatalogObject], views: Collection[str]) -> None:
    """Refuse what is of another kind than what `init` made, or lacks a column of it.

    Parameters
    ----------
    views
        Names of the public views.

    Raises
    ------
    SettingsError
        Something is: the message names it.
    """
    tables, indexes = _tables(), _indexes()
    _refuse(
        there,
        [
            name
            for name, thing in sorted(there.items())
            if (name in tables and not _is_like(thing, tables[name]))
            or (name[0] == PUBLIC and name[1] in views and thing.kind != "v")
            or (name in indexes and thing.kind not in "iI")
        ],
    )


@contextmanager
def translating_conflicts() -> Iterator[None]:
    """Tell what else PostgreSQL finds in the way of ours, such as a view that has other columns.

    Raises
    ------
    SettingsError
        Something is: PostgreSQL names it.
    """
    try:
        yield
    except (DBAPIError, psycopg2.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if not isinstance(cause, psycopg2.Error) or cause.pgcode not in _IN_THE_WAY:
            raise
        raise SettingsError(
            f"PostgreSQL says {cause.diag.message_primary}: what is there was not made by `orders-dask init`; rename "
            "it, or use another database."
        ) from error


# Another kind of thing, a view or function that can't become ours, a name that is taken.
_IN_THE_WAY: Final = ("42809", "42P16", "42P13", "42P07", "42710", "42723")


def _refuse(there: dict[QualifiedName, CatalogObject], names: list[QualifiedName]) -> None:
    if not names:
        return
    first = names[0]
    others = f", and so are {len(names) - 1:,} more names of ours" if len(names) > 1 else ""
    raise SettingsError(
        f"The {_KINDS.get(there[first].kind, 'relation')} {'.'.join(first)} is there, and was not made by "
        f"`orders-dask init`{others}: rename it, or use another database."
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
    return name[0] == STORE and _LEAF.fullmatch(name[1]) is not None


_LEAF: Final = re.compile(
    rf"({'|'.join(fact.name for fact in FACTS)})_[0-9]{{4}}_[0-9]{{2}}(_[0-9]{{2}})?"
)


def _is_like(thing: CatalogObject, table: Table) -> bool:
    """Say whether something is what `table` declares; columns beyond these are nobody's business."""
    declared = {column.name: _type(column) for column in table.c}
    kind = "p" if table in FACTS else "r"
    return thing.kind == kind and declared.items() <= thing.columns.items()


def _type(column: Column[Any]) -> str:
    """Name a column's type as PostgreSQL does."""
    name = column.type.compile(dialect=_DIALECT).lower().replace(", ", ",")
    return "double precision" if name == "float" else name


_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]
