"""Describe the views and dimensions of a database: its catalogue, and what is declared."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Column, Connection, Engine, Table, text

from orders_dask.contract.columns import PUBLIC, path_within_order
from orders_dask.dictionary.description import ColumnDescription, TableDescription
from orders_dask.dictionary.promises import DECLARED, key_of, references_of, required_columns
from orders_dask.dictionary.since import Since
from orders_dask.load.views import VIEW_FILES
from orders_dask.monitoring.column_sources import column_sources
from orders_dask.retry import retry_transient

NAMES: Final = tuple(dict.fromkeys((*DECLARED, *VIEW_FILES)))
"""The views and dimensions, in their order; a database lacks facts of groups that are off."""

_COLUMNS: Final = text("""
    select
        r.relname as table_name,
        r.relkind::text as kind,
        obj_description(r.oid, 'pg_class') as table_meaning,
        a.attname as name,
        replace(format_type(a.atttypid, a.atttypmod), 'timestamp with time zone', 'timestamptz')
            as type,
        col_description(r.oid, a.attnum) as meaning
    from pg_class r
    join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
    where r.relnamespace = to_regnamespace(:schema) and r.relname = any(:names)
    order by array_position(:names, r.relname::text), a.attnum
""")


@retry_transient
def describe(engine: Engine, since: Since) -> list[TableDescription]:
    """Return what people read in a database: facts, dimensions, then the other views.

    Columns of somebody's own and facts of optional groups are in it if the database has them,
    whatever this process declares. Views of others are not.

    Parameters
    ----------
    engine
        Engine of the database.
    since
        The contract version that each column first appeared in.
    """
    with engine.connect() as connection:
        return list(_tables(connection, since))


def _tables(connection: Connection, since: Since) -> Iterator[TableDescription]:
    rows = connection.execute(_COLUMNS, {"schema": PUBLIC, "names": list(NAMES)}).mappings()
    for name, columns in groupby(rows, lambda row: str(row["table_name"])):
        declared = DECLARED.get(name)
        required = required_columns(name)
        found = list(columns)
        yield TableDescription(
            name=name,
            kind="view" if found[0]["kind"] == "v" else "table",
            meaning=found[0]["table_meaning"] or "",
            records=declared.info["records"] if declared is not None else None,
            key=key_of(name),
            columns=tuple(
                ColumnDescription(
                    name=row["name"],
                    type=row["type"],
                    meaning=row["meaning"] or "",
                    paths=_paths(declared, row["name"]),
                    since=since.get((name, row["name"])),
                    is_required=row["name"] in required,
                )
                for row in found
            ),
            references=tuple(references_of(name)),
        )


def _paths(table: Table | None, name: str) -> tuple[str, ...]:
    """Return where the values of a column stand in an order.

    Keys that only decide whether a value counts are left out, unless there is nothing else.
    """
    if table is None or name not in table.c:
        return ()
    column: Column[Any] = table.c[name]
    if column.info["custom"]:
        return (path_within_order(table, column.info["custom"].text),)
    sources = column_sources(table, column)
    values = [source.path for source in sources if source.use != "CONDITIONAL"]
    return tuple(dict.fromkeys(values or [source.path for source in sources]))
