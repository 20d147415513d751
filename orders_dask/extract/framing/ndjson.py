"""Newline-delimited text: how it is told, and its lines as records."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from itertools import chain, count
from typing import BinaryIO, Final

import numpy as np

from orders_dask.extract.framing.documents import documents
from orders_dask.extract.framing.json_cursor import is_json
from orders_dask.extract.lines import line_ends
from orders_dask.extract.records import (
    BLOCK_RECORDS,
    CHUNK_BYTES,
    KEPT_RAW_BYTES,
    MAX_RECORD_BYTES,
    WHITESPACE,
    Records,
    Unreadable,
)

BOM: Final = b"\xef\xbb\xbf"
"""The byte-order mark of UTF-8."""

_LEADING = re.compile(rb"(?:[ \t\r]*+\n)*+")
_BLANK_LINES = re.compile(rb"\n(?:[ \t\r]*+\n)++")


def strip_bom(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Drop the byte-order mark of UTF-8 that a text may begin with.

    Raises
    ------
    Unreadable
        The text is plainly no UTF-8.
    """
    chunks = iter(chunks)
    first = next(chunks, b"").removeprefix(BOM)
    if first.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in first[:4]:
        raise Unreadable("the text is UTF-16 or binary, not UTF-8", first[:KEPT_RAW_BYTES])
    yield first
    yield from chunks


def detect_ndjson(chunks: Iterator[bytes]) -> tuple[bool, bytes]:
    """Tell whether a text is newline-delimited (:func:`is_ndjson`); give also what was read to tell.

    Parameters
    ----------
    chunks
        The text, cut anywhere, without a byte-order mark. No more of it is read than must be, and
        never more than two lines of :data:`~orders_dask.extract.records.MAX_RECORD_BYTES` bytes is
        held: blank lines before and between them are dropped.
    """
    head, whole = b"", False
    while (delimited := is_ndjson(head, whole)) is None:
        chunk = next(chunks, None)
        whole = chunk is None
        first, end, rest = (head + (chunk or b"")).lstrip(WHITESPACE).partition(b"\n")
        head = first + end + rest.lstrip(WHITESPACE)
    return delimited, head


def is_ndjson(head: bytes, complete: bool) -> bool | None:
    """Tell whether a text is newline-delimited.

    It is when its first non-blank line is by itself a complete JSON object or array; failing that,
    when its second is and the first doesn't end in ``[``, ``{``, ``,`` or ``:``. Lines of more than
    :data:`~orders_dask.extract.records.MAX_RECORD_BYTES` are never taken for such.

    Parameters
    ----------
    head
        The beginning of the text, without a byte-order mark.
    complete
        It is the whole text.

    Returns
    -------
    bool or None
        None: more of the text is needed to tell. Of a blank text, any answer is right.
    """
    lines = head if complete else head[: head.rfind(b"\n") + 1]
    more = None if not complete and len(head) - len(lines) <= MAX_RECORD_BYTES else False
    first, rest = _first_line(lines)
    if not first:
        return more
    if _container(first):
        return True
    if first.endswith((b"[", b"{", b",", b":")):
        return False
    second, _ = _first_line(rest)
    return _container(second) if second else more


def _first_line(text: bytes) -> tuple[bytes, bytes]:
    """Give the first line that is not blank, without blanks around it, and what follows it."""
    line, _, rest = text.lstrip(WHITESPACE).partition(b"\n")
    return line.rstrip(WHITESPACE), rest


def _container(line: bytes) -> bool:
    whole = line.startswith((b"{", b"[")) and line.endswith((b"}", b"]"))
    return whole and len(line) <= MAX_RECORD_BYTES and is_json(line)


def split_lines(chunks: Iterable[bytes]) -> Iterator[Records]:
    """Give the lines of newline-delimited text, but for blank ones.

    A line of more than :data:`~orders_dask.extract.records.MAX_RECORD_BYTES` bytes is read as a
    document, record by record. Where that fails, its beginning is given with a `framing_error`.

    Parameters
    ----------
    chunks
        The text, cut anywhere.
    """
    chunks = iter(chunks)
    held: list[bytes] = []
    long_lines = count()
    chunk = next(chunks, None)
    while chunk is not None:
        end = chunk.find(b"\n") if b"\n" in chunk else len(chunk)
        if sum(map(len, held)) + end > MAX_RECORD_BYTES:
            begin = b"".join((*held, chunk[:end]))
            chunk = yield from _long_line(begin, chain([chunk[end:]], chunks), next(long_lines))
            held = []
            continue
        cut = chunk.rfind(b"\n") + 1
        if cut:
            yield from _line_block(b"".join((*held, memoryview(chunk)[:cut])))
            held = []
        held.append(chunk[cut:])
        chunk = next(chunks, None)
    last = b"".join(held)
    if last.strip(WHITESPACE):
        yield Records(last, in_page=False, strict=False)


def _line_block(text: bytes) -> Iterator[Records]:
    ends = line_ends(text)
    begins = np.frombuffer(text, np.uint8)[np.append(0, ends[:-1] + 1)]
    # Looked for where a line begins, as the pattern's way through the text took 5 us an order.
    if np.isin(begins, np.frombuffer(WHITESPACE, np.uint8)).any():
        leading = _LEADING.match(text)
        text = _BLANK_LINES.sub(b"\n", text[leading.end() :] if leading else text)
        ends = line_ends(text)
    begin = 0
    for first in range(0, len(ends), BLOCK_RECORDS):
        some = ends[first : first + BLOCK_RECORDS]
        end = int(some[-1]) + 1
        yield Records(text[begin:end], in_page=False, strict=False, number=len(some))
        begin = end


def _long_line(
    begin: bytes, chunks: Iterator[bytes], number: int
) -> Generator[Records, None, bytes]:
    """Give the records of a line that is too long for memory; return the text behind it."""
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
            begin[:KEPT_RAW_BYTES] + b"\n",
            in_page=False,
            strict=False,
            long_line=number,
            framing_error=error.message,
        )
    return behind


def lines_in_range(
    text: BinaryIO, random_access: BinaryIO, start: int, end: int
) -> Iterator[bytes]:
    """Read the lines that begin in the bytes [start, end) of a text, the last of them to its end.

    Parameters
    ----------
    text
        The text, to be read through up to `end`.
    random_access
        The same, to look where the first line begins and the last one ends.
    start, end
        The range.

    Yields
    ------
    bytes
        Chunks of at most :data:`~orders_dask.extract.records.CHUNK_BYTES` bytes.
    """
    at = start
    if start:
        # A line begins at `start` only if the byte before it ends one.
        random_access.seek(start - 1)
        at -= 1
        while at < end and (passed := random_access.readline(CHUNK_BYTES)):
            at += len(passed)
            if passed.endswith(b"\n"):
                break
    text.seek(at)
    chunk = b"\n"
    while at < end and (chunk := text.read(min(CHUNK_BYTES, end - at))):
        at += len(chunk)
        yield chunk
    random_access.seek(at)
    while not chunk.endswith(b"\n") and (chunk := random_access.readline(CHUNK_BYTES)):
        yield chunk
