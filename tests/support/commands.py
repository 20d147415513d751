"""Call the command line in this process, or start it as a shell does."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from typer.testing import CliRunner

from orders_dask.cli import app
from tests.support import REPOSITORY

ORDERS_DASK = (sys.executable, "-c", "from orders_dask.cli import main; main()")

Process = subprocess.Popen[str]


def commands_of(group: Any, prefix: str = "") -> dict[str, Any]:
    """Return the commands of a click group by name, those of its groups as ``group command``."""
    found = {}
    for name, command in group.commands.items():
        found[prefix + name] = command
        if hasattr(command, "commands"):
            found |= commands_of(command, f"{prefix}{name} ")
    return found


def orders_dask(
    *arguments: str, code: int = 0, environment: dict[str, str] | None = None
) -> tuple[str, str]:
    """Call ``orders-dask ...`` and return its standard output and standard error."""
    ended = CliRunner().invoke(app, arguments, env=environment)
    assert ended.exit_code == code, ended.output
    assert "\x1b" not in ended.output, "no control codes where there is no terminal"
    return ended.stdout, ended.stderr


def start(*arguments: str, **environment: str) -> Process:
    """Start ``orders-dask ...`` as a shell does, in its own process group."""
    return subprocess.Popen(
        [*ORDERS_DASK, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
