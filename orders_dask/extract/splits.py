"""Cut files into splits, the work of one decode task each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import chain
from typing import BinaryIO, Final, NamedTuple

from orders_dask.extract.framing.file_signatures import HEAD_BYTES, is_binary
from orders_dask.extract.records import CHUNK_BYTES, MIB, SourceFile, Split, Unreadable
from orders_dask.extract.source.compression import is_compressed, is_zip, list_members
from orders_dask.extract.source.listing import listing_order
from orders_dask.extract.source.object_store import RANDOM_READ_BYTES, open_random_access

_MAX_GROUP_FILES: Final = 256
"""Maximum files of one split: at 30 ms a file, 8 s of requests."""

MIN_SPLITS: Final = 8
"""Splits that a dump is cut into where it is large enough: work for as many workers."""

MIN_SPLIT_BYTES: Final = 4 * MIB
"""Bytes that are worth a split: 0.4 s of decode beside 0.1 s for its part."""

_MIN_TEXT_SPLIT_BYTES: Final = 32 * MIB
"""The same for plain text, which is cheaper to decode: about 5,000 orders.

It is also the maximum of a group of whole files, because these may be compressed.
"""

_INSPECT_THREADS: Final = 8
"""Large files that are inspected at once: what counts is latency, not CPU."""


@dataclass(frozen=True)
class CutPlan:
    """How files are read: as splits of their own, or grouped with others.

    Attributes
    ----------
    splits
        Splits that are complete already.
    whole
        Files that are read whole, each with its bytes of work. :func:`make_splits` groups them.
    """

    splits: list[Split] = field(default_factory=list)
    whole: list[tuple[SourceFile, int]] = field(default_factory=list)


def plan_cuts(files: list[SourceFile], block_size: int) -> list[CutPlan]:
    """Plan how files are cut, depending on their size and content.

    Parameters
    ----------
    files
        The listing.
    block_size
        Maximum bytes of a split, roughly.
    """
    most = _split_size(sum(file.size for file in files), _MIN_TEXT_SPLIT_BYTES, block_size)
    small = CutPlan(whole=[(file, file.size) for file in files if file.size <= most])
    large = [file for file in files if file.size > most]
    return [small, *map_files(partial(_cut_file, block_size=most), large)]


def make_splits(plans: list[CutPlan], block_size: int) -> list[Split]:
    """Group the whole files of all plans and return all splits in the order of the listing."""
    whole = sorted(
        chain.from_iterable(plan.whole for plan in plans), key=lambda item: listing_order(item[0])
    )
    group_size = _split_size(
        sum(size for _, size in whole), MIN_SPLIT_BYTES, min(_MIN_TEXT_SPLIT_BYTES, block_size)
    )
    splits = [
        *_group_files(whole, group_size),
        *chain.from_iterable(plan.splits for plan in plans),
    ]
    return sorted(splits, key=lambda split: (listing_order(split.files[0]), split.start or 0))


def map_files(plan: Callable[[SourceFile], CutPlan], files: list[SourceFile]) -> list[CutPlan]:
    """Plan each file on its own, several at once; the plans are in the order of the files."""
    with ThreadPoolExecutor(_INSPECT_THREADS) as pool:
        return list(pool.map(plan, files))


def cut_into_members(file: SourceFile, matches: Callable[[str], bool]) -> CutPlan:
    """Plan to read the members of a zip whose names match.

    A zip that can't be opened stays whole. Decode then rejects it as unreadable.
    """
    try:
        members = _members(file)
    except Unreadable:
        return CutPlan(splits=[Split((file,))])
    return CutPlan(
        whole=[
            (file.member_of(member.name, member.compressed), member.size)
            for member in members
            if matches(member.name)
        ]
    )


class _Member(NamedTuple):
    """A member of a zip: its name, and its size compressed and not."""

    name: str
    compressed: int
    size: int


@lru_cache(maxsize=2)
def _members(file: SourceFile) -> list[_Member]:
    """List the members of a zip; once for all run dates that are in it, as long as it is the same.

    A zip of 60 days was opened 60 times, with three requests each.
    """
    with open_random_access(file) as stream:
        _, members = list_members(stream)
    return [_Member(info.filename, info.compress_size, info.file_size) for info in members]


def _cut_file(file: SourceFile, block_size: int) -> CutPlan:
    """Plan how a large file is cut, by its content.

    A zip is cut into members, plain newline-delimited text into byte ranges. Any other file is one
    split, because its records can't be found from its middle.
    """
    with open_random_access(file) as stream:
        head = stream.read(HEAD_BYTES)
        stream.seek(0)
        if is_zip(head):
            plan = cut_into_members(file, lambda name: True)
            # A zip without members is a file of the dump too: the ledger lists it.
            return plan if plan.splits or plan.whole else CutPlan(splits=[Split((file,))])
        if is_compressed(head) or is_binary(head) or not _is_newline_delimited(stream):
            return CutPlan(splits=[Split((file,))])
    starts = range(0, file.size, block_size)
    return CutPlan([Split((file,), start, min(start + block_size, file.size)) for start in starts])


def _is_newline_delimited(stream: BinaryIO) -> bool:
    from orders_dask.extract.framing.ndjson import detect_ndjson, strip_bom  # late: NumPy

    try:
        chunks = chain(
            [stream.read(RANDOM_READ_BYTES)], iter(partial(stream.read, CHUNK_BYTES), b"")
        )
        return detect_ndjson(strip_bom(chunks))[0]
    except Unreadable:
        return False


def _split_size(work: int, least: int, most: int) -> int:
    """Return the bytes of work of one split, so that there are :data:`MIN_SPLITS`, within bounds.

    The size is a power of two. So it hardly changes when a file is added, the other files stay in
    their splits, and their staged parts are reused.
    """
    return min(most, 1 << (max(work // MIN_SPLITS, least).bit_length() - 1))


def _group_files(files: Iterable[tuple[SourceFile, int]], group_size: int) -> Iterator[Split]:
    """Yield groups of consecutive files, of up to `group_size` bytes of work each."""
    group: list[SourceFile] = []
    work = 0
    for file, size in files:
        if group and (work + size > group_size or len(group) == _MAX_GROUP_FILES):
            yield Split(tuple(group))
            group, work = [], 0
        group.append(file)
        work += size
    if group:
        yield Split(tuple(group))
