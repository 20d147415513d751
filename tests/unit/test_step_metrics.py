"""A meter charges the time of a task to its steps, and of nested steps to the innermost one."""

from __future__ import annotations

import time
from collections.abc import Iterator

from orders_dask.step_metrics import Meter, StepMetrics, with_metrics

WAIT = 0.05


def test_of_nested_steps_only_the_innermost_is_charged() -> None:
    def blocks() -> Iterator[int]:
        for number in range(3):
            time.sleep(WAIT)
            yield number

    meter = Meter()
    with meter.step("outer"):
        assert list(meter.timed_iter("inner", blocks())) == [0, 1, 2]
        time.sleep(WAIT)
    inner, outer = meter.metrics["inner"], meter.metrics["outer"]
    assert inner.seconds >= 3 * WAIT
    assert WAIT <= outer.seconds < 2 * WAIT + 0.5
    assert inner.cpu_seconds + outer.cpu_seconds < WAIT, "sleeping takes no CPU"


def test_what_is_done_with_items_is_not_charged_to_the_step_that_makes_them() -> None:
    meter = Meter()
    for _ in meter.timed_iter("made", range(3)):
        time.sleep(WAIT)
    assert meter.metrics["made"].seconds < WAIT


def test_a_step_that_fails_is_charged_and_ends() -> None:
    meter = Meter()
    for _ in range(2):
        try:
            with meter.step("failing"):
                time.sleep(WAIT)
                raise ValueError
        except ValueError:
            time.sleep(WAIT)
    assert 2 * WAIT <= meter.metrics["failing"].seconds < 3 * WAIT + 0.5


def test_a_task_with_metrics_returns_them_beside_its_result() -> None:
    @with_metrics
    def task(meter: Meter, size: int) -> str:
        meter.add_bytes("load", size)
        return "done"

    assert task(7) == ("done", {"load": StepMetrics(bytes=7)})
    total = Meter()
    for _ in range(2):
        total.add(task(size=7)[1])
    assert total.metrics["load"].bytes == 14
