"""Taking back what was published of a run date."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, select, update

from orders_dask.contract.tables import load_run, published
from orders_dask.errors import NotKept, ServiceUnavailable, Undecided
from orders_dask.load import dimensions, gate, ledger
from orders_dask.load.connect import engine
from orders_dask.load.ledger import Lease
from orders_dask.load.report import LoadStatus, published_load
from orders_dask.load.schema import ensure_ready
from orders_dask.patience import patiently
from orders_dask.settings import Settings, load_settings


@dataclass(frozen=True)
class RolledBack:
    """What a rollback did.

    Attributes
    ----------
    run_date
        The date of the dump.
    withdrawn
        The load that readers saw until then.
    withdrawn_orders, withdrawn_lines
        Number that it holds.
    published
        The load that they see again; None where it was the first: nothing is published then.
    orders, lines
        Number that they see now.
    """

    run_date: date
    withdrawn: int
    withdrawn_orders: int
    withdrawn_lines: int
    published: int | None
    orders: int
    lines: int


def rollback(run_date: date, settings: Settings | None = None) -> RolledBack:
    """Let readers see the load of a run date that they saw before the one they see now.

    One transaction: the gate, which versions are current, and every dimension row that the load overwrote and that no
    later publish has written since. Another rollback goes one load further back.

    Parameters
    ----------
    run_date
        The date of the dump.
    settings
        From the environment by default.

    Raises
    ------
    NotKept
        Nothing is published for the run date, or what its publish replaced was pruned.
    RunDateHeld
        Somebody works on the run date.
    Undecided
        PostgreSQL broke off, and it could not be found out whether the rollback was done.
    ServiceUnavailable
        PostgreSQL can't be reached.
    DatabaseNotReady
        ``orders-dask init`` has not been run.
    """
    database = engine(settings or load_settings())
    patiently(ensure_ready)(database)
    with ledger.hold(database, run_date) as lease:
        before = published_load(database, run_date)
        if before is None:
            raise NotKept(_nothing_published(run_date))
        try:
            take_back(lease, before.load_id)
        except ServiceUnavailable as error:
            # Terminal: the same command again might go one load further back.
            raise Undecided(
                f"PostgreSQL broke off while load {before.load_id} of {run_date} was rolled back: see in `orders-dask "
                "status` whether it is still published before you try again."
            ) from error
        now = patiently(published_load)(database, run_date)
    return _result(before, now)


def take_back(lease: Lease, load_id: int) -> None:
    """Withdraw the published load of a run date that is held, for the one that it replaced.

    Raises
    ------
    NotKept
        What its publish replaced was pruned, or it is not published.
    """
    with gate.decided(lease, load_id, "withdrawn"), lease.transaction() as connection:
        gate.take_turn(connection)
        replaced = _replaced(connection, lease.run_date, load_id)
        dimensions.restore(connection, load_id)
        taken_back = update(load_run).where(load_run.c.load_id == load_id)
        connection.execute(taken_back.values(reversible=False))
        gate.show(connection, lease.run_date, replaced, "withdrawn")


def _replaced(connection: Connection, run_date: date, load_id: int) -> int | None:
    """Lock the row of the published load, and give the load that it replaced."""
    seen = (
        select(load_run.c.replaces, load_run.c.reversible)
        .join_from(load_run, published, published.c.load_id == load_run.c.load_id)
        .where(published.c.run_date == run_date, published.c.load_id == load_id)
        .with_for_update(of=load_run)
    )
    load = connection.execute(seen).one_or_none()
    if load is None:
        raise NotKept(_nothing_published(run_date))
    if not load.reversible:
        raise NotKept(
            f"Load {load_id} of {run_date} can't be rolled back, for what it replaced was pruned: put the files back "
            f"as they were, then run `orders-dask run --run-date {run_date}`."
        )
    return load.replaces  # type: ignore[no-any-return]


def _nothing_published(run_date: date) -> str:
    return f"Nothing is published for {run_date}: see `orders-dask status`."


def _result(before: LoadStatus, now: LoadStatus | None) -> RolledBack:
    return RolledBack(
        run_date=before.run_date,
        withdrawn=before.load_id,
        withdrawn_orders=before.orders,
        withdrawn_lines=before.lines,
        published=now.load_id if now else None,
        orders=now.orders if now else 0,
        lines=now.lines if now else 0,
    )
