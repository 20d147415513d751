"""Run the steps before the database on local files: stage parts, and resolve them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from orders_dask.contract.arrow import FILE, ORDER_ROW, staged_schemas
from orders_dask.extract.decode.decode import decode
from orders_dask.extract.discover import discover
from orders_dask.pipeline.staged_rows import normalise_blocks
from orders_dask.pipeline.tasks import resolve
from orders_dask.stage.ledger_part import LedgerPart, assign_ids
from orders_dask.stage.record import Part, merge_files
from orders_dask.stage.tables import read_table
from orders_dask.stage.write import write_part
from orders_dask.transform.resolve import drop_superseded
from tests.support.builders import DAY


def staged(source: str, stage: str, block_size: int) -> list[Part]:
    """Stage a dump, one part per split: ``<stage>0``, ``<stage>1`` and so on."""
    return [
        write_part(f"{stage}{n}", normalise_blocks(decode(split, ZoneInfo("UTC"))))
        for n, split in enumerate(discover(source, DAY, block_size))
    ]


def numbered(parts: list[Part]) -> list[LedgerPart]:
    """Return parts with the numbers of their files, as the ledger assigns them."""
    return assign_ids(parts, {name: number for number, name in enumerate(merge_files(parts))})


def resolved(parts: list[Part]) -> Iterator[tuple[str, list[dict[str, Any]], int]]:
    """Yield for each table of each part: its name, its rows of current orders, how many others."""
    ledger_parts = numbered(parts)
    superseded, _ = resolve(ledger_parts, 1, 0)
    for number, one in enumerate(ledger_parts):
        order_rows = pa.array(superseded.get(number, []), pa.int64())
        for name in staged_schemas():
            rows = read_table(one.part, name)
            remaining = drop_superseded(rows, order_rows)
            others = rows.num_rows - remaining.num_rows
            remaining = (
                one.with_ledger_ids(remaining) if FILE in remaining.column_names else remaining
            )
            yield name, remaining.drop_columns([ORDER_ROW]).to_pylist(), others
