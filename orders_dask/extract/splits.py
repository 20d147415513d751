"""Files become splits, the work of one decode task each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import BinaryIO, Final

from orders_dask.extract.framing.file_signatures import HEAD_BYTES, is_binary
from orders_dask.extract.framing.files import member_file
from orders_dask.extract.framing.ndjson import detect_ndjson, strip_bom
from orders_dask.extract.records import CHUNK_BYTES, MIB, SourceFile, Split, Unreadable
from orders_dask.extract.source.compression import is_compressed, is_zip, list_members
from orders_dask.extract.source.object_store import RANDOM_READ_BYTES, open_random_access

_GROUP_FILES: Final = 256
"""Files of one split, at most: at some 30 ms a file, that is 8 s of requests."""

MIN_SPLITS: Final = 8
"""Splits that a dump should make at the least, where it can: so many workers have something to do."""

MIN_SPLIT_BYTES: Final = 4 * MIB
"""Bytes that are worth a split of their own: some 3,500 orders in gzip, 0.4 s of decode beside 0.1 s for its part."""

ALIGNMENT: Final = 32 * MIB
"""The same of plain text, some 5,000 orders, and as much as a split of whole files has, for these
may be compressed. A part costs 0.1 CPU s whatever its size: 1.3 GB of plain text in splits of 128
MiB took 0.77 of the time."""

_LIST_THREADS: Final = 8
"""Large files that are looked at at once: it is latency, not work."""


@dataclass(frozen=True)
class CutPlan:
    """What becomes of objects: splits, and files that are read whole, with their bytes of work."""

    splits: list[Split] = field(default_factory=list)
    whole: list[tuple[SourceFile, int]] = field(default_factory=list)


def map_files(look: Callable[[SourceFile], CutPlan], files: list[SourceFile]) -> list[CutPlan]:
    """Apply a function to files, several at once, in their order."""
    with ThreadPoolExecutor(_LIST_THREADS) as pool:
        return list(pool.map(look, files))


def cut_into_members(file: SourceFile, matches: Callable[[str], bool]) -> CutPlan:
    """Take the zip `file` apart; one that can't be opened stays whole, and is found unreadable by who reads it."""
    try:
        with open_random_access(file) as stream:
            _, found = list_members(stream)
    except Unreadable:
        return CutPlan(splits=[Split((file,))])
    return CutPlan(
        whole=[
            (member_file(file, info.filename, info.compress_size), info.file_size)
            for info in found
            if matches(info.filename)
        ]
    )


def cut_file(file: SourceFile, block_size: int) -> CutPlan:
    """Cut a large object by what it is."""
    with open_random_access(file) as stream:
        head = stream.read(HEAD_BYTES)
        stream.seek(0)
        if is_zip(head):
            cut = cut_into_members(file, lambda name: True)
            # A zip without members is a file of the dump all the same, as a small one is.
            return cut if cut.splits or cut.whole else CutPlan(splits=[Split((file,))])
        if is_compressed(head) or is_binary(head) or not _newline_delimited(stream):
            return CutPlan(splits=[Split((file,))])
    starts = range(0, file.size, block_size)
    return CutPlan([Split((file,), start, min(start + block_size, file.size)) for start in starts])


def _newline_delimited(stream: BinaryIO) -> bool:
    try:
        chunks = chain(
            [stream.read(RANDOM_READ_BYTES)], iter(partial(stream.read, CHUNK_BYTES), b"")
        )
        return detect_ndjson(strip_bom(chunks))[0]
    except Unreadable:
        return False


def split_size(work: int, least: int, most: int) -> int:
    """Say how many bytes of work make a split, so that there are :data:`MIN_SPLITS`, within bounds.

    A power of two, so that with a file more the others nearly always stay in their splits, and
    their parts are used again.
    """
    return min(most, 1 << (max(work // MIN_SPLITS, least).bit_length() - 1))


def group_small(files: Iterable[tuple[SourceFile, int]], group_size: int) -> Iterator[Split]:
    """Put files together, in their order, up to `group_size` bytes of work and :data:`_GROUP_FILES` files."""
    group: list[SourceFile] = []
    work = 0
    for file, size in files:
        if group and (work + size > group_size or len(group) == _GROUP_FILES):
            yield Split(tuple(group))
            group, work = [], 0
        group.append(file)
        work += size
    if group:
        yield Split(tuple(group))
