"""Leases: the right to work on a run date, and the end of loads that lost it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    func,
    select,
    text,
    update,
)

from orders_dask.contract.ledger_tables import (
    load_run,
)
from orders_dask.errors import LeaseLost, RunDateLocked
from orders_dask.load.locks import Lock, lock_out_copies, try_lock

ACTIVE: Final = ("loading", "sealed", "verified")
"""Statuses of a load that is being worked on, or was when its run died: one a run date at the most."""


LOCK_TIMEOUT: Final = 5.0
"""Seconds to wait for a run date: a run that was killed holds it until the server has ended its last statement."""


@dataclass(frozen=True)
class Lease:
    """The right to work on a run date, for as long as its session lives.

    Attributes
    ----------
    connection
        The session that holds the run date's lock, without an open transaction between calls.
    run_date
        The date of the dump.
    """

    connection: Connection
    run_date: date

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Open a transaction in the session that holds the run date; all that is written of the date goes through it.

        Raises
        ------
        LeaseLost
            The session doesn't hold it any more. SQLAlchemy connects again after a broken
            connection, without saying so and without the lock: nothing is written then.
        """
        holds = {"class": int(Lock.RUN_DATE), "date": self.run_date.toordinal()}
        with self.connection.begin():
            if self.connection.scalar(_HOLDS_LOCK, holds) is None:
                raise LeaseLost(
                    f"This run lost its hold on run date {self.run_date}, for its session with PostgreSQL ended: "
                    "give the same command again, and it goes on from what is staged."
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
    """Hold a run date until the end of the ``with`` block.

    A load of it that a dead run left unfinished is sealed off, so that none of its tasks can commit
    any more, and ``abandoned``.

    Parameters
    ----------
    timeout
        Seconds to wait for the run date, more than 0.

    Raises
    ------
    RunDateHeld
        Another run holds it: the message says who.
    """
    with engine.connect() as connection:
        lock = select(func.pg_advisory_lock(Lock.RUN_DATE, run_date.toordinal()))
        with connection.begin():
            if not try_lock(connection, timeout, lock):
                raise RunDateLocked(_locked_by(connection, run_date))
        lease = Lease(connection, run_date)
        with lease.transaction():
            left = connection.scalars(select(load_run.c.load_id).where(_active(run_date))).all()
        for load_id in left:
            finish(lease, load_id, "abandoned", "Its run died; a later one sealed it off.")
        yield lease


def _active(run_date: date) -> ColumnElement[bool]:
    return (load_run.c.run_date == run_date) & load_run.c.status.in_(ACTIVE)


def _locked_by(connection: Connection, run_date: date) -> str:
    holder = connection.execute(
        select(load_run.c.run_by, load_run.c.started_at).where(_active(run_date))
    ).one_or_none()
    who = (
        f"{holder.run_by}, since {holder.started_at:%Y-%m-%d %H:%M} UTC"
        if holder
        else "another run"
    )
    return f"Run date {run_date} is being worked on by {who}: wait for it to end, or end it."


def finish(
    lease: Lease,
    load_id: int,
    status: Literal["refused", "failed", "abandoned", "comparison"],
    message: str | None = None,
) -> None:
    """End a load that will not be published; one that has ended already stays as it is.

    What was copied of it stays in the storage, where nobody sees it, until it is pruned. None of
    its tasks can commit any more.
    """
    ended = update(load_run).where(load_run.c.load_id == load_id, load_run.c.status.in_(ACTIVE))
    with lease.transaction() as connection:
        lock_out_copies(connection, load_id, timeout=0.1)
        connection.execute(
            ended.values(status=status, message=message, finished_at=func.clock_timestamp())
        )
