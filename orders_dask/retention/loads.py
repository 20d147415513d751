"""Removing from the storage the loads that nobody sees and nobody can go back to.

::

    replaced, unpublished, refused, ... ──mark──▶ pruned_at is set ──sweep──▶ no rows ──▶ no load_part, the last to go

Rows are only deleted, in small transactions, so no reader waits. The ledger keeps every load, its
files and its books.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    Table,
    any_,
    delete,
    func,
    literal_column,
    or_,
    select,
    update,
)

from orders_dask.contract.ledger_tables import data_issue, load_part, load_run, rejected_record
from orders_dask.contract.storage_tables import COPIED_TABLES
from orders_dask.ledger.leases import ACTIVE, Lease
from orders_dask.publish import dimensions
from orders_dask.publish import pointer as gate

ONCE_PUBLISHED: Final = ("replaced", "unpublished")
"""Statuses of a load that readers saw, until ``unpublished_at``."""

NEVER_PUBLISHED: Final = ("refused", "failed", "abandoned", "comparison")
"""Statuses of a load that readers never saw; it ended at ``finished_at``."""

BATCH_ROWS: Final = 50_000
"""Rows that a transaction deletes at the most: some 0.3 s."""


def reversible_before(engine: Engine, before: datetime) -> Sequence[int]:
    """List the loads, oldest first, whose publish lies before an instant and could be rolled back until now."""
    old = load_run.c.can_roll_back, load_run.c.published_at < before
    with engine.connect() as connection:
        query = select(load_run.c.load_id).where(*old).order_by(load_run.c.published_at)
        return connection.scalars(query).all()


def make_irreversible(engine: Engine, loads: Sequence[int]) -> None:
    """See to it that the publishes of some loads can't be rolled back, and forget what that would have needed."""
    with engine.connect() as connection:
        for load_id in loads:
            with connection.begin():
                gate.lock_publishing(connection)
                of_load = load_run.c.load_id == load_id
                connection.execute(update(load_run).where(of_load).values(can_roll_back=False))
                dimensions.discard_undo(connection, [load_id])


def dates_to_prune(engine: Engine, before: datetime) -> Sequence[date]:
    """List the run dates that have loads to prune, or one that died so long ago."""
    old = (
        load_run.c.status.in_(ONCE_PUBLISHED) & (load_run.c.unpublished_at < before),
        load_run.c.status.in_(NEVER_PUBLISHED) & (load_run.c.finished_at < before),
        load_run.c.status.in_(ACTIVE) & (load_run.c.started_at < before),
    )
    return _dates(engine, load_run.c.pruned_at.is_(None) & or_(*old))


def marked_with_rows(engine: Engine) -> Sequence[date]:
    """List the run dates that have loads which are marked, and still have rows."""
    return _dates(engine, load_run.c.pruned_at.is_not(None) & _HAS_PARTS)


def _dates(engine: Engine, wanted: ColumnElement[bool]) -> Sequence[date]:
    query = select(load_run.c.run_date).where(wanted).distinct().order_by(load_run.c.run_date)
    with engine.connect() as connection:
        return connection.scalars(query).all()


_HAS_PARTS: Final = select(load_part).where(load_part.c.load_id == load_run.c.load_id).exists()


def marked(engine: Engine, run_date: date) -> set[int]:
    """List the loads of a run date that are marked."""
    of_date = load_run.c.run_date == run_date, load_run.c.pruned_at.is_not(None)
    with engine.connect() as connection:
        return {*connection.scalars(select(load_run.c.load_id).where(*of_date))}


def prunable(connection: Connection, run_date: date, before: datetime) -> list[int]:
    """List the loads of a run date that nobody has seen since an instant, and that no rollback comes back to."""
    of_date = select(load_run).where(load_run.c.run_date == run_date)
    loads = {load.load_id: load for load in connection.execute(of_date)}
    needed = _rollback_targets(loads, before)
    return [
        load.load_id
        for load in loads.values()
        if load.pruned_at is None
        and load.load_id not in needed
        and (
            (load.status in ONCE_PUBLISHED and load.unpublished_at < before)
            or (load.status in NEVER_PUBLISHED and load.finished_at < before)
        )
    ]


def _rollback_targets(loads: dict[int, Row[Any]], before: datetime) -> set[int]:
    """Follow what the published load of a run date replaced, as far as a rollback could go."""
    needed = set()
    load = next((load for load in loads.values() if load.status == "published"), None)
    while load and load.can_roll_back and load.published_at >= before:
        needed.add(load.replaced_load_id)
        load = loads.get(load.replaced_load_id)
    return needed


def mark(lease: Lease, before: datetime) -> list[int]:
    """Mark the loads of a run date that are to go: from here on they are not whole."""
    with lease.transaction() as connection:
        loads = prunable(connection, lease.run_date, before)
        going = update(load_run).where(load_run.c.load_id.in_(loads))
        connection.execute(going.values(pruned_at=func.clock_timestamp()))
    return loads


def delete_rows(lease: Lease) -> int:
    """Delete up to :data:`BATCH_ROWS` rows of a marked load of the run date.

    Returns
    -------
    int
        Number of rows deleted; 0 where none is left.
    """
    swept = select(load_run.c.load_id).where(
        load_run.c.run_date == lease.run_date,
        load_run.c.pruned_at.is_not(None),
        load_run.c.status.in_((*ONCE_PUBLISHED, *NEVER_PUBLISHED)),
        _HAS_PARTS,
    )
    left = BATCH_ROWS
    with lease.transaction() as connection:
        load_id = connection.scalar(swept.limit(1).with_for_update())
        if load_id is None:
            return 0
        # Its parts come last: as long as they are there, so may be others of its rows.
        for table in (*COPIED_TABLES, load_part):
            if left:
                left -= _delete(connection, table, lease.run_date, load_id, left)
    return BATCH_ROWS - left


def _delete(connection: Connection, table: Table, run_date: date, load_id: int, limit: int) -> int:
    """Delete some rows of a load: by their place, for PostgreSQL knows no DELETE with a limit."""
    same = table.alias("same")
    place: ColumnElement[Any] = literal_column("ctid")
    some = select(place).select_from(same).where(*_of_load(same.c, run_date, load_id)).limit(limit)
    places = func.array(some.scalar_subquery())
    found = delete(table).where(*_of_load(table.c, run_date, load_id), place == any_(places))
    return connection.execute(found).rowcount


def _of_load(columns: Any, run_date: date, load_id: int) -> list[Any]:
    """Select a load's rows; with the run date, facts are looked for in one leaf."""
    of_date = [columns.run_date == run_date] if "run_date" in columns else []
    return [*of_date, columns.load_id == load_id]


def count_rows(engine: Engine, loads: Sequence[int]) -> int:
    """Count the rows of some loads."""
    of_loads = load_run.c.load_id.in_(loads)
    with engine.connect() as connection:
        run_dates = connection.scalars(select(load_run.c.run_date).where(of_loads).distinct()).all()

        def rows(table: Table) -> Select[Any]:
            of_dates = [table.c.run_date.in_(run_dates)] if "run_date" in table.c else []
            return (
                select(func.count()).select_from(table).where(table.c.load_id.in_(loads), *of_dates)
            )

        return sum(connection.scalar(rows(table)) or 0 for table in (*COPIED_TABLES, load_part))


# What was refused, and samples of what was repaired: people's data.


def dates_with_texts(engine: Engine, before: datetime) -> Sequence[date]:
    """List the run dates whose loads still have texts from before an instant of the dump in the ledger."""
    old = load_run.c.source_read_at < before
    refused = select(load_run.c.run_date).join(
        rejected_record, rejected_record.c.load_id == load_run.c.load_id
    )
    repaired = select(load_run.c.run_date).join(
        data_issue, data_issue.c.load_id == load_run.c.load_id
    )
    query = (
        refused.where(old, _HAS_TEXT).union(repaired.where(old, _HAS_SAMPLES)).order_by("run_date")
    )
    with engine.connect() as connection:
        return connection.scalars(query).all()


_TEXTS: Final = rejected_record.c.raw, rejected_record.c.order_raw, rejected_record.c.corrected_raw
_REDACTED: Final = {
    **dict.fromkeys(_TEXTS),
    rejected_record.c.message: rejected_record.c.code,
    rejected_record.c.replay_result: None,
}
_HAS_TEXT: Final = or_(*(column.is_not(None) for column in _TEXTS))
_HAS_SAMPLES: Final = func.jsonb_array_length(data_issue.c.samples) > 0


def count_texts(engine: Engine, before: datetime) -> int:
    """Count the rows of the ledger that :func:`redact_texts` would change."""
    old = select(load_run.c.load_id).where(load_run.c.source_read_at < before)
    with engine.connect() as connection:
        return sum(
            connection.scalar(
                select(func.count()).select_from(table).where(has, table.c.load_id.in_(old))
            )
            or 0
            for table, has in ((rejected_record, _HAS_TEXT), (data_issue, _HAS_SAMPLES))
        )


def redact_texts(lease: Lease, before: datetime) -> int:
    """Remove the texts from before an instant that a run date's loads keep of what was refused or repaired.

    Where it stands and the code of why stays; the sentences may quote it.

    Returns
    -------
    int
        Number of rows of the ledger that had some.
    """
    old = select(load_run.c.load_id).where(
        load_run.c.run_date == lease.run_date, load_run.c.source_read_at < before
    )
    refused = update(rejected_record).where(_HAS_TEXT, rejected_record.c.load_id.in_(old))
    repaired = update(data_issue).where(_HAS_SAMPLES, data_issue.c.load_id.in_(old))
    with lease.transaction() as connection:
        return (
            connection.execute(refused.values(_REDACTED)).rowcount
            + connection.execute(repaired.values(samples=[])).rowcount
        )
