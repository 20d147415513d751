"""Arrow tables of several run dates that are decoded together: those of each, and those of all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from orders_dask.contract.arrow import FILE, ORDER_ROW, PART_NUMBER
from orders_dask.extract.records import Rows
from orders_dask.load.copy import SupersededTotals
from orders_dask.pipeline.staged_rows import ledger_keys, rows_to_load, superseded_totals
from orders_dask.stage.layout import KEYS, REJECTED, empty_table
from orders_dask.stage.ledger_part import LedgerPart
from orders_dask.stage.record import StagedBlock
from orders_dask.transform.resolve import PART, drop_superseded, superseded


@dataclass(frozen=True)
class Batch:
    """What is staged of several run dates, each of which becomes a part.

    Attributes
    ----------
    blocks
        Their blocks, whose files and orders are numbered through all dates.
    date_of_file
        Number of the date of each file, ascending.
    dates
        Number of dates.
    """

    blocks: Sequence[StagedBlock]
    date_of_file: Sequence[int]
    dates: int

    @cached_property
    def _tables(self) -> dict[str, pa.Table]:
        """The tables of all dates, without empty ones."""
        tables: dict[str, list[pa.Table]] = {KEYS: [empty_table(KEYS)]}
        for block in self.blocks:
            for name, table in block.tables.items():
                if table.num_rows:
                    tables.setdefault(name, []).append(table)
        return {name: pa.concat_tables(pieces) for name, pieces in tables.items()}

    @cached_property
    def _first_files(self) -> Rows:
        """Number of the first file of each date, and of all files."""
        return np.searchsorted(self.date_of_file, np.arange(self.dates + 1))

    @cached_property
    def _first_orders(self) -> Rows:
        """Number of the first order of each date, and of all orders."""
        return np.searchsorted(self._tables[KEYS][FILE].to_numpy(), self._first_files)

    def _table_of(self, name: str, date: int) -> pa.Table:
        """Return a table of a date, whose files and orders are numbered from 0."""
        table = self._tables[name]
        by = ORDER_ROW if ORDER_ROW in table.column_names else FILE
        firsts = self._first_orders if by == ORDER_ROW else self._first_files
        begin, end = np.searchsorted(table[by].to_numpy(), firsts[date : date + 2])
        rows = table.slice(begin, end - begin)
        for column, first in ((ORDER_ROW, self._first_orders), (FILE, self._first_files)):
            if column in rows.column_names:
                index = rows.column_names.index(column)
                numbers = pa.array(rows[column].to_numpy() - first[date])
                rows = rows.set_column(index, rows.schema.field(column), numbers)
        return rows

    def block_of(self, date: int) -> StagedBlock:
        """Return what is staged of a date, as one block."""
        begin, end = self._first_files[date : date + 2]
        pieces = [
            (file, drift, number - begin)
            for block in self.blocks
            for file, drift, number in zip(block.files, block.drifts, block.numbers, strict=True)
            if begin <= number < end
        ]
        files, drifts, numbers = zip(*pieces, strict=True)
        tables = {name: table.slice(0, 0) for name, table in self.blocks[0].tables.items()}
        tables |= {name: self._table_of(name, date) for name in self._tables}
        return StagedBlock(files, tables, drifts, numbers)

    @cached_property
    def superseded(self) -> list[pa.Array]:
        """Order rows, numbered from 0, of the superseded orders of each date."""
        found = []
        for date in range(self.dates):
            keys = self._table_of(KEYS, date)
            rows = pa.array(np.arange(keys.num_rows))
            one_part = pa.repeat(pa.scalar(0, pa.int64()), keys.num_rows)
            keys = keys.append_column(ORDER_ROW, rows).append_column(PART, one_part)
            found.append(superseded(keys)[ORDER_ROW].combine_chunks())
        return found

    def rejected_of(self, date: int) -> pa.Table | None:
        """Return the rejected records of a date; None if there are none."""
        return self._table_of(REJECTED, date) if REJECTED in self._tables else None

    def rows_to_load(
        self, names: Sequence[str], parts: Sequence[LedgerPart], allowed: Sequence[bool]
    ) -> Iterator[tuple[str, pa.Table]]:
        """Yield the rows to load of the dates that are allowed, with the numbers of their parts.

        Parameters
        ----------
        names, parts
            Names of the parts, and their ledger ids.
        allowed
            Whether each date is loaded.
        """
        ids = tuple(file_id for part in parts for file_id in part.file_ids)
        offsets = tuple(offset for part in parts for offset in part.offsets)
        of_all = LedgerPart(parts[0].part, ids, offsets)
        keys = ledger_keys(of_all, self._tables[KEYS])
        numbers = np.repeat(np.arange(self.dates), np.diff(self._first_orders))
        keys = keys.append_column(PART_NUMBER, pa.array(numbers))
        dropped = np.concatenate(
            [
                rows.to_numpy() + first if is_allowed else np.arange(first, end)
                for rows, is_allowed, first, end in zip(
                    self.superseded,
                    allowed,
                    self._first_orders[:-1],
                    self._first_orders[1:],
                    strict=True,
                )
            ]
        )
        dropped_rows = pa.array(dropped, pa.int64())
        orders = drop_superseded(keys, dropped_rows)
        yield from rows_to_load(of_all, names, self._read, orders, dropped_rows)

    def _read(self, table: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Yield a staged table, as :func:`orders_dask.stage.tables.row_groups` does."""
        yield from _read(self._tables, table, columns)

    def superseded_totals(self, date: int, part: LedgerPart) -> Mapping[str, SupersededTotals]:
        """Return the totals of the superseded rows of a date."""
        if not len(self.superseded[date]):
            return {}
        tables = {name: self._table_of(name, date) for name in self._tables}

        def read(table: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
            yield from _read(tables, table, columns)

        return superseded_totals(read, ledger_keys(part, tables[KEYS]), self.superseded[date])


def _read(
    tables: Mapping[str, pa.Table], table: str, columns: list[str] | None
) -> Iterator[pa.Table]:
    if table in tables and tables[table].num_rows:
        yield tables[table].select(columns) if columns else tables[table]
