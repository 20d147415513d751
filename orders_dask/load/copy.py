"""Copy Arrow tables into PostgreSQL by binary COPY: idempotent, one transaction a part."""

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
from orders_dask.contract.mart_tables import LOAD_MARTS
from orders_dask.contract.storage_tables import COPIED_TABLES
from orders_dask.errors import LoadNotActive
from orders_dask.load.connect import driver_cursor
from orders_dask.load.error_translation import translating_errors
from orders_dask.load.locks import Lock

BATCH_ROWS: Final = 2048
"""Rows encoded and sent at a time: about 1 MB of orders."""

SupersededTotals = tuple[ControlTotals, Mapping[int, int]]
"""Of the superseded rows of a fact: control totals, and row counts by file id of the ledger."""

_COPIED_BY_NAME: Final = {table.name: table for table in (*COPIED_TABLES, *LOAD_MARTS)}


def load_part(
    engine: Engine,
    load_id: int,
    run_date: date,
    part: str,
    tables: Iterable[tuple[str, pa.Table]],
    superseded: Mapping[str, SupersededTotals],
) -> int:
    """Copy a part into the storage tables exactly once, however often tasks call this at once.

    One transaction shares the load's lock, checks that the load is still ``loading``, and claims
    the part in ``load_part``. The claim makes a retry idempotent. The seal waits for the lock, or
    terminates the session that holds it.

    Parameters
    ----------
    engine
        Engine of the database.
    load_id, run_date
        The load and its run date: the same value in every row.
    part
        The part's name, unique in the load.
    tables
        Pairs of a table's name and rows for it, for tables of
        :data:`~orders_dask.contract.storage_tables.COPIED_TABLES` and
        :data:`~orders_dask.contract.mart_tables.LOAD_MARTS`, in any order. Consumed one after
        another. The rows have the columns of the table without ``run_date`` and ``load_id``, in any
        order. Other columns are left out.
    superseded
        By fact, the totals of the part's rows that another version superseded, which are not in
        `tables`. A fact without superseded rows may be missing.

    Returns
    -------
    int
        Bytes sent; 0 if the part was loaded before, in which case `tables` is not read.

    Raises
    ------
    LoadNotActive
        The load is not ``loading`` any more.
    ServiceUnavailable
        The session broke off. Nothing was loaded or, if only the answer to the commit was lost, all
        of the part.
    """
    began = time.monotonic()
    superseded_json = {
        name: {"totals": totals.to_json(), "files": files}
        for name, (totals, files) in superseded.items()
    }
    claim = insert(parts).values(load_id=load_id, part=part, rows={}, superseded=superseded_json)
    of_part = (parts.c.load_id == load_id, parts.c.part == part)
    constants = {"run_date": run_date, "load_id": load_id}
    with engine.begin() as connection:
        connection.execute(select(func.pg_advisory_xact_lock_shared(Lock.LOAD, load_id)))
        loading = load_run.c.load_id == load_id, load_run.c.status == "loading"
        if connection.scalar(select(load_run.c.load_id).where(*loading)) is None:
            raise LoadNotActive(f"Load {load_id} takes no more parts: it was sealed or given up.")
        if not connection.execute(claim.on_conflict_do_nothing()).rowcount:
            return 0
        # Safe: the commit of the seal waits for the disk, and so for every commit before it.
        connection.execute(select(func.set_config("synchronous_commit", "off", True)))
        cursor = driver_cursor(connection)
        rows, sent = Counter[str](), 0
        with translating_errors():
            for name, pairs in groupby(tables, itemgetter(0)):
                of_table = (table for _, table in pairs)
                copied, size = copy_into(cursor, _COPIED_BY_NAME[name], of_table, constants)
                rows[name] += copied
                sent += size
        seconds = time.monotonic() - began
        connection.execute(update(parts).where(*of_part).values(rows=rows, seconds=seconds))
    return sent


def copy_into(
    cursor: psycopg2.extensions.cursor,
    table: Table,
    tables: Iterable[pa.Table],
    constants: Mapping[str, Any],
) -> tuple[int, int]:
    """Copy Arrow tables into a table of the storage or the ledger, in the open transaction.

    Parameters
    ----------
    cursor
        Cursor of the driver (:func:`~orders_dask.load.connect.driver_cursor`).
    table
        The table to copy into.
    tables
        Rows, consumed one table after another. They have at least the columns of `table` that are
        not in `constants`, with the contract's Arrow types or types that cast to them.
    constants
        By column, the value that all rows have.

    Returns
    -------
    tuple
        Number of rows copied, and number of bytes sent.
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
        # An error raised by `read` ends the COPY, and psycopg2 hides it behind an error of its own.
        if stream.failure:
            raise stream.failure from None
        raise
    return cursor.rowcount, stream.sent


class _Stream(io.RawIOBase):
    """A file that `read` takes chunk by chunk, each of them whole.

    Attributes
    ----------
    failure
        The error that the chunks raised; None if they raised none.
    sent
        Bytes read so far.
    """

    failure: BaseException | None = None
    sent: int = 0

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = filter(None, chunks)  # an empty chunk would look like the end

    def read(self, size: int = -1, /) -> bytes:
        """Return the next chunk, whatever `size` is; empty at the end."""
        try:
            chunk = next(self._chunks, b"")
        except BaseException as error:
            self.failure = error
            raise
        self.sent += len(chunk)
        return chunk
