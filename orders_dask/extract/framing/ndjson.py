"""Newline-delimited text (NDJSON): detect it, and read its lines as records."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from itertools import chain, count
from typing import BinaryIO

import numpy as np

from orders_dask.contract.json_parser import MAX_RAW_BYTES
from orders_dask.extract.framing.documents import documents
from orders_dask.extract.framing.json_cursor import is_json
from orders_dask.extract.lines import line_ends
from orders_dask.extract.records import (
    BLOCK_RECORDS,
    BOM,
    CHUNK_BYTES,
    MAX_RECORD_BYTES,
    WHITESPACE,
    Records,
    Unreadable,
)

_LEADING = re.compile(rb"(?:[ \t\r]*+\n)*+")
_BLANK_LINES = re.compile(rb"\n(?:[ \t\r]*+\n)++")


def strip_bom(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Remove the byte-order mark of UTF-8 that a text may begin with.

    Yields
    ------
    bytes
        The chunks, the first of them without the mark.

    Raises
    ------
    Unreadable
        The text is certainly not UTF-8.
    """
    chunks = iter(chunks)
    first = next(chunks, b"").removeprefix(BOM)
    if first.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in first[:4]:
        raise Unreadable("the text is UTF-16 or binary, not UTF-8", first[:MAX_RAW_BYTES])
    yield first
    yield from chunks


def detect_ndjson(chunks: Iterator[bytes]) -> tuple[bool, bytes]:
    """Return whether a text is newline-delimited (:func:`is_ndjson`), and the text read so far.

    Parameters
    ----------
    chunks
        The text, cut anywhere, without a byte-order mark. It is read only as far as necessary. At
        most two lines of :data:`~orders_dask.extract.records.MAX_RECORD_BYTES` bytes are in memory:
        blank lines before and between them are dropped.
    """
    head, complete = b"", False
    while (delimited := is_ndjson(head, complete)) is None:
        chunk = next(chunks, None)
        complete = chunk is None
        text = head + (chunk or b"")
        first, end, rest = text.lstrip(WHITESPACE).partition(b"\n")
        head = first + end + rest.lstrip(WHITESPACE)
    return delimited, head


def is_ndjson(head: bytes, complete: bool) -> bool | None:
    """Return whether a text is newline-delimited: see docs/contract.md#input-documents.

    It is if its first non-blank line is by itself a complete JSON object or array. If not, it is if
    its second line is one, and the first doesn't end in ``[``, ``{``, ``,`` or ``:``. Lines of more
    than :data:`~orders_dask.extract.records.MAX_RECORD_BYTES` bytes never count as complete.

    Parameters
    ----------
    head
        The beginning of the text, without a byte-order mark.
    complete
        `head` is the whole text.

    Returns
    -------
    bool or None
        None if more of the text is needed. For a blank text either answer is right.
    """
    lines = head if complete else head[: head.rfind(b"\n") + 1]
    undecided = None if not complete and len(head) - len(lines) <= MAX_RECORD_BYTES else False
    first, rest = _first_line(lines)
    if not first:
        return undecided
    if _is_complete_document(first):
        return True
    if first.endswith((b"[", b"{", b",", b":")):
        return False
    second, _ = _first_line(rest)
    return _is_complete_document(second) if second else undecided


def _first_line(text: bytes) -> tuple[bytes, bytes]:
    """Return the first non-blank line, without blanks around it, and the text behind it."""
    line, _, rest = text.lstrip(WHITESPACE).partition(b"\n")
    return line.rstrip(WHITESPACE), rest


def _is_complete_document(line: bytes) -> bool:
    has_brackets = line.startswith((b"{", b"[")) and line.endswith((b"}", b"]"))
    return has_brackets and len(line) <= MAX_RECORD_BYTES and is_json(line)


def split_lines(chunks: Iterable[bytes]) -> Iterator[Records]:
    """Yield the non-blank lines of newline-delimited text.

    A line of more than :data:`~orders_dask.extract.records.MAX_RECORD_BYTES` bytes is read as a
    document, record by record. If that fails, its beginning is yielded with a `framing_error`.

    Parameters
    ----------
    chunks
        The text, cut anywhere.

    Yields
    ------
    Records
        In the order of the lines.
    """
    chunks = iter(chunks)
    buffered: list[bytes] = []
    long_lines = count()
    chunk = next(chunks, None)
    while chunk is not None:
        end = chunk.find(b"\n") if b"\n" in chunk else len(chunk)
        if sum(map(len, buffered)) + end > MAX_RECORD_BYTES:
            begin = b"".join((*buffered, chunk[:end]))
            more = chain([chunk[end:]], chunks)
            chunk = yield from _long_line(begin, more, next(long_lines))
            buffered = []
            continue
        cut = chunk.rfind(b"\n") + 1
        if cut:
            text = b"".join((*buffered, memoryview(chunk)[:cut]))
            yield from _line_block(text)
            buffered = []
        buffered.append(chunk[cut:])
        chunk = next(chunks, None)
    last = b"".join(buffered)
    if last.strip(WHITESPACE):
        yield Records(last, in_page=False, strict=False)


def _line_block(text: bytes) -> Iterator[Records]:
    ends = line_ends(text)
    begins = np.frombuffer(text, np.uint8)[np.append(0, ends[:-1] + 1)]
    # Only the begin of each line is examined first: the pattern takes 5 us an order.
    if np.isin(begins, np.frombuffer(WHITESPACE, np.uint8)).any():
        text = _without_blank_lines(text)
        ends = line_ends(text)
    begin = 0
    for first in range(0, len(ends), BLOCK_RECORDS):
        block_ends = ends[first : first + BLOCK_RECORDS]
        end = int(block_ends[-1]) + 1
        yield Records(text[begin:end], in_page=False, strict=False, number=len(block_ends))
        begin = end


def _without_blank_lines(text: bytes) -> bytes:
    leading = _LEADING.match(text)
    return _BLANK_LINES.sub(b"\n", text[leading.end() :] if leading else text)


def _long_line(
    begin: bytes, chunks: Iterator[bytes], number: int
) -> Generator[Records, None, bytes]:
    """Yield the records of a line that is too long for memory; return the text behind it."""
    behind = b""

    def line() -> Iterator[bytes]:
        nonlocal behind
        yield begin
        for chunk in chunks:
            text, end, behind = chunk.partition(b"\n")
            yield text
            if end:
                return

    pieces = line()
    try:
        for records in documents(pieces):
            yield replace(records, long_line=number)
    except Unreadable as error:
        for _ in pieces:
            pass
        yield Records(
            begin[:MAX_RAW_BYTES] + b"\n",
            in_page=False,
            strict=False,
            long_line=number,
            framing_error=error.message,
        )
    return behind


def lines_in_range(
    text: BinaryIO, random_access: BinaryIO, start: int, end: int
) -> Iterator[bytes]:
    """Return the lines of a text that begin in its bytes [start, end).

    Parameters
    ----------
    text
        The text, read sequentially up to `end`.
    random_access
        The same text, for finding the beginning of the first line and the end of the last one.
    start, end
        The range.

    Returns
    -------
    iterator of bytes
        Chunks of at most :data:`~orders_dask.extract.records.CHUNK_BYTES` bytes. The last line is
        complete, even if it ends behind `end`.
    """
    at = start
    if start:
        # A line begins at `start` only if the byte before it ends one.
        random_access.seek(start - 1)
        at -= 1
        while at < end and (skipped := random_access.readline(CHUNK_BYTES)):
            at += len(skipped)
            if skipped.endswith(b"\n"):
                break
    return _lines_from(text, random_access, at, end)


def _lines_from(text: BinaryIO, random_access: BinaryIO, at: int, end: int) -> Iterator[bytes]:
    text.seek(at)
    chunk = b"\n"
    while at < end and (chunk := text.read(min(CHUNK_BYTES, end - at))):
        at += len(chunk)
        yield chunk
    random_access.seek(at)
    while not chunk.endswith(b"\n") and (chunk := random_access.readline(CHUNK_BYTES)):
        yield chunk
