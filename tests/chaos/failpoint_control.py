"""The test's side of the points: say where to halt, wait until a process does, let it go."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 150.0


@dataclass(frozen=True)
class Halted:
    """A process that halts at the point.

    Attributes
    ----------
    pid
        The process.
    sessions
        The sessions that it has with PostgreSQL, by the server's process ids.
    """

    pid: int
    sessions: list[int]


class Failpoints:
    """A point at which the first process that comes there halts.

    Parameters
    ----------
    folder
        The folder that the processes look into.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def arm(self, point: str) -> None:
        """Let the first process that comes to `point` halt."""
        self.clear()
        self._write("armed", point)

    def kill_over(self, name: str) -> None:
        """Let each worker die that is to decode a file with this in its name."""
        self.clear()
        self._write("deadly", name)

    def wait(self, alive: Callable[[], bool]) -> Halted:
        """Wait until a process halts, as long as the one that leads there is alive."""
        deadline = time.monotonic() + PATIENCE
        while not (self._folder / "reached").exists():
            assert alive(), "the command ended before it came to the point"
            assert time.monotonic() < deadline, "nobody came to the point"
            time.sleep(0.01)
        return Halted(**json.loads((self._folder / "reached").read_text()))

    def release(self) -> None:
        """Let who halts go on, and nobody halt any more."""
        (self._folder / "armed").unlink(missing_ok=True)
        self._write("go", "")

    def clear(self) -> None:
        """Forget all."""
        for file in self._folder.iterdir():
            file.unlink()

    def _write(self, name: str, text: str) -> None:
        new = self._folder / f"{name}.new"
        new.write_text(text)
        new.replace(self._folder / name)
