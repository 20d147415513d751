"""Arrow tables into PostgreSQL, by binary COPY, a part in one transaction."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import psycopg2
import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg2 import sql
from sqlalchemy import Engine, Table, func, select, update
from sqlalchemy.dialects.postgresql import insert

from orders_dask.contract.arrow import arrow_schema
from orders_dask.contract.control_totals import ControlTotals
from orders_dask.contract.ledger_tables import load_part as parts
from orders_dask.contract.ledger_tables import load_run
from orders_dask.contract.storage_tables import COPIED_TABLES
from orders_dask.errors import LoadNotActive
from orders_dask.load.connect import driver_cursor
from orders_dask.load.error_translation import translating_errors
from orders_dask.load.locks import Lock

BATCH_ROWS: Final = 2048
"""Rows encoded and handed to libpq at a time: some 1 MB of orders."""

SupersededTotals = tuple[ControlTotals, Mapping[int, int]]
"""Books of the rows of a fact that lost, and how many of them each file has, by the ledger's id."""

_COPIED_BY_NAME: Final = {table.name: table for table in COPIED_TABLES}


def load_part(
    engine: Engine,
    load_id: int,
    run_date: date,
    part: str,
    tables: Iterable[tuple[str, pa.Table]],
    superseded: Mapping[str, SupersededTotals],
) -> int:
    """Copy a part into the storage tables, once, however often and by however many this is called.

    One transaction: it shares the load's lock, so that the seal waits for it or ends it, checks
    that the load is still ``loading``, and claims the part in the ledger.

    Parameters
    ----------
    part
        The part's name, unique in the load.
    tables
        Rows for tables of :data:`~orders_dask.contract.storage_tables.COPIED_TABLES`, each with the
        table's name, read one after another; those of a table need not stand together. They have
        the columns of the storage table, in any order, without ``run_date`` and ``load_id``; others
        are left out.
    superseded
        By fact what the part has beside them that lost to another version; a fact that is not named
        lost nothing.

    Returns
    -------
    int
        Bytes sent; 0 where the part was loaded before: nothing is read of `tables`.

    Raises
    ------
    LoadWithdrawn
        The load is not ``loading`` any more.
    ServiceUnavailable
        The session broke off; nothing or, if it was the last answer that got lost, everything is
        loaded.
    """
    began = time.monotonic()
    lost = {name: {"books": b.to_json(), "files": files} for name, (b, files) in superseded.items()}
    claim = insert(parts).values(load_id=load_id, part=part, rows={}, superseded=lost)
    this = (parts.c.load_id == load_id, parts.c.part == part)
    given = {"run_date": run_date, "load_id": load_id}
    with engine.begin() as connection:
        connection.execute(select(func.pg_advisory_xact_lock_shared(Lock.LOAD, load_id)))
        loading = load_run.c.load_id == load_id, load_run.c.status == "loading"
        if connection.scalar(select(load_run.c.load_id).where(*loading)) is None:
            raise LoadNotActive(f"Load {load_id} takes no more parts: it was sealed or given up.")
        if not connection.execute(claim.on_conflict_do_nothing()).rowcount:
            return 0
        # Safe until the seal: its own commit waits for the disk, and so for all that was committed
        # before.
        connection.execute(select(func.set_config("synchronous_commit", "off", True)))
        cursor = driver_cursor(connection)
        rows, sent = Counter[str](), 0
        with translating_errors():
            for name, following in groupby(tables, itemgetter(0)):
                of_table = (table for _, table in following)
                copied, size = copy_into(cursor, _COPIED_BY_NAME[name], of_table, given)
                rows[name] += copied
                sent += size
        seconds = time.monotonic() - began
        connection.execute(update(parts).where(*this).values(rows=rows, seconds=seconds))
    return sent


def copy_into(
    cursor: psycopg2.extensions.cursor,
    table: Table,
    tables: Iterable[pa.Table],
    constants: Mapping[str, Any],
) -> tuple[int, int]:
    """Copy Arrow tables into a table of the contract or the ledger, one after another, in the open transaction.

    Parameters
    ----------
    tables
        With at least the columns of `table` that are not given, of their Arrow types or types that
        cast to them.
    constants
        Values, by name, of the columns that are the same in all rows.

    Returns
    -------
    tuple
        Number of rows copied, and of the bytes sent.
    """
    schema = arrow_schema(table)

    def encoded() -> Iterator[bytes]:
        encoder = ArrowToPostgresBinaryEncoder(schema)
        yield encoder.write_header()
        for rows in tables:
            columns = {
                f.name: pa.repeat(pa.scalar(constants[f.name], f.type), rows.num_rows)
                if f.name in constants
                else rows[f.name]
                for f in schema
            }
            whole = pa.table(columns, schema=schema)
            for batch in whole.to_batches(max_chunksize=BATCH_ROWS):
                yield encoder.write_batch(batch)
        yield encoder.finish()

    statement = sql.SQL("copy {} ({}) from stdin (format binary)").format(
        sql.Identifier(str(table.schema), table.name),
        sql.SQL(", ").join(sql.Identifier(name) for name in schema.names),
    )
    stream = _Stream(encoded())
    try:
        cursor.copy_expert(statement, stream)
    except psycopg2.Error:
        # What reading raises ends the COPY, and psycopg2 tells of nothing but that.
        if stream.failure:
            raise stream.failure from None
        raise
    return cursor.rowcount, stream.sent


class _Stream(io.RawIOBase):
    """Some chunks of bytes as a file, each given whole and held until it is sent; an empty chunk is no end."""

    failure: BaseException | None = None
    sent: int = 0

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = filter(None, chunks)

    def read(self, size: int = -1, /) -> bytes:
        """Give the next chunk, whatever its size; none at the end."""
        try:
            chunk = next(self._chunks, b"")
        except BaseException as error:
            self.failure = error
            raise
        self.sent += len(chunk)
        return chunk
