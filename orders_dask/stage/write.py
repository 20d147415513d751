"""Write parts: tables first, then the record that completes them.

Writing is idempotent: a task that is retried writes the same content under the same name.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from io import BytesIO
from itertools import count, islice
from operator import methodcaller
from typing import Any, Final, NamedTuple
from uuid import uuid4
from zipfile import ZipFile, ZipInfo

import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import BotoCoreError, ClientError
from fsspec import AbstractFileSystem
from fsspec.spec import AbstractBufferedFile

from orders_dask.contract.control_totals import ControlTotals, totals_of
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.raw_text import RAW, raw_columns
from orders_dask.contract.schema_drift import DriftCounter
from orders_dask.contract.storage_tables import STORED_COLUMNS
from orders_dask.filesystem import filesystem, translate_storage_errors
from orders_dask.stage.layout import PACKED, REJECTED
from orders_dask.stage.parts import BUFFER_BYTES, PARQUET_OPTIONS, READ_THREADS, write_record
from orders_dask.stage.record import Part, StagedBlock, StagedFile
from orders_dask.stage.staged_names import with_staged_names

ROW_GROUP_BYTES: Final = 16 << 20
"""Bytes of Arrow tables per row group: 64 MiB took 45 MB more of a worker, and no less time."""

RAW_GROUP_BYTES: Final = 8 << 20
"""The same for raw texts: mostly a block, so that whoever reads them holds one at a time."""

RAW_PARQUET_OPTIONS: Final[dict[str, Any]] = {
    "compression": "zstd",
    "compression_level": 3,
    "use_dictionary": False,
    "write_statistics": False,
}
"""Small before fast: they are kept for years. Level 3 takes 12 us an order, 6 takes 32."""


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
        numbers = count()
        for pieces, block, drifts, _ in blocks:
            for piece in pieces:
                files[piece.name] = files[piece.name] + piece if piece.name in files else piece
            for fact in totals:
                totals[fact] += totals_of(fact, block[fact])
            for drift_of_block in drifts:
                drift.add_all(drift_of_block, next(numbers))
            yield block

    attempt = uuid4().hex
    with translate_storage_errors(url):
        fs, path = filesystem(url)
        try:
            written = _write_tables(fs, f"{path}/{attempt}", _row_groups(tables()))
        except BaseException:
            # Otherwise each retry would fill a full disk further. Prune deletes what remains.
            with suppress(OSError, BotoCoreError, ClientError):
                fs.rm(f"{path}/{attempt}", recursive=True)
            raise
        part = Part(
            url,
            attempt,
            list(files.values()),
            written.rows,
            {fact: total.to_json() for fact, total in totals.items()},
            written.bytes,
            (*STORED_COLUMNS, *raw_columns(keep_raw)),
            drift.drift(),
            packed=written.packed,
        )
    write_record(part)
    return part


class _Written(NamedTuple):
    """Rows, bytes and places of the tables of a part: fields of :class:`Part`."""

    rows: dict[str, int]
    bytes: dict[str, int]
    packed: dict[str, int]


def _write_tables(
    fs: AbstractFileSystem, folder: str, groups: Iterator[dict[str, pa.Table]]
) -> _Written:
    """Write row groups: one file per table or, if there is but one group, one of most tables."""
    _make_folder(fs, folder)
    first = next(groups)
    begun = [first, *islice(groups, 1)]
    if len(begun) > 1:
        del first  # each group is freed once it is written
        return _write_files(fs, folder, _emptied(begun, groups))
    # Those have lives of their own: they are redacted, or kept for years.
    alone = {name: table for name, table in first.items() if name in (REJECTED, RAW)}
    others = {name: table for name, table in first.items() if name not in alone}
    written = _write_files(fs, folder, [alone]) if alone else _Written({}, {}, {})
    if others:
        packed = _write_packed(fs, folder, others)
        written = _Written(*(dict(a) | b for a, b in zip(written, packed, strict=True)))
    return written


def _emptied(
    begun: list[dict[str, pa.Table]], groups: Iterator[dict[str, pa.Table]]
) -> Iterator[dict[str, pa.Table]]:
    """Yield the groups of a list, which it loses, and all others."""
    while begun:
        yield begun.pop(0)
    yield from groups


def _write_packed(fs: AbstractFileSystem, folder: str, tables: Mapping[str, pa.Table]) -> _Written:
    """Write tables as Parquet files in one zip."""
    content = BytesIO()
    written = _Written({}, {}, {})
    with ZipFile(content, "w") as archive:
        for name, declared in tables.items():
            table = with_staged_names(declared, name)
            parquet = pa.BufferOutputStream()
            pq.write_table(table, parquet, row_group_size=table.num_rows, **PARQUET_OPTIONS)
            member = ZipInfo(f"{name}.parquet")
            archive.writestr(member, parquet.getvalue())
            written.rows[name] = table.num_rows
            written.bytes[name] = member.file_size
            written.packed[name] = member.header_offset + len(member.FileHeader())
    fs.pipe_file(f"{folder}/{PACKED}", content.getvalue())
    return written


def _make_folder(fs: AbstractFileSystem, folder: str) -> None:
    if "file" in fs.protocol:  # object stores have no folders
        try:
            fs.makedirs(folder, exist_ok=True)
        except FileNotFoundError as error:  # below /proc, say
            why = "no folder can be made there, see ORDERS_DASK_STAGE_URL"
            raise NotADirectoryError(errno.ENOTDIR, why) from error


def _write_files(
    fs: AbstractFileSystem, folder: str, groups: Iterable[dict[str, pa.Table]]
) -> _Written:
    """Write row groups, one file per table."""
    rows = Counter[str]()
    files: dict[str, Any] = {}
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
    return _Written(dict(rows), sizes, {})


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
