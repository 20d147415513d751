"""Where things stand in the stage, and what its own tables hold."""

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
from orders_dask.contract.versions import CONTRACT_VERSION, DECODER_VERSION, STAGE_FORMAT_VERSION
from orders_dask.extract.records import Split

KEYS: Final = "keys"


REJECTED: Final = "rejected"


REPLAYED: Final = "replayed"


PART_RECORD: Final = "part.json"


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
"""What became of each record that a replay read: the order that it is or is in, or what is wrong
with it still. One has an order row where its order is in the part."""


def run_date_folder(stage_url: str, run_date: date) -> str:
    """Give the URL of the folder of a run date's parts."""
    return f"{stage_url.rstrip('/')}/run_date={run_date.isoformat()}"


def part_url(stage_url: str, run_date: date, split: Split, zone: str) -> str:
    """Give the URL of the part that holds `split`: it hashes all that the content depends on."""
    return _part_url(
        stage_url,
        run_date,
        [STAGE_FORMAT_VERSION, split.identity, CONTRACT_VERSION, DECODER_VERSION, zone],
    )


def replay_url(stage_url: str, run_date: date, identity: str, zone: str) -> str:
    """Give the URL of the part made from refused records; `identity` stands for them and their texts."""
    return _part_url(
        stage_url,
        run_date,
        [STAGE_FORMAT_VERSION, REPLAYED, identity, CONTRACT_VERSION, DECODER_VERSION, zone],
    )


def _part_url(stage_url: str, run_date: date, identity: Sequence[object]) -> str:
    name = sha256(json.dumps(identity).encode()).hexdigest()[:32]
    return f"{run_date_folder(stage_url, run_date)}/part={name}"


def read_json(fs: AbstractFileSystem, path: str) -> dict[str, Any] | None:
    """Read what is recorded in JSON at a path; None where it isn't whole, as a full disk leaves it."""
    content: bytes = fs.cat_file(path)
    try:
        record: dict[str, Any] = json.loads(content)
    except ValueError:
        return None
    return record


def empty_table(table: str) -> pa.Table:
    """Give a staged table without rows."""
    own = {KEYS: key_schema(), REJECTED: REJECTED_SCHEMA, REPLAYED: REPLAYED_SCHEMA}
    return {**own, **staged_schemas()}[table].empty_table()
