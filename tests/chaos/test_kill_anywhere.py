"""Any fault at any point: nothing is lost or loaded twice, and nobody sees half of a day."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.chaos.commands import Command
from tests.chaos.environment import ChaosEnvironment
from tests.chaos.faults import (
    COMMIT_POINTS,
    FAULTS,
    IN_SESSION,
    ON_CLIENT,
    ON_WORKER,
    arm,
    release,
    run_case,
    wait_until_halted,
)

QUICK = {
    ("decode:block", "worker"),
    ("stage:tables", "client"),
    ("load:copying", "postgres"),
    ("load:committed", "answer"),
    ("seal:done", "client"),
    ("publish:moved", "sessions"),
    ("publish:committed", "client"),
}
"""Cases that run with all other tests."""


def _cases() -> Iterator[tuple[str, str]]:
    """Yield every point with every fault that makes sense there."""
    everywhere = {"workers", "client", "scheduler", "sessions", "connections", "postgres", "s3"}
    for point in (*ON_WORKER, *ON_CLIENT):
        here = set(everywhere)
        if point in COMMIT_POINTS:
            here |= {"answer"}
        if point in IN_SESSION or (point in ON_CLIENT and point != "discover:listed"):
            here |= {"session"}
        if point in ON_WORKER:
            here |= {"worker"}
        yield from ((point, fault) for fault in FAULTS if fault in here)


@pytest.mark.parametrize(
    ("point", "fault"),
    [
        pytest.param(*case, id="-".join(case), marks=() if case in QUICK else pytest.mark.chaos)
        for case in _cases()
    ],
)
def test_a_run_recovers_from_a_fault_at_any_point(
    chaos: ChaosEnvironment, record_result: Callable[[object], None], point: str, fault: str
) -> None:
    def inject(command: Command) -> None:
        halted = wait_until_halted(chaos, point, command)
        FAULTS[fault](chaos, command, halted)
        release(chaos)

    stage = chaos.reset()
    arm(chaos, point)
    record_result(run_case(chaos, stage, lambda: chaos.run(stage=stage), inject))
