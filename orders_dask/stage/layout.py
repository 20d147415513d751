"""URLs in the stage, and the schemas of the tables that only the stage has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from hashlib import sha256
from typing import Any, Final

import pyarrow as pa
from fsspec import AbstractFileSystem

from orders_dask.contract.arrow import FILE, ORDER_ROW, POSITION, key_schema, staged_schemas
from orders_dask.contract.ledger_tables import counter_column
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.raw_text import RAW, raw_columns, raw_text_schema
from orders_dask.contract.storage_tables import STORED_COLUMNS
from orders_dask.contract.versions import DECODER_VERSION, STAGE_FORMAT_VERSION
from orders_dask.extract.records import Split

KEYS: Final = "keys"
"""Staged table of the keys and versions of orders, from which superseded ones are found."""

REJECTED: Final = "rejected"
"""Staged table of rejected records, as decode quarantines them."""

REPLAYED: Final = "replayed"
"""Staged table of the outcomes of replayed records."""

PART_RECORD: Final = "part.json"
"""File name of a part's record."""

PACKED: Final = "tables.zip"
"""File name of the tables of a part that has one row group of each: a small day has few objects.

It is a zip without compression, of Parquet files: any tool that reads zips reads them."""

REJECTED_SCHEMA: Final = pa.schema(
    [
        (FILE, pa.int64()),
        (POSITION, pa.int64()),
        ("path", pa.string()),
        ("code", pa.string()),
        ("message", pa.string()),
        *((counter_column(fact, "rejected"), pa.int64()) for fact in FACTS),
        ("raw", pa.string()),
        ("order_raw", pa.string()),
    ]
)


REPLAYED_SCHEMA: Final = pa.schema(
    [
        ("file_id", pa.int64()),
        ("position", pa.int64()),
        ("path", pa.string()),
        ("order_id", pa.int64()),
        ("code", pa.string()),
        ("message", pa.string()),
        (ORDER_ROW, pa.int64()),
    ]
)
"""Outcomes of replayed records: the order that one is or belongs to, or why it is still rejected.

The order row is null if the order is not in the part."""


def run_date_folder(stage_url: str, run_date: date) -> str:
    """Return the URL of the folder of a run date's parts."""
    return f"{stage_url.rstrip('/')}/run_date={run_date.isoformat()}"


def part_url(
    stage_url: str,
    run_date: date,
    split: Split,
    zone: str,
    record: str | None = None,
    keep_raw: bool = False,
) -> str:
    """Return the URL of the part of a split, which hashes all that the content depends on.

    Its name ends with a hash of the columns: parts of the same split with other columns, or without
    raw texts, have the same beginning (:func:`content_of`).
    """
    columns = (*STORED_COLUMNS, *raw_columns(keep_raw))
    return _part_url(stage_url, run_date, [split.identity], zone, record, columns)


def replay_url(
    stage_url: str, run_date: date, identity: str, zone: str, record: str | None = None
) -> str:
    """Return the URL of the part of replayed records; `identity` hashes these and their texts."""
    return _part_url(stage_url, run_date, [REPLAYED, identity], zone, record, STORED_COLUMNS)


def _part_url(
    stage_url: str,
    run_date: date,
    content: Sequence[str],
    zone: str,
    record: str | None,
    columns: Sequence[str],
) -> str:
    decoded = [DECODER_VERSION, zone, *([record] if record else [])]
    identity = [STAGE_FORMAT_VERSION, *content, *decoded]
    name = f"{_hash(identity)[:32]}-{_hash(columns)[:8]}"
    return f"{run_date_folder(stage_url, run_date)}/part={name}"


def content_of(name: str) -> str:
    """Return the beginning of a part's name or URL, which parts with other columns share."""
    return name.rpartition("-")[0]


def _hash(content: Sequence[object]) -> str:
    return sha256(json.dumps(content).encode()).hexdigest()


def read_json(fs: AbstractFileSystem, path: str) -> dict[str, Any] | None:
    """Return the JSON object at a path, or None if it is not whole, as after a full disk."""
    content: bytes = fs.cat_file(path)
    try:
        record: dict[str, Any] = json.loads(content)
    except ValueError:
        return None
    return record


def empty_table(table: str) -> pa.Table:
    """Return a staged table without rows."""
    stage_only = {
        KEYS: key_schema(),
        RAW: raw_text_schema(),
        REJECTED: REJECTED_SCHEMA,
        REPLAYED: REPLAYED_SCHEMA,
    }
    return {**stage_only, **staged_schemas()}[table].empty_table()
