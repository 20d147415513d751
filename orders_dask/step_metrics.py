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
class Cost:
    """What a step took, of one task or of many together.

    Attributes
    ----------
    seconds
        Wall seconds, of all tasks one after another.
    cpu
        CPU seconds of the tasks' threads.
    bytes
        Bytes of its input or output, whichever it is bound by: read of the dump as stored (decode), written of Parquet
        (stage), sent to PostgreSQL (load).
    """

    seconds: float = 0.0
    cpu: float = 0.0
    bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        """Give what both took."""
        return Cost(self.seconds + other.seconds, self.cpu + other.cpu, self.bytes + other.bytes)


Costs = Mapping[str, Cost]
"""By the name of the step."""


@dataclass
class Meter:
    """Measures the steps of one task in its thread: of steps inside of each other only the innermost is charged."""

    costs: defaultdict[str, Cost] = field(default_factory=lambda: defaultdict(Cost))
    _step: str | None = None
    _since: tuple[float, float] = (0.0, 0.0)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Charge a block to a step."""
        before = self._step
        self._turn(name)
        try:
            yield
        finally:
            self._turn(before)

    def within(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """Give items as they are made, which is charged to a step; what is done with them is not."""
        iterator = iter(items)
        while True:
            with self.step(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def moved(self, name: str, size: int) -> None:
        """Charge bytes to a step."""
        self.costs[name] += Cost(bytes=size)

    def add(self, costs: Costs) -> None:
        """Charge what others have measured."""
        for step, cost in costs.items():
            self.costs[step] += cost

    def _turn(self, to: str | None) -> None:
        now = time.monotonic(), time.thread_time()
        if self._step is not None:
            self.costs[self._step] += Cost(now[0] - self._since[0], now[1] - self._since[1])
        self._step, self._since = to, now


def metered(
    task: Callable[Concatenate[Meter, Given], Result],
) -> Callable[Given, tuple[Result, dict[str, Cost]]]:
    """Give a task a meter as its first argument, and let it return what its steps cost beside its result."""

    @wraps(task)
    def measured(*args: Given.args, **kwargs: Given.kwargs) -> tuple[Result, dict[str, Cost]]:
        meter = Meter()
        result = task(meter, *args, **kwargs)
        return result, dict(meter.costs)

    return measured
