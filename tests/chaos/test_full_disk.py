"""A stage whose disk is full: the run ends with a sentence, and goes on when there is room."""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.chaos.commands import Command
from tests.chaos.environment import ChaosEnvironment
from tests.chaos.faults import run_case

pytestmark = pytest.mark.chaos

SMALL = 150_000
"""Bytes: room for some of the six parts, not for all."""
LARGE = 100_000_000


@contextmanager
def disk() -> Iterator[tuple[Path, Callable[[int], None]]]:
    """Yield a new file system of size SMALL, and a function that changes its size."""

    def mount(size: int, *options: str) -> None:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join([*options, f"size={size}"]), "tmpfs", folder],
            check=True,
        )

    with tempfile.TemporaryDirectory(prefix="orders-dask-chaos-") as folder:
        mount(SMALL)
        try:
            yield Path(folder), lambda size: mount(size, "remount")
        finally:
            subprocess.run(["umount", folder], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
def test_a_full_disk_ends_the_run_and_room_lets_it_go_on(
    chaos: ChaosEnvironment, record_result: Callable[[object], None]
) -> None:
    chaos.reset()
    with disk() as (folder, resize):
        stage = f"file://{folder}"

        def make_room(command: Command) -> None:
            command.end()
            resize(LARGE)

        result = run_case(chaos, stage, lambda: chaos.run(stage=stage), make_room)
    record_result(result)
    assert result.first.code == 4
    assert "No space left on device" in result.first.output


def test_a_file_that_may_not_grow_ends_the_run_and_room_lets_it_go_on(
    chaos: ChaosEnvironment, record_result: Callable[[object], None], tmp_path: Path
) -> None:
    chaos.reset()
    stage = f"file://{tmp_path}"

    def limit(size: int) -> None:
        for pid in chaos.cluster.worker_pids():
            psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def make_room(command: Command) -> None:
        command.end()
        limit(resource.RLIM_INFINITY)

    limit(10_000)
    try:
        result = run_case(chaos, stage, lambda: chaos.run(stage=stage), make_room)
    finally:
        limit(resource.RLIM_INFINITY)
    record_result(result)
    assert result.first.code == 4
    assert "File too large" in result.first.output
