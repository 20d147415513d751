"""Workers that die over the same file again and again: the run ends with a sentence that names it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos.commands import Command
from tests.chaos.environment import ChaosEnvironment
from tests.chaos.faults import run_case

pytestmark = pytest.mark.chaos


def test_workers_that_die_over_a_file_again_and_again_end_the_run_which_names_it(
    shared_arena: ChaosEnvironment, tell: Callable[[object], None]
) -> None:
    arena = shared_arena
    stage = arena.renew()
    arena.trap.kill_over("b.ndjson")

    def mend(command: Command) -> None:
        command.end()
        arena.trap.clear()

    story = run_case(arena, stage, lambda: arena.run(stage=stage), mend, codes=(3,))
    tell(story)
    assert "/b.ndjson" in story.first.said.splitlines()[-1]
