"""Read the records of a split's files: plain, compressed or in zips, lines or documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, groupby, islice
from typing import BinaryIO, Final

from orders_dask.contract.rejects import Issue
from orders_dask.extract.framing.documents import documents
from orders_dask.extract.framing.file_signatures import HEAD_BYTES, describe, is_binary
from orders_dask.extract.framing.ndjson import detect_ndjson, lines_in_range, split_lines, strip_bom
from orders_dask.extract.records import (
    CHUNK_BYTES,
    Records,
    SourceFile,
    Split,
    Unreadable,
    coalesce,
)
from orders_dask.extract.source.compression import (
    decompress_twice,
    is_zip,
    list_members,
    read_member,
)
from orders_dask.extract.source.object_store import (
    open_fetched,
    open_random_access,
    open_sequential,
    prefetch_small,
)


def read_files(
    split: Split, fetched: Iterator[bytes | BaseException | None] | None = None
) -> Iterator[tuple[SourceFile, Iterator[Records]]]:
    """Read the files of a split, one after another.

    Memory is bounded by a block, a record and a decompressor, whatever the files' sizes.

    Parameters
    ----------
    split
        The files to read. A zip that is named as a whole is read member by member.
    fetched
        Yields the content of small objects, where those of several splits are fetched together
        (:func:`~orders_dask.extract.source.object_store.prefetch_small`); by default of this one.

    Yields
    ------
    SourceFile
        The file.
    iterator of Records
        Its records, to be consumed before the next file is requested. It raises
        :class:`Unreadable` where the file can't be read further; the next files can be.

    Raises
    ------
    StoredObjectChanged
        A file changed since it was listed.
    ServiceUnavailable
        The store can't be reached.
    """
    if fetched is None:
        fetched = prefetch_small([split])
    for _, files_of_object in groupby(split.files, lambda file: file.url):
        files = list(files_of_object)
        if split.start is not None and split.end is not None:
            with (
                open_sequential(files[0], split.start, split.end) as text,
                open_random_access(files[0]) as random_access,
            ):
                lines = lines_in_range(text, random_access, split.start, split.end)
                lines = lines if split.start else strip_bom(lines)
                yield files[0], coalesce(split_lines(lines))
            continue
        content = next(fetched)
        opened = open_sequential(files[0]) if content is None else open_fetched(files[0], content)
        del content
        with opened as stream:
            if files[0].member is not None:
                yield from _read_members(stream, files)
            elif is_zip(stream.read(4)):
                yield from _read_zip(stream, files[0])
            else:
                stream.seek(0)
                yield files[0], _frame(iter(partial(stream.read, CHUNK_BYTES), b""))


def _read_members(
    stream: BinaryIO, files: list[SourceFile]
) -> Iterator[tuple[SourceFile, Iterator[Records]]]:
    archive, members = list_members(stream)
    by_name = {info.filename: info for info in members}
    for file in files:
        yield file, _frame(read_member(archive, by_name[file.member or ""]))


def _read_zip(stream: BinaryIO, file: SourceFile) -> Iterator[tuple[SourceFile, Iterator[Records]]]:
    """Yield the members of a zip, or the zip itself if it has none or can't be opened."""
    try:
        archive, members = list_members(stream)
    except Unreadable as error:
        yield file, _raise_on_read(error)
        return
    if not members:
        yield file, iter(())
    for info in members:
        yield (
            file.member_of(info.filename, info.compress_size),
            _frame(read_member(archive, info)),
        )


def _raise_on_read(error: Unreadable) -> Iterator[Records]:
    yield from ()
    raise error


_NESTED: Final = Issue("", "nested_compression", 1, ())


def _frame(chunks: Iterator[bytes]) -> Iterator[Records]:
    """Yield the records of a file that is read from its beginning, whatever its content is."""
    chunks, is_nested = decompress_twice(chunks)
    first = next(chunks, b"")
    file_head = first[:HEAD_BYTES]
    chunks = strip_bom(chain([first], chunks))
    del first
    delimited = False
    try:
        if is_binary(file_head):
            raise Unreadable("it is no text", file_head)
        delimited, head = detect_ndjson(chunks)
        text = chain([head], chunks)
        blocks = coalesce(split_lines(text)) if delimited else documents(text)
        yield from _with_issue(blocks, _NESTED) if is_nested else blocks
    except Unreadable as error:
        if not delimited and (format_hint := describe(file_head)):
            raise Unreadable(format_hint, error.raw) from error
        raise


def _with_issue(blocks: Iterator[Records], issue: Issue) -> Iterator[Records]:
    """Return blocks, the first of them with one more issue."""

    def add(block: Records) -> Records:
        return replace(block, issues=(*block.issues, issue))

    # A generator would hold the text of the first block while the next one is read.
    return chain(map(add, islice(blocks, 1)), blocks)
