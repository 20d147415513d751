"""Start commands of the product through :mod:`tests.chaos.client`, and wait for their end."""

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

COMMAND_TIMEOUT: Final = 300
"""Seconds after which a command hangs."""


@dataclass(frozen=True)
class CommandResult:
    """How a command ended.

    Attributes
    ----------
    code
        Its exit code, negative for a signal.
    output
        What it wrote to standard output and standard error.
    """

    code: int
    output: str

    def __str__(self) -> str:
        """Return the exit code and the outcome."""
        if self.code < 0:
            return "killed"
        outcomes = re.findall(r"(?m)^\S+  (published|up to date|failed|refused)", self.output)
        return " ".join([str(self.code), *outcomes[-1:]])


@dataclass(frozen=True)
class Command:
    """A command that was started.

    Attributes
    ----------
    pid
        Its process.
    output, code
        Files with its output and, when it has ended, its exit code.
    thread_dump
        Returns the stacks of its workers' threads, for a command that hangs.
    """

    pid: int
    output: Path
    code: Path
    thread_dump: Callable[[], str]

    def running(self) -> bool:
        """Return whether it has not ended."""
        return not self.code.exists()

    def signal(self, number: int) -> None:
        """Send it a signal, if it is running."""
        if self.running():
            os.kill(self.pid, number)

    def end(self) -> CommandResult:
        """Wait for its end."""
        deadline = time.monotonic() + COMMAND_TIMEOUT
        while self.running():
            if time.monotonic() > deadline:
                workers = self.thread_dump()
                self.signal(signal.SIGUSR1)
                time.sleep(1)
                raise AssertionError(f"it hangs: {self.output.read_text()}\n{workers}")
            time.sleep(0.02)
        return CommandResult(int(self.code.read_text()), self.output.read_text())


class Commands:
    """Starts commands.

    Parameters
    ----------
    folder
        For their output.
    repository
        Where the product and the tests are.
    environment
        Of the process that forks them.
    thread_dump
        Returns the stacks of the workers' threads, for a command that hangs.
    """

    def __init__(
        self,
        folder: Path,
        repository: Path,
        environment: Mapping[str, str],
        thread_dump: Callable[[], str],
    ) -> None:
        self._folder, self._thread_dump = folder, thread_dump
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
        return Command(int(self._server.stdout.readline()), output, code, self._thread_dump)

    def close(self) -> None:
        """End the process that forks commands."""
        self._server.communicate()
