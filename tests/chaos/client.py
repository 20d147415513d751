"""The command line of the product, in processes with failpoints.

Importing it takes some three seconds, and there are hundreds of commands: one process imports
everything once and forks for each. It has no thread and no connection then, so a forked process is
as good as a new one."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from orders_dask.cli import main
from tests.chaos import failpoints


def serve() -> None:
    """Start a command for each line of standard input, and print its process id."""
    failpoints.install()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the waiting processes
    while line := sys.stdin.readline():
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            wait_for_command(json.loads(line))


def wait_for_command(request: dict[str, Any]) -> None:
    """Fork the command, wait for its end and write its exit code to a file."""
    pid = os.fork()
    if pid == 0:
        become(request)
        main()
        raise AssertionError("main() ends by SystemExit")
    os.write(1, f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    code = Path(request["code"])
    code.with_suffix(".new").write_text(str(os.waitstatus_to_exitcode(status)))
    code.with_suffix(".new").replace(code)
    os._exit(0)


def become(request: dict[str, Any]) -> None:
    """Take the arguments, the environment and the output of the command."""
    output = os.open(request["output"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[1:] = request["arguments"]


if __name__ == "__main__":
    serve()
