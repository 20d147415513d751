"""Starts commands of the product (:mod:`tests.chaos.client`), and tells how each ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SECONDS: Final = 300


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, negative for a signal, and all that it said."""

    code: int
    said: str

    def __str__(self) -> str:
        """Say it in two words."""
        if self.code < 0:
            return "killed"
        outcomes = re.findall(r"(?m)^\S+  (published|up to date|failed|refused)", self.said)
        return " ".join([str(self.code), *outcomes[-1:]])


@dataclass(frozen=True)
class Command:
    """A command that was started.

    Attributes
    ----------
    pid
        Its process.
    output, code
        Files with what it says and, when it has ended, its exit code.
    hanging
        Says what its workers do when it doesn't end.
    """

    pid: int
    output: Path
    code: Path
    hanging: Callable[[], str]

    def running(self) -> bool:
        """Whether it has not ended."""
        return not self.code.exists()

    def signal(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        if self.running():
            os.kill(self.pid, number)

    def end(self) -> Ended:
        """Wait for its end."""
        deadline = time.monotonic() + SECONDS
        while self.running():
            if time.monotonic() > deadline:
                workers = self.hanging()
                self.signal(signal.SIGUSR1)
                time.sleep(1)
                raise AssertionError(f"it hangs: {self.output.read_text()}\n{workers}")
            time.sleep(0.02)
        return Ended(int(self.code.read_text()), self.output.read_text())


class Commands:
    """Starts commands.

    Parameters
    ----------
    folder
        For what they say.
    repository
        Where the product and the tests are.
    environment
        Of the process that forks them.
    hanging
        Says what workers do while a command doesn't end.
    """

    def __init__(
        self,
        folder: Path,
        repository: Path,
        environment: Mapping[str, str],
        hanging: Callable[[], str],
    ) -> None:
        self._folder, self._hanging = folder, hanging
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.client"],
            cwd=repository,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, *arguments: str, environment: Mapping[str, str]) -> Command:
        """Start ``orders-dask`` with these arguments."""
        output = self._folder / f"command-{uuid.uuid4().hex[:8]}.log"
        code = output.with_suffix(".code")
        request = {
            "arguments": arguments,
            "environment": dict(environment),
            "output": str(output),
            "code": str(code),
        }
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return Command(int(self._server.stdout.readline()), output, code, self._hanging)

    def close(self) -> None:
        """Start no more."""
        self._server.communicate()
