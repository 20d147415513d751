"""Compare the declaration with the catalogue: what a database lacks, as changes that add it.

Nothing that is used is dropped, renamed or rewritten here, so code of before goes on working
meanwhile. Any other change is a step of its own (:mod:`orders_dask.migration.steps`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from sqlalchemy import Connection, Index, select, text

from orders_dask.contract.columns import METADATA, OPS, PUBLIC, STORE
from orders_dask.contract.ledger_tables import storage_partition
from orders_dask.contract.order_tables import FACTS
from orders_dask.load import name_conflicts
from orders_dask.load.name_conflicts import CatalogObject, QualifiedName
from orders_dask.load.partitions import PartitionWidth, partition_name
from orders_dask.load.sql_files import sql_file
from orders_dask.load.views import (
    VIEWS,
    record_views,
    view_definitions,
    views_are_current,
)
from orders_dask.migration import changes
from orders_dask.migration.changes import Change

COLUMNS_AT_ONCE: Final = 4
"""Columns of a table that one change adds, since readers wait for it to end.

With 120 partitions they waited for 0.8 s when 24 were added at once, with 4 for 0.15 s.
"""


@dataclass(frozen=True)
class _Indexes:
    """The indexes of our schemas.

    Attributes
    ----------
    valid
        Whether each is whole, by its name.
    attached
        Names of partitions' indexes that are part of their table's.
    empty
        Tables of the storage without a row.
    """

    valid: Mapping[QualifiedName, bool]
    attached: frozenset[str]
    empty: frozenset[str]


def find_additions(connection: Connection, width: PartitionWidth) -> list[Change]:
    """Return the changes that add what a database lacks, in an order in which they can be made.

    Raises
    ------
    SettingsError
        An object under one of our names is not ours, or a column has another type.
    """
    objects = name_conflicts.find_objects(connection, VIEWS)
    name_conflicts.require_ours(objects, VIEWS)
    indexes = _find_indexes(connection)
    first_dates = _first_dates(connection)
    return [
        *_pending_detaches(connection),
        *_function(connection),
        *_tables(objects),
        *_partitions(first_dates, width, objects),
        *_columns(objects),
        *_unused_sequences(connection),
        *_missing_indexes(first_dates, width, objects, indexes),
        *_comments(connection, objects),
        *_views(connection),
    ]


def _pending_detaches(connection: Connection) -> Iterator[Change]:
    """Yield the ends of detaches that were killed: PostgreSQL gives those partitions no columns."""
    for row in connection.execute(_PENDING_DETACHES, {"store": STORE}):
        yield changes.finalize_detach(row.fact, row.partition)


_PENDING_DETACHES: Final = text(
    """
    select f.relname as fact, p.relname as partition
    from pg_inherits join pg_class f on f.oid = inhparent join pg_class p on p.oid = inhrelid
    where inhdetachpending and f.relnamespace = to_regnamespace(:store)
    """
)


def _function(connection: Connection) -> Iterator[Change]:
    """Yield the function that makes partitions, if it is another one."""
    definition = sql_file("partitions.sql")
    _, body, _ = definition.split("$$")
    name = {"function": f"{STORE}.make_partition(date)"}
    if connection.scalar(_FUNCTION_BODY, name) != body:
        yield Change("function make_partition", (definition,))


_FUNCTION_BODY: Final = text("select prosrc from pg_proc where oid = to_regprocedure(:function)")


def _tables(objects: Mapping[QualifiedName, CatalogObject]) -> Iterator[Change]:
    for table in METADATA.sorted_tables:
        if (str(table.schema), table.name) not in objects:
            yield changes.add_table(table)


def _partitions(
    first_dates: Sequence[date],
    width: PartitionWidth,
    objects: Mapping[QualifiedName, CatalogObject],
) -> Iterator[Change]:
    """Yield the partitions that a fact lacks of those that the others have."""
    for first in first_dates:
        for fact in FACTS:
            if (STORE, partition_name(fact, width, first)) not in objects:
                yield changes.add_partition(fact, first)


def _columns(objects: dict[QualifiedName, CatalogObject]) -> Iterator[Change]:
    for table, columns in name_conflicts.missing_columns(objects).items():
        for begin in range(0, len(columns), COLUMNS_AT_ONCE):
            yield changes.add_columns(table, columns[begin : begin + COLUMNS_AT_ONCE])


def _unused_sequences(connection: Connection) -> Iterator[Change]:
    """Yield the drops of sequences that keys had which come from elsewhere.

    Readers may not see them, and so failed to list all that is in the public schema.
    """
    names = [str(table) for table in METADATA.tables.values()]
    for row in connection.execute(_SEQUENCES, {"tables": names}):
        yield changes.drop_sequence(row.table, row.column, row.sequence)


# Those of identities depend on their column in another way.
_SEQUENCES: Final = text(
    """
    select tn.nspname || '.' || t.relname as table, attname as column,
        format('%I.%I', sn.nspname, s.relname) as sequence
    from pg_depend
    join pg_class s on s.oid = objid and s.relkind = 'S'
    join pg_namespace sn on sn.oid = s.relnamespace
    join pg_class t on t.oid = refobjid
    join pg_namespace tn on tn.oid = t.relnamespace
    join pg_attribute on attrelid = t.oid and attnum = refobjsubid
    where classid = 'pg_class'::regclass and refclassid = 'pg_class'::regclass and deptype = 'a'
        and tn.nspname || '.' || t.relname = any(:tables)
    order by 1
    """
)


def _missing_indexes(
    first_dates: Sequence[date],
    width: PartitionWidth,
    objects: Mapping[QualifiedName, CatalogObject],
    indexes: _Indexes,
) -> Iterator[Change]:
    """Yield what tables that are there lack of their indexes."""
    for table in METADATA.sorted_tables:
        if (str(table.schema), table.name) in objects:
            for index in sorted(table.indexes, key=lambda each: str(each.name)):
                schema, name = str(table.schema), str(index.name)
                if indexes.valid.get((schema, name)):
                    continue
                if table in FACTS:
                    partitions = [partition_name(table, width, first) for first in first_dates]
                    yield from _partitioned_index(index, partitions, indexes)
                else:
                    yield from _unfinished_index(schema, name, indexes)
                    yield changes.add_index(index)


def _partitioned_index(
    index: Index, partitions: Iterable[str], indexes: _Indexes
) -> Iterator[Change]:
    """Yield the parts of a fact's index that are missing: it is whole when all are attached."""
    if (STORE, str(index.name)) not in indexes.valid:
        yield changes.add_index_of_parent(index)
    names = {each: changes.partition_index(index, each) for each in partitions}
    lacking = [each for each in partitions if names[each] not in indexes.attached]
    empty = [
        each
        for each in lacking
        if each in indexes.empty and (STORE, names[each]) not in indexes.valid
    ]
    if empty:
        yield changes.add_index_of_empty_partitions(index, empty)
    for partition in lacking:
        if partition in empty:
            continue
        if not indexes.valid.get((STORE, names[partition])):
            yield from _unfinished_index(STORE, names[partition], indexes)
            yield changes.add_index_of_partition(index, partition)
        yield changes.attach_index(index, partition)


def _unfinished_index(schema: str, name: str, indexes: _Indexes) -> Iterator[Change]:
    if indexes.valid.get((schema, name)) is False:
        yield changes.drop_index(schema, name)


def _comments(
    connection: Connection, objects: Mapping[QualifiedName, CatalogObject]
) -> Iterator[Change]:
    names = [str(table) for table in METADATA.tables.values()]
    found = {
        (row.name, row.column): row.comment
        for row in connection.execute(_COMMENTS, {"tables": names})
    }
    for table in METADATA.sorted_tables:
        has = objects.get((str(table.schema), table.name))
        if has is None:
            continue
        differs = [
            column
            for column in table.c
            if column.name in has.columns and found.get((str(table), column.name)) != column.comment
        ]
        of_table = found.get((str(table), None)) != table.comment
        if differs or of_table:
            yield changes.set_comments(table, differs, of_table=of_table)


def _views(connection: Connection) -> Iterator[Change]:
    definitions = view_definitions(connection)
    if not views_are_current(connection, definitions):
        for description, statements in definitions.items():
            yield Change(description, tuple(statements))
        yield Change("hash of the views", (record_views(connection, definitions),))


def _first_dates(connection: Connection) -> list[date]:
    """Return the first run date of each partition, but of those that are about to be dropped."""
    first, draining = storage_partition.c.first_date, storage_partition.c.draining
    return list(connection.scalars(select(first).where(draining.is_(None)).order_by(first)))


def _find_indexes(connection: Connection) -> _Indexes:
    rows = connection.execute(_INDEXES, {"schemas": [STORE, PUBLIC, OPS]}).all()
    return _Indexes(
        {(row.schema, row.name): row.valid for row in rows},
        frozenset(row.name for row in rows if row.attached),
        frozenset(connection.scalars(_EMPTY, {"store": STORE})),
    )


_EMPTY: Final = text(
    """
    select relname from pg_class
    where relnamespace = to_regnamespace(:store) and relkind = 'r' and pg_relation_size(oid) = 0
    """
)


_INDEXES: Final = text(
    """
    select nspname as schema, relname as name, indisvalid as valid, relispartition as attached
    from pg_index join pg_class c on c.oid = indexrelid join pg_namespace n on n.oid = relnamespace
    where nspname = any(:schemas)
    """
)

_COMMENTS: Final = text(
    """
    select nspname || '.' || relname as name, attname as column, description as comment
    from pg_description
    join pg_class c on c.oid = objoid join pg_namespace n on n.oid = relnamespace
    left join pg_attribute on attrelid = c.oid and attnum = objsubid and objsubid > 0
    where classoid = 'pg_class'::regclass and nspname || '.' || relname = any(:tables)
    """
)
