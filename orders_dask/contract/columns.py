"""SQL types, schema names, and constructors of columns and facts, for the declarations of tables.

``Column.info`` declares where a value comes from:

``source``
    Path of the value within a record of the table: ``customer.id``,
    ``total_shipping_price_set.shop_money.amount``. None for a computed column.
    ``Table.info["records"]`` is the path of these records within the order:
    ``refunds[].refund_line_items[]``.
``fallback``
    Path of the value where `source` has none, such as an older key of the same meaning, or None.
``reads``
    Further paths that the column is checked or computed with, and the type of each.
``local_date_of``
    Paths of timestamps. The column is the local day of the first that has one, which decode
    computes, since the offset as written is lost in UTC. Empty for every other column.
``custom``
    The :class:`~orders_dask.contract.sources.Source` of a column of somebody's own, else None.
    Where that selects a value by its name, ``source`` is None and ``reads`` has name and value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
)
from sqlalchemy.types import TypeEngine

from orders_dask.contract.sources import Source
from orders_dask.contract.table_groups import ACTIVE_GROUPS, ALWAYS, Group

STORE: Final = "orders_store"
"""Schema of the storage: rows of all loads."""

PUBLIC: Final = "orders"
"""Schema of dimensions and of the views that people read."""

OPS: Final = "orders_ops"
"""Schema of the ledger."""

ID = BigInteger()
COUNT = BigInteger()
MONEY = Numeric(22, 4)
RATE = Numeric(18, 8)
TIMESTAMP = DateTime(timezone=True)
DATE = Date()
MINUTES = Integer()
BOOLEAN = Boolean()
TEXT = Text()

PRESENCE = SmallInteger()
"""Type of a key of which only matters whether it is there: 1, whatever its value, else null."""

METADATA: Final = MetaData()

SqlType = TypeEngine[Any]

KINDS: Final[Mapping[str, SqlType]] = {
    "id": ID,
    "count": COUNT,
    "money": MONEY,
    "rate": RATE,
    "timestamp": TIMESTAMP,
    "day": DATE,
    "boolean": BOOLEAN,
    "text": TEXT,
}
"""The types of columns that are read, by their names in docs/contract.md#types."""

_KIND_NAMES: Final = {repr(kind): name for name, kind in KINDS.items()}


def source_column(
    name: str,
    kind: SqlType,
    comment: str,
    source: str = "",
    reads: Mapping[str, SqlType] | None = None,
    *,
    fallback: str | None = None,
    **options: Any,
) -> Column[Any]:
    """Declare a column with the value at `source`, by default the key of the column's name."""
    info = _info(source=source or name, fallback=fallback, reads=dict(reads or {}))
    # A key gets no sequence of its own, which nobody uses and readers can't see.
    return Column(name, kind, comment=comment, info=info, autoincrement=False, **options)


def computed_column(
    name: str,
    kind: SqlType,
    comment: str,
    reads: Mapping[str, SqlType] | None = None,
    **options: Any,
) -> Column[Any]:
    """Declare a column that the pipeline computes, from other columns and from `reads`."""
    return Column(name, kind, comment=comment, info=_info(reads=dict(reads or {})), **options)


def local_date_column(name: str, comment: str, *timestamps: str) -> Column[Any]:
    """Declare a column with the local day of the first of some timestamps that has one."""
    reads = dict.fromkeys(timestamps, TIMESTAMP)
    info = _info(reads=reads, local_date_of=timestamps)
    return Column(name, DATE, comment=comment, info=info)


def custom_column(
    name: str, kind: SqlType, comment: str, source: Source, read: SqlType
) -> Column[Any]:
    """Declare a column of somebody's own, whose values are read as the type `read`."""
    if source.name_path is None:
        info = _info(source=source.path, custom=source)
    else:
        info = _info(reads={source.name_path: TEXT, source.path: read}, custom=source)
    return Column(name, kind, comment=comment, info=info)


def brin_index(name: str, *columns: Column[Any]) -> Index:
    """Declare a BRIN index: ranges of days by block, as partitions go by run date and not by these.

    Several ranges are stored a block (minmax_multi), for one order of long ago would widen a single
    range to all of history.
    """
    opclass = {"day": "date_minmax_multi_ops", "timestamp": "timestamptz_minmax_multi_ops"}
    return Index(
        name,
        *columns,
        postgresql_using="brin",
        postgresql_ops={c.name: opclass[str(kind_name(c.type))] for c in columns},
    )


def source_paths(column: Column[Any]) -> Iterator[tuple[str, SqlType]]:
    """Yield each path within a record that a column is read from, with the type of its values."""
    for source in filter(None, (column.info["source"], column.info["fallback"])):
        yield source, column.type
    yield from column.info["reads"].items()


def kind_name(kind: SqlType) -> str | None:
    """Return the name of a type of :data:`KINDS`; None for another. An id is a count."""
    return _KIND_NAMES.get(repr(kind))


def path_within_order(table: Table, path: str) -> str:
    """Return a path of a table's records as one of the order."""
    return ".".join(filter(None, (table.info["records"], path)))


def named_column(name: str, comment: str, *keys: str) -> Column[Any]:
    """Declare a text of a dimension that no order has: ``dimensions load`` reads it from a file.

    Parameters
    ----------
    name, comment
        The column; also its header in a CSV file.
    keys
        Dotted paths of the value in a record of the Admin API, the first that is there counts. A
        path ``first_name last_name`` joins two texts.
    """
    return Column(name, TEXT, comment=comment, info=_info(keys=keys))


def _info(**given: Any) -> dict[str, Any]:
    source = {"source": None, "fallback": None, "custom": None}
    return {**source, "reads": {}, "local_date_of": (), **given}


def fact_table(
    name: str,
    records: str,
    comment: str,
    key: tuple[str, ...],
    *columns: Column[Any],
    group: Group = ALWAYS,
) -> Table:
    """Return the storage table of a fact, partitioned by run date; its key includes the load.

    A table of a group that is off is no part of :data:`METADATA`. The last column of `key` is the
    id of a record or, where it has no source, the place of the record in its array.
    """
    return Table(
        name,
        METADATA if group in ACTIVE_GROUPS else MetaData(),
        computed_column("run_date", DATE, "Date of the dump that said this", nullable=False),
        computed_column(
            "load_id", ID, "The load that brought the row (orders_ops.load_run)", nullable=False
        ),
        *columns,
        PrimaryKeyConstraint("run_date", "load_id", *key),
        schema=STORE,
        comment=comment,
        info={"records": records, "key": key, "group": group},
        postgresql_partition_by="RANGE (run_date)",
    )
