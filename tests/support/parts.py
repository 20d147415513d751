"""The steps of a run up to the database, on files: staged parts, and what of them stands."""

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
from orders_dask.stage.parts import write_part
from orders_dask.stage.record import Part, merge_files
from orders_dask.stage.tables import read_table
from orders_dask.transform.resolve import drop_superseded
from tests.support.builders import DAY


def staged(source: str, stage: str, block_size: int) -> list[Part]:
    """Stage a dump, a part for each split: ``<stage>0``, ``<stage>1`` and so on."""
    return [
        write_part(f"{stage}{n}", normalise_blocks(decode(split, ZoneInfo("UTC"))))
        for n, split in enumerate(discover(source, DAY, block_size))
    ]


def placed(parts: list[Part]) -> list[LedgerPart]:
    """Number the files of some parts as the ledger does."""
    return assign_ids(parts, {name: number for number, name in enumerate(merge_files(parts))})


def standing(parts: list[Part]) -> Iterator[tuple[str, list[dict[str, Any]], int]]:
    """Yield of each table of each part its name, the rows of orders that win, and how many others it has."""
    all_placed = placed(parts)
    losers, _ = resolve(all_placed, 1, 0)
    for number, one in enumerate(all_placed):
        lost = pa.array(losers.get(number, []), pa.int64())
        for name in staged_schemas():
            rows = read_table(one.part, name)
            kept = drop_superseded(rows, lost)
            others = rows.num_rows - kept.num_rows
            kept = one.with_ledger_ids(kept) if FILE in kept.column_names else kept
            yield name, kept.drop_columns([ORDER_ROW]).to_pylist(), others
