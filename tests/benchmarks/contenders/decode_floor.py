"""The floor of decode: only read, decompress and parse with ``pyarrow.json``, on all cores.

It needs a clean dump: defects are not handled. Lines that the ends of a byte range cut are left
out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import Any

import pyarrow as pa
import pyarrow.json as pj
from isal import igzip

from orders_dask.contract.arrow import PRESENCE_TYPE, raw_schema
from orders_dask.extract.discover import discover
from orders_dask.extract.records import BLOCK_BYTES, Split
from orders_dask.extract.source.object_store import open_sequential
from orders_dask.settings import Settings
from tests.benchmarks.dump import RUN_DATE

TARGET = None


@contextmanager
def ready(settings: Settings) -> Iterator[Callable[[], object]]:
    """List the dump, start a process a core, and yield the decoding."""
    splits = discover(settings.source, RUN_DATE, settings.block_size)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        list(pool.map(abs, range(os.cpu_count() or 1)))
        yield lambda: sum(pool.map(_parsed, splits))


def _parsed(split: Split) -> int:
    orders = 0
    for file in split.files:
        with open_sequential(file) as stream:
            if split.start is None:
                text: Any = igzip.open(stream)  # type: ignore[no-untyped-call]
                blocks = iter(partial(text.read, BLOCK_BYTES), b"")
            else:
                stream.seek(split.start)
                blocks = iter([stream.read(split.size).partition(b"\n")[2]])
            rest = b""
            for block in blocks:
                lines, end, after = (rest + block).rpartition(b"\n")
                orders += _read(lines + end)
                rest = after
    return orders


def _as_text(kind: Any) -> Any:
    """Return a type in which the keys that only have to be there, whatever they hold, are texts."""
    if pa.types.is_list(kind):
        return pa.list_(_as_text(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_as_text(field.type)) for field in kind])
    return pa.string() if kind == PRESENCE_TYPE else kind


_SCHEMA = pa.schema([field.with_type(_as_text(field.type)) for field in raw_schema()])


def _read(text: bytes) -> int:
    table = pj.read_json(
        pa.BufferReader(text),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(text) + 16),
        parse_options=pj.ParseOptions(explicit_schema=_SCHEMA, unexpected_field_behavior="ignore"),
    )
    return int(table.num_rows)
