"""Parts: written once, with their record last, and found by it."""

from __future__ import annotations

import errno
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import methodcaller
from typing import Any, Final
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import BotoCoreError, ClientError
from fsspec import AbstractFileSystem
from fsspec.spec import AbstractBufferedFile

from orders_dask.contract.control_totals import ControlTotals, totals_of
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.rejects import Issue
from orders_dask.contract.versions import STAGE_FORMAT_VERSION
from orders_dask.errors import SettingsError
from orders_dask.filesystem import filesystem, translate_storage_errors
from orders_dask.stage.layout import PART_RECORD, read_json
from orders_dask.stage.record import Part, StagedFile

ROW_GROUP_BYTES: Final = 16 << 20
"""Bytes of Arrow tables gathered before a row group is written: many small files make few row
groups. With 64 MiB a worker took 45 MB more, and no less time."""

PARQUET_OPTIONS: Final[dict[str, Any]] = {
    "compression": "lz4",
    "use_dictionary": False,
    "write_statistics": False,
}
"""How Parquet is written: fast before small, as it is soon read again and pruned. Writing and
reading took 10 us an order, and 20 with zstd and dictionaries, which made 0.53 of the size;
statistics, which nobody asks for, 6 us more."""

BUFFER_BYTES: Final = 8 << 20
"""Bytes of a part's files that are sent or fetched at once. s3fs's own 50 MiB would hold whole files in memory."""

TOUCH_AFTER: Final = timedelta(hours=1)
"""Age up to which the record of a part that is used again needs no writing: far below the least age of prune, a day."""

READ_THREADS: Final = 8
"""Small files of parts that are fetched at once, while the worker's memory holds them."""

LOOKUP_THREADS: Final = 16
"""Records of parts that are looked for at once: they are small, so it is latency that counts."""


def find_part(url: str) -> Part | None:
    """Read the record of the part at `url`, or give None where there is no whole one.

    Raises
    ------
    SettingsError
        A later version wrote it: what it says, or leaves out, is not known here.
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
    if record.setdefault("format", 5) > STAGE_FORMAT_VERSION:  # which was not written down before 6
        raise SettingsError(
            f"{url} was staged by a later version of orders_dask: use that one, or another ORDERS_DASK_STAGE_URL."
        )
    files = [_file_from_json(file) for file in record.pop("files")]
    if "books" in record:  # before 7
        record["totals"] = record.pop("books")
    if isinstance(record["bytes"], int):  # before 5: of all tables together, so none is larger
        record["bytes"] = dict.fromkeys(record["rows"], record["bytes"])
    return Part(url, files=files, **record)


def touch_part(url: str) -> Part | None:
    """Find the part at `url` for a load that is going to use it: prune counts its age from here."""
    part = find_part(url)
    if part is None:
        return None
    try:
        with translate_storage_errors(url):
            fs, path = filesystem(f"{url}/{PART_RECORD}")
            if datetime.now(UTC) - fs.modified(path) > TOUCH_AFTER:
                write_record(part)
    except FileNotFoundError:
        return None
    return part


def write_record(part: Part) -> None:
    """Write the record of a part, which makes it whole."""
    record = {name: value for name, value in asdict(part).items() if name != "url"}
    url = f"{part.url}/{PART_RECORD}"
    with translate_storage_errors(url):
        fs, path = filesystem(url)
        fs.pipe_file(path, json.dumps(record).encode())


def invalidate_part(part: Part) -> None:
    """Take away the record of a part whose files are not whole; one that was made anew meanwhile stays."""
    url = f"{part.url}/{PART_RECORD}"
    with suppress(FileNotFoundError), translate_storage_errors(url):
        found = find_part(part.url)
        if found and found.attempt == part.attempt:
            fs, path = filesystem(url)
            fs.rm_file(path)


def find_parts(urls: Iterable[str]) -> Iterator[Part | None]:
    """Read the records of several parts (:func:`find_part`), some at once."""
    with ThreadPoolExecutor(LOOKUP_THREADS) as pool:
        yield from pool.map(find_part, urls)


def _file_from_json(record: dict[str, Any]) -> StagedFile:
    issues = [
        Issue(i["field"], i["code"], i["count"], tuple((p, text) for p, text in i["samples"]))
        for i in record["issues"]
    ]
    return StagedFile(**{**record, "issues": issues})


def write_part(url: str, blocks: Iterable[tuple[StagedFile, dict[str, pa.Table]]]) -> Part:
    """Write blocks of staged tables as the part at `url`; its record comes last.

    Parameters
    ----------
    url
        Where the part stands (:func:`part_url`).
    blocks
        What each block holds of its file, and its tables by name, file by file. One is in memory at
        a time, and up to :data:`ROW_GROUP_BYTES` bytes of tables.

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
    total = {fact.name: ControlTotals() for fact in FACTS}

    def tables() -> Iterator[dict[str, pa.Table]]:
        for file, block in blocks:
            files[file.name] = files[file.name] + file if file.name in files else file
            for fact in total:
                total[fact] += totals_of(fact, block[fact])
            yield block

    attempt = uuid4().hex
    with translate_storage_errors(url):
        fs, path = filesystem(url)
        try:
            rows, sizes = _write_tables(fs, f"{path}/{attempt}", _row_groups(tables()))
        except BaseException:
            # A full disk would else be fuller after each attempt. What can't be removed now goes
            # with prune.
            with suppress(OSError, BotoCoreError, ClientError):
                fs.rm(f"{path}/{attempt}", recursive=True)
            raise
        part = Part(
            url,
            attempt,
            list(files.values()),
            dict(rows),
            {n: b.to_json() for n, b in total.items()},
            sizes,
        )
    write_record(part)
    return part


def _write_tables(
    fs: AbstractFileSystem, folder: str, groups: Iterable[dict[str, pa.Table]]
) -> tuple[Counter[str], dict[str, int]]:
    """Write groups of tables, a file a table, and count their rows and the bytes of their files."""
    rows = Counter[str]()
    files: dict[str, Any] = {}
    if "file" in fs.protocol:  # elsewhere a folder is but a name
        try:
            fs.makedirs(folder, exist_ok=True)
        except FileNotFoundError as error:  # below /proc, say
            why = "no folder can be made there, see ORDERS_DASK_STAGE_URL"
            raise NotADirectoryError(errno.ENOTDIR, why) from error
    with ExitStack() as stack:
        writers: dict[str, pq.ParquetWriter] = {}
        for group in groups:
            for name, table in group.items():
                if name not in writers:
                    file = fs.open(f"{folder}/{name}.parquet", "wb", block_size=BUFFER_BYTES)
                    files[name] = file
                    stack.push(partial(_close_or_abort, file))
                    writers[name] = stack.enter_context(
                        pq.ParquetWriter(file, table.schema, **PARQUET_OPTIONS)
                    )
                writers[name].write_table(table, row_group_size=table.num_rows)
                rows[name] += table.num_rows
        for writer in writers.values():
            writer.close()
        sizes = {name: file.tell() for name, file in files.items()}
        # What is small is sent when it is closed; one after another each took the latency of a
        # request.
        with ThreadPoolExecutor(READ_THREADS) as pool:
            list(pool.map(methodcaller("close"), files.values()))
    return rows, sizes


def _close_or_abort(file: Any, kind: type[BaseException] | None, *_: object) -> None:
    """Close a file that was written; after an error give up what of it was not sent: it would be tried for long."""
    if kind and isinstance(file, AbstractBufferedFile) and not file.closed:
        file.closed = True
        file.discard()
    else:
        file.close()


def _row_groups(blocks: Iterable[dict[str, pa.Table]]) -> Iterator[dict[str, pa.Table]]:
    """Gather the tables that have rows, until they have :data:`ROW_GROUP_BYTES` bytes."""
    waiting: dict[str, list[pa.Table]] = {}
    size = 0
    for block in blocks:
        for name, table in block.items():
            if table.num_rows:
                waiting.setdefault(name, []).append(table)
                size += table.nbytes
        if size >= ROW_GROUP_BYTES:
            yield {name: pa.concat_tables(tables) for name, tables in waiting.items()}
            waiting, size = {}, 0
    yield {name: pa.concat_tables(tables) for name, tables in waiting.items()}
