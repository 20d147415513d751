"""The leaves of the fact storage: a month or a day of all five fact tables, made before they are needed."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final, Literal

from sqlalchemy import ColumnElement, Connection, Table, cast, func, literal, select, text
from sqlalchemy.dialects.postgresql import insert

from orders_dask.contract.columns import DATE, STORE, TEXT
from orders_dask.contract.ledger_tables import schema_info, storage_partition
from orders_dask.contract.order_tables import FACTS
from orders_dask.errors import PartitionInUse
from orders_dask.load.locks import Lock, try_lock

PartitionWidth = Literal["month", "day"]

DROP_TIMEOUT: Final = 10.0
"""Seconds that a run waits for a leaf that is being freed: without readers in the way that takes some 0.1 s."""


def ensure_partitions(connection: Connection, run_date: date) -> None:
    """Make the leaves that hold a run date, in all fact tables, where they are missing.

    Each is made as a table and then attached: ``PARTITION OF`` would wait for every reader. A
    transaction that read before may not see the leaf until it ends, so ``storage_partition`` keeps which
    ones these were, for publishing to wait for. Safe when several do it at once, and when one dies
    between its two transactions: the next looks again. A leaf that is to be freed stays; one that
    is being freed can't be had until it is gone.

    Parameters
    ----------
    connection
        Without an open transaction.

    Raises
    ------
    StillInUse
        The leaf is being freed, or somebody died while freeing it.
    """
    with connection.begin():
        leaf: PartitionWidth = connection.execute(
            select(schema_info.c.partition_width)
        ).scalar_one()
        first, end = partition_bounds(leaf, run_date)
        # Until this transaction ends nobody begins to free it; afterwards the load that is under
        # way tells.
        shared = select(func.pg_advisory_xact_lock_shared(Lock.PARTITION, first.toordinal()))
        if not try_lock(connection, DROP_TIMEOUT, shared):
            raise PartitionInUse(
                f"The partitions of run date {run_date} are being freed by another command: try again in a minute."
            )
        of_leaf = storage_partition.c.first_date == first
        row = select(storage_partition.c.wait_for, storage_partition.c.draining).where(of_leaf)
        found = connection.execute(row).one_or_none()
        if found is None:
            connection.execute(select(func.pg_advisory_xact_lock(Lock.INIT, 0)))
            last = end or cast(literal("infinity", TEXT), DATE)
            made = insert(storage_partition).values(first_date=first, end_date=last)
            if connection.execute(made.on_conflict_do_nothing()).rowcount:
                # A function of the owner's: ATTACH asks for the tables' owner, and a loader is not
                # that.
                connection.execute(select(getattr(func, STORE).make_partition(first)))
        elif found.draining is not None:
            if not is_attached(connection, leaf, first):
                raise PartitionInUse(
                    f"The partitions of run date {run_date} are half freed: let the owner of the tables run "
                    "`orders-dask prune`, then try again."
                )
            connection.execute(storage_partition.update().where(of_leaf).values(draining=None))
        if found is not None and found.wait_for is not None:
            return
    with connection.begin():
        wait_for = connection.execute(
            _LOCKED_BY, {"parents": [str(fact) for fact in FACTS]}
        ).scalars()
        unseen = storage_partition.update().where(of_leaf, storage_partition.c.wait_for.is_(None))
        connection.execute(unseen.values(wait_for=list(wait_for)))


_LOCKED_BY: Final = text(
    """
    select distinct virtualtransaction from pg_locks
    where locktype = 'relation' and relation = any(cast(cast(:parents as text[]) as regclass[]))
      and database = (select oid from pg_database where datname = current_database())
      and granted and pid <> pg_backend_pid()
    """
)


def covers(run_date: ColumnElement[date] | date) -> ColumnElement[bool]:
    """Say of a row of ``storage_partition`` that its leaf holds a run date."""
    return (storage_partition.c.first_date <= run_date) & (storage_partition.c.end_date > run_date)


def is_attached(connection: Connection, width: PartitionWidth, first: date) -> bool:
    """Say whether the leaf that begins on a date is attached in all fact tables, and in none about to go."""
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


def partition_name(fact: Table, width: PartitionWidth, first: date) -> str:
    """Name the table that is a fact's leaf, as ``make_partition`` of ``sql/partitions.sql`` does."""
    begins = first.isoformat()[: len("2017-11" if width == "month" else "2017-11-03")]
    return f"{fact.name}_{begins}".replace("-", "_")


def partition_bounds(width: PartitionWidth, day: date) -> tuple[date, date | None]:
    """Give the first date of the leaf that holds `day`, and the first one after it; None: the calendar ends first."""
    first = day if width == "day" else day.replace(day=1)
    try:
        after = first + timedelta(days=1 if width == "day" else 31)
    except OverflowError:
        return first, None
    return first, after if width == "day" else after.replace(day=1)
