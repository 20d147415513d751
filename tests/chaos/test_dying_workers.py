"""Workers that die of the same file at every retry: the run ends with a sentence that names it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos.commands import Command
from tests.chaos.environment import ChaosEnvironment
from tests.chaos.faults import run_case

pytestmark = pytest.mark.chaos


def test_workers_that_die_of_a_file_at_every_retry_end_the_run_which_names_it(
    chaos: ChaosEnvironment, record_result: Callable[[object], None]
) -> None:
    stage = chaos.reset()
    chaos.failpoints.kill_decoders_of("b.ndjson")

    def remove_cause(command: Command) -> None:
        command.end()
        chaos.failpoints.clear()

    result = run_case(chaos, stage, lambda: chaos.run(stage=stage), remove_cause, codes=(3,))
    record_result(result)
    assert "/b.ndjson" in result.first.output.splitlines()[-1]
