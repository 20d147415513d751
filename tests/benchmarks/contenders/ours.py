"""The whole ``run``, from S3 to published, on a cluster of this machine that is up already.

All processes have imported and loaded what they run, the reader's machine code too, as the rivals have imported, loaded
and attached theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pandas as pd  # noqa: F401 -- which pyarrow imports when it first needs it

from orders_dask import run
from orders_dask.cluster import connect
from orders_dask.contract.tables import PUBLIC
from orders_dask.settings import Settings
from tests.benchmarks.dump import RUN_DATE

TARGET = PUBLIC


@contextmanager
def ready(settings: Settings, workers: int | None = None) -> Iterator[Callable[[], object]]:
    """Start the cluster; as many workers as there are cores by default."""
    with connect(settings, workers=workers) as client:
        client.run(_loaded)
        yield partial(run, RUN_DATE, settings=settings, client=client)


def _loaded() -> None:
    """Import what tasks need, and have the reader's machine code loaded."""
    from orders_dask import tasks  # noqa: F401
    from orders_dask.extract.reader import read_lines
    from orders_dask.extract.records import Lines

    read_lines(Lines(b"{}\n"), enveloped=True)
