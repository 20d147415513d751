"""Arrow tables between steps: decoded blocks to staged tables, and parts to rows to load."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import tee
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orders_dask.contract.arrow import FILE, ORDER_ROW, PART_NUMBER
from orders_dask.contract.control_totals import CURRENCY, ControlTotals, money_columns, totals_of
from orders_dask.contract.mart_tables import part as part_of_sums
from orders_dask.contract.order_tables import FACTS, fact_order, fact_order_line
from orders_dask.contract.raw_text import RAW, raw_text_schema
from orders_dask.contract.rejects import Issue, Rejected, merge_issues
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
from orders_dask.transform.normalise import normalise
from orders_dask.transform.resolve import drop_superseded
from orders_dask.transform.sale_sources import READ_COLUMNS

# Not at run time: the client imports this module too, and Numba would cost it 58 MB.
if TYPE_CHECKING:
    from orders_dask.extract.decode.decode import Decoded
    from orders_dask.extract.decode.replay import ReplayedBatch, ReplayOutcome
    from orders_dask.extract.records import SourceFile


LOG: Final = logging.getLogger("orders_dask")

ReadTable = Callable[..., Iterator[pa.Table]]
"""Reads a staged table of a part, by name and optionally columns, one row group at a time."""


SMALL_BLOCK: Final = 1_000
"""Records below which a block is normalised with others: what that costs itself is that of 150."""

TOGETHER_RECORDS: Final = 4_000
"""Records of small blocks that are normalised together, rejected ones and children included."""


def normalise_blocks(
    blocks: Iterable[Decoded], *, names_repeat: bool = False
) -> Iterator[StagedBlock]:
    """Yield what is staged of decoded blocks: file counters, tables and schema drift.

    Small blocks that follow each other are normalised together.

    Parameters
    ----------
    blocks
        Decoded blocks, file by file.
    names_repeat
        Whether files that follow each other may have the same name, as those of several run dates
        may. All blocks of one then have the same object as their file.
    """
    return _normalise_all(_coalesced(blocks), names_repeat=names_repeat)


def _coalesced(blocks: Iterable[Decoded]) -> Iterator[list[Decoded]]:
    """Yield small blocks some at a time, and others by themselves."""
    some: list[Decoded] = []
    records = 0
    for block in blocks:
        # Rejects count too: blocks without an order may have 100,000 of them each.
        size = 1 + block.read + len(block.rejected)
        is_small = size < SMALL_BLOCK and block.raw is None
        if some and (not is_small or records + size > TOGETHER_RECORDS):
            yield some
            some, records = [], 0
        if is_small:
            some.append(block)
            records += size
        else:
            yield [block]
    if some:
        yield some


def _normalise_all(
    blocks: Iterable[list[Decoded]], *, names_repeat: bool = False
) -> Iterator[StagedBlock]:
    last: SourceFile | None = None
    number, first_row = -1, 0
    for some in blocks:
        numbers = []
        for block in some:
            is_same = last is not None and block.file.name == last.name
            number += not (block.file is last if names_repeat else is_same)
            last = block.file
            numbers.append(number)
        yield from _normalise_some(some, numbers, first_row)
        first_row += sum(block.orders.num_rows for block in some)


def _normalise_some(
    blocks: list[Decoded], files: list[int], first_row: int
) -> Iterator[StagedBlock]:
    """Yield what is staged of some blocks; of each by itself if a sum of them does not fit."""
    sizes = [block.orders.num_rows for block in blocks]
    orders = pa.concat_tables([block.orders for block in blocks])
    normalised = normalise(orders, np.repeat(files, sizes), first_row)
    if normalised.issues and len(blocks) > 1:
        for block, file in zip(blocks, files, strict=True):
            yield from _normalise_some([block], [file], first_row)
            first_row += block.orders.num_rows
        return
    rejected = [_rejected_table(file, b.rejected) for b, file in zip(blocks, files, strict=True)]
    tables = {
        **normalised.tables,
        KEYS: normalised.keys,
        REJECTED: pa.concat_tables(rejected),
    }
    raw = blocks[0].raw
    if raw is not None:  # then it is the only block
        file = pa.repeat(pa.scalar(files[0], pa.int64()), raw.num_rows)
        tables[RAW] = raw.add_column(0, raw_text_schema().field(FILE), file)
    block_of_order = np.repeat(np.arange(len(blocks)), sizes)
    rows = {
        fact.name: np.bincount(
            block_of_order[tables[fact.name][ORDER_ROW].to_numpy() - first_row],
            minlength=len(blocks),
        ).tolist()
        for fact in FACTS
    }
    counters = [
        _file_counters(block, {fact: of[n] for fact, of in rows.items()}, normalised.issues)
        for n, block in enumerate(blocks)
    ]
    drifts = tuple(block.drift for block in blocks)
    yield StagedBlock(tuple(counters), tables, drifts, tuple(files))


def _file_counters(block: Decoded, rows: Mapping[str, int], issues: Sequence[Issue]) -> StagedFile:
    """Return the counters of a block, as a piece of its file."""
    rejected = Counter[str]()
    for reject in block.rejected:
        rejected.update(reject.counts)
    lines = (
        reject.counts.get(fact_order_line.name, 0)
        for reject in block.rejected
        if fact_order.name not in reject.counts
    )
    read = {fact.name: rows[fact.name] + rejected[fact.name] for fact in FACTS}
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
        issues=list(merge_issues([*block.issues, *issues])),
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
    for block, staged in zip(
        blocks, _normalise_all([block.decoded] for block in copies), strict=True
    ):
        [file] = staged.files
        changes = replace(
            file,
            positions=0,
            read={fact: n - block.rejected_before.get(fact, 0) for fact, n in file.read.items()},
            rejected={
                fact: n - block.rejected_before.get(fact, 0) for fact, n in file.rejected.items()
            },
            lines_rejected=file.lines_rejected - block.lines_rejected_before,
        )
        replayed = _replayed_table(block.outcomes, orders)
        yield StagedBlock((changes,), {**staged.tables, REPLAYED: replayed})
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
    parts: LedgerPart, names: Sequence[str], read: ReadTable, orders: pa.Table, dropped: pa.Array
) -> Iterator[tuple[str, pa.Table]]:
    """Yield the rows to load of a part, or of several, with their table's name.

    They come a staged row group at a time, and at last what they add to the marts, for which a few
    columns of all row groups are in memory. Rows of several parts have
    :data:`~orders_dask.contract.arrow.PART_NUMBER`.

    Parameters
    ----------
    parts
        The part; of several one that has the files of all.
    names
        Names of the parts.
    read
        Reads their staged tables.
    orders
        Keys of their orders that are loaded, with ledger ids and, of several parts, their number.
    dropped
        Order rows of those that are not loaded (int64).
    """
    yield order_version.name, orders
    with_part = _numbering(orders)
    by_version = sort_by_version(orders)
    sold = {name: [empty_table(name).select(columns)] for name, columns in READ_COLUMNS.items()}
    sold[fact_order.name] = [with_part(table) for table in sold[fact_order.name]]
    for table in STAGED:
        dimensions = [
            dimension
            for dimension in DIMENSION_ROWS
            if DIMENSION_SOURCES[dimension.name].table is table
        ]
        for row_group in read(table.name):
            rows = with_part(drop_superseded(row_group, dropped))
            if table.name in sold:
                columns = sold[table.name][0].column_names
                sold[table.name].append(rows.select(columns))
            if table in FACTS:
                yield table.name, parts.with_ledger_ids(rows) if FILE in rows.column_names else rows
            for dimension in dimensions:
                latest = latest_per_key(dimension, dimension_rows(dimension, rows), by_version)
                if latest.num_rows:  # no COPY of nothing
                    yield dimension.name, latest
    try:
        sums = mart_sums({name: pa.concat_tables(tables) for name, tables in sold.items()})
    except pa.ArrowInvalid as error:
        # The publish adds such a load up in SQL: see count_load of sql/marts.sql.
        LOG.warning("The sales of %s are added up in SQL, which takes longer: %s", names[0], error)
        return
    for name, rows in sums.items():
        if rows.num_rows:
            part_names = (
                pa.array(names).take(rows[PART_NUMBER])
                if PART_NUMBER in rows.column_names
                else pa.repeat(names[0], rows.num_rows)
            )
            yield name, rows.append_column(part_of_sums.name, part_names)


def _numbering(orders: pa.Table) -> Callable[[pa.Table], pa.Table]:
    """Return a function that adds the part's number to rows of orders of several parts."""
    if PART_NUMBER not in orders.column_names:
        return lambda rows: rows
    order_rows = orders[ORDER_ROW].to_numpy()
    by_order_row = np.zeros(order_rows.max(initial=-1) + 1, np.int64)
    by_order_row[order_rows] = orders[PART_NUMBER].to_numpy()

    def numbered(rows: pa.Table) -> pa.Table:
        numbers = by_order_row[rows[ORDER_ROW].to_numpy()]
        return rows.append_column(PART_NUMBER, pa.array(numbers))

    return numbered


def ledger_keys(part: LedgerPart, staged: pa.Table) -> pa.Table:
    """Return the staged keys of a part with ledger ids, positions in whole files and order rows."""
    keys = part.with_ledger_ids(staged)
    return keys.append_column(ORDER_ROW, pa.array(np.arange(keys.num_rows)))


def superseded_totals(
    read: ReadTable, keys: pa.Table, superseded: pa.Array
) -> dict[str, tuple[ControlTotals, Mapping[int, int]]]:
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
) -> tuple[ControlTotals, Mapping[int, int]]:
    totals, rows_by_file = ControlTotals(), Counter[int]()
    money = money_columns(fact)
    for row_group in read(fact, [ORDER_ROW, *([CURRENCY] if money else []), *money]):
        rows = row_group.filter(pc.is_in(row_group[ORDER_ROW], superseded))
        totals += totals_of(fact, rows)
        for entry in pc.value_counts(pc.take(keys[FILE], rows[ORDER_ROW])).to_pylist():
            rows_by_file[entry["values"]] += entry["counts"]
    return totals, dict(rows_by_file)
