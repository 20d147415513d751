"""Parts with the ids and positions that the ledger gives them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from orders_dask.contract.arrow import FILE, POSITION
from orders_dask.stage.record import Part


@dataclass(frozen=True)
class LedgerPart:
    """A part whose files have their places in the ledger.

    Attributes
    ----------
    part
        The part, without its books and what it says of its files.
    file_ids
        The ledger's id of each of its files; they grow with the sorted listing.
    offsets
        For each of its files, the records that earlier parts read of it: a byte range counts its
        own from 1.
    """

    part: Part
    file_ids: tuple[int, ...]
    offsets: tuple[int, ...]

    def with_ledger_ids(self, table: pa.Table) -> pa.Table:
        """Put the ledger's file ids and the positions in the whole file into a staged table."""
        file, position = table[FILE], table[POSITION]
        moved = pc.add(position, pc.take(pa.array(self.offsets, pa.int64()), file))
        ids = pc.take(pa.array(self.file_ids, pa.int64()), file)
        names = table.column_names
        table = table.set_column(names.index(FILE), table.schema.field(FILE), ids)
        return table.set_column(names.index(POSITION), table.schema.field(POSITION), moved)


def assign_ids(parts: Sequence[Part], ids: Mapping[str, int]) -> list[LedgerPart]:
    """Give each part its place in the ledger.

    Parameters
    ----------
    parts
        In the order of the listing, so that the ranges of a file follow each other.
    ids
        The ledger's id of each file by name.
    """
    read = Counter[str]()
    placed = []
    for part in parts:
        file_ids = tuple(ids[file.name] for file in part.files)
        offsets = tuple(read[file.name] for file in part.files)
        read.update({file.name: file.positions for file in part.files})
        placed.append(LedgerPart(replace(part, files=[], totals={}), file_ids, offsets))
    return placed
