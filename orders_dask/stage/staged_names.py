"""Names of columns in the files of parts: those of custom columns say what they were read from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pyarrow as pa

from orders_dask.contract.storage_tables import STAGED, identity_of

STAGED_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    table.name: {c.name: identity_of(c) for c in table.c if c.info["custom"]} for table in STAGED
}
"""By staged table, the name in its files of each custom column.

So a file that another declaration wrote lacks the column where type or source were others.
"""


def with_staged_names(rows: pa.Table, table: str) -> pa.Table:
    """Return rows of a staged table with the names that its columns have in files."""
    names = STAGED_NAMES.get(table)
    return rows.rename_columns([names.get(c, c) for c in rows.column_names]) if names else rows


def with_declared_names(rows: pa.Table, table: str) -> pa.Table:
    """Return rows of a file with the names that its columns have in the declaration."""
    declared = {staged: name for name, staged in STAGED_NAMES.get(table, {}).items()}
    if not declared:
        return rows
    return rows.rename_columns([declared.get(c, c) for c in rows.column_names])
