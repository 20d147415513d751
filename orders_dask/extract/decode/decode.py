"""The step decode: turn a split into typed orders, rejections and issues, a block at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from zoneinfo import ZoneInfo

import pyarrow as pa

from orders_dask.contract.arrow import decoded_schema
from orders_dask.contract.envelopes import Envelope
from orders_dask.contract.rejects import Issue, Rejected, reject_record
from orders_dask.contract.schema_drift import NO_DRIFT, Drift
from orders_dask.extract.decode.block import decode_records
from orders_dask.extract.decode.raw_text import unreadable_row
from orders_dask.extract.decode.together import decode_together, may_go_together, runs
from orders_dask.extract.framing.files import read_files
from orders_dask.extract.records import (
    BLOCK_BYTES,
    MAX_REJECTED,
    Records,
    SourceFile,
    Split,
    Unreadable,
)


@dataclass(frozen=True)
class Decoded:
    """One block of consecutive records of one file.

    This is the seam for further input formats. The later steps see nothing but these blocks, so a
    decoder of another format (CSV, Parquet, GraphQL JSONL …) only has to yield them. The short way:
    write each record as a line of JSON, and call
    :func:`~orders_dask.extract.decode.block.decode_records`. It provides most of this checklist.

    Normalise
        - `orders` has exactly the schema :func:`~orders_dask.contract.arrow.decoded_schema`.
          Positions ascend.
        - Values are checked and converted as docs/contract.md#types and
          docs/contract.md#bad-values specify: the id is positive, amounts have 4 decimals and at
          most 18 digits before them, timestamps are UTC, texts are UTF-8 without NUL.
        - ``created_local_date`` and ``created_utc_offset_min`` come from the text of ``created_at``
          (:func:`~orders_dask.extract.decode.timestamps.local_days`).
        - Children have positive ids, which are unique in their array. A null child is a rejected
          one; it keeps its place in the array.
    Stage
        - Each file of the split has at least one block, even if it is empty or unreadable. The
          blocks of a file are consecutive. `file` is as listed, with size and ETag.
        - `read` counts positions: one for each order, and one for each rejection without a path.
          The next block of the file goes on counting.
        - The result is deterministic. Parts are reused, and a task may run twice. A change of the
          result raises :data:`~orders_dask.contract.versions.DECODER_VERSION`.
        - Memory is bounded: a block has up to about
          :data:`~orders_dask.extract.records.BLOCK_BYTES` bytes and
          :data:`~orders_dask.extract.records.BLOCK_RECORDS` records.
        - Bad content is never an error. Only the store is: ``StoredObjectChanged`` and
          ``ServiceUnavailable``.
    Rejects
        - Each record that is not in `orders` is in `rejected`, with a code of
          docs/contract.md#issue-codes and a message that quotes no values. Its `counts` has the
          record and the children that it takes with it. A rejected child has a path, and the first
          one of an order has `order_raw`.
        - Messages and raw texts are sanitised, and raw texts are cut at 64 KiB
          (:func:`~orders_dask.contract.rejects.reject_record` does both).
        - If the file can't be read further, the last block is `unreadable`, with one rejection
          ``unreadable_file`` that takes a position. More than
          :data:`~orders_dask.extract.records.MAX_REJECTED` rejections end the file in this way.
        - `issues` has the repaired and nulled values, merged by field and code
          (:func:`~orders_dask.contract.rejects.merge_issues`).
    Drift
        - `drift` counts the orders, rejected ones included, that have keys or columns which nobody
          knows (:mod:`orders_dask.contract.known_keys`), by path: ``line_items[].colour``.
    Replay
        - `raw` and `order_raw` are one order each, as JSON with the keys of the contract, because
          :mod:`~orders_dask.extract.decode.replay` reads only that. A decoder of CSV writes the row
          as JSON. A record that has no such text is replayed in vain: it stays rejected as
          ``invalid_json``.

    Formats are also known to: :func:`~orders_dask.extract.framing.files.read_files`, which chooses
    how to read a file by its content; :mod:`~orders_dask.extract.splits`, which decides whether a
    file is cut into byte ranges; and :mod:`~orders_dask.extract.framing.file_signatures`, which
    names the formats that are not read.

    Attributes
    ----------
    file
        The file.
    orders
        A table of :func:`~orders_dask.contract.arrow.decoded_schema`. ``source_position`` counts
        from 1 within the file, or within the split if that is a byte range.
    rejected
        Records and children that are rejected.
    issues
        Values that were repaired or nulled.
    read
        Number of positions that this block uses: its orders and its rejected records.
    unreadable
        The file can't be read to its end, or a broken line in it may contain any number of orders.
    drift
        Keys of its orders, rejected ones included, that nobody knows.
    raw
        The raw texts of its records (:func:`~orders_dask.contract.raw_text.raw_text_schema`,
        without the file), if they are kept.
    """

    file: SourceFile
    orders: pa.Table
    rejected: tuple[Rejected, ...]
    issues: tuple[Issue, ...]
    read: int
    unreadable: bool
    drift: Drift
    raw: pa.Table | None = None


def decode(
    split: Split, zone: ZoneInfo, envelope: Envelope | None = None, *, keep_raw: bool = False
) -> Iterator[Decoded]:
    """Decode a split, a block at a time. Each of its files has at least one block.

    Parameters
    ----------
    split
        What to read.
    zone
        The shop's time zone, for timestamps without an offset.
    envelope
        What stands around the order in each record; None for nothing.
    keep_raw
        Whether the raw texts of the records are kept.

    Yields
    ------
    Decoded
        In the order of the files and their records.

    Raises
    ------
    ServiceUnavailable
        The store can't be reached.
    StoredObjectChanged
        A file changed since it was listed.
    """
    yield from decode_files(read_files(split), zone, envelope, keep_raw=keep_raw)


def decode_files(
    files: Iterable[tuple[SourceFile, Iterator[Records]]],
    zone: ZoneInfo,
    envelope: Envelope | None = None,
    *,
    keep_raw: bool = False,
) -> Iterator[Decoded]:
    """Decode files whose records are read already; otherwise like :func:`decode`.

    Small files that follow each other are decoded together.
    """
    small: list[tuple[SourceFile, Records]] = []
    size = 0
    for file, blocks in files:
        # Raw texts are kept by block.
        read, blocks = ([], blocks) if keep_raw else _small_file(blocks)
        if read:
            small.append((file, read[0]))
            size += len(read[0].text)
        else:
            yield from _decode_small(small, zone, envelope)
            small, size = [], 0
            yield from _decode_file(file, blocks, zone, envelope, keep_raw)
        if size > BLOCK_BYTES:
            yield from _decode_small(small, zone, envelope)
            small, size = [], 0
    yield from _decode_small(small, zone, envelope)


def _small_file(blocks: Iterator[Records]) -> tuple[list[Records], Iterator[Records]]:
    """Return the only block of a small file, or none; and the blocks of any other file."""
    read: list[Records] = []
    try:
        read += islice(blocks, 1)
        if read and may_go_together(read[0]):
            read += islice(blocks, 1)
            if len(read) == 1:
                return read, iter(())
    except Unreadable as error:
        return [], _chained(read, _raising(error))
    return [], _chained(read, blocks)


def _chained(read: list[Records], blocks: Iterator[Records]) -> Iterator[Records]:
    """Yield blocks that were read, each of which can be freed then, and the others."""
    while read:
        yield read.pop(0)
    yield from blocks


def _raising(error: Unreadable) -> Iterator[Records]:
    yield from ()
    raise error


def _decode_small(
    files: Sequence[tuple[SourceFile, Records]], zone: ZoneInfo, envelope: Envelope | None
) -> Iterator[Decoded]:
    """Decode files of one block each, in their order."""
    for run in runs([records for _, records in files]):
        some = files[run]
        together = decode_together([records for _, records in some], zone, envelope)
        for (file, records), good in zip(some, together, strict=True):
            if good is None:
                yield from _decode_file(file, iter([records]), zone, envelope)
            else:
                read = good.orders.num_rows
                yield Decoded(file, good.orders, (), (), read, False, good.drift.drift())


def _decode_file(
    file: SourceFile,
    blocks: Iterator[Records],
    zone: ZoneInfo,
    envelope: Envelope | None = None,
    keep_raw: bool = False,
) -> Iterator[Decoded]:
    position = 1
    number = 0
    rejected_count = 0
    abandoned_line: int | None = None
    last_reject = last_raw = None
    no_block = True
    try:
        for records in blocks:
            if abandoned_line is not None and records.long_line == abandoned_line:
                continue
            raw_block = number if keep_raw else None
            block = decode_records(records, zone, position, envelope, raw_block)
            number += 1
            long_line = records.long_line
            del records  # frees the text while the next block is read
            yield Decoded(
                file,
                block.orders,
                block.rejected,
                block.issues,
                block.read,
                block.unreadable,
                block.drift,
                block.raw,
            )
            if block.stopped and long_line is None:
                return
            abandoned_line = long_line if block.stopped else None
            position += block.read
            rejected_count += block.read - block.orders.num_rows
            if rejected_count > max(MAX_REJECTED, position // 2):
                raise Unreadable(
                    f"{rejected_count:,} of its first {position - 1:,} records are rejected"
                )
            no_block = False
    except Unreadable as error:
        last_reject = reject_record(
            error.raw,
            position,
            "unreadable_file",
            f"The file can't be read further: {error.message}.",
        )
        last_raw = unreadable_row(error, position, number) if keep_raw else None
    if no_block or last_reject:
        rejected = (last_reject,) if last_reject else ()
        orders = decoded_schema().empty_table()
        read, unreadable = len(rejected), bool(rejected)
        yield Decoded(file, orders, rejected, (), read, unreadable, NO_DRIFT, last_raw)
