"""The records of parts: the counters and issues of their files, and schema drift. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import pyarrow as pa

from orders_dask.contract.control_totals import ControlTotals
from orders_dask.contract.order_tables import fact_order
from orders_dask.contract.raw_text import RAW_COLUMN, raw_columns
from orders_dask.contract.rejects import Issue, merge_issues
from orders_dask.contract.schema_drift import NO_DRIFT, Drift
from orders_dask.contract.storage_tables import STORED_COLUMNS
from orders_dask.contract.versions import STAGE_FORMAT_VERSION


@dataclass(frozen=True, slots=True)
class StagedFile:
    """The content of one file in a part, or of a piece of that file.

    Attributes
    ----------
    name, etag, size
        Name, ETag and size in bytes as discovered. Each member of a zip that was detected by its
        content is a file.
    positions
        Number of positions that the part covers, rejected records included.
    read, rejected
        Number of records by the name of the fact: all of them, and the rejected ones.
    lines_rejected
        Number of lines that were rejected by themselves, in orders that were not.
    unreadable
        Whether the file could not be read to its end.
    issues
        Values that were repaired or nulled.
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

    def __add__(self, later: StagedFile) -> StagedFile:
        """Return this piece and a later one of the same file, merged."""
        return replace(
            self,
            positions=self.positions + later.positions,
            read={fact: n + later.read[fact] for fact, n in self.read.items()},
            rejected={fact: n + later.rejected[fact] for fact, n in self.rejected.items()},
            lines_rejected=self.lines_rejected + later.lines_rejected,
            unreadable=self.unreadable or later.unreadable,
            issues=list(merge_issues([*self.issues, *later.issues])),
        )

    def shift_positions(self, offset: int) -> StagedFile:
        """Return the same with the positions of its samples raised by `offset`."""
        return replace(
            self,
            issues=[
                replace(i, samples=tuple((position + offset, text) for position, text in i.samples))
                for i in self.issues
            ],
        )


class StagedBlock(NamedTuple):
    """What is staged of one decoded block, or of several small ones.

    Attributes
    ----------
    files
        The counters of the file of each block, in their order.
    tables
        The staged tables by name.
    drifts
        Keys of the orders of blocks that nobody knows.
    numbers
        Number of the file of each block, from 0: its ``source_file_id`` in the tables.
    """

    files: tuple[StagedFile, ...]
    tables: dict[str, pa.Table]
    drifts: tuple[Drift, ...] = ()
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Part:
    """The record of a part, small enough to travel between tasks.

    Attributes
    ----------
    url
        Folder of the part.
    attempt
        Name of the folder in it that has the tables.
    files
        Files of the part in the order of the listing. The index is the ``source_file_id`` in the
        part's tables.
    rows
        Number of rows by staged table.
    totals
        Control totals as decoded, by the name of the fact, as JSON
        (:meth:`~orders_dask.contract.control_totals.ControlTotals.to_json`).
    bytes
        Size of the Parquet file of each staged table that has rows.
    columns
        The columns of its tables (:data:`~orders_dask.contract.storage_tables.STORED_COLUMNS`, and
        that of raw texts if it has them), where they count: a task returns a part without.
    drift
        Keys of its orders that nobody knows.
    format
        :data:`~orders_dask.contract.versions.STAGE_FORMAT_VERSION` of the writer.
    packed
        Where the Parquet file of a staged table begins in the zip of a small part
        (:data:`~orders_dask.stage.layout.PACKED`); a table that is missing has an object of its
        own.
    """

    url: str
    attempt: str
    files: list[StagedFile]
    rows: dict[str, int]
    totals: dict[str, Any]
    bytes: dict[str, int]
    columns: tuple[str, ...] = ()
    drift: Drift = NO_DRIFT
    format: int = STAGE_FORMAT_VERSION
    packed: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the part's name and its files, for error messages."""
        first = self.files[0].name if self.files else "no file"
        more = f" and {len(self.files) - 1} more files" if len(self.files) > 1 else ""
        return f"{self.name}, made from {first}{more}"

    @property
    def name(self) -> str:
        """Name of the part: ``part=HASH``."""
        return self.url.rpartition("/")[2]

    @property
    def orders(self) -> int:
        """Number of orders in the part."""
        return self.rows.get(fact_order.name, 0)

    def totals_of(self, fact: str) -> ControlTotals:
        """Return the control totals of a fact."""
        return ControlTotals.from_json(self.totals[fact])

    def all_totals(self) -> dict[str, ControlTotals]:
        """Return the control totals of all facts, by name."""
        return {fact: self.totals_of(fact) for fact in self.totals}

    def without(self, facts: Collection[str]) -> Part:
        """Return the part as if it had no record of some facts: its rows of these are not read."""
        if not facts:
            return self
        nothing = dict.fromkeys(facts, 0)
        return replace(
            self,
            files=[
                replace(file, read=file.read | nothing, rejected=file.rejected | nothing)
                for file in self.files
            ],
            rows={name: rows for name, rows in self.rows.items() if name not in facts},
            totals=self.totals | dict.fromkeys(facts, ControlTotals().to_json()),
        )

    def has_all_columns(self, keep_raw: bool = False) -> bool:
        """Return whether the part has every column that a load of this declaration needs."""
        return {*self.columns}.issuperset((*STORED_COLUMNS, *raw_columns(keep_raw)))

    @property
    def has_raw(self) -> bool:
        """Whether the part has the raw texts of its records."""
        return RAW_COLUMN in self.columns


def merge_files(parts: Sequence[Part]) -> dict[str, StagedFile]:
    """Merge the pieces of each file; return files by name in the order of the sorted listing."""
    files: dict[str, StagedFile] = {}
    for piece in (piece for part in parts for piece in part.files):
        before = files.get(piece.name)
        files[piece.name] = before + piece.shift_positions(before.positions) if before else piece
    return {
        name: files[name]
        for name in sorted(files, key=lambda n: n.encode(errors="surrogateescape"))
    }
