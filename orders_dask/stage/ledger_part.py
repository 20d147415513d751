"""Parts with ledger file ids, and with positions in whole files."""

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
    """A part whose files are recorded in the ledger.

    Attributes
    ----------
    part
        The part, without its control totals and files.
    file_ids
        Ledger id of each of its files; ids ascend in the sorted listing.
    offsets
        Number of positions of each file that earlier parts cover: a byte range counts from 1.
    """

    part: Part
    file_ids: tuple[int, ...]
    offsets: tuple[int, ...]

    def with_ledger_ids(self, table: pa.Table) -> pa.Table:
        """Return a staged table with ledger file ids, and with positions in whole files."""
        file, position = table[FILE], table[POSITION]
        shifted = pc.add(position, pc.take(pa.array(self.offsets, pa.int64()), file))
        ids = pc.take(pa.array(self.file_ids, pa.int64()), file)
        names = table.column_names
        table = table.set_column(names.index(FILE), table.schema.field(FILE), ids)
        return table.set_column(names.index(POSITION), table.schema.field(POSITION), shifted)


def assign_ids(parts: Sequence[Part], ids: Mapping[str, int]) -> list[LedgerPart]:
    """Assign ledger file ids and position offsets to parts.

    Parameters
    ----------
    parts
        Parts in the order of the listing, so that the byte ranges of a file follow each other.
    ids
        Ledger id of each file by name.
    """
    positions = Counter[str]()
    ledger_parts = []
    for part in parts:
        file_ids = tuple(ids[file.name] for file in part.files)
        offsets = tuple(positions[file.name] for file in part.files)
        positions.update({file.name: file.positions for file in part.files})
        ledger_parts.append(LedgerPart(replace(part, files=[], totals={}), file_ids, offsets))
    return ledger_parts
