"""How far the steps of a run date are, and how long they take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date

from orders_dask.step_metrics import Meter


@dataclass(frozen=True)
class Progress:
    """How far a step of a run date is.

    Attributes
    ----------
    run_date
        The date of the dump.
    step
        ``discover``, ``decode``, ``resolve``, ``load``, ``verify`` or ``publish``; decode stands
        for decode, normalise and stage, which one task does for each split.
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


def no_progress(progress: Progress) -> None:
    """Listen to a run without a word."""


@dataclass
class StepTimer:
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

        def advance(of_task: int) -> None:
            nonlocal done, orders
            done, orders = done + 1, orders + of_task
            self.listener(Progress(self.run_date, name, done, total, orders))

        self.listener(Progress(self.run_date, name, 0, total))
        try:
            yield advance
            if not done:
                advance(0)
        finally:
            self.seconds[name] = round(time.monotonic() - began, 3)

    @property
    def total(self) -> float:
        """Seconds of all steps."""
        return round(sum(self.seconds.values()), 3)
