"""Arrow tables between steps: decoded blocks to staged tables, and parts to rows to load."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import tee
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orders_dask.contract.arrow import FILE, ORDER_ROW
from orders_dask.contract.control_totals import CURRENCY, ControlTotals, money_columns, totals_of
from orders_dask.contract.mart_tables import part as part_of_sums
from orders_dask.contract.order_tables import FACTS, fact_order, fact_order_line
from orders_dask.contract.raw_text import RAW, raw_text_schema
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
    empty_table,
)
from orders_dask.stage.ledger_part import LedgerPart
from orders_dask.stage.record import StagedBlock, StagedFile
from orders_dask.transform.dimensions import dimension_rows, latest_per_key, sort_by_version
from orders_dask.transform.mart_sums import mart_sums
from orders_dask.transform.normalise import Normalised, normalise
from orders_dask.transform.resolve import drop_superseded
from orders_dask.transform.sale_sources import READ_COLUMNS

# Not at run time: the client imports this module too, and Numba would cost it 58 MB.
if TYPE_CHECKING:
    from orders_dask.extract.decode.decode import Decoded
    from orders_dask.extract.decode.replay import ReplayedBatch, ReplayOutcome


LOG: Final = logging.getLogger("orders_dask")

ReadTable = Callable[..., Iterator[pa.Table]]
"""Reads a staged table of a part, by name and optionally columns, one row group at a time."""


def normalise_blocks(blocks: Iterable[Decoded]) -> Iterator[StagedBlock]:
    """Yield what is staged of each decoded block: file counters, tables and schema drift.

    Parameters
    ----------
    blocks
        Decoded blocks, file by file.
    """
    names: list[str] = []
    orders = 0
    for block in blocks:
        if block.file.name not in names[-1:]:
            names.append(block.file.name)
        number = len(names) - 1
        normalised = normalise(block.orders, number, orders)
        orders += block.orders.num_rows
        rejected = _rejected_table(number, block.rejected)
        tables = {**normalised.tables, KEYS: normalised.keys, REJECTED: rejected}
        if block.raw is not None:
            file = pa.repeat(pa.scalar(number, pa.int64()), block.raw.num_rows)
            tables[RAW] = block.raw.add_column(0, raw_text_schema().field(FILE), file)
        yield StagedBlock(_file_counters(block, normalised), tables, block.drift)


def _file_counters(block: Decoded, normalised: Normalised) -> StagedFile:
    """Return the counters of a block, as a piece of its file."""
    rejected = Counter[str]()
    for reject in block.rejected:
        rejected.update(reject.counts)
    lines = (
        reject.counts.get(fact_order_line.name, 0)
        for reject in block.rejected
        if fact_order.name not in reject.counts
    )
    read = {
        fact.name: normalised.tables[fact.name].num_rows + rejected[fact.name] for fact in FACTS
    }
    return StagedFile(
        name=block.file.name,
        etag=block.file.etag,
        size=block.file.size,
        positions=block.read,
        # Positions, not rows: else reconciliation would not notice that decode lost an order.
        # See docs/contract.md#reconciliation.
        read=read | {fact_order.name: block.read},
        rejected={fact.name: rejected[fact.name] for fact in FACTS},
        lines_rejected=sum(lines),
        unreadable=block.unreadable,
        issues=list(merge_issues([*block.issues, *normalised.issues])),
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
) -> Iterator[StagedBlock]:
    """Yield the changes of file counters, and the staged tables, of each batch of replayed records.

    The records have their positions in the whole file and were counted there already, so a batch
    adds no positions. An order that was stored without some of its children counts as read once
    more, because its former self is superseded. See docs/contract.md#replay.
    """
    blocks, copies = tee(blocks)
    orders = 0
    staged = normalise_blocks(block.decoded for block in copies)
    for block, (file, tables, _) in zip(blocks, staged, strict=True):
        yield StagedBlock(
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


def _replayed_table(outcomes: Sequence[ReplayOutcome], first_row: int) -> pa.Table:
    rows = [
        outcome._replace(row=None if outcome.row is None else first_row + outcome.row)
        for outcome in outcomes
    ]
    schema = REPLAYED_SCHEMA
    columns = zip(*rows, strict=True)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema)


def rows_to_load(
    part: LedgerPart, read: ReadTable, orders: pa.Table, superseded: pa.Array
) -> Iterator[tuple[str, pa.Table]]:
    """Yield the rows of a part to load, a staged row group at a time, with their table's name.

    At last what they add to the marts, for which a few columns of all row groups are in memory.

    Parameters
    ----------
    part
        The part.
    read
        Reads its staged tables.
    orders
        Keys of its orders that are not superseded, with ledger ids.
    superseded
        Order rows of the superseded ones (int64).
    """
    yield order_version.name, orders
    by_version = sort_by_version(orders)
    sold = {name: [empty_table(name).select(columns)] for name, columns in READ_COLUMNS.items()}
    for table in STAGED:
        dimensions = [
            dimension
            for dimension in DIMENSION_ROWS
            if DIMENSION_SOURCES[dimension.name].table is table
        ]
        for row_group in read(table.name):
            rows = drop_superseded(row_group, superseded)
            if table.name in sold:
                sold[table.name].append(rows.select(READ_COLUMNS[table.name]))
            if table in FACTS:
                yield table.name, part.with_ledger_ids(rows) if FILE in rows.column_names else rows
            for dimension in dimensions:
                latest = latest_per_key(dimension, dimension_rows(dimension, rows), by_version)
                if latest.num_rows:  # no COPY of nothing
                    yield dimension.name, latest
    try:
        sums = mart_sums({name: pa.concat_tables(tables) for name, tables in sold.items()})
    except pa.ArrowInvalid as error:
        # The publish adds such a load up in SQL: see count_load of sql/marts.sql.
        LOG.warning("The sales of %s are added up in SQL, which takes longer: %s", part.part, error)
        return
    for name, rows in sums.items():
        if rows.num_rows:
            yield (
                name,
                rows.append_column(part_of_sums.name, pa.repeat(part.part.name, rows.num_rows)),
            )


def ledger_keys(part: LedgerPart, staged: pa.Table) -> pa.Table:
    """Return the staged keys of a part with ledger ids, positions in whole files and order rows."""
    keys = part.with_ledger_ids(staged)
    return keys.append_column(ORDER_ROW, pa.array(np.arange(keys.num_rows)))


def superseded_totals(
    read: ReadTable, keys: pa.Table, superseded: pa.Array
) -> dict[str, tuple[ControlTotals, dict[int, int]]]:
    """Return the control totals of the superseded rows, and their number by file id, for each fact.

    Parameters
    ----------
    read
        Reads the staged tables of the part.
    keys
        Keys of all orders of the part, with ledger ids (:func:`ledger_keys`).
    superseded
        Order rows of the superseded ones (int64).
    """
    if not len(superseded):
        return {}
    return {fact.name: _totals_of_superseded(read, fact.name, keys, superseded) for fact in FACTS}


def _totals_of_superseded(
    read: ReadTable, fact: str, keys: pa.Table, superseded: pa.Array
) -> tuple[ControlTotals, dict[int, int]]:
    totals, rows_by_file = ControlTotals(), Counter[int]()
    money = money_columns(fact)
    for row_group in read(fact, [ORDER_ROW, *([CURRENCY] if money else []), *money]):
        rows = row_group.filter(pc.is_in(row_group[ORDER_ROW], superseded))
        totals += totals_of(fact, rows)
        for entry in pc.value_counts(pc.take(keys[FILE], rows[ORDER_ROW])).to_pylist():
            rows_by_file[entry["values"]] += entry["counts"]
    return totals, dict(rows_by_file)
