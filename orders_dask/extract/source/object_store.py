"""Open the objects of a dump, with prefetch. One that changed since its listing is an error."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from errno import EINVAL
from itertools import groupby, islice
from typing import Any, BinaryIO, Final, cast

from fsspec.caching import BackgroundBlockCache
from fsspec.spec import AbstractBufferedFile
from s3fs.utils import FileExpired

from orders_dask.errors import StoredObjectChanged
from orders_dask.extract.records import CHUNK_BYTES, MIB, SourceFile, Split
from orders_dask.filesystem import RawKeyFileSystem, listed_object, translate_storage_errors

RANGE_BYTES: Final = 16 * MIB
"""Bytes of a ranged read: about 200 ms of transfer from S3, well above the latency of a request."""

RANDOM_READ_BYTES: Final = MIB // 4
"""Bytes of a read at random positions of an object."""


def etag(details: Mapping[str, Any]) -> str:
    """Return a text that changes when a file's content does.

    On S3 it is the ETag, elsewhere size and modification time.

    Parameters
    ----------
    details
        The file's entry in fsspec's ``info`` or ``find``.
    """
    tag = str(details.get("ETag") or "").strip('"')
    modified = details.get("mtime", details.get("created"))
    return tag or f"{details['size']}-{modified}"


MAX_SMALL_BYTES: Final = MIB // 4
"""Bytes of an object that is fetched ahead with others."""

FETCHED_TOGETHER: Final = 32
"""Objects that are fetched at once, at most 8 MiB: botocore has 10 connections, and each waits."""


@contextmanager
def open_sequential(file: SourceFile, start: int = 0, end: int | None = None) -> Iterator[BinaryIO]:
    """Open an object for sequential reading, in the memory of three ranged reads.

    The next range is prefetched while one is decoded, which takes 0.975 of the time.

    Parameters
    ----------
    file
        The file, as listed.
    start, end
        The byte range that will be read. Text behind `end` is not fetched, and may seem missing.

    Yields
    ------
    BinaryIO
        The object.

    Raises
    ------
    StoredObjectChanged
        The object is not the one that was listed. Also raised by later reads.
    ServiceUnavailable
        The store can't be reached. Also raised by later reads.
    """
    with _open(file) as raw:
        if isinstance(raw, AbstractBufferedFile):  # a local file is not one
            raw.cache = _prefetching(raw, start, raw.size if end is None else end)
        with io.BufferedReader(_ObjectReader(raw, file), CHUNK_BYTES) as stream:
            yield cast(BinaryIO, stream)


def _prefetching(raw: AbstractBufferedFile, start: int, end: int) -> BackgroundBlockCache:
    """Return a cache that prefetches the next range of a file, up to `end`.

    s3fs has one, but with ``size=end`` it doesn't check that the object is unchanged.
    """

    def fetch(begin: int, stop: int) -> bytes:
        content: bytes = raw._fetch_range(begin, min(stop, end))
        return content

    # Ranges begin at multiples of their size. If `start` is a multiple of the whole length, one
    # range is best.
    length = min(max(end - start, 1), RANGE_BYTES)
    return BackgroundBlockCache(RANGE_BYTES if start % length else length, fetch, end, maxblocks=2)


def prefetch_small(splits: Iterable[Split]) -> Iterator[bytes | BaseException | None]:
    """Fetch small objects ahead, many at a time: their requests take latency, and little else.

    Parameters
    ----------
    splits
        Splits, in the order in which they are read.

    Yields
    ------
    bytes, error or None
        For each object of a split what it contains, or why it could not be had, for
        :func:`open_fetched`; None for one that is to be opened.
    """
    objects = (
        next(same)
        for split in splits
        for _, same in groupby(split.files, lambda file: file.url)
        if split.start is None
    )
    while some := list(islice(objects, FETCHED_TOGETHER)):
        fetched = _fetch([file for file in some if _is_small(file)])
        yield from (fetched.get(file.url) for file in some)


def _is_small(file: SourceFile) -> bool:
    is_strong = '"' not in file.etag  # a weak one, W/"...", can't be asked for
    return file.member is None and 0 < file.size <= MAX_SMALL_BYTES and is_strong


def _fetch(files: Sequence[SourceFile]) -> dict[str, bytes | BaseException]:
    """Return what small objects contain, by URL; nothing where the store is not S3."""
    if len(files) < 2:
        return {}
    paths = []
    for file in files:
        fs, path = listed_object(file.url)
        if not isinstance(fs, RawKeyFileSystem):
            return {}
        paths.append(path)
    objects = [(path, file.size, file.etag) for path, file in zip(paths, files, strict=True)]
    with translate_storage_errors(files[0].url):
        return dict(zip([file.url for file in files], fs.fetch(objects), strict=True))


@contextmanager
def open_fetched(file: SourceFile, content: bytes | BaseException) -> Iterator[BinaryIO]:
    """Open an object that was fetched; otherwise like :func:`open_sequential`."""
    with _translate_changes(file):
        if isinstance(content, OSError) and content.args[:1] == (EINVAL,):
            raise FileExpired(file.url, file.etag) from content
        if isinstance(content, BaseException):
            raise content
    yield io.BytesIO(content)


@contextmanager
def open_random_access(file: SourceFile) -> Iterator[BinaryIO]:
    """Open an object for reads at random positions; otherwise like :func:`open_sequential`."""
    with (
        _open(file) as raw,
        io.BufferedReader(_ObjectReader(raw, file), RANDOM_READ_BYTES) as stream,
    ):
        yield cast(BinaryIO, stream)


@contextmanager
def _open(file: SourceFile) -> Iterator[Any]:
    with _translate_changes(file):
        fs, path = listed_object(file.url)
        raw = fs.open(path, "rb", cache_type="none")
        if etag(getattr(raw, "details", None) or fs.info(path)) != file.etag:
            raise FileExpired(file.url, file.etag)
    with raw:
        yield raw


@contextmanager
def _translate_changes(file: SourceFile) -> Iterator[None]:
    try:
        with translate_storage_errors(file.url):
            yield
    except (FileNotFoundError, FileExpired) as error:
        raise StoredObjectChanged(
            f"{file.url} changed between its listing and its reading: run the date again."
        ) from error


class _ObjectReader(io.RawIOBase):
    """An object as an ``io`` stream, so that ``zipfile`` can read it: only needed ranges travel.

    Storage errors in reading are translated, so they are never taken for bad content.
    """

    def __init__(self, file: Any, source: SourceFile) -> None:
        self._file = file
        self._source = source

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return int(self._file.seek(offset, whence))
        except ValueError as error:  # fsspec raises it for a negative position
            raise OSError(EINVAL, str(error)) from error  # zipfile expects this, as of other files

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any, /) -> int:
        with _translate_changes(self._source):
            content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)
