"""Checks of what must hold after each case."""

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
from orders_dask.stage.layout import PART_RECORD
from orders_dask.urls import STAGE_FOLDER
from tests.chaos import dumps
from tests.support.waiting import until

LOAD_COLUMNS: Final = ("load_id", "source_file_id")
"""Columns that differ between two loads of the same dump."""


PUBLISHED: Final = "where load_id in (select load_id from orders_store.published)"

Contents = dict[str, tuple[int, str]]
"""Row count and hash of the rows, by the name of the table or view."""


@contextmanager
def cursor_on(database: str) -> Iterator[Any]:
    """Yield a cursor of a new session in autocommit mode."""
    with closing(psycopg2.connect(database)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


def contents(database: str) -> Contents:
    """Return hashes of all that readers can see, and of the versions and superseded orders."""
    with cursor_on(database) as cursor:
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
        "select column_name from information_schema.columns where table_schema = %s"
        " and table_name = %s and column_name <> all(%s) order by ordinal_position",
        [schema, name, list(LOAD_COLUMNS)],
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


def control_totals_reconcile(database: str) -> None:
    """Check each published file: read = loaded + superseded + rejected, and the rows are stored."""
    with cursor_on(database) as cursor:
        columns = [counter_column(fact, counter) for fact in FACTS for counter in FILE_COUNTERS]
        cursor.execute(
            sql.SQL(
                "select {} from orders_ops.load_file join orders_store.published using (load_id)"
            ).format(sql.SQL(", ").join(map(sql.Identifier, columns)))
        )
        files = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
        assert files
        for fact in FACTS:
            for file in files:
                read, *parts = (file[counter_column(fact, counter)] for counter in FILE_COUNTERS)
                assert read == sum(parts), f"{fact.name}: {file}"
            cursor.execute(
                sql.SQL("select count(*) from {}").format(sql.Identifier(PUBLIC, fact.name))
            )
            stored = cursor.fetchone()[0]
            assert stored == sum(file[counter_column(fact, "loaded")] for file in files), fact.name


def ledger_is_consistent(database: str, days: Sequence[date]) -> None:
    """Check that ledger and pointer name the same load for each run date, and none is active."""
    with cursor_on(database) as cursor:
        cursor.execute("select run_date, load_id, status from orders_ops.load_run order by 1, 2")
        loads = cursor.fetchall()
        cursor.execute(
            "select run_date, load_id, 'published' from orders_store.published order by 1"
        )
        pointer = cursor.fetchall()
        assert [load for load in loads if load[2] == "published"] == pointer
        assert [day for day, *_ in pointer] == [*days]
        assert [load for load in loads if load[2] in ACTIVE] == []


def no_session_is_left(database: str) -> None:
    """Check that no session of the product is left, once the server has noticed dead clients."""
    with cursor_on(database) as cursor:

        def no_session() -> bool:
            cursor.execute(
                "select from pg_stat_activity where application_name = %s"
                " and datname = current_database()",
                [APPLICATION_NAME],
            )
            return not cursor.rowcount

        until(no_session)


Staged = dict[str, tuple[str, set[str]]]
"""By part that has a record: the attempt that it names, and the attempts in the stage."""


def staged(stage: tuple[AbstractFileSystem, str]) -> Staged:
    """Return the parts of the day in a stage, which is given as file system and folder."""
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


def staged_parts_unchanged(before: Staged, after: Staged) -> None:
    """Check that no part that had a record was staged once more."""
    assert {part: after.get(part) for part in before} == before
