"""The results of the public jobs, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

from orders_dask.cost import Cost

Outcome = Literal[
    "published",
    "up_to_date",
    "missing",
    "planned",
    "changed",
    "held",
    "discarded",
    "locked",
    "refused",
    "failed",
]
"""How a run date ended, see :class:`RunResult`."""


LOOKBACK: Final = 14
"""Days up to yesterday whose dumps may still come or change, for the daily job."""

Beyond = Literal["report", "load", "ignore"]
"""What becomes of a published run date before the look-back whose files have changed."""


@dataclass(frozen=True)
class Plan:
    """What a run would do, from a dry run.

    Attributes
    ----------
    files, bytes
        Number of files to read, and their size as stored.
    tasks, staged
        Number of decode tasks, and how many of these have a staged part already.
    staged_orders, staged_lines
        Number of orders and lines that are staged already, superseded ones included.
    replaced_load_id
        Id of the published load that would be replaced; None if nothing is published.
    replaced_orders, replaced_lines
        Number of orders and lines of that load.
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
        """Return the plan in sentences."""
        decode = self.tasks - self.staged
        text = f"Would read {self.files:,} files of {self.bytes:,} bytes in {self.tasks:,} tasks"
        if self.staged:
            text += (
                f", of which {self.staged:,} are staged already ({self.staged_orders:,} orders, "
                f"{self.staged_lines:,} lines) and {decode:,} are to be decoded"
            )
        if self.replaced_load_id is None:
            return f"{text}. Nothing is published that it would replace."
        return (
            f"{text}. Would replace load {self.replaced_load_id} with its "
            f"{self.replaced_orders:,} orders and {self.replaced_lines:,} lines."
        )


@dataclass(frozen=True)
class RunResult:
    """How one run date ended.

    Attributes
    ----------
    run_date
        Date of the dump.
    outcome
        ``published``, ``up_to_date`` (nothing changed, so nothing was done), ``discarded``
        (somebody discarded or rolled back a load of just these files), ``planned`` (a dry run),
        ``changed`` (its files changed long after it was published, and :func:`orders_dask.daily`
        left it alone),
        ``missing`` (no file yet), ``held`` (a check held the load), ``locked`` (another run has
        it), ``refused`` (because of the data, see `message`) or ``failed`` (see `message`).
        ``missing`` and the last four come only from jobs over several run dates and from the
        command line with ``--json``: :func:`orders_dask.run` raises the error.
    load_id
        Id of the load that was published now or before; None if there is none.
    files, orders, lines
        Number of files read, orders loaded and lines loaded.
    superseded, rejected
        Number of orders that are superseded within the run date, and that were rejected.
    seconds
        Wall time.
    message
        One sentence for people, or None.
    exit_code
        Exit code of the error that ended the run date; 0 if there was none.
    plan
        What a run would do, in a dry run.
    left_out
        Names of objects beside the dump that are none by convention, such as ``_SUCCESS``.
    warnings
        What checks found that did not hold the load, and a cost over the budget, one sentence each.
    cost
        What the load cost that was published now; None if none was.
    unknown_keys
        Paths of keys that the contract doesn't know, which are not loaded.
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
    left_out: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    cost: Cost | None = None
    unknown_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReplayResult:
    """The outcomes of the rejected records of a run date that were replayed.

    Attributes
    ----------
    run_date
        Date of the dump.
    taken_in
        Number of records that are orders now, and of children that are in their orders now.
    superseded
        Number of these whose order is superseded within the run date.
    still_rejected
        Number of records that are still rejected, by code, or by the reason why they can't be
        replayed.
    run
        The run date after the replay: ``published`` with the new records, or ``up_to_date`` if
        there were none.
    """

    run_date: date
    taken_in: int
    superseded: int
    still_rejected: Mapping[str, int]
    run: RunResult


@dataclass(frozen=True)
class PruneResult:
    """What a prune removed or, in a dry run, would remove.

    Attributes
    ----------
    loads, rows
        Number of loads that were pruned, and of their rows in all storage tables. The rows include
        those of loads that an interrupted prune or unpublish left behind.
    made_irreversible
        Number of publishes that can't be rolled back any more.
    parts, bytes
        Number of staged parts that were deleted, and bytes of all that was deleted in the stage.
    redacted_rows
        Number of ledger rows without the dump's texts now: raw texts of rejected records, and
        samples of repaired values.
    redacted_parts
        Number of staged parts without such texts now.
    partitions
        First run date of each partition that was dropped.
    skipped
        Run dates that another run has locked; the next prune handles them.
    waiting
        Why other partitions that are marked could not be dropped yet; None if there are none.
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
    """What an unpublish did or, in a dry run, would do.

    Attributes
    ----------
    run_dates
        Run dates that are not published any more.
    partitions, bytes
        First run date of each partition that was dropped, and the size of all of these.
    skipped
        Run dates that another run has locked; the next unpublish handles them.
    waiting
        Why other partitions that are marked could not be dropped yet; None if there are none.
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
        Date of the dump.
    unpublished
        Id of the load that was published before the rollback.
    unpublished_orders, unpublished_lines
        Number of its orders and lines.
    published
        Id of the load that is published now; None if `unpublished` had replaced no load.
    orders, lines
        Number of orders and lines that are published now.
    """

    run_date: date
    unpublished: int
    unpublished_orders: int
    unpublished_lines: int
    published: int | None
    orders: int
    lines: int
