"""The command line, called in this process or started as a shell does."""

from __future__ import annotations

import os
import subprocess
import sys

from typer.testing import CliRunner

from orders_dask.cli import app
from tests.support import REPOSITORY

ORDERS_DASK = (sys.executable, "-c", "from orders_dask.cli import main; main()")

Process = subprocess.Popen[str]


def orders_dask(
    *arguments: str, code: int = 0, environment: dict[str, str] | None = None
) -> tuple[str, str]:
    """Call ``orders-dask ...`` and give what it writes to standard output and standard error."""
    ended = CliRunner().invoke(app, arguments, env=environment)
    assert ended.exit_code == code, ended.output
    assert "\x1b" not in ended.output, "no control codes where there is no terminal"
    return ended.stdout, ended.stderr


def start(*arguments: str, **environment: str) -> Process:
    """Start ``orders-dask ...`` as a shell does: in a process group of its own."""
    return subprocess.Popen(
        [*ORDERS_DASK, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
