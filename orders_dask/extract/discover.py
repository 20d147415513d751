"""discover: the source URL becomes files, and these become splits, the work of one decode task each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import chain
from sys import intern
from typing import BinaryIO, Final

from fsspec.utils import glob_translate

from orders_dask.errors import DataRefused, SettingsError, SourceMissing
from orders_dask.extract.framing.file_signatures import HEAD_BYTES, is_binary
from orders_dask.extract.framing.files import member_file
from orders_dask.extract.framing.ndjson import detect_ndjson, strip_bom
from orders_dask.extract.records import CHUNK_BYTES, MIB, SourceFile, Split, Unreadable
from orders_dask.extract.source.compression import is_compressed, is_zip, list_members
from orders_dask.extract.source.object_store import RANDOM_READ_BYTES, etag, open_random_access
from orders_dask.filesystem import filesystem, translate_storage_errors
from orders_dask.settings import STAGE_FOLDER, split_zip_url

__all__ = ["SourceFile", "Split", "discover", "filesystem"]

_GROUP_FILES: Final = 256
"""Files of one split, at most: at some 30 ms a file, that is 8 s of requests."""

MIN_SPLITS: Final = 8
"""Splits that a dump should make at the least, where it can: so many workers have something to do."""

MIN_SPLIT_BYTES: Final = 4 * MIB
"""Bytes that are worth a split of their own: some 3,500 orders in gzip, 0.4 s of decode beside 0.1 s for its part."""

_ALIGNMENT: Final = 32 * MIB
"""The same of plain text, some 5,000 orders, and as much as a split of whole files has, for these
may be compressed. A part costs 0.1 CPU s whatever its size: 1.3 GB of plain text in splits of 128
MiB took 0.77 of the time."""

_LIST_THREADS: Final = 8
"""Large files that are looked at at once: it is latency, not work."""


def discover(source: str, run_date: date, block_size: int) -> list[Split]:
    """List the files of a run date, straight from the store, and cut them into splits.

    Parameters
    ----------
    source
        The source URL, as ``_AWS_S3_URL_SOURCE``: an fsspec URL of a file, of a folder (all files
        below it) or with globs, that may hold ``{run_date}``; ``zip://PATTERN::URL`` means those
        members of the zips at URL that match PATTERN, which ends at the first ``::`` that a URL
        follows. Any other ``::`` is part of a name, as ``#``, ``%``, ``+`` and blanks are. In it
        ``[[]``, ``[*]`` and ``[?]`` stand for such a character, and ``{{`` and ``}}`` for a brace;
        in the names of what is listed every character stands for itself.
    run_date
        The date that ``{run_date}`` stands for.
    block_size
        Bytes of a split, at most, about. Plain newline-delimited text that is larger is cut into
        byte ranges, a larger zip into its members; smaller files go together. Splits are smaller
        where few workers would else have something to do.

    Returns
    -------
    list of Split
        Sorted by the first file's name (byte order of UTF-8) and the beginning of the range; the
        same for the same listing.

    Raises
    ------
    SettingsError
        The source URL is malformed, or the store refuses.
    SourceMissing
        There is no file.
    ServiceUnavailable
        The store can't be reached.
    SourceChanged
        A file changed since it was listed.
    """
    url = _of_date(source, run_date)
    pattern, place = split_zip_url(url)
    listed = _list(place)
    if pattern is not None:
        cuts = _map_files(partial(_expand_zip, matches=_matcher(pattern)), listed)
    else:
        most = _split_size(sum(file.size for file in listed), _ALIGNMENT, block_size)
        small = _CutPlan(whole=[(file, file.size) for file in listed if file.size <= most])
        large = [file for file in listed if file.size > most]
        cuts = [small, *_map_files(partial(_cut_file, block_size=most), large)]
    whole = sorted(chain(*(cut.whole for cut in cuts)), key=lambda sized: _order(sized[0]))
    splits = [
        *_group_small(
            whole,
            _split_size(
                sum(size for _, size in whole), MIN_SPLIT_BYTES, min(_ALIGNMENT, block_size)
            ),
        ),
        *chain(*(cut.splits for cut in cuts)),
    ]
    if not splits:
        raise SourceMissing(
            f"There is no file for run date {run_date} at {url}: check _AWS_S3_URL_SOURCE, or "
            "whether the dump is there."
        )
    return sorted(splits, key=lambda split: (_order(split.files[0]), split.start or 0))


@dataclass(frozen=True)
class _CutPlan:
    """What becomes of objects: splits, and files that are read whole, with their bytes of work."""

    splits: list[Split] = field(default_factory=list)
    whole: list[tuple[SourceFile, int]] = field(default_factory=list)


def _map_files(look: Callable[[SourceFile], _CutPlan], files: list[SourceFile]) -> list[_CutPlan]:
    with ThreadPoolExecutor(_LIST_THREADS) as pool:
        return list(pool.map(look, files))


def _of_date(source: str, run_date: date) -> str:
    try:
        return source.format(run_date=run_date)
    except (LookupError, ValueError, AttributeError) as error:
        raise SettingsError(
            f"_AWS_S3_URL_SOURCE has a malformed field in {source!r}: only {{run_date}}, or {{run_date:%Y/%m/%d}} with "
            "codes of strftime, may stand in braces."
        ) from error


def _order(file: SourceFile) -> bytes:
    return file.name.encode(errors="surrogateescape")


def _list(url: str) -> list[SourceFile]:
    """List the files at `url`: itself, those below it, or those that match its globs and those below these."""
    try:
        with translate_storage_errors(url):
            fs, path = filesystem(url)
            fs.invalidate_cache()
            details = {}
            found = fs.glob(path, detail=True) if re.search(r"[*?[]", path) else {path: {}}
            for place, info in found.items():
                if info.get("type") == "file":
                    details[place] = info
                else:
                    details.update(fs.find(place, detail=True))
            details = {name: info or fs.info(name) for name, info in details.items()}
    except FileNotFoundError:
        return []
    except (ValueError, ImportError) as error:
        raise SettingsError(f"_AWS_S3_URL_SOURCE can't be listed at {url!r}: {error}") from error
    files = []
    for path, info in details.items():
        marks_folder = path.endswith("/") and info["size"] == 0
        if info["type"] == "file" and not marks_folder and STAGE_FOLDER not in path.split("/"):
            name = intern(fs.unstrip_protocol(path))  # as what is staged of it has it
            files.append(SourceFile(name, name, None, info["size"], etag(info)))
    return sorted(files, key=_order)


def _matcher(pattern: str) -> Callable[[str], bool]:
    """Tell which members of a zip `pattern` means: those that it matches, or all below the folder that it names."""
    pattern = pattern.strip("/")
    try:
        matches = re.compile(glob_translate(pattern)).match
    except ValueError as error:
        raise SettingsError(
            f"_AWS_S3_URL_SOURCE has a malformed pattern zip://{pattern}: {error}."
        ) from error
    return lambda name: not pattern or bool(matches(name)) or name.startswith(f"{pattern}/")


def _expand_zip(file: SourceFile, matches: Callable[[str], bool]) -> _CutPlan:
    """Take apart what the source URL says is a zip: as anything else it would be loaded whole, for every run date."""
    with open_random_access(file) as stream:
        if not is_zip(stream.read(4)):
            raise DataRefused(
                f"{file.name} is no zip, though _AWS_S3_URL_SOURCE names members of it by zip://: mend one of the two."
            )
    return _members(file, matches)


def _members(file: SourceFile, matches: Callable[[str], bool]) -> _CutPlan:
    """Take the zip `file` apart; one that can't be opened stays whole, and is found unreadable by who reads it."""
    try:
        with open_random_access(file) as stream:
            _, found = list_members(stream)
    except Unreadable:
        return _CutPlan(splits=[Split((file,))])
    return _CutPlan(
        whole=[
            (member_file(file, info.filename, info.compress_size), info.file_size)
            for info in found
            if matches(info.filename)
        ]
    )


def _cut_file(file: SourceFile, block_size: int) -> _CutPlan:
    """Cut a large object by what it is."""
    with open_random_access(file) as stream:
        head = stream.read(HEAD_BYTES)
        stream.seek(0)
        if is_zip(head):
            cut = _members(file, lambda name: True)
            # A zip without members is a file of the dump all the same, as a small one is.
            return cut if cut.splits or cut.whole else _CutPlan(splits=[Split((file,))])
        if is_compressed(head) or is_binary(head) or not _newline_delimited(stream):
            return _CutPlan(splits=[Split((file,))])
    starts = range(0, file.size, block_size)
    return _CutPlan([Split((file,), start, min(start + block_size, file.size)) for start in starts])


def _newline_delimited(stream: BinaryIO) -> bool:
    try:
        chunks = chain(
            [stream.read(RANDOM_READ_BYTES)], iter(partial(stream.read, CHUNK_BYTES), b"")
        )
        return detect_ndjson(strip_bom(chunks))[0]
    except Unreadable:
        return False


def _split_size(work: int, least: int, most: int) -> int:
    """Say how many bytes of work make a split, so that there are :data:`MIN_SPLITS`, within bounds.

    A power of two, so that with a file more the others nearly always stay in their splits, and
    their parts are used again.
    """
    return min(most, 1 << (max(work // MIN_SPLITS, least).bit_length() - 1))


def _group_small(files: Iterable[tuple[SourceFile, int]], group_size: int) -> Iterator[Split]:
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
