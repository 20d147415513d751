"""Whatever is killed, and at whatever point: nothing is lost, nothing comes twice, nobody sees half of a day."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.chaos.commands import Command
from tests.chaos.environment import ChaosEnvironment
from tests.chaos.faults import (
    FAULTS,
    HELD_COMMITS,
    IN_SESSION,
    ON_CLIENT,
    ON_WORKER,
    arm,
    halted,
    let_go,
    run_case,
)

QUICK = {
    ("decode:block", "worker"),
    ("stage:tables", "client"),
    ("load:copying", "postgres"),
    ("load:committed", "answer"),
    ("seal:done", "client"),
    ("publish:flipped", "sessions"),
    ("publish:committed", "client"),
}
"""Cases that are run with all other tests."""


def _cases() -> Iterator[tuple[str, str]]:
    """Give every point with every strike that makes sense there."""
    everywhere = {"workers", "client", "scheduler", "sessions", "connections", "postgres", "s3"}
    for point in (*ON_WORKER, *ON_CLIENT):
        here = set(everywhere)
        if point in HELD_COMMITS:
            here |= {"answer"}
        if point in IN_SESSION or (point in ON_CLIENT and point != "discover:listed"):
            here |= {"session"}
        if point in ON_WORKER:
            here |= {"worker"}
        yield from ((point, strike) for strike in FAULTS if strike in here)


@pytest.mark.parametrize(
    ("point", "strike"),
    [
        pytest.param(*case, id="-".join(case), marks=() if case in QUICK else pytest.mark.chaos)
        for case in _cases()
    ],
)
def test_struck_anywhere_it_is_made_whole(
    shared_arena: ChaosEnvironment, tell: Callable[[object], None], point: str, strike: str
) -> None:
    arena = shared_arena

    def trouble(command: Command) -> None:
        there = halted(arena, point, command)
        FAULTS[strike](arena, command, there)
        let_go(arena)

    stage = arena.renew()
    arm(arena, point)
    tell(run_case(arena, stage, lambda: arena.run(stage=stage), trouble))
