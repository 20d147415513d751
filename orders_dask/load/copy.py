"""Copy Arrow tables into PostgreSQL by binary COPY: idempotent, one transaction a part."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

import numpy as np
import psycopg2
import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg2 import sql
from sqlalchemy import (
    ARRAY,
    Connection,
    Engine,
    Integer,
    Table,
    delete,
    func,
    literal,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import insert

from orders_dask.contract.arrow import PART_NUMBER, arrow_schema
from orders_dask.contract.columns import ID
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


class LoadingPart(NamedTuple):
    """A part that is to be loaded.

    Attributes
    ----------
    load_id, run_date
        The load and its run date: the same value in every row.
    name
        The part's name, unique in the load.
    """

    load_id: int
    run_date: date
    name: str


class PartRows(NamedTuple):
    """What is loaded of parts.

    Attributes
    ----------
    tables
        Name of a table and rows for it, for tables of
        :data:`~orders_dask.contract.storage_tables.COPIED_TABLES` and
        :data:`~orders_dask.contract.mart_tables.LOAD_MARTS`. Consumed one after another; those of
        a table that follow each other share a COPY. The rows have the columns of the table without
        ``run_date`` and ``load_id``, in any order, and those of several parts
        :data:`~orders_dask.contract.arrow.PART_NUMBER`. Other columns are left out.
    superseded
        For each part, by fact, the totals of the rows that another version superseded, which are
        not in `tables`. A fact without superseded rows may be missing.
    """

    tables: Iterable[tuple[str, pa.Table]]
    superseded: Sequence[Mapping[str, SupersededTotals]]


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
    """Copy a part into the storage tables exactly once, as :func:`load_parts` does.

    Parameters
    ----------
    engine
        Engine of the database.
    load_id, run_date, part
        The part (:class:`LoadingPart`).
    tables
        Pairs of a table's name and rows for it.
    superseded
        As in :class:`PartRows`.
    """
    rows = PartRows(tables, [superseded])
    return load_parts(engine, [LoadingPart(load_id, run_date, part)], lambda _: rows)


def load_parts(
    engine: Engine,
    loading: Sequence[LoadingPart],
    rows_of: Callable[[Connection], PartRows],
) -> int:
    """Copy parts into the storage tables exactly once, however often tasks call this at once.

    One transaction shares the locks of their loads, checks that these are still ``loading``, and
    claims the parts in ``load_part``. The claim makes a retry idempotent. The seal waits for the
    lock, or terminates the session that holds it.

    Parameters
    ----------
    engine
        Engine of the database.
    loading
        The parts, always the same ones together.
    rows_of
        Returns their rows, and may write to the ledger in the same transaction.

    Returns
    -------
    int
        Bytes sent; 0 if the parts were loaded before, in which case `rows_of` is not called.

    Raises
    ------
    LoadNotActive
        A load is not ``loading`` any more.
    ServiceUnavailable
        The session broke off. Nothing was loaded or, if only the answer to the commit was lost, all
        of the parts.
    """
    began = time.monotonic()
    claims = [
        {"load_id": part.load_id, "part": part.name, "rows": {}, "superseded": {}}
        for part in loading
    ]
    with engine.begin() as connection:
        _lock_loading(connection, [part.load_id for part in loading])
        claim = insert(parts).values(claims).on_conflict_do_nothing()
        if not connection.execute(claim).rowcount:
            return 0
        # Safe: the commit of the seal waits for the disk, and so for every commit before it.
        connection.execute(select(func.set_config("synchronous_commit", "off", True)))
        tables, superseded = rows_of(connection)
        cursor = driver_cursor(connection)
        counts, sent = [Counter[str]() for _ in loading], 0
        with translating_errors():
            for name, of_table in groupby(tables, itemgetter(0)):
                rows = (_with_load(table, loading, counts) for table in of_table)
                sent += copy_into(cursor, _COPIED_BY_NAME[name], rows, {})[1]
        _record_rows(connection, loading, counts, superseded, time.monotonic() - began)
    return sent


def _with_load(
    named: tuple[str, pa.Table], loading: Sequence[LoadingPart], counts: Sequence[Counter[str]]
) -> pa.Table:
    """Return rows with their run date and load, and count them by part."""
    name, rows = named
    if PART_NUMBER in rows.column_names:
        numbers = rows[PART_NUMBER].to_numpy()
    else:
        numbers = np.zeros(rows.num_rows, np.int64)
    for number, count in enumerate(np.bincount(numbers, minlength=len(loading)).tolist()):
        counts[number][name] += count
    ids = np.array([part.load_id for part in loading])
    dates = np.array([part.run_date for part in loading], "datetime64[D]")
    rows = rows.append_column("load_id", pa.array(ids[numbers]))
    return rows.append_column("run_date", pa.array(dates[numbers]))


def _lock_loading(connection: Connection, load_ids: Sequence[int]) -> None:
    """Share the locks of loads, and raise unless all of them are ``loading``."""
    load = func.unnest(literal(load_ids, ARRAY(ID))).column_valued("load")
    lock = func.pg_advisory_xact_lock_shared(Lock.LOAD, load.cast(Integer))
    connection.execute(select(lock))
    active = load_run.c.load_id.in_(load_ids), load_run.c.status == "loading"
    found = {*connection.scalars(select(load_run.c.load_id).where(*active))}
    for load_id in load_ids:
        if load_id not in found:
            raise LoadNotActive(f"Load {load_id} takes no more parts: it was sealed or given up.")


def _record_rows(
    connection: Connection,
    loading: Sequence[LoadingPart],
    counts: Sequence[Mapping[str, int]],
    superseded: Sequence[Mapping[str, SupersededTotals]],
    seconds: float,
) -> None:
    """Write the rows copied of each part, what was superseded, and its share of the seconds.

    The claims are written anew: the loader has no right to change all of their columns.
    """
    of_parts = tuple_(parts.c.load_id, parts.c.part)
    claims = [(part.load_id, part.name) for part in loading]
    connection.execute(delete(parts).where(of_parts.in_(claims)))
    rows = [
        {
            "load_id": part.load_id,
            "part": part.name,
            "rows": dict(copied),
            "superseded": {
                name: {"totals": totals.to_json(), "files": files}
                for name, (totals, files) in of_part.items()
            },
            "seconds": seconds / len(loading),
        }
        for part, copied, of_part in zip(loading, counts, superseded, strict=True)
    ]
    connection.execute(insert(parts).values(rows))


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
