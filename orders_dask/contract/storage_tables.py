"""Tables of the storage beside the facts: versions, the published pointer, dimension rows."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    Column,
    Index,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)

from orders_dask.contract.columns import (
    DATE,
    ID,
    METADATA,
    PUBLIC,
    STORE,
    TIMESTAMP,
    computed_column,
    kind_name,
)
from orders_dask.contract.dimension_tables import DIMENSIONS
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.sources import Source

order_version = Table(
    "order_version",
    METADATA,
    computed_column("order_id", ID, "The order", nullable=False),
    computed_column("run_date", DATE, "Date of the dump", nullable=False),
    computed_column("load_id", ID, "The load", nullable=False),
    computed_column(
        "version_at",
        TIMESTAMP,
        "updated_at, else created_at, else null, which sorts before every other",
    ),
    PrimaryKeyConstraint("order_id", "run_date", "load_id"),
    Index("order_version_load_id", "load_id"),
    schema=STORE,
    comment="Every version of every order that a load brought",
)


order_superseded = Table(
    "order_superseded",
    METADATA,
    computed_column("order_id", ID, "The order", nullable=False),
    computed_column(
        "run_date", DATE, "The published run date whose version is not current", nullable=False
    ),
    PrimaryKeyConstraint("order_id", "run_date"),
    schema=STORE,
    comment="The published versions that are not current: few",
)


published = Table(
    "published",
    METADATA,
    Column("run_date", DATE, primary_key=True, comment="The run date"),
    Column("load_id", ID, nullable=False, comment="The load that readers see for it"),
    UniqueConstraint("load_id"),
    schema=STORE,
    comment="The published pointer: which load readers see for each run date",
)


def _dimension_rows(dimension: Table) -> Table:
    """Return the table of a dimension's rows by load: one a key and part, with its version."""
    return Table(
        dimension.name,
        METADATA,
        computed_column("load_id", ID, "The load", nullable=False),
        *(
            Column(c.name, c.type, comment=c.comment, info=c.info, nullable=c.nullable)
            for c in dimension.c
            if c.info["source"]
        ),
        computed_column("version_at", TIMESTAMP, "Version of the order that said it"),
        computed_column("source_file_id", ID, "The file it stood in", nullable=False),
        computed_column("source_position", ID, "Number of the record in that file", nullable=False),
        Index(f"{dimension.name}_load_id", "load_id"),
        Index(f"{dimension.name}_key", *dimension.info["key"]),
        schema=STORE,
        comment=f"What each load said of {PUBLIC}.{dimension.name}",
        info=dimension.info,
    )


DIMENSION_ROWS: Final[tuple[Table, ...]] = tuple(
    _dimension_rows(dimension) for dimension in DIMENSIONS
)


def _dimension_names(dimension: Table) -> Table:
    """Return the table of the names that ``dimensions load`` has read for a dimension's keys."""
    [key] = dimension.info["key"]
    return Table(
        f"{dimension.name}_names",
        METADATA,
        Column(key, ID, primary_key=True, autoincrement=False, comment=dimension.c[key].comment),
        *(Column(c.name, c.type, comment=c.comment) for c in dimension.info["names"]),
        schema=STORE,
        comment=f"Names for {PUBLIC}.{dimension.name}, which no order has",
        info=dimension.info,
    )


DIMENSION_NAMES: Final[Mapping[Table, Table]] = {
    dimension: _dimension_names(dimension) for dimension in DIMENSIONS if dimension.info["names"]
}
"""Tables of names, by the dimension that they belong to."""


class DimensionSource(NamedTuple):
    """The staged table that has the rows of a dimension.

    Attributes
    ----------
    table
        A fact that has all values of the dimension, else the dimension's own rows.
    columns
        Column of `table` by column of the dimension.
    """

    table: Table
    columns: Mapping[str, str]


def _dimension_source(rows: Table) -> DimensionSource:
    """Return a fact of the same records that has all values of a dimension, or its own rows."""
    sources = {c.name: c.info["source"] for c in rows.c if c.info["source"]}
    for fact in FACTS:
        # Parts of before lack custom columns, but not the rows of a dimension that is staged.
        own = [c for c in fact.c if not c.info["custom"]]
        by_source = {c.info["source"]: c.name for c in own if c.info["source"]}
        if fact.info["records"] == rows.info["records"] and by_source.keys() >= {*sources.values()}:
            columns = {name: by_source[source] for name, source in sources.items()}
            return DimensionSource(fact, columns)
    return DimensionSource(rows, {name: name for name in sources})


DIMENSION_SOURCES: Final[Mapping[str, DimensionSource]] = {
    rows.name: _dimension_source(rows) for rows in DIMENSION_ROWS
}
"""The staged table that has the rows of each dimension, by the dimension's name."""


STAGED: Final[tuple[Table, ...]] = (
    *FACTS,
    *(rows for rows in DIMENSION_ROWS if DIMENSION_SOURCES[rows.name].table is rows),
)
"""The tables that are staged: facts, and rows of the dimensions that no fact contains."""


COPIED_TABLES: Final[tuple[Table, ...]] = (*FACTS, order_version, *DIMENSION_ROWS)
"""The tables that a part is copied into, in one transaction."""


def identity_of(column: Column[Any]) -> str:
    """Return a column's name; behind that of a custom column a hash of its type and source.

    So what was read from another source, or as another type, is another column of a part or load.
    """
    source: Source | None = column.info["custom"]
    if source is None:
        return column.name
    read = sha256(f"{kind_name(column.type)} {source.text}".encode()).hexdigest()
    return f"{column.name} {read[:8]}"


def stored_name(table: Table, column: Column[Any]) -> str:
    """Return the name that a column of a table has in :data:`STORED_COLUMNS`."""
    return f"{table.name}.{identity_of(column)}"


STORED_COLUMNS: Final[tuple[str, ...]] = tuple(
    stored_name(table, column) for table in (*FACTS, *DIMENSION_ROWS) for column in table.c
)
"""The columns that rows of orders have, such as ``fact_order.note``.

A part has them all if its record names them, and a load if the ledger does: so a part or a load of
before can be told from one that has a younger column too.
"""
