"""One change of a schema, and the SQL of those that only add something."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import ClauseElement, Column, Index, Table, create_mock_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import (
    CreateColumn,
    CreateIndex,
    SetColumnComment,
    SetTableComment,
)

from orders_dask.contract.columns import METADATA, STORE

_LONGEST_NAME: Final = 63
"""Bytes of a name of PostgreSQL (``NAMEDATALEN``)."""

_DIALECT: Final = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Change:
    """Something that is changed in a transaction of its own, and may be repeated after a kill.

    Attributes
    ----------
    description
        What is changed, in a few words.
    statements
        SQL, in order.
    locks
        Tables that are locked first, so that their readers wait for no more than one short
        transaction.
    concurrently
        The statement takes its time while people read and write: outside of a transaction.
    not_beside_dump
        It drops or renames something: a ``pg_dump`` that has listed it would fail.
    """

    description: str
    statements: tuple[str, ...]
    locks: tuple[str, ...] = ()
    concurrently: bool = False
    not_beside_dump: bool = False

    @property
    def lock(self) -> str | None:
        """The statement that locks the tables with their partitions; None for none."""
        return f"LOCK TABLE {', '.join(self.locks)}" if self.locks else None


def add_table(table: Table) -> Change:
    """Return the change that makes a table with its indexes and comments."""
    statements: list[str] = []
    recorder = create_mock_engine(
        "postgresql+psycopg2://", lambda ddl, *_: statements.append(_sql(ddl))
    )
    METADATA.create_all(recorder, tables=[table], checkfirst=False)
    return Change(f"table {table}", tuple(statements))


def add_partition(fact: Table, first: date) -> Change:
    """Return the change that makes a fact's partition, as the others have it."""
    call = f"select {STORE}.make_partition('{first.isoformat()}')"
    return Change(f"partition of {fact} from {first}", (call,))


def finalize_detach(fact: str, partition: str) -> Change:
    """Return the change that ends the detach of a partition, as a prune that was killed left it."""
    statement = f"ALTER TABLE {STORE}.{fact} DETACH PARTITION {STORE}.{partition} FINALIZE"
    return Change(f"detach of {partition}", (statement,))


def add_columns(table: Table, columns: Sequence[Column[Any]]) -> Change:
    """Return the change that adds columns at a table's end, without rewriting its rows."""
    added = ", ".join(
        f"ADD COLUMN IF NOT EXISTS {_sql(CreateColumn(column))}" for column in columns
    )
    comments = [_sql(SetColumnComment(column)) for column in columns]
    names = ", ".join(column.name for column in columns)
    statements = (f"ALTER TABLE {table} {added}", *comments)
    return Change(f"columns {names} of {table}", statements, locks=(str(table),))


def drop_sequence(table: str, column: str, sequence: str) -> Change:
    """Return the change that takes a sequence from a column that never took a value from it."""
    statements = (
        f"ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT",
        f"DROP SEQUENCE IF EXISTS {sequence}",
    )
    return Change(f"sequence of {table}", statements, locks=(table,), not_beside_dump=True)


def set_comments(table: Table, columns: Iterable[Column[Any]], *, of_table: bool) -> Change:
    """Return the change that corrects comments."""
    statements = [_sql(SetTableComment(table))] if of_table else []
    statements += [_sql(SetColumnComment(column)) for column in columns]
    return Change(f"comments of {table}", tuple(statements))


def add_index(index: Index) -> Change:
    """Return the change that makes an index of an ordinary table while it is used."""
    return Change(f"index {index.name}", (_index_sql(index, concurrently=True),), concurrently=True)


def drop_index(schema: str, name: str) -> Change:
    """Return the change that drops an index that was not made to its end."""
    statement = f"DROP INDEX CONCURRENTLY IF EXISTS {schema}.{name}"
    return Change(f"unfinished index {name}", (statement,), concurrently=True)


def add_index_of_parent(index: Index) -> Change:
    """Return the change that declares an index of a partitioned table, as yet of no partition."""
    statement = _index_sql(index).replace(f" ON {index.table} ", f" ON ONLY {index.table} ")
    return Change(f"index {index.name}", (statement,))


def add_index_of_partition(index: Index, partition: str) -> Change:
    """Return the change that makes the index of one partition while it is used."""
    statement = _partition_index_sql(index, partition, concurrently=True)
    return Change(f"index {partition_index(index, partition)}", (statement,), concurrently=True)


def add_index_of_empty_partitions(index: Index, partitions: Sequence[str]) -> Change:
    """Return the change that makes and attaches the index of partitions without a row, at once.

    Made concurrently, each would wait for every transaction that runs: with 120 partitions of three
    indexes a migration took 300 s and not 50.
    """
    statements = [
        statement
        for partition in partitions
        for statement in (
            _partition_index_sql(index, partition),
            *attach_index(index, partition).statements,
        )
    ]
    return Change(f"index {index.name} of empty partitions", tuple(statements))


def attach_index(index: Index, partition: str) -> Change:
    """Return the change that makes a partition's index part of that of its table."""
    child = f"{STORE}.{partition_index(index, partition)}"
    statement = f"ALTER INDEX {STORE}.{index.name} ATTACH PARTITION {child}"
    return Change(f"index {index.name} with that of {partition}", (statement,))


def partition_index(index: Index, partition: str) -> str:
    """Return the name of an index of a partition, as PostgreSQL chooses it for a new partition.

    It shortens the longer of both parts (``makeObjectName`` of its source).
    """
    columns = "_".join(column.name for column in index.columns)[:_LONGEST_NAME]
    while len(f"{partition}_{columns}_idx") > _LONGEST_NAME:
        if len(partition) > len(columns):
            partition = partition[:-1]
        else:
            columns = columns[:-1]
    return f"{partition}_{columns}_idx"


def _partition_index_sql(index: Index, partition: str, *, concurrently: bool = False) -> str:
    """Return the statement that makes an index of a partition."""
    return _index_sql(index, concurrently=concurrently).replace(
        f" {index.name} ON {index.table} ",
        f" {partition_index(index, partition)} ON {STORE}.{partition} ",
    )


def _index_sql(index: Index, *, concurrently: bool = False) -> str:
    """Return the statement that makes an index."""
    word = " INDEX CONCURRENTLY " if concurrently else " INDEX "
    return _sql(CreateIndex(index)).replace(" INDEX ", word, 1)


def _sql(element: ClauseElement) -> str:
    return str(element.compile(dialect=_DIALECT)).strip().replace("\n\t", "\n  ")
