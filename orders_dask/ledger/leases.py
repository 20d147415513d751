"""Leases: the exclusive right to work on a run date, and ending the loads of dead runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    Update,
    func,
    literal,
    select,
    text,
    update,
)

from orders_dask.contract.ledger_tables import load_run
from orders_dask.errors import LeaseLost, RunDateLocked
from orders_dask.load.locks import Lock, lock_out_copies, try_lock

ACTIVE: Final = ("loading", "sealed", "verified")
"""Statuses of a load that a run works on, or worked on when it died: at most one a run date."""

UNDECIDED: Final = (*ACTIVE, "held")
"""Statuses of a load that may still be published."""

EndedStatus = Literal["refused", "failed", "abandoned", "comparison", "held"]
"""Statuses that end an active load otherwise than by a publish."""

LOCK_TIMEOUT: Final = 5.0
"""Seconds to wait for a run date: the server ends a killed run's session after its statement."""


@dataclass(frozen=True)
class Lease:
    """The exclusive right to work on a run date, for as long as its session lives.

    Attributes
    ----------
    connection
        The session that holds the run date's lock. It has no open transaction between calls.
    run_date
        The date of the dump.
    """

    connection: Connection
    run_date: date

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Open a transaction in the session that holds the lease, after checking that it does.

        The ledger, the published pointer and the dimensions are written through it. These writes
        have other guards:

        - COPY of a part: the load's lock and status (:func:`orders_dask.load.copy.load_part`).
        - Rows of ``storage_partition``: the partition's lock
          (:func:`orders_dask.load.partitions.ensure_partitions`). A publish also clears `wait_for`
          once the transactions in it have ended, which needs no guard.
        - Loads that prune makes irreversible: the publish lock
          (:func:`orders_dask.retention.loads.make_irreversible`).
        - Loads that are marked as pruned because their partition is dropped: the partition's lock
          (:func:`orders_dask.retention.partitions.drop_marked`).

        Raises
        ------
        LeaseLost
            The session doesn't hold the lock any more, and nothing was written: SQLAlchemy
            reconnects silently after a broken connection, without the lock.
        """
        lock = {"class": int(Lock.RUN_DATE), "date": self.run_date.toordinal()}
        with self.connection.begin():
            if self.connection.scalar(_HOLDS_LOCK, lock) is None:
                raise LeaseLost(
                    f"This run lost its hold on run date {self.run_date}, for its session with "
                    "PostgreSQL ended: give the same command again, and it goes on from what is "
                    "staged."
                )
            yield self.connection


_HOLDS_LOCK: Final = text(
    """
    select pid from pg_locks
    where locktype = 'advisory' and classid = :class and objid = :date and objsubid = 2
      and mode = 'ExclusiveLock' and granted and pid = pg_backend_pid()
      and database = (select oid from pg_database where datname = current_database())
    """
)


@contextmanager
def acquire_lease(engine: Engine, run_date: date, timeout: float = LOCK_TIMEOUT) -> Iterator[Lease]:
    """Yield the lease of a run date, held until the end of the ``with`` block.

    A load that a dead run left unfinished becomes ``abandoned`` first. None of its tasks can commit
    any more.

    Parameters
    ----------
    engine
        Engine of the database.
    run_date
        The run date.
    timeout
        Seconds to wait for the run date's lock, more than 0.

    Raises
    ------
    RunDateLocked
        Another run holds it: the message says who.
    """
    with engine.connect() as connection:
        lock = select(func.pg_advisory_lock(Lock.RUN_DATE, run_date.toordinal()))
        with connection.begin():
            if not try_lock(connection, timeout, lock):
                raise RunDateLocked(_locked_by(connection, run_date))
        lease = Lease(connection, run_date)
        with lease.transaction():
            unfinished = connection.scalars(
                select(load_run.c.load_id).where(_active(run_date))
            ).all()
        for load_id in unfinished:
            finish(lease, load_id, "abandoned", _ABANDONED)
        yield lease


@contextmanager
def acquire_free_leases(engine: Engine, run_dates: Sequence[date]) -> Iterator[dict[date, Lease]]:
    """Yield the leases of those run dates that nobody holds, in one session, by run date.

    Each is what :func:`acquire_lease` yields. While the session holds the lock of one, it holds
    those of all.
    """
    with engine.connect() as connection:
        ordinals = literal([run_date.toordinal() for run_date in run_dates], ARRAY(Integer))
        day = func.unnest(ordinals).column_valued("day")
        with connection.begin():
            locked = connection.scalars(
                select(day).where(func.pg_try_advisory_lock(Lock.RUN_DATE, day))
            ).all()
        free = {date.fromordinal(number) for number in locked}
        held = {day: Lease(connection, day) for day in run_dates if day in free}
        with connection.begin():
            unfinished = connection.execute(
                select(load_run.c.run_date, load_run.c.load_id).where(
                    load_run.c.run_date.in_(held), load_run.c.status.in_(ACTIVE)
                )
            ).all()
        for run_date, load_id in unfinished:
            finish(held[run_date], load_id, "abandoned", _ABANDONED)
        yield held


_ABANDONED: Final = "Its run died; a later one sealed it off."


def _active(run_date: date) -> ColumnElement[bool]:
    return (load_run.c.run_date == run_date) & load_run.c.status.in_(ACTIVE)


def _locked_by(connection: Connection, run_date: date) -> str:
    load = connection.execute(
        select(load_run.c.run_by, load_run.c.started_at).where(_active(run_date))
    ).one_or_none()
    who = f"{load.run_by}, since {load.started_at:%Y-%m-%d %H:%M} UTC" if load else "another run"
    return f"Run date {run_date} is being worked on by {who}: wait for it to end, or end it."


def finish(
    lease: Lease,
    load_id: int,
    status: EndedStatus,
    message: str | None = None,
) -> None:
    """End an active load that will not be published; a load that has ended stays as it is.

    None of its tasks can commit any more. Rows that were copied stay in the storage, where no view
    shows them, until prune deletes them.

    Parameters
    ----------
    lease
        The lease of its run date.
    load_id, status, message
        The load, its new status, and why it ended.
    """
    with lease.transaction() as connection:
        lock_out_copies(connection, [load_id], timeout=0.1)
        connection.execute(ending(load_id, status, message))


def ending(load_id: int, status: EndedStatus, message: str | None) -> Update:
    """Return the statement that ends an active load of which no part can be copied any more."""
    active = update(load_run).where(load_run.c.load_id == load_id, load_run.c.status.in_(ACTIVE))
    return active.values(status=status, message=message, finished_at=func.clock_timestamp())
