"""``pandas.DataFrame.to_sql``, some thousand orders at a time, in one process.

Its default method is the fastest: SQLAlchemy sends many rows in one INSERT. Amounts and timestamps
are sent as text, and PostgreSQL converts them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice

import fsspec
import pandas as pd
from sqlalchemy import Engine

from orders_dask.load.connect import engine
from orders_dask.settings import Settings
from tests.benchmarks.contenders import target
from tests.benchmarks.contenders.flat import flattened
from tests.benchmarks.dump import RUN_DATE

TARGET = target.RIVAL

ORDERS = 5_000
"""Orders in a data frame."""


@contextmanager
def ready(settings: Settings) -> Iterator[Callable[[], object]]:
    """Create the tables, and yield the load."""
    database = engine(settings)
    target.make(database)
    yield partial(_load, database, settings.source.format(run_date=RUN_DATE))


def _load(database: Engine, source: str) -> None:
    files = fsspec.open_files(f"{source}*", compression="infer")
    orders = (flattened(json.loads(line)) for line in chain.from_iterable(map(_lines, files)))
    while batch := list(islice(orders, ORDERS)):
        rows = [row for row, _ in batch], [line for _, lines in batch for line in lines]
        for table, of_table in zip(target.TABLES, rows, strict=True):
            frame = pd.DataFrame(of_table, dtype=object)
            frame.to_sql(table.name, database, schema=TARGET, if_exists="append", index=False)


def _lines(file: fsspec.core.OpenFile) -> Iterator[bytes]:
    with file as text:
        yield from text
