"""The staged table of raw texts, which parts have if ``ORDERS_DASK_KEEP_RAW`` asks for it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from orders_dask.contract.order_tables import fact_order

if TYPE_CHECKING:
    import pyarrow as pa

RAW: Final = "raw"
"""Staged table of the text of every record that decode saw, as it stood in the dump."""

ORDER_ID: Final = fact_order.c.order_id.name
"""Column of the order's id; null for a rejected record."""

TEXT: Final = "text"
"""Column of the text of a record: bytes, since it may not be UTF-8."""

FRAMING: Final = "framing"
"""Column of how the record was framed, which decode needs to read its text once more."""

RAW_COLUMN: Final = f"{RAW}.{TEXT}"
"""Name of the texts among the columns of a part or a load."""


def raw_columns(keep_raw: bool) -> tuple[str, ...]:
    """Return the columns that parts and loads have in addition if raw texts are kept."""
    return (RAW_COLUMN,) if keep_raw else ()


@cache
def raw_text_schema() -> pa.Schema:
    """Return the schema of the staged table of raw texts.

    A row is a record in the order of the file. Position and id are null for what is no record, such
    as a message of an envelope. The text is null where only `framing` says something.
    """
    import pyarrow as pa  # late: a listing of files needs the names alone

    from orders_dask.contract.arrow import FILE, POSITION, key_schema

    return pa.schema(
        [
            key_schema().field(FILE),
            pa.field(POSITION, pa.int64()),
            pa.field(ORDER_ID, pa.int64()),
            pa.field(TEXT, pa.binary()),
            pa.field(FRAMING, pa.string(), nullable=False),
        ]
    )
