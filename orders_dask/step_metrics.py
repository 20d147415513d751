"""Metrics of the steps of tasks: wall seconds, CPU seconds, bytes, requests to S3."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from threading import Lock
from typing import Concatenate, Final, ParamSpec, TypeVar

from orders_dask.s3_requests import drain_requests

Item = TypeVar("Item")
Result = TypeVar("Result")
P = ParamSpec("P")


@dataclass(frozen=True)
class StepMetrics:
    """Metrics of a step, of one task or summed over many.

    Attributes
    ----------
    seconds
        Wall seconds, summed over tasks.
    cpu_seconds
        CPU seconds of the process: of the task's thread and of those of libraries beside it. Tasks
        that share a process share them: their sum is exact, the share of each is not.
    bytes
        Bytes of the input or output that bounds the step: of the dump as stored (decode), of
        Parquet (stage), sent to PostgreSQL (load).
    put_requests, get_requests
        Requests to S3 (:class:`~orders_dask.s3_requests.S3Requests`), those of the client too.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    bytes: int = 0
    put_requests: int = 0
    get_requests: int = 0

    def __add__(self, other: StepMetrics) -> StepMetrics:
        """Return the sums of both."""
        return StepMetrics(
            self.seconds + other.seconds,
            self.cpu_seconds + other.cpu_seconds,
            self.bytes + other.bytes,
            self.put_requests + other.put_requests,
            self.get_requests + other.get_requests,
        )

    def share(self, number: int) -> StepMetrics:
        """Return an equal share of them."""
        return StepMetrics(
            round(self.seconds / number, 6),
            round(self.cpu_seconds / number, 6),
            self.bytes // number,
            self.put_requests // number,
            self.get_requests // number,
        )


MetricsByStep = Mapping[str, StepMetrics]
"""Metrics by the name of the step."""


@dataclass
class Meter:
    """Measures the steps of one task. Of nested steps only the innermost is charged.

    Attributes
    ----------
    metrics
        What was measured so far, by the name of the step.
    """

    metrics: defaultdict[str, StepMetrics] = field(default_factory=lambda: defaultdict(StepMetrics))
    _step: str | None = None
    _started: float = 0.0

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Charge the time of a ``with`` block to a step."""
        outer = self._step
        self._switch(name)
        try:
            yield
        finally:
            self._switch(outer)

    def timed_iter(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """Yield items, and charge the time to produce them to a step, not what the caller does."""
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

    def add_requests(self, name: str) -> None:
        """Charge this process's requests to S3 since the last such call to a step."""
        requests = drain_requests()
        if any(requests):
            self.metrics[name] += StepMetrics(
                put_requests=requests.puts, get_requests=requests.gets
            )

    def add(self, metrics: MetricsByStep) -> None:
        """Add metrics that were measured elsewhere."""
        for step, measured in metrics.items():
            self.metrics[step] += measured

    def _switch(self, step: str | None) -> None:
        """End the current step, if there is one, and begin another."""
        now, cpu_seconds = time.monotonic(), _drain_cpu(self._step, step)
        if self._step is not None:
            self.metrics[self._step] += StepMetrics(now - self._started, cpu_seconds)
            self.add_requests(self._step)
        self._step, self._started = step, now


_CPU_LOCK: Final = Lock()
_cpu_charged = 0.0
_steps_now = 0


def _drain_cpu(ends: str | None, begins: str | None) -> float:
    """Return the CPU seconds of this process since the last call, at the change of a step.

    What the process does while no step runs, such as a worker's heartbeats, is charged to none. The
    threads of botocore and pyarrow took 0.8 of what those of the tasks took.
    """
    global _cpu_charged, _steps_now
    with _CPU_LOCK:
        now = time.process_time()
        drained = now - _cpu_charged if _steps_now else 0.0
        _cpu_charged = now
        _steps_now += (begins is not None) - (ends is not None)
    return drained


def with_metrics(
    task: Callable[Concatenate[Meter, P], Result],
) -> Callable[P, tuple[Result, dict[str, StepMetrics]]]:
    """Pass a meter to a task as its first argument, and return its metrics beside its result."""

    @wraps(task)
    def timed(*args: P.args, **kwargs: P.kwargs) -> tuple[Result, dict[str, StepMetrics]]:
        meter = Meter()
        result = task(meter, *args, **kwargs)
        return result, dict(meter.metrics)

    return timed
