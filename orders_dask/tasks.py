"""What runs on the workers: one function a task.

Arguments and results are small records; frames stay on the worker and in the stage. Secrets come from the worker's own
environment (:func:`~orders_dask.cluster.worker_settings`), never with the task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from orders_dask import stage
from orders_dask.cluster import worker_settings
from orders_dask.contract.arrow import FILE, ORDER_ROW
from orders_dask.contract.tables import FACTS, SAID, order_version
from orders_dask.extract.decode import decode
from orders_dask.extract.records import Split
from orders_dask.load.connect import engine
from orders_dask.load.copy import load_part
from orders_dask.parts import Part, Placed
from orders_dask.stage import KEYS
from orders_dask.transform.balance import Books, books
from orders_dask.transform.resolve import ORDER_ID, PART, keep, losers, said


def decode_normalise_stage(split: Split, url: str, zone: str) -> Part:
    """Make the part of a split at `url`, or use the one that is there."""
    return stage.find_part(url) or stage.write_part(url, decode(split, ZoneInfo(zone)))


def resolve(parts: Sequence[Placed], ranges: int, number: int) -> dict[int, list[int]]:
    """Find which orders lose inside the run date, from the parts' keys alone.

    Parameters
    ----------
    parts
        All parts of the run date.
    ranges, number
        Only orders whose id leaves `number` when divided by `ranges`, so that a task's memory is bounded.

    Returns
    -------
    dict
        For the index of each part that has losers: their order rows.
    """
    keys = [_range_of_keys(placed, index, ranges, number) for index, placed in enumerate(parts)]
    lost = losers(pa.concat_tables(keys)).group_by(PART).aggregate([(ORDER_ROW, "list")])
    return dict(zip(lost[PART].to_pylist(), lost[f"{ORDER_ROW}_list"].to_pylist(), strict=True))


def _range_of_keys(placed: Placed, index: int, ranges: int, number: int) -> pa.Table:
    keys = placed.place(stage.read_table(placed.part, KEYS))
    keys = keys.append_column(PART, pa.repeat(pa.scalar(index, pa.int64()), keys.num_rows))
    keys = keys.append_column(ORDER_ROW, pa.array(range(keys.num_rows), pa.int64()))
    if ranges == 1:
        return keys
    order_id = keys[ORDER_ID]
    remainder = pc.subtract(order_id, pc.multiply(pc.divide(order_id, ranges), ranges))
    return keys.filter(pc.equal(remainder, number))


def load(placed: Placed, run_date: date, load_id: int, lost: Sequence[int]) -> int:
    """Load a part without its losers, once, however often the task runs.

    Returns
    -------
    int
        Number of orders that the part gave to the load.
    """
    part, losers = placed.part, pa.array(lost, pa.int64())
    keys = placed.place(stage.read_table(part, KEYS))
    keys = keys.append_column(ORDER_ROW, pa.array(range(keys.num_rows), pa.int64()))
    orders = keep(keys, losers)

    def fact(name: str) -> Iterator[pa.Table]:
        for rows in stage.row_groups(part, name):
            kept = keep(rows, losers)
            yield placed.place(kept) if FILE in kept.column_names else kept

    load_part(
        engine(worker_settings()),
        load_id,
        run_date,
        part.name,
        {table.name: fact(table.name) for table in FACTS}
        | {order_version.name: [orders]}
        | {
            table.name: [said(table.name, stage.read_table(part, table.name), orders)]
            for table in SAID
        },
        superseded=_superseded(placed, keys, losers),
    )
    return int(orders.num_rows)


def _superseded(
    placed: Placed, keys: pa.Table, losers: pa.Array
) -> dict[str, tuple[Books, dict[int, int]]]:
    """Count what the losers take with them: by fact its books, and its rows by the ledger's file."""
    if not len(losers):
        return {}
    lost: dict[str, tuple[Books, dict[int, int]]] = {}
    for fact in FACTS:
        rows = stage.read_table(placed.part, fact.name)
        rows = rows.filter(pc.is_in(rows[ORDER_ROW], losers))
        files = pc.value_counts(pc.take(keys[FILE], rows[ORDER_ROW]))
        lost[fact.name] = (
            books(fact.name, rows),
            {entry["values"]: entry["counts"] for entry in files.to_pylist()},
        )
    return lost
