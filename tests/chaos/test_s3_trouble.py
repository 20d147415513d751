"""An S3 server that resets, refuses, falls silent, truncates or is slow: a few times, or until the command ends."""

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
"""Requests by what the product does, by their first lines."""

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
"""What goes on until the command ends: it takes a minute or two to give up, so not every pair does."""


def _cases() -> list[tuple[Trouble, str, int]]:
    kinds: tuple[Trouble, ...] = get_args(Trouble)
    few = [
        (kind, doing, A_FEW)
        for kind in kinds
        for doing in DOING
        # The answer to a PUT has nothing to truncate.
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
def test_trouble_with_s3_passes_or_is_said(
    shared_arena: ChaosEnvironment,
    tell: Callable[[object], None],
    kind: Trouble,
    doing: str,
    requests: int,
) -> None:
    arena = shared_arena
    stage = arena.renew()
    arena.s3.trouble(kind, requests, DOING[doing])

    def trouble(command: Command) -> None:
        command.end()
        assert arena.s3.troubled, "no request met the trouble"

    story = run_case(arena, stage, lambda: arena.run(stage=stage), trouble)
    tell(f"{story}, {arena.s3.troubled} requests")
    assert story.first.code == (4 if requests == ALL and kind != "slow" else 0), story.first.said
