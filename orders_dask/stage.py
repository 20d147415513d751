"""The Parquet intermediates: a part for each split, used again by every run that would make the same one.

::

    STAGE/run_date=2017-11-04/part=6d0f…/fact_order.parquet   a table that has rows
                                         …
                                         keys.parquet         what decides which version wins
                                         rejected.parquet     what was refused
                                         part.json            written last: the part is whole
    STAGE/run_date=2017-11-04/manifest-17.json                the parts of load 17, and which of their rows lost

A part's name hashes all that its content depends on, so a part that is there is right, whoever wrote it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import date
from hashlib import sha256
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from orders_dask.contract.arrow import FILE, POSITION, key_schema, staged_schemas
from orders_dask.contract.rules import Issue
from orders_dask.contract.tables import CONTRACT, FACTS, fact_order_line
from orders_dask.errors import SourceMissing
from orders_dask.extract.decode import DECODER, Decoded
from orders_dask.extract.records import Split
from orders_dask.extract.store import filesystem
from orders_dask.parts import Part, StagedFile, merge_issues
from orders_dask.transform.balance import Books, books
from orders_dask.transform.normalise import Normalised, normalise

FLUSH: Final = 64 << 20
"""Bytes of Arrow tables gathered before a row group is written: many small files make few row groups."""

CODEC: Final = "zstd"
KEYS: Final = "keys"
REJECTED: Final = "rejected"
RECORD: Final = "part.json"
LINES: Final = fact_order_line.info["records"].removesuffix("]")

_REJECTED_SCHEMA: Final = pa.schema(
    [
        (FILE, pa.int64()),
        (POSITION, pa.int64()),
        ("path", pa.string()),
        ("code", pa.string()),
        ("message", pa.string()),
        ("raw", pa.string()),
    ]
)


def folder(stage_url: str, run_date: date) -> str:
    """Give the URL of the folder of a run date's parts."""
    return f"{stage_url.rstrip('/')}/run_date={run_date.isoformat()}"


def part_url(stage_url: str, run_date: date, split: Split, zone: str) -> str:
    """Give the URL of the part that holds `split`: it hashes all that the content depends on."""
    identity = json.dumps([split.identity, CONTRACT, DECODER, zone])
    return f"{folder(stage_url, run_date)}/part={sha256(identity.encode()).hexdigest()[:32]}"


def find_part(url: str) -> Part | None:
    """Read the record of the part at `url`, or give None where there is no whole one."""
    try:
        fs, path = filesystem(f"{url}/{RECORD}")
        record = json.loads(fs.cat_file(path))
    except FileNotFoundError:
        return None
    files = [_staged_file(file) for file in record["files"]]
    return Part(url, files, record["rows"], record["books"])


def _staged_file(record: dict[str, Any]) -> StagedFile:
    issues = [
        Issue(i["field"], i["code"], i["count"], tuple((p, text) for p, text in i["samples"]))
        for i in record["issues"]
    ]
    return StagedFile(**{**record, "issues": issues})


def write_part(url: str, blocks: Iterable[Decoded]) -> Part:
    """Normalise decoded blocks and write them as the part at `url`; its record comes last.

    Parameters
    ----------
    url
        Where the part stands (:func:`part_url`).
    blocks
        Decoded blocks of a split, file by file. One is in memory at a time, and up to :data:`FLUSH` bytes of tables.

    Returns
    -------
    Part
        The record of the part.
    """
    files: list[StagedFile] = []
    total = {fact.name: Books() for fact in FACTS}
    rows: dict[str, int] = {}

    def normalised() -> Iterator[dict[str, pa.Table]]:
        orders = 0
        for block in blocks:
            goes_on = bool(files) and files[-1].name == block.file.name
            made = normalise(block.orders, len(files) - goes_on, orders)
            orders += block.orders.num_rows
            for fact in FACTS:
                total[fact.name] += books(fact.name, made.tables[fact.name])
            of_block = _of_block(block, made)
            files[len(files) - goes_on :] = [files[-1] + of_block if goes_on else of_block]
            refused = _rejected_table(len(files) - 1, block)
            yield {**made.tables, KEYS: made.keys, REJECTED: refused}

    fs, path = filesystem(url)
    fs.makedirs(path, exist_ok=True)
    with ExitStack() as stack:
        writers: dict[str, pq.ParquetWriter] = {}
        for group in _row_groups(normalised()):
            for name, table in group.items():
                if name not in writers:
                    file = stack.enter_context(fs.open(f"{path}/{name}.parquet", "wb"))
                    writers[name] = stack.enter_context(
                        pq.ParquetWriter(file, table.schema, compression=CODEC)
                    )
                writers[name].write_table(table, row_group_size=table.num_rows)
                rows[name] = rows.get(name, 0) + table.num_rows
    part = Part(url, files, rows, {name: book.to_json() for name, book in total.items()})
    record = {"files": [asdict(f) for f in files], "rows": rows, "books": part.books}
    fs.pipe_file(f"{path}/{RECORD}", json.dumps(record).encode())
    return part


def _row_groups(blocks: Iterable[dict[str, pa.Table]]) -> Iterator[dict[str, pa.Table]]:
    """Gather the tables that have rows, until they have :data:`FLUSH` bytes."""
    waiting: dict[str, list[pa.Table]] = {}
    size = 0
    for block in blocks:
        for name, table in block.items():
            if table.num_rows:
                waiting.setdefault(name, []).append(table)
                size += table.nbytes
        if size >= FLUSH:
            yield {name: pa.concat_tables(tables) for name, tables in waiting.items()}
            waiting, size = {}, 0
    yield {name: pa.concat_tables(tables) for name, tables in waiting.items()}


def _of_block(block: Decoded, made: Normalised) -> StagedFile:
    """Record what a block holds of its file."""
    refused = Counter[str]()
    for reject in block.rejected:
        refused.update(reject.counts)
    lines = [r for r in block.rejected if r.path.startswith(LINES) and "." not in r.path]
    return StagedFile(
        block.file.name,
        block.file.etag,
        block.file.size,
        block.read,
        {fact.name: made.tables[fact.name].num_rows + refused[fact.name] for fact in FACTS},
        {fact.name: refused[fact.name] for fact in FACTS},
        len(lines),
        block.unreadable,
        merge_issues([*block.issues, *made.issues]),
        list(block.drift),
    )


def _rejected_table(file: int, block: Decoded) -> pa.Table:
    rows = [(file, r.position, r.path, r.code, r.message, r.raw) for r in block.rejected]
    columns = zip(*rows, strict=True) if rows else [[] for _ in _REJECTED_SCHEMA]
    return pa.table(
        [pa.array(c, f.type) for c, f in zip(columns, _REJECTED_SCHEMA, strict=True)],
        schema=_REJECTED_SCHEMA,
    )


def row_groups(part: Part, table: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Read a staged table of a part, a row group at a time; nothing where it has no rows.

    Parameters
    ----------
    table
        A name of :func:`~orders_dask.contract.arrow.staged_schemas`, :data:`KEYS` or :data:`REJECTED`.
    columns
        Those wanted; all by default.
    """
    if not part.rows.get(table):
        return
    fs, path = filesystem(f"{part.url}/{table}.parquet")
    with fs.open(path, "rb") as file, pq.ParquetFile(file) as parquet:
        for number in range(parquet.num_row_groups):
            yield parquet.read_row_group(number, columns=columns)


def read_table(part: Part, table: str, columns: list[str] | None = None) -> pa.Table:
    """Read the whole of a staged table of a part."""
    schema = _schema(table)
    if columns is not None:
        schema = pa.schema([schema.field(name) for name in columns])
    return pa.concat_tables([schema.empty_table(), *row_groups(part, table, columns)])


def _schema(table: str) -> pa.Schema:
    return {KEYS: key_schema(), REJECTED: _REJECTED_SCHEMA, **staged_schemas()}[table]


@dataclass(frozen=True)
class Manifest:
    """The parts of a load.

    Attributes
    ----------
    load_id
        The load in the ledger.
    parts
        Names of its parts, in the order of the listing.
    losers
        For each part that has some: the order rows that another version of their order replaces.
    """

    load_id: int
    parts: list[str]
    losers: dict[str, list[int]]


def write_manifest(stage_url: str, run_date: date, manifest: Manifest) -> None:
    """Write the manifest of a load beside its parts."""
    url = f"{folder(stage_url, run_date)}/manifest-{manifest.load_id}.json"
    fs, path = filesystem(url)
    fs.pipe_file(path, json.dumps(asdict(manifest)).encode())


def latest_manifest(stage_url: str, run_date: date) -> Manifest:
    """Read the manifest of the run date's latest load that was staged to its end.

    Raises
    ------
    SourceMissing
        Nothing is staged for the run date.
    """
    fs, path = filesystem(folder(stage_url, run_date))
    fs.invalidate_cache()
    found = fs.glob(f"{path}/manifest-*.json")
    if not found:
        raise SourceMissing(
            f"Nothing is staged for {run_date} at {stage_url}: run `orders-dask run --run-date {run_date}` first."
        )
    latest = max(found, key=lambda name: int(name.rpartition("-")[2].removesuffix(".json")))
    return Manifest(**json.loads(fs.cat_file(latest)))
