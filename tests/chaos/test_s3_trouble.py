"""S3 resets, fails, stays silent, truncates or is slow: a few times, or until the command ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, get_args

import pytest

from tests.chaos.commands import Command
from tests.chaos.environment import ChaosEnvironment
from tests.chaos.faults import run_case
from tests.support.proxy import Trouble

DOING = {
    "listing": r"^GET /\S*list-type",
    "reading": r"^GET /\S*run_date=[^/]*/[abc]\.ndjson",
    "staging": r"^PUT /\S*part=",
    "loading": r"^GET /\S*part=\S*parquet",
}
"""Regular expressions on the first line of a request, by what the product does."""

A_FEW = 3
ALL = 1_000_000


LASTING: Final[list[tuple[Trouble, str]]] = [
    ("reset", "listing"),
    ("503", "reading"),
    ("silence", "staging"),
    ("500", "loading"),
    ("truncated", "loading"),
    *(("slow", doing) for doing in DOING),
]
"""Faults until the command ends. It retries for a minute or two, so not all pairs are tried."""


def _cases() -> list[tuple[Trouble, str, int]]:
    kinds: tuple[Trouble, ...] = get_args(Trouble)
    few = [
        (kind, doing, A_FEW)
        for kind in kinds
        for doing in DOING
        # The answer to a PUT has no body to truncate.
        if kind != "slow" and (kind, doing) != ("truncated", "staging")
    ]
    return [*few, *((kind, doing, ALL) for kind, doing in LASTING)]


@pytest.mark.parametrize(
    ("kind", "doing", "requests"),
    [
        pytest.param(
            *case,
            id=f"{case[0]}-{case[1]}-{'always' if case[2] == ALL else 'a_few'}",
            marks=() if case == ("truncated", "reading", A_FEW) else pytest.mark.chaos,
        )
        for case in _cases()
    ],
)
def test_a_fault_of_s3_passes_or_is_reported(
    chaos: ChaosEnvironment,
    record_result: Callable[[object], None],
    kind: Trouble,
    doing: str,
    requests: int,
) -> None:
    stage = chaos.reset()
    chaos.s3.trouble(kind, requests, DOING[doing])

    def inject(command: Command) -> None:
        command.end()
        assert chaos.s3.troubled, "no request met the trouble"

    result = run_case(chaos, stage, lambda: chaos.run(stage=stage), inject)
    record_result(f"{result}, {chaos.s3.troubled} requests")
    assert result.first.code == (4 if requests == ALL and kind != "slow" else 0), (
        result.first.output
    )
