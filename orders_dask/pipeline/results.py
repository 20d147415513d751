"""What a run tells while it goes and when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

Outcome = Literal["published", "up_to_date", "missing", "planned", "refused", "failed"]


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes
    ----------
    files, bytes
        Number of the files that it would read, and their size as stored.
    tasks, staged
        Tasks that would decode them, and how many of these would find their work staged already.
    staged_orders, staged_lines
        Orders and lines that are staged already, versions that lose inside the run date counted.
    replaced_load_id
        The published load that it would replace; None where nothing is published.
    replaced_orders, replaced_lines
        Orders and lines of that load.
    """

    files: int
    bytes: int
    tasks: int
    staged: int
    staged_orders: int
    staged_lines: int
    replaced_load_id: int | None
    replaced_orders: int
    replaced_lines: int

    def __str__(self) -> str:
        """Say it in sentences."""
        decode = self.tasks - self.staged
        told = f"Would read {self.files:,} files of {self.bytes:,} bytes in {self.tasks:,} tasks"
        if self.staged:
            told += (
                f", of which {self.staged:,} are staged already ({self.staged_orders:,} orders, "
                f"{self.staged_lines:,} lines) and {decode:,} are to be decoded"
            )
        if self.replaced_load_id is None:
            return f"{told}. Nothing is published that it would replace."
        return (
            f"{told}. Would replace load {self.replaced_load_id} with its {self.replaced_orders:,} orders and "
            f"{self.replaced_lines:,} lines."
        )


@dataclass(frozen=True)
class RunResult:
    """How one run date ended.

    Attributes
    ----------
    run_date
        The date of the dump.
    outcome
        ``published``, ``up_to_date`` (nothing changed, nothing done), ``missing`` (no file, in a
        backfill), ``planned`` (a dry run), ``refused`` (the data, see `message`) or ``failed`` (see
        `message`). The last two only come from a backfill and, as JSON, from the command line: a
        run raises the error.
    load_id
        The load in the ledger, if one was begun or stands.
    files, orders, lines
        Number of files read, orders loaded and lines loaded.
    superseded, rejected
        Number of orders that lost to another version inside the run date, and that were rejected.
    seconds
        Wall time.
    message
        One sentence for people, where there is something to say.
    exit_code
        That of the error which ended it, for the command line; 0 where none did.
    plan
        What would be done, in a dry run.
    """

    run_date: date
    outcome: Outcome
    load_id: int | None = None
    files: int = 0
    orders: int = 0
    lines: int = 0
    superseded: int = 0
    rejected: int = 0
    seconds: float = 0.0
    message: str | None = None
    exit_code: int = 0
    plan: Plan | None = None


@dataclass(frozen=True)
class ReplayResult:
    """What became of the rejected records of a run date that were read again.

    Attributes
    ----------
    run_date
        The date of the dump.
    taken_in
        Number of records that are orders now, and of children that their orders have now.
    superseded
        Number of those whose order another version of it replaces inside the run date.
    still_rejected
        Number of records that are rejected still, by code, or by the reason why they can't be read
        again.
    run
        How the run date stands: ``published`` with what was taken in, or ``up_to_date`` where
        nothing was.
    """

    run_date: date
    taken_in: int
    superseded: int
    still_rejected: Mapping[str, int]
    run: RunResult


@dataclass(frozen=True)
class PruneResult:
    """What a prune removed, or would remove.

    Attributes
    ----------
    loads, rows
        Loads whose rows went, and how many rows that were, of all storage tables; those of a load
        that an earlier prune or drop left half-way count as well.
    made_irreversible
        Publishes that can't be rolled back any more.
    parts, bytes
        Whole parts of the stage, and the size of all that was removed there.
    redacted_rows
        Rows of the ledger that lost the texts of the dump: of refused records, and samples of
        repaired values.
    redacted_parts
        Parts of the stage that lost theirs.
    partitions
        The first run date of each leaf that was freed.
    skipped
        Run dates that somebody works on: left to the next prune.
    waiting
        What is in the way of freeing the other leaves that were dropped.
    """

    loads: int
    rows: int
    made_irreversible: int
    parts: int
    bytes: int
    redacted_rows: int
    redacted_parts: int
    partitions: tuple[date, ...] = ()
    skipped: tuple[date, ...] = ()
    waiting: str | None = None


@dataclass(frozen=True)
class UnpublishResult:
    """What a drop did, or would do.

    Attributes
    ----------
    run_dates
        Those that are not published any more.
    partitions, bytes
        The first run date of each leaf that was freed, and what these held.
    skipped
        Run dates that somebody works on: left to the next drop.
    waiting
        What is in the way of freeing the other leaves.
    """

    run_dates: tuple[date, ...]
    partitions: tuple[date, ...] = ()
    bytes: int = 0
    skipped: tuple[date, ...] = ()
    waiting: str | None = None


@dataclass(frozen=True)
class RollbackResult:
    """What a rollback did.

    Attributes
    ----------
    run_date
        The date of the dump.
    unpublished
        The load that readers saw until then.
    unpublished_orders, unpublished_lines
        Number that it holds.
    published
        The load that they see again; None where it was the first: nothing is published then.
    orders, lines
        Number that they see now.
    """

    run_date: date
    unpublished: int
    unpublished_orders: int
    unpublished_lines: int
    published: int | None
    orders: int
    lines: int
