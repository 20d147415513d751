"""Which keys of the dump each public column comes from, by the declaration of the tables.

Nothing is declared here: a new column of :mod:`orders_dask.contract.order_tables` is in the lineage
without further ado. Columns that are computed from no declared key, such as counts, have none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import Column, Table
from sqlalchemy.dialects import postgresql

from orders_dask.contract.dimension_tables import DIMENSIONS
from orders_dask.contract.order_tables import FACTS

Use = Literal["IDENTITY", "AGGREGATION", "CONDITIONAL"]
"""How a key makes a column: as its value, as one of many values, or by deciding on the value."""

PUBLIC_TABLES: Final = (*FACTS, *DIMENSIONS)
"""The tables that people read; facts through the views of their names."""

_FACT_BY_RECORDS: Final = {fact.info["records"]: fact for fact in FACTS}

_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]


class ColumnSource(NamedTuple):
    """A key of the dump that a column comes from.

    Attributes
    ----------
    path
        Dotted path of the key within an order, such as ``line_items[].price``.
    type
        SQL type that its values are read as.
    use
        How it makes the column.
    """

    path: str
    type: str
    use: Use


def column_sources(table: Table, column: Column[Any]) -> list[ColumnSource]:
    """Return the keys that a column of a fact or dimension comes from.

    A column without a source that the parent records have too is copied from them
    (:mod:`orders_dask.transform.normalise`), and so comes from the same keys.
    """
    found = list(_own_sources(table, column))
    parent = _parent(table)
    if not found and parent is not None and column.name in parent.c:
        return column_sources(parent, parent.c[column.name])
    return found


def sql_type(column: Column[Any]) -> str:
    """Return the type of a column as PostgreSQL names it."""
    return str(column.type.compile(_DIALECT))


def source_keys() -> dict[str, str]:
    """Return the SQL type of each key that any public column comes from, by its path."""
    keys: dict[str, str] = {}
    for table in PUBLIC_TABLES:
        for column in table.c:
            for source in column_sources(table, column):
                keys.setdefault(source.path, source.type)
    return dict(sorted(keys.items()))


def _own_sources(table: Table, column: Column[Any]) -> Iterator[ColumnSource]:
    source = column.info["source"]
    custom = column.info["custom"]
    for path in filter(None, (source, column.info["fallback"])):
        yield ColumnSource(_path(table, path), sql_type(column), _use(path))
    for path, kind in column.info["reads"].items():
        # A computed column adds up what is of its own type, a local day is that of a timestamp, and
        # a value may be selected by a name; all else decides what counts.
        adds_up = not (source or custom) and isinstance(kind, type(column.type))
        is_selected = custom is not None and path == custom.path
        makes = adds_up or is_selected or path in column.info["local_date_of"]
        use = _use(path) if makes else "CONDITIONAL"
        yield ColumnSource(_path(table, path), str(kind.compile(_DIALECT)), use)


def _path(table: Table, path: str) -> str:
    return ".".join(filter(None, (table.info["records"], path)))


def _use(path: str) -> Use:
    return "AGGREGATION" if "[]" in path else "IDENTITY"


def _parent(table: Table) -> Table | None:
    """Return the fact of the records that those of a fact stand in; None for orders."""
    records = table.info["records"]
    return _FACT_BY_RECORDS[records.rpartition(".")[0]] if table in FACTS and records else None
