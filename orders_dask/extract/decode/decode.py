"""Decode: a split to typed orders, rejections and issues, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import pyarrow as pa

from orders_dask.contract.arrow import decoded_schema
from orders_dask.contract.rules import Issue, Rejected, reject_record
from orders_dask.extract.decode.block import decode_records
from orders_dask.extract.decode.schema_drift import INSPECTED_RECORDS, unknown_keys
from orders_dask.extract.framing.files import SourceFile, Split, read_files
from orders_dask.extract.records import MAX_REJECTED, Records, Unreadable


@dataclass(frozen=True)
class Decoded:
    """One block of one file.

    Attributes
    ----------
    file
        The file.
    orders
        :func:`orders_dask.contract.arrow.decoded_schema`; ``source_position`` counts from 1 within
        the file, or within the split where that is a byte range. In an array of children null
        stands for one that was rejected.
    rejected, issues
        What was refused, and what was repaired or nulled.
    read
        Positions that this block used up: its orders, and the records of it that were rejected.
    unreadable
        The file can't be read to its end, or a line of it that may have held any number of orders
        is not JSON.
    drift
        Dotted paths of keys that the contract doesn't know, from the file's first 100 records.
    """

    file: SourceFile
    orders: pa.Table
    rejected: tuple[Rejected, ...]
    issues: tuple[Issue, ...]
    read: int
    unreadable: bool
    drift: tuple[str, ...]


def decode(split: Split, zone: ZoneInfo) -> Iterator[Decoded]:
    """Decode a split, a block at a time; each of its files gives at least one block.

    Parameters
    ----------
    split
        What to read.
    zone
        The shop's, for instants without an offset.

    Raises
    ------
    ServiceUnavailable
        The store can't be reached.
    SourceChanged
        A file changed since it was listed.
    """
    for file, blocks in read_files(split):
        yield from _decode_file(file, blocks, zone, beginning=not split.start)


def _decode_file(
    file: SourceFile, blocks: Iterator[Records], zone: ZoneInfo, *, beginning: bool
) -> Iterator[Decoded]:
    position = 1
    lost = 0
    given_up: int | None = None
    watched = INSPECTED_RECORDS if beginning else 0
    ending = None
    empty = True
    try:
        for records in blocks:
            if given_up is not None and records.long_line == given_up:
                continue
            block = decode_records(records, zone, position)
            drift, looked_at = unknown_keys(records, watched) if watched else ((), 0)
            long_line = records.long_line
            del records  # so that its text is gone while the next is read
            yield Decoded(
                file,
                block.orders,
                block.rejected,
                block.issues,
                block.read,
                block.unreadable,
                drift,
            )
            if block.stopped and long_line is None:
                return
            given_up = long_line if block.stopped else None
            position += block.read
            lost += block.read - block.orders.num_rows
            if lost > max(MAX_REJECTED, position // 2):
                raise Unreadable(f"{lost:,} of its first {position - 1:,} records are rejected")
            watched -= looked_at
            empty = False
    except Unreadable as error:
        ending = reject_record(
            error.raw,
            position,
            "unreadable_file",
            f"The file can't be read further: {error.message}.",
        )
    if empty or ending:
        refused = (ending,) if ending else ()
        orders = decoded_schema().empty_table()
        yield Decoded(file, orders, refused, (), len(refused), bool(refused), ())
