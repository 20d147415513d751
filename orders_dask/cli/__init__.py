"""The command line: it parses, calls and prints.

Exit codes: 0 done, 1 a fault of ours, 2 usage or settings, 3 the data was refused, 4 a service
can't be reached, 130 stopped by Ctrl-C, 143 asked to terminate.

What a command needs is imported when it runs, so that ``--help`` and completion are quick.
"""

from __future__ import annotations

import gc
import signal
from typing import Final

from orders_dask.cli.app import app

from orders_dask.cli.commands import (  # isort: skip: the order of --help
    init,
    run,
    backfill,
    status,
    rejects,
    diff,
    rollback,
    prune,
    unpublish,
    sandbox,
    generate,
    demo,
)
from orders_dask.cluster import block_pandas as without_pandas

# What imports make stays, and Python looks it through for garbage after each 700 new objects: an
# `orders-dask run` that found its date up to date took 2.15 s so, 1.77 s with this (medians of six
# turns each).
_GARBAGE: Final = 10_000

__all__ = [
    "app",
    "backfill",
    "demo",
    "diff",
    "generate",
    "init",
    "main",
    "prune",
    "rejects",
    "rollback",
    "run",
    "sandbox",
    "status",
    "unpublish",
]


def main() -> None:
    """Run the command line of this process; a request to terminate stops it as Ctrl-C does."""
    without_pandas.block()
    gc.set_threshold(_GARBAGE)
    signal.signal(signal.SIGTERM, _terminated)
    app(prog_name="orders-dask")


def _terminated(number: int, frame: object) -> None:
    raise KeyboardInterrupt(number)
