"""Lazy Dask DataFrames of a raw dump, and of what a load has staged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa

from orders_dask.contract.arrow import FILE, ORDER_ROW, POSITION, flat_schemas
from orders_dask.contract.declaration import Declaration, declared, difference
from orders_dask.contract.envelopes import Envelope, parse_envelope
from orders_dask.contract.order_tables import fact_order
from orders_dask.contract.raw_text import ORDER_ID, RAW, TEXT, raw_text_schema
from orders_dask.contract.storage_tables import DIMENSION_ROWS, DIMENSION_SOURCES
from orders_dask.errors import SettingsError, SourceMissing
from orders_dask.extract.decode.decode import decode
from orders_dask.extract.discover import discover
from orders_dask.extract.records import Split
from orders_dask.settings import load_settings
from orders_dask.stage.layout import REPLAYED, run_date_folder
from orders_dask.stage.ledger_part import LedgerPart, assign_ids
from orders_dask.stage.manifest import latest_manifest
from orders_dask.stage.parts import find_part, find_parts
from orders_dask.stage.record import merge_files
from orders_dask.stage.tables import read_table
from orders_dask.transform.dimensions import dimension_rows
from orders_dask.transform.normalise import normalise
from orders_dask.transform.resolve import drop_superseded

_DIMENSIONS: Final = {table.name: table for table in DIMENSION_ROWS}

_RAW_SCHEMA: Final = pa.schema(
    [
        ("run_date", pa.date32()),
        ("file", pa.string()),
        ("position", pa.int64()),
        *(raw_text_schema().field(name) for name in (ORDER_ID, TEXT)),
    ]
)
"""The columns of raw texts, for people."""

_LOAD_COLUMNS: Final = (ORDER_ROW, FILE, POSITION)
"""Columns that mean nothing outside of a part: numbers of its rows, files and records."""


def read_orders(
    url: str,
    run_date: date,
    table: str = fact_order.name,
    *,
    columns: Sequence[str] | None = None,
    timezone: str = "UTC",
    record: str | None = None,
    block_size: int = 32 << 20,
) -> dd.DataFrame:
    """Return a run date's raw dump as a lazy Dask DataFrame, decoded and normalised as by a run.

    Nothing is written, and no database is used. The frame has every version of an order in the
    dump: only a run finds those that are superseded. Rejected records are left out.

    Parameters
    ----------
    url
        The source, like ``_AWS_S3_URL_SOURCE``: an fsspec URL, with ``{run_date}``, globs and
        ``zip://…::`` or without. See docs/contract.md#source-url.
    run_date
        The date of the dump.
    table
        A fact table such as ``fact_order_line``, or a dimension such as ``dim_customer``, which
        has a row an order (variants: a line) that has the key, or ``raw``: file, position, id and
        text (bytes) of every record, rejected ones included. A position counts from the beginning
        of the partition.
    columns
        Columns of the frame; all by default. The other columns of the dump are decoded all the
        same.
    timezone
        IANA name of the shop's time zone, for timestamps without an offset.
    record
        Where the order stands in each record, like ``ORDERS_DASK_RECORD``.
    block_size
        Bytes of text in a partition, for text that can be split.

    Returns
    -------
    dask.dataframe.DataFrame
        Arrow-typed columns: amounts ``decimal128(22, 4)`` in the order's currency, timestamps
        ``timestamp[us, UTC]``. A partition is a split: a byte range, a compressed file, a zip
        member or a group of small files.

    Raises
    ------
    SourceMissing
        The source has no file for the run date.
    ServiceUnavailable
        The store can't be reached.
    SettingsError
        The URL or `record` is malformed, or the table or a column is not known.
    """
    selected = _columns(table, columns)
    envelope = _envelope(record)
    read = _read_raw_split if table == RAW else partial(_read_split, table=table)
    read = partial(read, run_date=run_date, columns=selected, timezone=timezone, envelope=envelope)
    frame: dd.DataFrame = dd.from_map(
        partial(_as_declared, declared(), read),
        discover(url, run_date, block_size),
        meta=_meta(table, selected),
        label=f"read-{table}",
        enforce_metadata=False,
    )
    return frame


def read_staged(
    run_date: date,
    table: str = fact_order.name,
    *,
    columns: Sequence[str] | None = None,
    stage_url: str | None = None,
) -> dd.DataFrame:
    """Return a table of the latest staged load of a run date as a lazy Dask DataFrame.

    Parameters
    ----------
    run_date
        The date of the dump.
    table
        A fact table such as ``fact_order_line``, or a dimension such as ``dim_customer``, which
        has a row an order (variants: a line) that has the key, or ``raw``: file, position, id and
        text (bytes) of every record, superseded and rejected ones included, if
        ``ORDERS_DASK_KEEP_RAW`` keeps them.
    columns
        Columns of the frame, and all that is read of the Parquet files; all by default.
    stage_url
        URL of the stage; from the settings by default.

    Returns
    -------
    dask.dataframe.DataFrame
        The winning version of each order within the run date, with Arrow-typed columns as in
        :func:`read_orders`. A partition is a part of the stage.

    Raises
    ------
    SourceMissing
        Nothing is staged for the run date.
    SettingsError
        The table, a column or a setting is not known.
    """
    selected = _columns(table, columns)
    stage_url = stage_url or load_settings().stage_url
    manifest = latest_manifest(stage_url, run_date)
    urls = [f"{run_date_folder(stage_url, run_date)}/{part}" for part in manifest.parts]
    if table == RAW:
        return _staged_raw(run_date, urls, selected)
    frame: dd.DataFrame = dd.from_map(
        partial(_as_declared, declared(), partial(_read_part, table=table, columns=selected)),
        urls,
        [manifest.superseded.get(part, []) for part in manifest.parts],
        meta=_meta(table, selected),
        label=f"staged-{table}",
        enforce_metadata=False,
    )
    return frame


def _columns(table: str, columns: Sequence[str] | None) -> list[str]:
    """Check the names of a table and its columns, and return the columns; all by default."""
    schemas = _schemas()
    if table not in schemas:
        raise SettingsError(f"There is no table {table!r}: name one of {', '.join(schemas)}.")
    known = [name for name in schemas[table].names if name not in _LOAD_COLUMNS]
    for name in columns or ():
        if name not in known:
            raise SettingsError(f"{table} has no column {name!r}: name some of {', '.join(known)}.")
    return list(columns or known)


def _schemas() -> dict[str, pa.Schema]:
    return {**flat_schemas(), RAW: _RAW_SCHEMA}


def _envelope(record: str | None) -> Envelope | None:
    try:
        return parse_envelope(record) if record is not None else None
    except ValueError as error:
        raise SettingsError(f"The path of the order in a record {error}.") from error


def _meta(table: str, columns: list[str]) -> pd.DataFrame:
    return _to_pandas(_schemas()[table].empty_table().select(columns))


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype)
    return frame


def _as_declared(
    client: Declaration, read: Callable[..., pd.DataFrame], *part: object
) -> pd.DataFrame:
    """Read a part in a process, which may be a worker, that must have the client's tables."""
    if error := difference(client, {"a worker": declared()}):
        raise error
    return read(*part)


def _read_split(
    split: Split,
    run_date: date,
    table: str,
    columns: list[str],
    timezone: str,
    envelope: Envelope | None,
) -> pd.DataFrame:
    tables = [flat_schemas()[table].empty_table().select(columns)]
    staged_name, _ = _staged_columns(table, columns)
    for block in decode(split, ZoneInfo(timezone), envelope):
        staged = normalise(block.orders, 0, 0).tables[staged_name]
        tables.append(_flatten(staged, table, columns))
    return _to_pandas(pa.concat_tables(tables))


def _read_part(url: str, superseded: list[int], table: str, columns: list[str]) -> pd.DataFrame:
    part = find_part(url)
    if part is None:
        raise _missing_part(url)
    staged_name, staged_columns = _staged_columns(table, columns)
    staged = read_table(part, staged_name, staged_columns)
    winning = drop_superseded(staged, pa.array(superseded, pa.int64()))
    return _to_pandas(_flatten(winning, table, columns))


def _missing_part(url: str) -> SourceMissing:
    return SourceMissing(f"The stage part {url} is gone: run its run date again.")


def _read_raw_split(
    split: Split,
    run_date: date,
    columns: list[str],
    timezone: str,
    envelope: Envelope | None,
) -> pd.DataFrame:
    tables = [_RAW_SCHEMA.empty_table()]
    for block in decode(split, ZoneInfo(timezone), envelope, keep_raw=True):
        if block.raw is not None:
            names = pa.repeat(pa.scalar(block.file.name), block.raw.num_rows)
            tables.append(_raw_rows(block.raw, run_date, names))
    return _to_pandas(pa.concat_tables(tables).select(columns))


def _staged_raw(run_date: date, urls: list[str], columns: list[str]) -> dd.DataFrame:
    """Return the raw texts of parts as a frame, with positions in whole files."""
    parts = []
    for url, part in zip(urls, find_parts(urls), strict=True):
        if part is None:
            raise _missing_part(url)
        if part.rows.get(REPLAYED):  # its records are those of the other parts
            continue
        if not part.has_raw:
            raise SourceMissing(
                f"What is staged of {run_date} has no raw texts: with ORDERS_DASK_KEEP_RAW=parquet "
                f"give `orders-dask run --force --run-date {run_date}`."
            )
        parts.append(part)
    names = [*merge_files(parts)]
    frame: dd.DataFrame = dd.from_map(
        partial(_read_raw_part, run_date=run_date, columns=columns),
        numbered := assign_ids(parts, {name: number for number, name in enumerate(names)}),
        [[names[file] for file in part.file_ids] for part in numbered],
        meta=_meta(RAW, columns),
        label=f"staged-{RAW}",
        enforce_metadata=False,
    )
    return frame


def _read_raw_part(
    part: LedgerPart, names: list[str], run_date: date, columns: list[str]
) -> pd.DataFrame:
    rows = read_table(part.part, RAW)
    shifted = part.with_ledger_ids(rows)
    table = _raw_rows(shifted, run_date, pa.array(names, pa.string()).take(rows[FILE]))
    return _to_pandas(table.select(columns))


def _raw_rows(raw: pa.Table, run_date: date, names: pa.Array | pa.ChunkedArray) -> pa.Table:
    """Return the raw texts of records for people; what takes no position is no record."""
    run_dates = pa.repeat(pa.scalar(run_date, pa.date32()), raw.num_rows)
    columns = [run_dates, names, raw[POSITION], raw[ORDER_ID], raw[TEXT]]
    table = pa.table(columns, schema=_RAW_SCHEMA)
    return table.filter(table["position"].is_valid())


def _staged_columns(table: str, columns: list[str]) -> tuple[str, list[str]]:
    """Return the name of the staged table that has a table's rows, and its columns to read."""
    if table not in _DIMENSIONS:
        return table, [ORDER_ROW, *columns]
    staged, column_names = DIMENSION_SOURCES[table]
    needed = (column_names[name] for name in (*_DIMENSIONS[table].info["key"], *columns))
    return staged.name, [ORDER_ROW, *dict.fromkeys(needed)]


def _flatten(staged: pa.Table, table: str, columns: list[str]) -> pa.Table:
    """Return the rows of a table from those of the staged table that has them."""
    rows = dimension_rows(_DIMENSIONS[table], staged, columns) if table in _DIMENSIONS else staged
    return rows.select(columns)
