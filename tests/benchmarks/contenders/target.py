"""The tables of the rivals: the columns and primary keys of our facts, without partitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Engine, MetaData, Table, func, select
from sqlalchemy.schema import CreateSchema, CreateTable

from orders_dask.contract.order_tables import fact_order, fact_order_line

RIVAL: Final = "rival"
"""Their schema."""

TABLES: Final = (fact_order, fact_order_line)


def make(database: Engine, facts: Sequence[Table] = TABLES) -> None:
    """Create empty tables, without the further indexes that ours have."""
    with database.begin() as connection:
        connection.execute(CreateSchema(RIVAL))
        for table in facts:
            copy = table.to_metadata(MetaData(), schema=RIVAL)
            copy.dialect_options["postgresql"]["partition_by"] = None
            connection.execute(CreateTable(copy))


def rows(database: Engine, schema: str, table: Table) -> int:
    """Return the number of loaded rows."""
    with database.begin() as connection:
        loaded = table.to_metadata(MetaData(), schema=schema)
        return connection.scalar(select(func.count()).select_from(loaded)) or 0
