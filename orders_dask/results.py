"""What a run tells while it goes and when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

Outcome = Literal["published", "up to date", "missing", "planned", "refused", "failed"]


@dataclass(frozen=True)
class RunResult:
    """How one run date ended.

    Attributes
    ----------
    run_date
        The date of the dump.
    outcome
        ``published``, ``up to date`` (nothing changed, nothing done), ``missing`` (no file, in a backfill), ``planned``
        (a dry run), ``refused`` (the data, see `message`) or ``failed`` (see `message`; only in a backfill).
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


@dataclass(frozen=True)
class Progress:
    """How far a step of a run date is.

    Attributes
    ----------
    run_date
        The date of the dump.
    step
        ``discover``, ``decode``, ``resolve``, ``load`` or ``publish``; decode stands for decode, normalise and stage,
        which one task does for each split.
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


@dataclass
class Clock:
    """Times the steps of one run date, and tells a listener how far they are."""

    run_date: date
    listener: Listener
    seconds: dict[str, float] = field(default_factory=dict)

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
