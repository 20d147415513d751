"""The floor of load: only COPY of prepared binary files into the storage tables, on all cores.

The files have what a run of the same dump copies: a folder for each file of the dump, loaded in one
transaction."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from psycopg2 import sql
from sqlalchemy import Engine, Table, select

from orders_dask import run
from orders_dask.cluster.connect import connect
from orders_dask.contract.arrow import FILE
from orders_dask.contract.columns import STORE
from orders_dask.contract.ledger_tables import load_file
from orders_dask.contract.order_tables import fact_order
from orders_dask.contract.storage_tables import COPIED_TABLES
from orders_dask.load.connect import driver_cursor, engine
from orders_dask.load.partitions import ensure_partitions
from orders_dask.settings import Settings
from tests.benchmarks.dump import RUN_DATE

TARGET = STORE

ENCODED: Final = "BENCHMARKS_ENCODED"
"""Variable that names the folder of the files; the first round writes them."""


_SEND: Final = 1 << 20
"""Bytes handed to libpq at a time; psycopg2's default of 8 KiB costs a call for each order."""


@contextmanager
def ready(settings: Settings) -> Iterator[Callable[[], object]]:
    """Write the files unless they exist, and yield their COPY."""
    folder, database = Path(os.environ[ENCODED]), engine(settings)
    if not any(folder.iterdir()):
        with connect(settings) as client:
            run(RUN_DATE, settings=settings, client=client)
        _encode(database, folder)
    # In later rounds this database has no partitions yet.
    with database.connect() as connection:
        ensure_partitions(connection, RUN_DATE)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield lambda: list(pool.map(partial(_load, database), sorted(folder.iterdir())))


def _encode(database: Engine, folder: Path) -> None:
    """Write all rows that a run has loaded to files, and truncate the tables."""
    with database.begin() as connection:
        cursor = driver_cursor(connection)
        for file_id in connection.scalars(select(load_file.c.file_id)).all():
            (of_file := folder / str(file_id)).mkdir()
            for table in COPIED_TABLES:
                with (of_file / table.name).open("wb") as file:
                    cursor.copy_expert(_rows_of(table, file_id), file, _SEND)
        tables = sql.SQL(", ").join(map(_named, (*COPIED_TABLES,)))
        cursor.execute(sql.SQL("truncate {}").format(tables))


def _rows_of(table: Table, file_id: int) -> sql.Composable:
    of_file = sql.SQL("{} = {}").format(sql.Identifier(FILE), sql.Literal(file_id))
    if FILE not in table.c:
        of_file = sql.SQL("order_id in (select order_id from {} where {})").format(
            _named(fact_order), of_file
        )
    return sql.SQL("copy (select {} from {} where {}) to stdout (format binary)").format(
        _columns(table), _named(table), of_file
    )


def _load(database: Engine, of_file: Path) -> None:
    with database.begin() as connection:
        cursor = driver_cursor(connection)
        cursor.execute("set local synchronous_commit = off")
        for table in COPIED_TABLES:
            statement = sql.SQL("copy {} ({}) from stdin (format binary)").format(
                _named(table), _columns(table)
            )
            with closing((of_file / table.name).open("rb")) as file:
                cursor.copy_expert(statement, file, _SEND)


def _named(table: Table) -> sql.Composable:
    return sql.Identifier(str(table.schema), table.name)


def _columns(table: Table) -> sql.Composable:
    return sql.SQL(", ").join(sql.Identifier(column.name) for column in table.c)
