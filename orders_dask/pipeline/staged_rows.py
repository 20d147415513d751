"""What tasks stage of decoded blocks, and what they load of staged parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import tee
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orders_dask.contract.arrow import FILE, ORDER_ROW
from orders_dask.contract.control_totals import CURRENCY, ControlTotals, money_columns, totals_of
from orders_dask.contract.order_tables import FACTS, fact_order, fact_order_line
from orders_dask.contract.rejects import Rejected, merge_issues
from orders_dask.contract.storage_tables import (
    DIMENSION_ROWS,
    DIMENSION_SOURCES,
    STAGED,
    order_version,
)
from orders_dask.stage.layout import (
    KEYS,
    REJECTED,
    REJECTED_SCHEMA,
    REPLAYED,
    REPLAYED_SCHEMA,
)
from orders_dask.stage.ledger_part import LedgerPart
from orders_dask.stage.record import StagedFile
from orders_dask.transform.dimensions import dimension_rows, latest_per_key, sort_by_version
from orders_dask.transform.normalise import Normalised, normalise
from orders_dask.transform.resolve import drop_superseded

# What decodes is imported by the task that does: without Numba the client, which imports this too,
# has 58 MB less.
if TYPE_CHECKING:
    from orders_dask.extract.decode.decode import Decoded
    from orders_dask.extract.decode.replay import ReplayedBatch, ReplayOutcome


ReadTable = Callable[..., Iterator[pa.Table]]
"""Reads a staged table of a part by its name, and of its columns those named, a row group at a time."""


def normalise_blocks(blocks: Iterable[Decoded]) -> Iterator[tuple[StagedFile, dict[str, pa.Table]]]:
    """Normalise decoded blocks, file by file: what each holds of its file, and its staged tables."""
    names: list[str] = []
    orders = 0
    for block in blocks:
        if block.file.name not in names[-1:]:
            names.append(block.file.name)
        number = len(names) - 1
        made = normalise(block.orders, number, orders)
        orders += block.orders.num_rows
        rejected = _rejected_table(number, block.rejected)
        tables = {**made.tables, KEYS: made.keys, REJECTED: rejected}
        yield _file_counters(block, made), tables


def _file_counters(block: Decoded, made: Normalised) -> StagedFile:
    """Record what a block holds of its file."""
    refused = Counter[str]()
    for reject in block.rejected:
        refused.update(reject.counts)
    lines = (
        reject.counts.get(fact_order_line.name, 0)
        for reject in block.rejected
        if fact_order.name not in reject.counts
    )
    read = {fact.name: made.tables[fact.name].num_rows + refused[fact.name] for fact in FACTS}
    return StagedFile(
        name=block.file.name,
        etag=block.file.etag,
        size=block.file.size,
        positions=block.read,
        # The positions that decode used up, not what came of them: the books would not miss a lost
        # order.
        read=read | {fact_order.name: block.read},
        rejected={fact.name: refused[fact.name] for fact in FACTS},
        lines_rejected=sum(lines),
        unreadable=block.unreadable,
        issues=list(merge_issues([*block.issues, *made.issues])),
        drift=list(block.drift),
    )


def _rejected_table(file: int, rejects: Sequence[Rejected]) -> pa.Table:
    rows = [
        (
            *(file, r.position, r.path, r.code, r.message),
            *(r.counts.get(fact.name, 0) for fact in FACTS),
            *(r.raw, r.order_raw),
        )
        for r in rejects
    ]
    columns = [*zip(*rows, strict=True)] or [()] * len(REJECTED_SCHEMA)
    return pa.table(
        [pa.array(c, f.type) for c, f in zip(columns, REJECTED_SCHEMA, strict=True)],
        schema=REJECTED_SCHEMA,
    )


def normalise_replayed(
    blocks: Iterable[ReplayedBatch],
) -> Iterator[tuple[StagedFile, dict[str, pa.Table]]]:
    """Normalise records that were read again: what each block changes in the books of its file, and its staged tables.

    The records have their positions in the whole file and were counted there before: the block
    itself has none. An order that stood without some children counts as read once more: what stood
    of it loses to it.
    """
    blocks, same = tee(blocks)
    orders = 0
    staged = normalise_blocks(block.decoded for block in same)
    for block, (file, tables) in zip(blocks, staged, strict=True):
        yield (
            replace(
                file,
                positions=0,
                read={
                    fact: n - block.rejected_before.get(fact, 0) for fact, n in file.read.items()
                },
                rejected={
                    fact: n - block.rejected_before.get(fact, 0)
                    for fact, n in file.rejected.items()
                },
                lines_rejected=file.lines_rejected - block.lines_rejected_before,
            ),
            {**tables, REPLAYED: _replayed_table(block.outcomes, orders)},
        )
        orders += block.decoded.orders.num_rows


def _replayed_table(verdicts: Sequence[ReplayOutcome], first_row: int) -> pa.Table:
    rows = [
        verdict._replace(row=None if verdict.row is None else first_row + verdict.row)
        for verdict in verdicts
    ]
    schema = REPLAYED_SCHEMA
    columns = zip(*rows, strict=True)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema)


def rows_to_load(
    placed: LedgerPart, read: ReadTable, orders: pa.Table, superseded: pa.Array
) -> Iterator[tuple[str, pa.Table]]:
    """Give what is loaded of a part, with the name of the table it goes to, a row group of the stage at a time."""
    yield order_version.name, orders
    by_version = sort_by_version(orders)
    for table in STAGED:
        carried = [
            dimension
            for dimension in DIMENSION_ROWS
            if DIMENSION_SOURCES[dimension.name].table is table
        ]
        for rows in read(table.name):
            kept = drop_superseded(rows, superseded)
            if table in FACTS:
                yield (
                    table.name,
                    placed.with_ledger_ids(kept) if FILE in kept.column_names else kept,
                )
            for dimension in carried:
                of_dimension = latest_per_key(
                    dimension, dimension_rows(dimension, kept), by_version
                )
                if of_dimension.num_rows:  # else it would be a COPY of nothing
                    yield dimension.name, of_dimension


def ledger_keys(placed: LedgerPart, staged: pa.Table) -> pa.Table:
    """Give the keys of a part the ledger's files, whole positions and order rows."""
    keys = placed.with_ledger_ids(staged)
    return keys.append_column(ORDER_ROW, pa.array(np.arange(keys.num_rows)))


def superseded_totals(
    read: ReadTable, keys: pa.Table, superseded: pa.Array
) -> dict[str, tuple[ControlTotals, dict[int, int]]]:
    """Count what the losers take with them: by fact its books, and its rows by the ledger's file."""
    if not len(superseded):
        return {}
    return {fact.name: _totals_of_superseded(read, fact.name, keys, superseded) for fact in FACTS}


def _totals_of_superseded(
    read: ReadTable, fact: str, keys: pa.Table, superseded: pa.Array
) -> tuple[ControlTotals, dict[int, int]]:
    total, of_file = ControlTotals(), Counter[int]()
    for rows in read(fact, [ORDER_ROW, CURRENCY, *money_columns(fact)]):
        lost = rows.filter(pc.is_in(rows[ORDER_ROW], superseded))
        total += totals_of(fact, lost)
        for entry in pc.value_counts(pc.take(keys[FILE], lost[ORDER_ROW])).to_pylist():
            of_file[entry["values"]] += entry["counts"]
    return total, dict(of_file)
