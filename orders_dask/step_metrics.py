"""What steps cost on a worker: seconds, CPU seconds, bytes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Given = ParamSpec("Given")


@dataclass(frozen=True)
class StepMetrics:
    """What a step took, of one task or of many together.

    Attributes
    ----------
    seconds
        Wall seconds, of all tasks one after another.
    cpu_seconds
        CPU seconds of the tasks' threads.
    bytes
        Bytes of its input or output, whichever it is bound by: read of the dump as stored (decode),
        written of Parquet (stage), sent to PostgreSQL (load).
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    bytes: int = 0

    def __add__(self, other: StepMetrics) -> StepMetrics:
        """Give what both took."""
        return StepMetrics(
            self.seconds + other.seconds,
            self.cpu_seconds + other.cpu_seconds,
            self.bytes + other.bytes,
        )


MetricsByStep = Mapping[str, StepMetrics]
"""By the name of the step."""


@dataclass
class Meter:
    """Measures the steps of one task in its thread: of steps inside of each other only the innermost is charged."""

    metrics: defaultdict[str, StepMetrics] = field(default_factory=lambda: defaultdict(StepMetrics))
    _step: str | None = None
    _since: tuple[float, float] = (0.0, 0.0)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Charge a block to a step."""
        before = self._step
        self._switch(name)
        try:
            yield
        finally:
            self._switch(before)

    def timed_iter(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """Give items as they are made, which is charged to a step; what is done with them is not."""
        iterator = iter(items)
        while True:
            with self.step(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def add_bytes(self, name: str, size: int) -> None:
        """Charge bytes to a step."""
        self.metrics[name] += StepMetrics(bytes=size)

    def add(self, metrics: MetricsByStep) -> None:
        """Charge what others have measured."""
        for step, cost in metrics.items():
            self.metrics[step] += cost

    def _switch(self, to: str | None) -> None:
        now = time.monotonic(), time.thread_time()
        if self._step is not None:
            self.metrics[self._step] += StepMetrics(
                now[0] - self._since[0], now[1] - self._since[1]
            )
        self._step, self._since = to, now


def with_metrics(
    task: Callable[Concatenate[Meter, Given], Result],
) -> Callable[Given, tuple[Result, dict[str, StepMetrics]]]:
    """Give a task a meter as its first argument, and let it return what its steps cost beside its result."""

    @wraps(task)
    def timed(*args: Given.args, **kwargs: Given.kwargs) -> tuple[Result, dict[str, StepMetrics]]:
        meter = Meter()
        result = task(meter, *args, **kwargs)
        return result, dict(meter.metrics)

    return timed
