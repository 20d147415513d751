"""The command line: it parses arguments, calls a job and prints its result.

Exit codes are those of the errors (:mod:`orders_dask.errors`); docs/exit-codes.md lists them. A
command imports its job when it runs, so that ``--help`` and completion are quick.
"""

from __future__ import annotations

import gc
import signal
import sys
from typing import Final

from orders_dask.cli.app import app

from orders_dask.cli.commands import (  # isort: skip: the order of --help
    init,
    migrate,
    fetch,
    run,
    backfill,
    daily,
    status,
    report,
    docs,
    drift,
    rejects,
    dimensions,
    marts,
    accept,
    diff,
    rollback,
    prune,
    unpublish,
    sandbox,
    generate,
    demo,
)
from orders_dask.cluster import block_pandas

_GC_THRESHOLD: Final = 10_000
"""New objects per garbage collection: with 700, an up-to-date `run` took 1.2 times as long."""

__all__ = [
    "accept",
    "app",
    "backfill",
    "daily",
    "demo",
    "diff",
    "dimensions",
    "docs",
    "drift",
    "fetch",
    "generate",
    "init",
    "main",
    "marts",
    "migrate",
    "prune",
    "rejects",
    "report",
    "rollback",
    "run",
    "sandbox",
    "status",
    "unpublish",
]


def main() -> None:
    """Run the command line in this process; SIGTERM stops it as Ctrl-C does."""
    block_pandas.block()
    gc.set_threshold(_GC_THRESHOLD)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app(prog_name="orders-dask")
    except KeyboardInterrupt as stop:  # before a command handles it
        sys.exit(128 + (stop.args[0] if stop.args else signal.SIGINT))
    finally:
        gc.freeze()  # else the interpreter looks at all that was imported when it exits: 0.2 s


def _terminate(number: int, frame: object) -> None:
    raise KeyboardInterrupt(number)
