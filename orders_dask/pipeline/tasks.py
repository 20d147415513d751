"""What runs on the workers: one function a task.

Arguments and results are small records; frames stay on the worker and in the stage. Secrets come
from the worker's own environment (:func:`~orders_dask.cluster.connect.worker_settings`), never with
the task.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import partial
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from orders_dask.cluster.connect import worker_settings
from orders_dask.contract.arrow import ORDER_ROW, staged_schemas
from orders_dask.extract.records import Split
from orders_dask.ledger import replay as rejected
from orders_dask.load.connect import engine, snapshot
from orders_dask.load.copy import load_part
from orders_dask.retry import retry_transient
from orders_dask.stage.layout import (
    KEYS,
    REPLAYED,
    part_url,
    replay_url,
)
from orders_dask.stage.ledger_part import LedgerPart
from orders_dask.stage.parts import touch_part, write_part
from orders_dask.stage.record import Part
from orders_dask.stage.tables import prefetch_small, read_table, read_tables, row_groups
from orders_dask.step_metrics import Meter, with_metrics
from orders_dask.transform.resolve import ORDER_ID, PART, drop_superseded, superseded

# What decodes is imported by the task that does: without Numba the client, which imports this too,
# has 58 MB less.
if TYPE_CHECKING:
    pass
from orders_dask.pipeline.staged_rows import (
    ledger_keys,
    normalise_blocks,
    normalise_replayed,
    rows_to_load,
    superseded_totals,
)


@with_metrics
@retry_transient
def decode_normalise_stage(
    meter: Meter, split: Split, stage_url: str, run_date: date, zone: str
) -> Part:
    """Make the part of a split, or use the one that is there."""
    url = part_url(stage_url, run_date, split, zone)  # here: who writes a part names it
    with meter.step("stage"):
        if part := touch_part(url):
            return part
        from orders_dask.extract.decode.decode import decode

        blocks = meter.timed_iter("decode", decode(split, ZoneInfo(zone)))
        part = write_part(url, meter.timed_iter("normalise", normalise_blocks(blocks)))
    meter.add_bytes("decode", split.size)
    meter.add_bytes("stage", sum(part.bytes.values()))
    return part


@with_metrics
@retry_transient
def replay_rejects(
    meter: Meter, stage_url: str, run_date: date, load_id: int, code: str | None, zone: str
) -> Part:
    """Make the part of the refused records of a load that can be read again, or use the one that is there.

    Parameters
    ----------
    load_id
        The load that refused them.
    code
        Only those with this code.
    """
    with meter.step("decode"), snapshot(engine(worker_settings())) as ledger:
        identity = rejected.replay_identity(ledger, load_id, code)
        url = replay_url(stage_url, run_date, identity, zone)
        if part := touch_part(url):
            return part
        from orders_dask.extract.decode import replay as again

        return write_part(
            url,
            normalise_replayed(
                again.replay_records(rejected.replayable(ledger, load_id, code), ZoneInfo(zone))
            ),
        )


@with_metrics
@retry_transient
def resolve(
    meter: Meter, parts: Sequence[LedgerPart], ranges: int, number: int
) -> dict[int, list[int]]:
    """Find which orders lose inside the run date, from the parts' keys alone.

    Parameters
    ----------
    parts
        All parts of the run date.
    ranges, number
        Only orders whose id leaves `number` when divided by `ranges`, so that a task's memory is
        bounded.

    Returns
    -------
    dict
        For the index of each part that has losers: their order rows.
    """
    with meter.step("resolve"):
        tables = read_tables([placed.part for placed in parts], KEYS)
        keys, replayed = [], []
        for index, (placed, table) in enumerate(zip(parts, tables, strict=True)):
            of_part = ledger_keys(placed, table)
            index_column = pa.repeat(pa.scalar(index, pa.int64()), len(of_part))
            of_part = of_part.append_column(PART, index_column)
            keys.append(_in_range(of_part, ranges, number))
            if placed.part.rows.get(REPLAYED):
                replayed.append(of_part)
        lost = superseded(pa.concat_tables(keys), pa.concat_tables(replayed) if replayed else None)
        lost = lost.group_by(PART).aggregate([(ORDER_ROW, "list")])
    return dict(zip(lost[PART].to_pylist(), lost[f"{ORDER_ROW}_list"].to_pylist(), strict=True))


def _in_range(keys: pa.Table, ranges: int, number: int) -> pa.Table:
    if ranges == 1:
        return keys
    order_id = keys[ORDER_ID]
    remainder = pc.subtract(order_id, pc.multiply(pc.divide(order_id, ranges), ranges))
    return keys.filter(pc.equal(remainder, number))


@with_metrics
@retry_transient
def load(
    meter: Meter, placed: LedgerPart, run_date: date, load_id: int, superseded: Sequence[int]
) -> int:
    """Load a part without its losers, once, however often the task runs.

    Returns
    -------
    int
        Number of orders that the part gave to the load.
    """
    part, losers = placed.part, pa.array(superseded, pa.int64())
    with meter.step("load"):
        fetched = prefetch_small(part, [KEYS, *staged_schemas()])
        read = partial(row_groups, part, prefetched=fetched)
        keys = ledger_keys(placed, read_table(part, KEYS, prefetched=fetched))
        orders = drop_superseded(keys, losers)
        sent = load_part(
            engine(worker_settings()),
            load_id,
            run_date,
            part.name,
            rows_to_load(placed, read, orders, losers),
            superseded=superseded_totals(read, keys, losers),
        )
    meter.add_bytes("load", sent)
    return int(orders.num_rows)
