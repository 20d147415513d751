"""The records of stage parts: what they hold of which file, and the places of these in the ledger. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from orders_dask.contract.control_totals import ControlTotals
from orders_dask.contract.order_tables import fact_order
from orders_dask.contract.rejects import Issue, merge_issues
from orders_dask.contract.versions import STAGE_FORMAT_VERSION


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
            issues=list(merge_issues([*self.issues, *later.issues])),
            drift=sorted({*self.drift, *later.drift}),
        )

    def shift_positions(self, offset: int) -> StagedFile:
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
    totals
        Rows and sums of money by fact table, as decoded.
    bytes
        Size of the Parquet file of each staged table that has rows.
    format
        Version of what wrote it (:data:`~orders_dask.contract.versions.STAGE_FORMAT_VERSION`).
    """

    url: str
    attempt: str
    files: list[StagedFile]
    rows: dict[str, int]
    totals: dict[str, Any]
    bytes: dict[str, int]
    format: int = STAGE_FORMAT_VERSION

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

    def totals_of(self, fact: str) -> ControlTotals:
        """Give the books of a fact."""
        return ControlTotals.from_json(self.totals[fact])


def merge_files(parts: Sequence[Part]) -> dict[str, StagedFile]:
    """Join what the parts hold of each file; by name, sorted as the listing is (byte order)."""
    files: dict[str, StagedFile] = {}
    for file in (file for part in parts for file in part.files):
        before = files.get(file.name)
        files[file.name] = before + file.shift_positions(before.positions) if before else file
    return {
        name: files[name]
        for name in sorted(files, key=lambda n: n.encode(errors="surrogateescape"))
    }
