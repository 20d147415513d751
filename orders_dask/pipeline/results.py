"""What a run tells while it goes and when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from orders_dask.step_metrics import Meter

Outcome = Literal["published", "up to date", "missing", "planned", "refused", "failed"]


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
    replaces
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
    replaces: int | None
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
        if self.replaces is None:
            return f"{told}. Nothing is published that it would replace."
        return (
            f"{told}. Would replace load {self.replaces} with its {self.replaced_orders:,} orders and "
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
        ``published``, ``up to date`` (nothing changed, nothing done), ``missing`` (no file, in a backfill), ``planned``
        (a dry run), ``refused`` (the data, see `message`) or ``failed`` (see `message`). The last two only come from a
        backfill and, as JSON, from the command line: a run raises the error.
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
    lost
        Number of those whose order another version of it replaces inside the run date.
    still
        Number of records that are rejected still, by code, or by the reason why they can't be read again.
    standing
        How the run date stands: ``published`` with what was taken in, or ``up to date`` where nothing was.
    """

    run_date: date
    taken_in: int
    lost: int
    still: Mapping[str, int]
    standing: RunResult


@dataclass(frozen=True)
class Progress:
    """How far a step of a run date is.

    Attributes
    ----------
    run_date
        The date of the dump.
    step
        ``discover``, ``decode``, ``resolve``, ``load``, ``verify`` or ``publish``; decode stands for decode, normalise
        and stage, which one task does for each split.
    done, total
        Tasks of the step that ended, and all of them.
    orders
        Orders that the ended tasks decoded or loaded.
    """

    run_date: date
    step: str
    done: int
    total: int
    orders: int = 0


Listener = Callable[[Progress], None]
"""Called on the client with each :class:`Progress`; from several threads where several dates are in flight."""


def silent(progress: Progress) -> None:
    """Listen to a run without a word."""


@dataclass
class Clock:
    """Times the steps of one run date, tells a listener how far they are, and adds up what its tasks cost."""

    run_date: date
    listener: Listener
    seconds: dict[str, float] = field(default_factory=dict)
    meter: Meter = field(default_factory=Meter)

    @contextmanager
    def step(self, name: str, total: int = 1) -> Iterator[Callable[[int], None]]:
        """Time a step of `total` tasks; what it gives is called with the orders of each task that ends."""
        began = time.monotonic()
        done = orders = 0

        def ended(of_task: int) -> None:
            nonlocal done, orders
            done, orders = done + 1, orders + of_task
            self.listener(Progress(self.run_date, name, done, total, orders))

        self.listener(Progress(self.run_date, name, 0, total))
        try:
            yield ended
            if not done:
                ended(0)
        finally:
            self.seconds[name] = round(time.monotonic() - began, 3)

    @property
    def total(self) -> float:
        """Seconds of all steps."""
        return round(sum(self.seconds.values()), 3)
