"""Run ``orders-dask migrate`` in this process, and die by SIGKILL at one of its points.

``python -m tests.chaos.migrating POINT NUMBER`` dies ``before`` the change of that number, before
its ``commit``, or ``after`` it; with ``finish``, before the commit that records the version.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from sqlalchemy import Engine, event

from orders_dask.cli import main
from orders_dask.jobs import migrate
from orders_dask.migration import execute


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _arm(point: str, number: int) -> None:
    made = 0
    make = execute.execute

    def counted(*arguments: Any) -> None:
        nonlocal made
        made += 1
        if made == number and point == "before":
            _die()
        if made == number and point == "commit":
            event.listen(Engine, "commit", _die)
        make(*arguments)
        if made == number and point != "finish":  # outside of a transaction there is no commit
            _die()

    vars(migrate)["execute"] = counted
    if point == "finish":
        finish = migrate._finish

        def finishing(*arguments: Any) -> None:
            event.listen(Engine, "commit", _die)
            finish(*arguments)

        vars(migrate)["_finish"] = finishing


if __name__ == "__main__":
    point, number = sys.argv[1:]
    _arm(point, int(number))
    sys.argv[1:] = ["migrate"]
    main()
