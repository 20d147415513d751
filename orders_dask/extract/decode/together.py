"""Decode small files together: what a block costs by itself is shared by all of them.

Only files of which every record is plainly good are decoded so. For any other one that gives the
same result, and takes longer: it is decoded by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from orders_dask.contract.envelopes import Envelope
from orders_dask.contract.schema_drift import DriftCounter
from orders_dask.extract.decode.reader import read_lines
from orders_dask.extract.decode.schema_drift import UnknownKeys, count_unknown_keys
from orders_dask.extract.decode.type_conversion import convert_types
from orders_dask.extract.lines import Lines
from orders_dask.extract.little_text import is_little
from orders_dask.extract.records import BLOCK_BYTES, Records

MAX_FILE_BYTES: Final = 4 << 20
"""Bytes of text of a small file: beyond, what a block costs by itself hardly shows."""


class GoodFile(NamedTuple):
    """The orders of a file of which every record is plainly good.

    Attributes
    ----------
    orders
        As in :class:`orders_dask.extract.decode.decode.Decoded`.
    drift
        Counter of its unknown keys.
    """

    orders: pa.Table
    drift: DriftCounter


def may_go_together(records: Records) -> bool:
    """Return whether records, all of a file, may be decoded with those of other files."""
    return (
        len(records.text) <= MAX_FILE_BYTES
        and records.text.endswith(b"\n")
        and records.text.count(b"\n") == records.number
        and not (records.overwritten or records.framing_error or records.issues or records.parts)
        and records.long_line is None
    )


def decode_together(
    files: Sequence[Records], zone: ZoneInfo, envelope: Envelope | None
) -> list[GoodFile | None]:
    """Decode the records of files together.

    Parameters
    ----------
    files
        All records of each file (:func:`may_go_together`), framed alike.
    zone, envelope
        As in :func:`orders_dask.extract.decode.decode.decode`.

    Returns
    -------
    list of GoodFile or None
        The orders of each file; None for one that has to be decoded by itself.
    """
    if len(files) == 1 or is_little(*(file.text for file in files)):
        return [None] * len(files)
    good = _decode_all(files, zone, envelope)
    if good is not None:
        return [*good]
    middle = len(files) // 2
    halves = [_decode_all(half, zone, envelope) for half in (files[:middle], files[middle:])]
    if halves == [None, None]:  # records of this dump are seldom plainly good
        return [None] * len(files)
    sides = zip(halves, (files[:middle], files[middle:]), strict=True)
    return [
        each
        for decoded, half in sides
        for each in (decode_together(half, zone, envelope) if decoded is None else decoded)
    ]


def _decode_all(
    files: Sequence[Records], zone: ZoneInfo, envelope: Envelope | None
) -> list[GoodFile] | None:
    """Decode files together; None if a record of them is not plainly good."""
    numbers = [file.number for file in files]
    lines = Lines(b"".join(file.text for file in files))
    table, taken, unknown_keys = read_lines(lines, in_page=files[0].in_page, envelope=envelope)
    if len(taken) != len(lines):
        return None
    positions = [np.arange(1, number + 1) for number in numbers]
    orders, issues = convert_types(table, np.concatenate(positions), zone)
    if issues:
        return None
    return [
        GoodFile(orders.slice(first, number), _drift(unknown_keys, first, number))
        for first, number in zip(np.cumsum([0, *numbers[:-1]]).tolist(), numbers, strict=True)
    ]


def _drift(unknown_keys: UnknownKeys, first: int, number: int) -> DriftCounter:
    drift = DriftCounter()
    of_file = unknown_keys.of_lines(np.arange(first, first + number))
    count_unknown_keys(of_file, np.arange(1, number + 1), drift)
    return drift


def runs(files: Sequence[Records]) -> Iterator[slice]:
    """Yield the runs of files that are framed alike, of bounded size."""
    start = size = 0
    for number, file in enumerate(files):
        alike = (file.in_page, file.strict) == (files[start].in_page, files[start].strict)
        if number > start and not (alike and size + len(file.text) <= BLOCK_BYTES):
            yield slice(start, number)
            start, size = number, 0
        size += len(file.text)
    if files:
        yield slice(start, len(files))
