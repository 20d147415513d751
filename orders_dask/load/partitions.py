"""Partitions of the fact storage, one a month or day, made and attached before they are needed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Final, Literal

from sqlalchemy import ColumnElement, Connection, Table, cast, func, literal, select, text
from sqlalchemy.dialects.postgresql import insert

from orders_dask.contract.columns import DATE, STORE, TEXT
from orders_dask.contract.detail_tables import DETAILS
from orders_dask.contract.ledger_tables import schema_info, storage_partition
from orders_dask.contract.order_tables import FACTS
from orders_dask.errors import PartitionInUse
from orders_dask.load.locks import Lock, try_lock

PartitionWidth = Literal["month", "day"]

DROP_TIMEOUT: Final = 10.0
"""Seconds to wait for a partition that is being dropped: without readers that takes about 0.1 s."""


def ensure_partitions(connection: Connection, run_date: date) -> None:
    """Make the partition of a run date in all fact tables, where it is missing.

    It is made as a table and then attached, because ``PARTITION OF`` would wait for every reader. A
    transaction that began before the partition was attached may not see it. ``wait_for`` of
    ``storage_partition`` lists these transactions, and a publish waits for them.

    Safe to call concurrently, and idempotent: after a crash between its two transactions, the next
    call makes the list. A partition that is only marked for drop is kept.

    Parameters
    ----------
    connection
        Without an open transaction.
    run_date
        The run date.

    Raises
    ------
    PartitionInUse
        The partition is being dropped, or a session ended while it dropped it.
    """
    with connection.begin():
        width: PartitionWidth = connection.execute(
            select(schema_info.c.partition_width)
        ).scalar_one()
        first, end = partition_bounds(width, run_date)
        # Until this transaction ends no session drops it; afterwards the row of the active load
        # prevents that.
        shared = select(func.pg_advisory_xact_lock_shared(Lock.PARTITION, first.toordinal()))
        if not try_lock(connection, DROP_TIMEOUT, shared):
            raise PartitionInUse(
                f"The partitions of run date {run_date} are being dropped by another command: try "
                "again in a minute."
            )
        of_partition = storage_partition.c.first_date == first
        row = select(storage_partition.c.wait_for, storage_partition.c.draining).where(of_partition)
        partition = connection.execute(row).one_or_none()
        if partition is None:
            connection.execute(select(func.pg_advisory_xact_lock(Lock.INIT, 0)))
            end_date = end or cast(literal("infinity", TEXT), DATE)
            new = insert(storage_partition).values(first_date=first, end_date=end_date)
            if connection.execute(new.on_conflict_do_nothing()).rowcount:
                # With the owner's rights: only the owner of the tables may ATTACH.
                connection.execute(select(getattr(func, STORE).make_partition(first)))
        elif partition.draining is not None:
            if not is_attached(connection, width, first):
                raise PartitionInUse(
                    f"The partitions of run date {run_date} are half dropped: let the owner of the "
                    "tables run `orders-dask prune`, then try again."
                )
            connection.execute(storage_partition.update().where(of_partition).values(draining=None))
        if partition is not None and partition.wait_for is not None:
            return
    with connection.begin():
        wait_for = connection.execute(
            _LOCKED_BY, {"parents": [str(fact) for fact in FACTS]}
        ).scalars()
        unset = storage_partition.update().where(
            of_partition, storage_partition.c.wait_for.is_(None)
        )
        connection.execute(unset.values(wait_for=list(wait_for)))


def ensure_partitions_of(connection: Connection, run_dates: Iterable[date]) -> None:
    """Make the partitions of several run dates (:func:`ensure_partitions`), each once."""
    with connection.begin():
        width: PartitionWidth = connection.execute(
            select(schema_info.c.partition_width)
        ).scalar_one()
    for first in sorted({partition_bounds(width, run_date)[0] for run_date in run_dates}):
        ensure_partitions(connection, first)


_LOCKED_BY: Final = text(
    """
    select distinct virtualtransaction from pg_locks
    where locktype = 'relation' and relation = any(cast(cast(:parents as text[]) as regclass[]))
      and database = (select oid from pg_database where datname = current_database())
      and granted and pid <> pg_backend_pid()
    """
)


def covers(run_date: ColumnElement[date] | date) -> ColumnElement[bool]:
    """Return the condition that a row of ``storage_partition`` contains a run date."""
    return (storage_partition.c.first_date <= run_date) & (storage_partition.c.end_date > run_date)


def is_attached(connection: Connection, width: PartitionWidth, first: date) -> bool:
    """Return whether a partition is attached in all fact tables, without a pending detach."""
    names = [partition_name(fact, width, first) for fact in FACTS]
    attached: int = connection.execute(_ATTACHED, {"names": names, "schema": STORE}).scalar_one()
    return attached == len(FACTS)


_ATTACHED: Final = text(
    """
    select count(*) from pg_inherits
    join pg_class c on c.oid = inhrelid join pg_namespace n on n.oid = relnamespace
    where nspname = :schema and relname = any(:names) and not inhdetachpending
    """
)


def facts_turned_off(connection: Connection) -> list[Table]:
    """Return the facts that the storage has although their group is off: it was on before."""
    off = {fact.name: fact for fact in DETAILS if fact not in FACTS}
    there = connection.scalars(_PARENTS, {"schema": STORE, "names": [*off]})
    return [off[name] for name in there]


_PARENTS: Final = text(
    """
    select relname from pg_class join pg_namespace n on n.oid = relnamespace
    where nspname = :schema and relname = any(:names) and relkind = 'p' order by relname
    """
)


def partition_name(fact: Table, width: PartitionWidth, first: date) -> str:
    """Return the name of a fact's partition, as ``sql/partitions.sql`` makes it."""
    suffix = first.isoformat()[: len("2017-11" if width == "month" else "2017-11-03")]
    return f"{fact.name}_{suffix}".replace("-", "_")


def partition_bounds(width: PartitionWidth, day: date) -> tuple[date, date | None]:
    """Return the first date of the partition of `day`, and the first date after the partition.

    The latter is None if the calendar ends before it.
    """
    first = day if width == "day" else day.replace(day=1)
    try:
        after = first + timedelta(days=1 if width == "day" else 31)
    except OverflowError:
        return first, None
    return first, after if width == "day" else after.replace(day=1)
