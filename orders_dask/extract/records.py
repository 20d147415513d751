"""What the parts of extract pass on: files, splits of the work, and records as text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from orders_dask.contract.rejects import Issue, merge_issues

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Rows: TypeAlias = "NDArray[np.int64]"
"""Row numbers, from 0."""

MIB: Final = 1 << 20

CHUNK_BYTES: Final = MIB
"""Bytes of text that are read or decompressed at once: they stay in the processor's cache."""

BLOCK_BYTES: Final = 16 * MIB
"""Bytes of text that are decoded together: about 2,500 orders of 6.6 KB."""

BLOCK_RECORDS: Final = 50_000
"""Maximum records of a block. However short they are, a rejected one takes about 700 bytes."""

MAX_RECORD_BYTES: Final = 16 * MIB
"""Maximum bytes of a record. Python takes up to 40 times the text of a hostile one, ``[0,0,…``."""

MAX_REJECTED: Final = 100_000
"""Maximum rejections in a file or block. It is not read further: see docs/contract.md#limits."""

BOM: Final = b"\xef\xbb\xbf"
"""The byte-order mark of UTF-8."""

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
        The object's S3 ETag, or :func:`~orders_dask.extract.source.object_store.etag`'s substitute
        on other file systems. A member has that of its zip.
    """

    name: str
    url: str
    member: str | None
    size: int
    etag: str

    def member_of(self, name: str, size: int) -> SourceFile:
        """Return a member of this zip as a file of its own; `size` is compressed."""
        return SourceFile(f"zip://{name}::{self.name}", self.url, name, size, self.etag)


@dataclass(frozen=True)
class Split:
    """The work of one decode task. It is small, and contains no secrets.

    Attributes
    ----------
    files
        The files to read, in this order.
    start, end
        None if the files are read whole. Else the only file is plain newline-delimited text, and
        the lines that begin in the bytes [start, end) are read.
    raw_url
        URL of the part whose raw texts are read in place of the files, which are gone; else None.
    """

    files: tuple[SourceFile, ...]
    start: int | None = None
    end: int | None = None
    raw_url: str | None = None

    def __str__(self) -> str:
        """Return a description for people."""
        if self.raw_url is not None:
            return f"the raw texts of {replace(self, raw_url=None)}"
        if self.end is not None:
            return f"{self.files[0].name}, bytes {self.start} to {self.end}"
        more = f" and {len(self.files) - 1} more files" if len(self.files) > 1 else ""
        return self.files[0].name + more

    @property
    def size(self) -> int:
        """Bytes to read, as stored."""
        if self.start is not None and self.end is not None:
            return self.end - self.start
        return sum(file.size for file in self.files)

    @property
    def identity(self) -> str:
        """All that the content depends on, as text: names and ETags of the files, and the range."""
        if self.raw_url is not None:
            return json.dumps(self.raw_url.rpartition("/")[2])
        files = [(file.name, file.etag) for file in self.files]
        return json.dumps([files, self.start, self.end])


@dataclass(frozen=True)
class Records:
    """Some consecutive records of one file.

    Attributes
    ----------
    text
        One record a line, without blank lines. Each line ends in LF. Only the last line of
        newline-delimited text may lack it. A line may contain CRs where JSON allows white space.
    in_page
        The records are from a page or a wrapper: every object is an order. Otherwise an object with
        the key ``orders`` is a page whose ``orders`` is not an array.
    strict
        The text is not newline-delimited. A record that is not JSON makes the rest of the file
        unreadable.
    number
        Number of records.
    overwritten
        Number of orders of a wrapper that its last ``order`` overwrites.
    long_line
        Number of the line that the records are from, counted among those too long for memory, else
        None. A record that is not JSON makes the rest of that line unreadable, not of the file.
    framing_error
        Why the line that `text` begins can't be read, else None. The text is then one record, which
        is rejected for this reason.
    issues
        What was repaired around the records.
    parts
        The records of a block that are framed differently, in place of `text`.
    """

    text: bytes
    in_page: bool
    strict: bool
    number: int = 1
    overwritten: int = 0
    long_line: int | None = None
    framing_error: str | None = None
    issues: tuple[Issue, ...] = ()
    parts: tuple[Records, ...] = ()


class Unreadable(Exception):
    """The file can't be read further. It ends as a rejection, never as an error for people.

    Parameters
    ----------
    message
        What is wrong, for people.
    raw
        The beginning of the text that can't be read, if there is one.
    """

    def __init__(self, message: str, raw: bytes = b"") -> None:
        super().__init__(message, raw)
        self.message = message
        self.raw = raw


def coalesce(records: Iterable[Records]) -> Iterator[Records]:
    """Join consecutive records of the same kind into blocks.

    A block has up to about :data:`BLOCK_BYTES` bytes and :data:`BLOCK_RECORDS` records. Records
    that come before an :class:`Unreadable` are yielded before it is raised.
    """
    buffered: list[Records] = []
    size = count = 0
    try:
        for item in records:
            full = size >= BLOCK_BYTES or count >= BLOCK_RECORDS
            if buffered and (full or _coalesce_key(item) != _coalesce_key(buffered[0])):
                yield _join(buffered)
                size = count = 0
            buffered.append(item)
            size += len(item.text)
            count += item.number
    except Unreadable:
        if buffered:
            yield _join(buffered)
        raise
    if buffered:
        yield _join(buffered)


def _coalesce_key(records: Records) -> tuple[bool, bool, int | None, str | None]:
    return records.in_page, records.strict, records.long_line, records.framing_error


def _join(buffered: list[Records]) -> Records:
    """Join records, and clear the list, so that their text is freed while they are decoded."""
    joined = replace(
        buffered[0],
        text=b"".join(item.text for item in buffered),
        number=sum(item.number for item in buffered),
        overwritten=sum(item.overwritten for item in buffered),
        issues=merge_issues(issue for item in buffered for issue in item.issues),
    )
    buffered.clear()
    return joined
