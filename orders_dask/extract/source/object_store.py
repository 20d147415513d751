"""The objects of a dump, opened as they were listed."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from errno import EINVAL
from typing import Any, BinaryIO, Final, cast

from fsspec.caching import BackgroundBlockCache
from fsspec.spec import AbstractBufferedFile
from s3fs.utils import FileExpired

from orders_dask.errors import StoredObjectChanged
from orders_dask.extract.records import CHUNK_BYTES, MIB, SourceFile
from orders_dask.filesystem import listed_object, translate_storage_errors

RANGE_BYTES: Final = 16 * MIB
"""Bytes of a ranged read: some 200 ms of transfer from S3, well above the latency of a request. An
S3 server on the same machine took 6.5 ms of CPU a MB for ranges of 4 MiB, 4.0 for 8, 3.0 for 16 and
2.4 for 32."""

RANDOM_READ_BYTES: Final = MIB // 4
"""Bytes that are read at once where only places in an object are wanted."""


def etag(details: Mapping[str, Any]) -> str:
    """Give what changes when a file's content does: its ETag, elsewhere its size and time of change.

    Parameters
    ----------
    details
        What fsspec's ``info`` or a listing says of the file.
    """
    tag = str(details.get("ETag") or "").strip('"')
    changed = details.get("mtime", details.get("created"))
    return tag or f"{details['size']}-{changed}"


@contextmanager
def open_sequential(file: SourceFile, start: int = 0, end: int | None = None) -> Iterator[BinaryIO]:
    """Open the object of `file` to be read through, in the memory of three ranged reads.

    The next range is fetched while one is decoded: a run against an S3 on the same machine took
    0.975 of the time.

    Parameters
    ----------
    file
        The file, as listed.
    start, end
        Where reading begins and ends. What is behind `end` is not fetched, and may seem not to be
        there.

    Raises
    ------
    SourceChanged
        The object is not the one that was listed; also while it is read.
    ServiceUnavailable
        The store can't be reached; also while it is read.
    """
    with _open(file) as raw:
        if isinstance(raw, AbstractBufferedFile):  # one on this machine is not
            raw.cache = _prefetching(raw, start, raw.size if end is None else end)
        with io.BufferedReader(_Object(raw, file), CHUNK_BYTES) as stream:
            yield cast(BinaryIO, stream)


def _prefetching(raw: AbstractBufferedFile, start: int, end: int) -> BackgroundBlockCache:
    """Make what fetches the next range of a file beforehand.

    s3fs would make it by itself, but, told where to end (`size`), not ask whether the object is
    still the same.
    """

    def fetch(begin: int, until: int) -> bytes:
        content: bytes = raw._fetch_range(begin, min(until, end))
        return content

    # Ranges begin at multiples of their size: one of the whole length is best, where `start` is
    # such a multiple.
    length = min(max(end - start, 1), RANGE_BYTES)
    return BackgroundBlockCache(RANGE_BYTES if start % length else length, fetch, end, maxblocks=2)


@contextmanager
def open_random_access(file: SourceFile) -> Iterator[BinaryIO]:
    """Open the object of `file` to read some places in it; for the rest as :func:`open_sequential`."""
    with _open(file) as raw, io.BufferedReader(_Object(raw, file), RANDOM_READ_BYTES) as stream:
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


class _Object(io.RawIOBase):
    """The bytes of an object. What goes wrong in reading them is never taken for a fault of theirs.

    An ``io`` class, so that ``zipfile`` can read from it: only ranges that are wanted travel.
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
        except ValueError as error:  # fsspec's, of a place before the beginning
            raise OSError(EINVAL, str(error)) from error  # as other files do, and zipfile expects

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any, /) -> int:
        with _translate_changes(self._source):
            content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)
