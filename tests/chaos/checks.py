"""What must hold after each case."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date
from typing import Any, Final

import psycopg2
from fsspec import AbstractFileSystem
from psycopg2 import sql

from orders_dask.contract.columns import PUBLIC, STORE
from orders_dask.contract.ledger_tables import FILE_COUNTERS, counter_column
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.storage_tables import order_version
from orders_dask.ledger.leases import ACTIVE
from orders_dask.load.connect import APPLICATION_NAME
from orders_dask.settings import STAGE_FOLDER
from orders_dask.stage.layout import PART_RECORD
from tests.chaos import dumps
from tests.support.waiting import until

OWN: Final = ("load_id", "source_file_id")
"""Columns in which two loads of the same differ."""


PUBLISHED: Final = "where load_id in (select load_id from orders_store.published)"

Contents = dict[str, tuple[int, str]]
"""Rows and a hash of all, by the name of the table or view."""


@contextmanager
def asking(database: str) -> Iterator[Any]:
    """Give a cursor on a session of its own."""
    with closing(psycopg2.connect(database)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


def contents(database: str) -> Contents:
    """Hash all that readers can see, and which versions are current."""
    with asking(database) as cursor:
        cursor.execute(
            "select table_name from information_schema.tables where table_schema = %s", [PUBLIC]
        )
        names = [(PUBLIC, name) for (name,) in cursor.fetchall()]
        return {
            name: _content(cursor, schema, name)
            for schema, name in [*names, (STORE, order_version.name), (STORE, "order_superseded")]
        }


def _content(cursor: Any, schema: str, name: str) -> tuple[int, str]:
    cursor.execute(
        "select column_name from information_schema.columns where table_schema = %s and table_name = %s"
        " and column_name <> all(%s) order by ordinal_position",
        [schema, name, list(OWN)],
    )
    columns = sql.SQL(", ").join(sql.Identifier(column) for (column,) in cursor.fetchall())
    only = sql.SQL(PUBLISHED if name == order_version.name else "")
    cursor.execute(
        sql.SQL(
            "select count(*), md5(string_agg(r::text, '|' order by r::text))"
            " from (select {} from {} {}) r"
        ).format(columns, sql.Identifier(schema, name), only)
    )
    rows, digest = cursor.fetchone()
    return rows, digest


def books_balance(database: str) -> None:
    """Check, file by file of each published load, that what was read is what became of it, and that it is there."""
    with asking(database) as cursor:
        columns = [counter_column(fact, entry) for fact in FACTS for entry in FILE_COUNTERS]
        cursor.execute(
            sql.SQL(
                "select {} from orders_ops.load_file join orders_store.published using (load_id)"
            ).format(sql.SQL(", ").join(map(sql.Identifier, columns)))
        )
        files = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
        assert files
        for fact in FACTS:
            for file in files:
                read, *became = (file[counter_column(fact, entry)] for entry in FILE_COUNTERS)
                assert read == sum(became), f"{fact.name}: {file}"
            cursor.execute(
                sql.SQL("select count(*) from {}").format(sql.Identifier(PUBLIC, fact.name))
            )
            stored = cursor.fetchone()[0]
            assert stored == sum(file[counter_column(fact, "loaded")] for file in files), fact.name


def ledger_is_settled(database: str, days: Sequence[date]) -> None:
    """Check that one load is published for each of these run dates, the gate's, and that none is being worked on."""
    with asking(database) as cursor:
        cursor.execute("select run_date, load_id, status from orders_ops.load_run order by 1, 2")
        loads = cursor.fetchall()
        cursor.execute(
            "select run_date, load_id, 'published' from orders_store.published order by 1"
        )
        gate = cursor.fetchall()
        assert [load for load in loads if load[2] == "published"] == gate
        assert [day for day, *_ in gate] == [*days]
        assert [load for load in loads if load[2] in ACTIVE] == []


def no_session_is_left(database: str) -> None:
    """Check that no session of the product is on the server, once it has noticed who was killed."""
    with asking(database) as cursor:

        def gone() -> bool:
            cursor.execute(
                "select from pg_stat_activity where application_name = %s and datname = current_database()",
                [APPLICATION_NAME],
            )
            return not cursor.rowcount

        until(gone)


Staged = dict[str, tuple[str, set[str]]]
"""By part that has a record: the attempt that it names, and the attempts that there are."""


def staged(stage: tuple[AbstractFileSystem, str]) -> Staged:
    """See what is staged for the day: in this folder of that file system."""
    fs, folder = stage
    folder = f"{folder}/{STAGE_FOLDER}/run_date={dumps.DAY}/"
    try:
        names = [name.removeprefix(folder).split("/") for name in fs.find(folder)]
    except FileNotFoundError:
        return {}
    attempts: dict[str, set[str]] = {}
    for name in names:
        if len(name) == 3:
            attempts.setdefault(name[0], set()).add(name[1])
    return {
        part: (json.loads(fs.cat_file(f"{folder}{part}/{PART_RECORD}"))["attempt"], attempts[part])
        for part, *rest in names
        if rest == [PART_RECORD]
    }


def nothing_staged_again(before: Staged, after: Staged) -> None:
    """Check that each part that had a record is as it was."""
    assert {part: after.get(part) for part in before} == before
