"""The files of a split become records, whatever they are packed in."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import chain, groupby
from typing import BinaryIO

from orders_dask.extract.framing.documents import documents, elements
from orders_dask.extract.framing.file_signatures import LOOK, is_binary, looks_like
from orders_dask.extract.framing.ndjson import lines, lines_within, sniffed, unmarked
from orders_dask.extract.records import CHUNK, Records, SourceFile, Split, Unreadable, gathered
from orders_dask.extract.source.compression import is_zip, member, members, plain
from orders_dask.extract.source.object_store import opened, places

__all__ = ["Records", "SourceFile", "Split", "Unreadable", "elements", "texts"]


def texts(split: Split) -> Iterator[tuple[SourceFile, Iterator[Records]]]:
    """Read the files of a split, one after another.

    Memory is that of a block, a record and a decompressor, whatever the files' sizes.

    Parameters
    ----------
    split
        What to read. A zip in it that is named whole is given member by member.

    Yields
    ------
    SourceFile
        The file.
    iterator of Records
        Its records, to be read before the next file is asked for. It raises :class:`Unreadable` where the file can't be
        read further; the files after it stand.

    Raises
    ------
    SourceChanged, ServiceUnavailable
        A file is not the one that was listed, or can't be reached.
    """
    for _, of_object in groupby(split.files, lambda file: file.url):
        files = list(of_object)
        if split.start is not None and split.end is not None:
            with (
                opened(files[0], split.start, split.end) as text,
                places(files[0]) as some,
            ):
                within = lines_within(text, some, split.start, split.end)
                yield files[0], gathered(lines(within if split.start else unmarked(within)))
            continue
        with opened(files[0]) as stream:
            if files[0].member is not None:
                yield from _members(stream, files)
            elif is_zip(stream.read(4)):
                yield from _zip(stream, files[0])
            else:
                stream.seek(0)
                yield files[0], _records(iter(partial(stream.read, CHUNK), b""))


def _members(
    stream: BinaryIO, files: list[SourceFile]
) -> Iterator[tuple[SourceFile, Iterator[Records]]]:
    archive, found = members(stream)
    by_name = {info.filename: info for info in found}
    for file in files:
        yield file, _records(member(archive, by_name[file.member or ""]))


def _zip(stream: BinaryIO, file: SourceFile) -> Iterator[tuple[SourceFile, Iterator[Records]]]:
    """Give the members of a zip; the zip itself if it has none, or can't be opened."""
    try:
        archive, found = members(stream)
    except Unreadable as error:
        yield file, _failing(error)
        return
    if not found:
        yield file, iter(())
    for info in found:
        yield member_file(file, info.filename, info.compress_size), _records(member(archive, info))


def member_file(file: SourceFile, name: str, size: int) -> SourceFile:
    """Name a member of the zip `file`; `size` is compressed."""
    return SourceFile(f"zip://{name}::{file.name}", file.url, name, size, file.etag)


def _failing(error: Unreadable) -> Iterator[Records]:
    yield from ()
    raise error


def _records(chunks: Iterator[bytes]) -> Iterator[Records]:
    """Give the records of a file that is read from its beginning."""
    chunks = plain(chunks)
    first = next(chunks, b"")
    begin = first[:LOOK]
    chunks = unmarked(chain([first], chunks))
    del first
    delimited = False
    try:
        if is_binary(begin):
            raise Unreadable("it is no text", begin)
        delimited, head = sniffed(chunks)
        text = chain([head], chunks)
        yield from gathered(lines(text)) if delimited else documents(text)
    except Unreadable as error:
        if not delimited and (guess := looks_like(begin)):
            raise Unreadable(guess, error.raw) from error
        raise
