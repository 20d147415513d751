"""The test's side of the failpoints: arm one, wait until a process halts there, release it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HALT_TIMEOUT = 150.0
"""Seconds that a process may take to reach an armed failpoint."""


@dataclass(frozen=True)
class Halted:
    """A process that halts at a failpoint.

    Attributes
    ----------
    pid
        The process.
    sessions
        Its sessions with PostgreSQL, by the server's process ids.
    """

    pid: int
    sessions: list[int]


class Failpoints:
    """The failpoints of a test process. The first process that reaches the armed one halts.

    Parameters
    ----------
    folder
        The folder that the processes watch.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def arm(self, point: str) -> None:
        """Halt the first process that reaches `point`."""
        self.clear()
        self._write("armed", point)

    def kill_decoders_of(self, name: str) -> None:
        """Kill each worker that begins to decode a file whose name contains `name`."""
        self.clear()
        self._write("deadly", name)

    def wait(self, alive: Callable[[], bool]) -> Halted:
        """Wait until a process halts, as long as the command that leads there is alive."""
        deadline = time.monotonic() + HALT_TIMEOUT
        while not (self._folder / "reached").exists():
            assert alive(), "the command ended before it came to the point"
            assert time.monotonic() < deadline, "nobody came to the point"
            time.sleep(0.01)
        return Halted(**json.loads((self._folder / "reached").read_text()))

    def release(self) -> None:
        """Let the halted process go on, and halt no other."""
        (self._folder / "armed").unlink(missing_ok=True)
        self._write("go", "")

    def clear(self) -> None:
        """Delete all files of earlier cases."""
        for file in self._folder.iterdir():
            file.unlink()

    def _write(self, name: str, text: str) -> None:
        new = self._folder / f"{name}.new"
        new.write_text(text)
        new.replace(self._folder / name)
