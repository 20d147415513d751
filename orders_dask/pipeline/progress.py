"""The progress of the steps of a run date, and the time that they take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date

from orders_dask.monitoring import telemetry
from orders_dask.step_metrics import Meter, StepMetrics


@dataclass(frozen=True)
class Progress:
    """The progress of one step of a run date.

    Attributes
    ----------
    run_date
        Date of the dump.
    step
        ``discover``, ``decode``, ``resolve``, ``load``, ``verify`` or ``publish``. Here ``decode``
        includes normalise and stage: one task per split does all three.
    done, total
        Number of tasks that have ended, and of all tasks of the step.
    orders
        Number of orders that the ended tasks decoded or loaded.
    """

    run_date: date
    step: str
    done: int
    total: int
    orders: int = 0


Listener = Callable[[Progress], None]
"""Called on the client with each :class:`Progress`. A backfill calls it from several threads."""


def no_progress(progress: Progress) -> None:
    """Ignore progress: the default listener."""


@dataclass
class StepTimer:
    """Times the steps of one run date, reports progress, and adds up the metrics of its tasks.

    Attributes
    ----------
    run_date
        Date of the dump.
    listener
        Called with the progress of each step.
    seconds
        Wall seconds of each step that has ended, by name.
    meter
        Step metrics of all tasks.
    """

    run_date: date
    listener: Listener
    seconds: dict[str, float] = field(default_factory=dict)
    meter: Meter = field(default_factory=Meter)

    @contextmanager
    def step(self, name: str, total: int = 1) -> Iterator[Callable[[int], None]]:
        """Time a step of `total` tasks.

        Yields
        ------
        callable
            To be called with the number of orders of each task that ends.
        """
        began = time.monotonic()
        done = orders = 0

        def advance(task_orders: int) -> None:
            nonlocal done, orders
            done, orders = done + 1, orders + task_orders
            self.listener(Progress(self.run_date, name, done, total, orders))

        self.listener(Progress(self.run_date, name, 0, total))
        with telemetry.span(name):
            try:
                yield advance
                if not done:
                    advance(0)
            finally:
                self.seconds[name] = round(time.monotonic() - began, 3)
                self.meter.add_requests(name)
                metrics = self.meter.metrics.get(name, StepMetrics())
                telemetry.describe(
                    tasks=done,
                    orders=orders or None,
                    bytes=metrics.bytes or None,
                    cpu_seconds=metrics.cpu_seconds or None,
                )

    def share(self, run_dates: Sequence[date]) -> dict[date, StepTimer]:
        """Return an equal share of what was measured for each of several run dates."""
        number = len(run_dates)
        seconds = {step: round(of_step / number, 6) for step, of_step in self.seconds.items()}
        metrics = {step: of_step.share(number) for step, of_step in self.meter.metrics.items()}
        shares = {}
        for run_date in run_dates:
            shares[run_date] = StepTimer(run_date, self.listener, dict(seconds))
            shares[run_date].meter.add(metrics)
        return shares

    @property
    def total(self) -> float:
        """Wall seconds of all steps together."""
        return round(sum(self.seconds.values()), 3)
