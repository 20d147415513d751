"""Run ``orders-dask migrate`` again and again, each in a process that dies by SIGKILL.

``python -m tests.chaos.migrating POINT`` goes on until one comes to its end, and prints how many
died. With ``between`` they die between two changes, with ``commit`` before a change commits, and
with ``finish`` before the transaction commits that records the version.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from sqlalchemy import Engine, event

from orders_dask.cli import main
from orders_dask.jobs import migrate
from orders_dask.migration import execute
from orders_dask.migration.steps import STEPS

MOST_KILLS: Final = 300


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_at_change(point: str, number: int) -> None:
    """Die at the change of a number; one outside of a transaction has no commit."""
    made = 0

    def counted(*arguments: Any) -> None:
        nonlocal made
        made += 1
        if made == number:
            LAST.write_text(arguments[1].description)
            if point == "commit":
                event.listen(Engine, "commit", _die)
        execute.execute(*arguments)
        if made == number:
            _die()

    vars(migrate)["execute"] = counted


def _die_at_the_end() -> None:
    finish = migrate._finish

    def finishing(*arguments: Any) -> None:
        event.listen(Engine, "commit", _die)
        finish(*arguments)

    vars(migrate)["_finish"] = finishing


def _migrate(point: str, number: int) -> int:
    """Run the command in a process of its own, and return how it ended."""
    process = os.fork()
    if not process:
        if point == "finish":
            _die_at_the_end()
        elif number:
            _die_at_change(point, number)
        sys.argv[1:] = ["migrate"]
        main()
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _kill_until_done(point: str) -> int:
    """Return the number of kills before a migration came to its end.

    Steps of versions, and views while one of them differs, are made once more each time: there the
    next one dies a change later. All else is done, so that the next one dies at another change.
    """
    number, before = 1, ""
    for kills in range(MOST_KILLS):
        code = _migrate(point, number)
        if code == 0:
            return kills
        if code != -signal.SIGKILL:
            sys.exit(f"it ended with {code}")
        if point == "finish":
            point = "none"
        number += LAST.read_text() == before or number <= len(STEPS)
        before = LAST.read_text()
    sys.exit("it makes no progress")


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        LAST = Path(folder) / "last"
        LAST.touch()
        sys.stdout.write(f"{_kill_until_done(sys.argv[1])}\n")
