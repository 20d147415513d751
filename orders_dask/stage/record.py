"""The records of stage parts: what they hold of which file, and the places of these in the ledger. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from sys import intern
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orders_dask.contract.arrow import FILE, POSITION
from orders_dask.contract.control_totals import Books
from orders_dask.contract.rejects import Issue, merged
from orders_dask.contract.tables import FACTS, fact_order
from orders_dask.stage.layout import FORMAT


@dataclass(frozen=True, slots=True)
class StagedFile:
    """What a part holds of one file.

    Attributes
    ----------
    name, etag, size
        As discovered; of a zip found by its content, each member is a file.
    positions
        Records that the part read of it, refused ones counted.
    read, rejected
        Records by fact table: all, and those refused.
    lines_rejected
        Lines refused by themselves, in orders that stand.
    unreadable
        It could not be read to its end.
    issues
        Values repaired or nulled.
    drift
        Dotted paths of keys that the contract doesn't know.
    """

    name: str
    etag: str
    size: int
    positions: int
    read: dict[str, int]
    rejected: dict[str, int]
    lines_rejected: int
    unreadable: bool
    issues: list[Issue]
    drift: list[str]

    def __add__(self, later: StagedFile) -> StagedFile:
        """Give what this and a later piece of the same file hold together."""
        return replace(
            self,
            positions=self.positions + later.positions,
            read={fact: n + later.read[fact] for fact, n in self.read.items()},
            rejected={fact: n + later.rejected[fact] for fact, n in self.rejected.items()},
            lines_rejected=self.lines_rejected + later.lines_rejected,
            unreadable=self.unreadable or later.unreadable,
            issues=list(merged([*self.issues, *later.issues])),
            drift=sorted({*self.drift, *later.drift}),
        )

    def moved(self, offset: int) -> StagedFile:
        """Give the same with its positions counted from an earlier place, `offset` records before."""
        return replace(
            self,
            issues=[
                replace(i, samples=tuple((position + offset, text) for position, text in i.samples))
                for i in self.issues
            ],
        )


@dataclass(frozen=True)
class Part:
    """The record of a part: what it holds, small enough to travel between tasks.

    Attributes
    ----------
    url
        The folder it stands in.
    attempt
        The folder in that which holds its tables.
    files
        Its files, in the order of the listing; their index is the part's ``source_file_id``.
    rows
        Rows by staged table.
    books
        Rows and sums of money by fact table, as decoded.
    bytes
        Size of the Parquet file of each staged table that has rows.
    format
        Version of what wrote it (:data:`~orders_dask.stage.layout.FORMAT`).
    """

    url: str
    attempt: str
    files: list[StagedFile]
    rows: dict[str, int]
    books: dict[str, Any]
    bytes: dict[str, int]
    format: int = FORMAT

    def __str__(self) -> str:
        """Say what it was made from, for people."""
        named = [file.name for file in self.files[:1]] or ["no file"]
        more = f" and {len(self.files) - 1} more files" if len(self.files) > 1 else ""
        return f"{self.name}, made from {named[0]}{more}"

    @property
    def name(self) -> str:
        """The part's own name: ``part=HASH``."""
        return self.url.rpartition("/")[2]

    @property
    def orders(self) -> int:
        """Number of orders in the part."""
        return self.rows.get(fact_order.name, 0)

    def books_of(self, fact: str) -> Books:
        """Give the books of a fact."""
        return Books.from_json(self.books[fact])


def gathered(parts: Iterable[tuple[int, Part]]) -> tuple[list[Part], dict[str, Books]]:
    """Take thousands of parts as they come, each with its place, and hold little of each.

    Returns
    -------
    list of Part
        In the order of their places, without their books.
    dict
        The books of all, by fact.
    """
    held: dict[int, Part] = {}
    books = {fact.name: Books() for fact in FACTS}
    once = _Once()
    for place, part in parts:
        books = {fact: total + part.books_of(fact) for fact, total in books.items()}
        held[place] = _lean(part, once)
    return [held[place] for place in sorted(held)], books


@dataclass(frozen=True)
class _Once:
    """What several parts or files say alike, held once."""

    counted: dict[tuple[tuple[str, int], ...], dict[str, int]] = field(default_factory=dict)
    listed: dict[tuple[str, ...], list[str]] = field(default_factory=dict)

    def counts(self, given: Mapping[str, int]) -> dict[str, int]:
        # Names of tables come as SQLAlchemy's own kind of text, which can't be shared.
        lean = {intern(str(name)): number for name, number in given.items()}
        return self.counted.setdefault(tuple(lean.items()), lean)

    def texts(self, given: Sequence[str]) -> list[str]:
        lean = [intern(text) for text in given]
        return self.listed.setdefault(tuple(lean), lean)


def _lean(part: Part, once: _Once) -> Part:
    """Give a part without its books, and with what other parts say too held once, to be held with thousands of them.

    As it comes from a worker, a part of ten orders takes 13 to 15 KB; so 2.6. Of 128 files each takes 5.1 KB; so 0.2 to
    0.5.
    """
    return replace(
        part,
        files=[
            replace(
                file,
                name=intern(file.name),
                etag=intern(file.etag),
                read=once.counts(file.read),
                rejected=once.counts(file.rejected),
                drift=once.texts(file.drift),
            )
            for file in part.files
        ],
        rows=once.counts(part.rows),
        books={},
        bytes={intern(str(name)): size for name, size in part.bytes.items()},
    )


@dataclass(frozen=True)
class Placed:
    """A part whose files have their places in the ledger.

    Attributes
    ----------
    part
        The part, without its books and what it says of its files.
    file_ids
        The ledger's id of each of its files; they grow with the sorted listing.
    offsets
        For each of its files, the records that earlier parts read of it: a byte range counts its own from 1.
    """

    part: Part
    file_ids: tuple[int, ...]
    offsets: tuple[int, ...]

    def place(self, table: pa.Table) -> pa.Table:
        """Put the ledger's file ids and the positions in the whole file into a staged table."""
        file, position = table[FILE], table[POSITION]
        moved = pc.add(position, pc.take(pa.array(self.offsets, pa.int64()), file))
        ids = pc.take(pa.array(self.file_ids, pa.int64()), file)
        names = table.column_names
        table = table.set_column(names.index(FILE), table.schema.field(FILE), ids)
        return table.set_column(names.index(POSITION), table.schema.field(POSITION), moved)


def joined_files(parts: Sequence[Part]) -> dict[str, StagedFile]:
    """Join what the parts hold of each file; by name, sorted as the listing is (byte order)."""
    files: dict[str, StagedFile] = {}
    for file in (file for part in parts for file in part.files):
        before = files.get(file.name)
        files[file.name] = before + file.moved(before.positions) if before else file
    return {
        name: files[name]
        for name in sorted(files, key=lambda n: n.encode(errors="surrogateescape"))
    }


def place(parts: Sequence[Part], ids: Mapping[str, int]) -> list[Placed]:
    """Give each part its place in the ledger.

    Parameters
    ----------
    parts
        In the order of the listing, so that the ranges of a file follow each other.
    ids
        The ledger's id of each file by name.
    """
    read = Counter[str]()
    placed = []
    for part in parts:
        file_ids = tuple(ids[file.name] for file in part.files)
        offsets = tuple(read[file.name] for file in part.files)
        read.update({file.name: file.positions for file in part.files})
        placed.append(Placed(replace(part, files=[], books={}), file_ids, offsets))
    return placed
