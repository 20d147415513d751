"""Write parts, and find them by their record.

The record is written last, so a part without one is incomplete and is ignored. Writing is
idempotent: a task that is retried writes the same content under the same name.
"""

from __future__ import annotations

import errno
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import repeat
from operator import methodcaller
from typing import Any, Final
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import BotoCoreError, ClientError
from fsspec import AbstractFileSystem
from fsspec.spec import AbstractBufferedFile
from sqlalchemy import Table

from orders_dask.contract.control_totals import ControlTotals, totals_of
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.raw_text import RAW, raw_columns
from orders_dask.contract.rejects import Issue
from orders_dask.contract.schema_drift import Drift, DriftCounter
from orders_dask.contract.storage_tables import STORED_COLUMNS, stored_name
from orders_dask.contract.versions import STAGE_FORMAT_VERSION
from orders_dask.errors import SettingsError
from orders_dask.filesystem import filesystem, translate_storage_errors
from orders_dask.stage.former_names import renamed
from orders_dask.stage.layout import PART_RECORD, content_of, read_json, run_date_folder
from orders_dask.stage.record import Part, StagedBlock, StagedFile
from orders_dask.stage.staged_names import with_staged_names

ROW_GROUP_BYTES: Final = 16 << 20
"""Bytes of Arrow tables per row group: 64 MiB took 45 MB more of a worker, and no less time."""

RAW_GROUP_BYTES: Final = 8 << 20
"""The same for raw texts: mostly a block, so that whoever reads them holds one at a time."""

PARQUET_OPTIONS: Final[dict[str, Any]] = {
    "compression": "lz4",
    "use_dictionary": False,
    "write_statistics": False,
}
"""Fast before small, since parts are soon read and pruned: 10 us an order, with zstd 20."""

RAW_PARQUET_OPTIONS: Final[dict[str, Any]] = {
    "compression": "zstd",
    "compression_level": 3,
    "use_dictionary": False,
    "write_statistics": False,
}
"""Small before fast: they are kept for years. Level 3 takes 12 us an order, 6 takes 32."""

BUFFER_BYTES: Final = 8 << 20
"""Bytes of a part's files per request: s3fs's default of 50 MiB would buffer whole files."""

TOUCH_AFTER: Final = timedelta(hours=1)
"""Age from which a reused part's record is rewritten: far below the least age of prune, a day."""

READ_THREADS: Final = 8
"""Threads that fetch or send small files of parts: the latency of requests is what counts."""

LOOKUP_THREADS: Final = 16
"""Threads that look up records of parts: they are small, so latency is what counts."""


def find_part(url: str) -> Part | None:
    """Return the record of the part at `url`, or None if there is no complete one.

    Raises
    ------
    SettingsError
        A later version of orders_dask wrote it, so its content may mean something else.
    ServiceUnavailable
        The stage can't be reached.
    """
    try:
        with translate_storage_errors(url):
            fs, path = filesystem(f"{url}/{PART_RECORD}")
            record = read_json(fs, path)
    except FileNotFoundError:
        return None
    if record is None:
        return None
    record = renamed(record)
    if record.setdefault("format", 5) > STAGE_FORMAT_VERSION:  # formats before 6 don't have it
        raise SettingsError(
            f"{url} was staged by a later version of orders_dask: use that one, or another "
            "ORDERS_DASK_STAGE_URL."
        )
    files = [_file_from_json(file) for file in record.pop("files")]
    if isinstance(record["bytes"], int):  # before format 5: the sum, an upper bound for each table
        record["bytes"] = dict.fromkeys(record["rows"], record["bytes"])
    columns = tuple(record.pop("columns", ()))  # formats before 8 don't have them
    totals = {
        fact.name: _declared_totals(fact, record["totals"].get(fact.name, _NOTHING), columns)
        for fact in FACTS
    }
    drift = Drift.from_json(record.pop("drift", None))
    changed = {"files": files, "totals": totals, "columns": columns, "drift": drift}
    return Part(url, **{**record, **changed})


def find_usable_part(url: str, others: Iterable[str] = (), keep_raw: bool = False) -> Part | None:
    """Return the part at `url`, or another one of the same content that has all its columns.

    Parameters
    ----------
    url
        URL of the part as it would be staged now.
    others
        Names of parts of the same content.
    keep_raw
        Whether it needs the raw texts of its records.
    """
    folder = url.rpartition("/")[0]
    as_good = (f"{folder}/{name}" for name in others)
    candidates = [url, *(each for each in as_good if content_of(each) == content_of(url) != "")]
    parts = filter(None, map(find_part, dict.fromkeys(candidates)))
    return next((part for part in parts if part.has_all_columns(keep_raw)), None)


def use_part(url: str, others: Iterable[str] = (), keep_raw: bool = False) -> Part | None:
    """Return the same as :func:`find_usable_part` for a load, and restart its age for prune."""
    part = find_usable_part(url, others, keep_raw)
    if part is None:
        return None
    record = f"{part.url}/{PART_RECORD}"
    try:
        with translate_storage_errors(record):
            fs, path = filesystem(record)
            if datetime.now(UTC) - fs.modified(path) > TOUCH_AFTER:
                change_record(part, lambda record: record)
    except FileNotFoundError:
        return None
    return part


def write_record(part: Part) -> None:
    """Write the record of a part, which completes it."""
    record = asdict(part) | {"drift": part.drift.to_json()}
    del record["url"]
    url = f"{part.url}/{PART_RECORD}"
    with translate_storage_errors(url):
        fs, path = filesystem(url)
        fs.pipe_file(path, json.dumps(record).encode())


def change_record(part: Part, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Rewrite the record of a part, with all that only other declarations know in it."""
    url = f"{part.url}/{PART_RECORD}"
    with suppress(FileNotFoundError), translate_storage_errors(url):
        fs, path = filesystem(url)
        record = read_json(fs, path)
        if record is not None:
            fs.pipe_file(path, json.dumps(change(record)).encode())


def invalidate_part(part: Part) -> None:
    """Delete the record of a damaged part, unless another attempt has rewritten the part."""
    url = f"{part.url}/{PART_RECORD}"
    with suppress(FileNotFoundError), translate_storage_errors(url):
        current = find_part(part.url)
        if current and current.attempt == part.attempt:
            fs, path = filesystem(url)
            fs.rm_file(path)


def find_parts(urls: Iterable[str]) -> Iterator[Part | None]:
    """Yield the records of several parts (:func:`find_part`), looked up in parallel."""
    with ThreadPoolExecutor(LOOKUP_THREADS) as pool:
        yield from pool.map(find_part, urls)


def find_usable_parts(
    urls: Sequence[str], staged: StagedNames, keep_raw: bool = False
) -> Iterator[Part | None]:
    """Yield usable parts (:func:`find_usable_part`), looked up in parallel."""
    others = (staged.get(content_of(url.rpartition("/")[2]), ()) for url in urls)
    with ThreadPoolExecutor(LOOKUP_THREADS) as pool:
        yield from pool.map(find_usable_part, urls, others, repeat(keep_raw))


StagedNames = Mapping[str, Sequence[str]]
"""Names of parts by what they begin with (:func:`~orders_dask.stage.layout.content_of`)."""


def staged_names(stage_url: str, run_date: date) -> StagedNames:
    """Return the names of a run date's parts, whole or not."""
    url = run_date_folder(stage_url, run_date)
    with translate_storage_errors(url):
        fs, path = filesystem(url)
        fs.invalidate_cache()
        try:
            listed = fs.ls(path, detail=False)
        except FileNotFoundError:
            return {}
    names: dict[str, list[str]] = {}
    for each in sorted(listed):
        name = each.rstrip("/").rpartition("/")[2]
        if name.startswith("part="):
            names.setdefault(content_of(name), []).append(name)
    return names


_NOTHING: Final = ControlTotals().to_json()
"""Control totals of a fact that a part of before has no table of."""


def _declared_totals(
    fact: Table, totals: dict[str, Any], columns: Collection[str]
) -> dict[str, Any]:
    """Return the control totals of a part without columns that a load of it leaves null."""
    counted = {
        column.name
        for column in fact.c
        if not column.info["custom"] or stored_name(fact, column) in columns
    }
    return {**totals, "sums": [each for each in totals["sums"] if each[1] in counted]}


def _file_from_json(record: dict[str, Any]) -> StagedFile:
    issues = [
        Issue(i["field"], i["code"], i["count"], tuple((p, text) for p, text in i["samples"]))
        for i in record["issues"]
    ]
    record.pop("drift", None)  # before format 8: dotted paths, of the first records
    counts = {
        name: {fact.name: record[name].get(fact.name, 0) for fact in FACTS}
        for name in ("read", "rejected")
    }
    return StagedFile(**{**record, **counts, "issues": issues})


def write_part(url: str, blocks: Iterable[StagedBlock], keep_raw: bool = False) -> Part:
    """Write blocks of staged tables as the part at `url`, its record last.

    Parameters
    ----------
    url
        URL of the part (:func:`orders_dask.stage.layout.part_url`).
    blocks
        The blocks, file by file. One is in memory at a time, with up to :data:`ROW_GROUP_BYTES` of
        buffered tables, and :data:`RAW_GROUP_BYTES` of raw texts.
    keep_raw
        Whether the blocks have raw texts.

    Returns
    -------
    Part
        The record of the part.

    Raises
    ------
    ServiceUnavailable
        The stage can't be reached.
    """
    files: dict[str, StagedFile] = {}
    totals = {fact.name: ControlTotals() for fact in FACTS}
    drift = DriftCounter()

    def tables() -> Iterator[dict[str, pa.Table]]:
        for number, (piece, block, drift_of_block) in enumerate(blocks):
            files[piece.name] = files[piece.name] + piece if piece.name in files else piece
            for fact in totals:
                totals[fact] += totals_of(fact, block[fact])
            drift.add_all(drift_of_block, number)
            yield block

    attempt = uuid4().hex
    with translate_storage_errors(url):
        fs, path = filesystem(url)
        try:
            rows, sizes = _write_tables(fs, f"{path}/{attempt}", _row_groups(tables()))
        except BaseException:
            # Otherwise each retry would fill a full disk further. Prune deletes what remains.
            with suppress(OSError, BotoCoreError, ClientError):
                fs.rm(f"{path}/{attempt}", recursive=True)
            raise
        part = Part(
            url,
            attempt,
            list(files.values()),
            dict(rows),
            {fact: total.to_json() for fact, total in totals.items()},
            sizes,
            (*STORED_COLUMNS, *raw_columns(keep_raw)),
            drift.drift(),
        )
    write_record(part)
    return part


def _write_tables(
    fs: AbstractFileSystem, folder: str, groups: Iterable[dict[str, pa.Table]]
) -> tuple[Counter[str], dict[str, int]]:
    """Write row groups, one file per table; return the rows and file sizes by table."""
    rows = Counter[str]()
    files: dict[str, Any] = {}
    if "file" in fs.protocol:  # object stores have no folders
        try:
            fs.makedirs(folder, exist_ok=True)
        except FileNotFoundError as error:  # below /proc, say
            why = "no folder can be made there, see ORDERS_DASK_STAGE_URL"
            raise NotADirectoryError(errno.ENOTDIR, why) from error
    with ExitStack() as stack:
        writers: dict[str, pq.ParquetWriter] = {}
        for group in groups:
            for name, declared in group.items():
                table = with_staged_names(declared, name)
                if name not in writers:
                    file = fs.open(f"{folder}/{name}.parquet", "wb", block_size=BUFFER_BYTES)
                    files[name] = file
                    stack.push(partial(_close_or_abort, file))
                    options = RAW_PARQUET_OPTIONS if name == RAW else PARQUET_OPTIONS
                    writers[name] = stack.enter_context(
                        pq.ParquetWriter(file, table.schema, **options)
                    )
                writers[name].write_table(table, row_group_size=table.num_rows)
                rows[name] += table.num_rows
        for writer in writers.values():
            writer.close()
        sizes = {name: file.tell() for name, file in files.items()}
        # Closing a small file sends it: in parallel, since each request has its latency.
        with ThreadPoolExecutor(READ_THREADS) as pool:
            list(pool.map(methodcaller("close"), files.values()))
    return rows, sizes


def _close_or_abort(file: Any, kind: type[BaseException] | None, *_: object) -> None:
    """Close the upload; after an error abort it, since flushing would retry for minutes."""
    if kind and isinstance(file, AbstractBufferedFile) and not file.closed:
        file.closed = True
        file.discard()
    else:
        file.close()


def _row_groups(blocks: Iterable[dict[str, pa.Table]]) -> Iterator[dict[str, pa.Table]]:
    """Concatenate the tables of blocks into row groups of :data:`ROW_GROUP_BYTES` bytes.

    Raw texts have row groups of their own (:data:`RAW_GROUP_BYTES`), which end with a block.
    """
    tables, raw = _Buffer(), _Buffer()
    for block in blocks:
        for name, table in block.items():
            (raw if name == RAW else tables).add(name, table)
        for buffer, enough in ((tables, ROW_GROUP_BYTES), (raw, RAW_GROUP_BYTES)):
            if buffer.size >= enough:
                yield buffer.take()
    yield tables.take() | raw.take()


class _Buffer:
    """Tables that wait for a row group to be full."""

    def __init__(self) -> None:
        self.size = 0
        self._tables: dict[str, list[pa.Table]] = {}

    def add(self, name: str, table: pa.Table) -> None:
        if table.num_rows:
            self._tables.setdefault(name, []).append(table)
            self.size += table.nbytes

    def take(self) -> dict[str, pa.Table]:
        """Return the tables concatenated, by name, and forget them."""
        taken, self._tables, self.size = self._tables, {}, 0
        return {name: pa.concat_tables(tables) for name, tables in taken.items()}
