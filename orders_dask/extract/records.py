"""What the way from the source URL to records hands on: files, splits of the work, and records as text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
"""Row numbers, from 0."""


MIB: Final = 1 << 20


CHUNK_BYTES: Final = MIB
"""Bytes of text that are read or decompressed at once: with what is made of them they stay in the
processor's cache until they are joined to a block. In chunks of 8 MiB decode without its JSON
reader took 1.06 times as long."""


BLOCK_BYTES: Final = 16 * MIB
"""Bytes of text that are decoded together, some 2,500 orders of 6.6 KB. With 24 and 32 MiB a run of
200,000 took as long (medians of four turns: 7.15, 7.17 and 7.13 s) and up to 40 MB more of a
worker's memory."""


BLOCK_RECORDS: Final = 50_000
"""Records that travel together, at most: refused ones take some 700 bytes each, however short they are."""


MAX_RECORD_BYTES: Final = 16 * MIB
"""Bytes of the largest single record that is read. Real orders have some KB, with 500 lines below 1
MB. What Python makes of a hostile one, such as ``[0,0,…``, takes up to 40 times its text."""


MAX_REJECTED: Final = 100_000
"""Refused records that are bearable: a file or block with more is not read further (:class:`Unreadable`)."""


KEPT_RAW_BYTES: Final = 64 * 1024
"""Bytes of a refused text that are kept, as the ledger's ``rejected_record`` does."""


WHITESPACE: Final = b" \t\r\n"
"""The white space of JSON: https://www.rfc-editor.org/rfc/rfc8259#section-2"""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the dump: an object, or a member of a zip.

    Attributes
    ----------
    name
        Full name, for people and the ledger: ``s3://bucket/key`` or
        ``zip://MEMBER::s3://bucket/key.zip``.
    url
        The object to open.
    member
        Name of the zip's member, or None.
    size
        Bytes as stored; of a member, compressed.
    etag
        The object's S3 ETag, or what stands for it on other file systems; a member has its zip's.
    """

    name: str
    url: str
    member: str | None
    size: int
    etag: str


@dataclass(frozen=True)
class Split:
    """The work of one decode task. Small, and without secrets.

    Attributes
    ----------
    files
        The files to read, whole, in this order.
    start, end
        Where given: of the only file, which is plain newline-delimited text, the lines that begin
        in the bytes [start, end).
    """

    files: tuple[SourceFile, ...]
    start: int | None = None
    end: int | None = None

    def __str__(self) -> str:
        """Say what is read, for people."""
        if self.end is not None:
            return f"{self.files[0].name}, bytes {self.start} to {self.end}"
        more = f" and {len(self.files) - 1} more files" if len(self.files) > 1 else ""
        return self.files[0].name + more

    @property
    def size(self) -> int:
        """Bytes that are read, as stored."""
        if self.start is not None and self.end is not None:
            return self.end - self.start
        return sum(file.size for file in self.files)

    @property
    def identity(self) -> str:
        """What the split's content depends on, as text: the files' names and ETags, and the range."""
        files = [(file.name, file.etag) for file in self.files]
        return json.dumps([files, self.start, self.end])


@dataclass(frozen=True)
class Records:
    """Some consecutive records of one file.

    Attributes
    ----------
    text
        One record a line, no blank lines. Each line ends in LF; a last line without one is the
        unterminated last line of newline-delimited text. A CR may stand in a line wherever JSON
        allows a blank.
    in_page
        The records stood inside a page or a wrapper: every object is an order. Elsewhere an object
        that has the key ``orders`` here is a page whose ``orders`` is no array.
    strict
        The text is not newline-delimited: a record that is not JSON makes the rest of the file
        unreadable.
    number
        How many there are.
    overwritten
        How many orders a wrapper held that its last ``order`` replaced.
    long_line
        Number of the line, of those too long for memory, that the records are from: what is not
        JSON in it makes the rest of that line unreadable, and the other lines stand.
    framing_error
        Why the line that `text` begins can't be read, else None. The text is then one record, which
        is rejected for this reason.
    """

    text: bytes
    in_page: bool
    strict: bool
    number: int = 1
    overwritten: int = 0
    long_line: int | None = None
    framing_error: str | None = None


class Unreadable(Exception):
    """The file can't be read any further. Internal: it ends as a rejection, never as an error for people.

    Parameters
    ----------
    message
        What is wrong, for people.
    raw
        The beginning of the text that can't be read, where there is one.
    """

    def __init__(self, message: str, raw: bytes = b"") -> None:
        super().__init__(message, raw)
        self.message = message
        self.raw = raw


def coalesce(records: Iterable[Records]) -> Iterator[Records]:
    """Join consecutive records of the same kind.

    Up to about :data:`BLOCK_BYTES` bytes and :data:`BLOCK_RECORDS` records. What came before an
    :class:`Unreadable` is handed on before it is raised.
    """
    held: list[Records] = []
    size = count = 0
    try:
        for some in records:
            full = size >= BLOCK_BYTES or count >= BLOCK_RECORDS
            if held and (full or _coalesce_key(some) != _coalesce_key(held[0])):
                yield _join(held)
                size = count = 0
            held.append(some)
            size += len(some.text)
            count += some.number
    except Unreadable:
        if held:
            yield _join(held)
        raise
    if held:
        yield _join(held)


def _coalesce_key(records: Records) -> tuple[bool, bool, int | None, str | None]:
    return records.in_page, records.strict, records.long_line, records.framing_error


def _join(held: list[Records]) -> Records:
    """Join records, and empty the list: nothing else holds their text while they are decoded."""
    joined = replace(
        held[0],
        text=b"".join(some.text for some in held),
        number=sum(some.number for some in held),
        overwritten=sum(some.overwritten for some in held),
    )
    held.clear()
    return joined
