"""Types, schemas and kinds of columns that the tables are declared with.

The source of a value is declared in ``Column.info``:

``source``
    The path of the value, from the table's own records: ``customer.id``,
    ``total_shipping_price_set.shop_money.amount``. The table's records stand at
    ``Table.info["records"]``, from the order: ``refunds[].refund_line_items[]``.
``reads``
    Further paths that the column is checked or computed with, each with the type it is read as.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Integer,
    MetaData,
    Numeric,
    Text,
)
from sqlalchemy.types import TypeEngine

STORE: Final = "orders_store"


PUBLIC: Final = "orders"


OPS: Final = "orders_ops"


ID = BigInteger()


COUNT = BigInteger()


MONEY = Numeric(22, 4)


TIMESTAMP = DateTime(timezone=True)


DATE = Date()


MINUTES = Integer()


BOOLEAN = Boolean()


TEXT = Text()


METADATA: Final = MetaData()


SqlType = TypeEngine[Any]


def source_column(
    name: str,
    kind: SqlType,
    comment: str,
    source: str = "",
    reads: Mapping[str, SqlType] | None = None,
    **options: Any,
) -> Column[Any]:
    """Declare a column that holds the value at `source` (default: the key of the column's own name)."""
    info = {"source": source or name, "reads": dict(reads or {})}
    return Column(name, kind, comment=comment, info=info, **options)


def computed_column(
    name: str,
    kind: SqlType,
    comment: str,
    reads: Mapping[str, SqlType] | None = None,
    **options: Any,
) -> Column[Any]:
    """Declare a column that the pipeline computes, from `reads` if it needs more than the other columns."""
    info = {"source": None, "reads": dict(reads or {})}
    return Column(name, kind, comment=comment, info=info, **options)
