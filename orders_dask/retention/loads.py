"""Prune loads that nobody sees and no rollback restores, and raw texts in the ledger.

::

    replaced, unpublished, refused, … ──mark──▶ pruned_at is set ──delete_rows──▶ no rows

Rows are deleted in small transactions, so no reader waits. `load_part` is deleted last. The ledger
keeps every load, its files and its control totals.
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
from orders_dask.contract.mart_tables import LOAD_MARTS
from orders_dask.contract.storage_tables import COPIED_TABLES
from orders_dask.ledger.leases import ACTIVE, Lease
from orders_dask.load.partitions import facts_turned_off
from orders_dask.publish import pointer

ONCE_PUBLISHED: Final = ("replaced", "unpublished")
"""Statuses of a load that readers saw, until ``unpublished_at``."""

NEVER_PUBLISHED: Final = ("refused", "failed", "abandoned", "comparison", "discarded")
"""Statuses of a load that readers never saw; it ended at ``finished_at``."""

BATCH_ROWS: Final = 50_000
"""Rows that a transaction deletes at most: about 0.3 s."""


def reversible_before(engine: Engine, before: datetime) -> Sequence[int]:
    """Return the loads published before a timestamp that can be rolled back, oldest first."""
    old = load_run.c.can_roll_back, load_run.c.published_at < before
    with engine.connect() as connection:
        query = select(load_run.c.load_id).where(*old).order_by(load_run.c.published_at)
        return connection.scalars(query).all()


def make_irreversible(engine: Engine, loads: Sequence[int]) -> None:
    """Make the publishes of loads irreversible: what they replaced may be pruned."""
    with engine.connect() as connection:
        for load_id in loads:
            with connection.begin():
                pointer.lock_publishing(connection)
                of_load = load_run.c.load_id == load_id
                connection.execute(update(load_run).where(of_load).values(can_roll_back=False))


def dates_to_prune(engine: Engine, before: datetime) -> Sequence[date]:
    """Return the run dates that have loads to prune, or an active load that began before.

    The latter may be of a dead run: acquiring the lease abandons it.
    """
    old = (
        load_run.c.status.in_(ONCE_PUBLISHED) & (load_run.c.unpublished_at < before),
        load_run.c.status.in_(NEVER_PUBLISHED) & (load_run.c.finished_at < before),
        load_run.c.status.in_(ACTIVE) & (load_run.c.started_at < before),
    )
    return _dates(engine, load_run.c.pruned_at.is_(None) & or_(*old))


def marked_with_rows(engine: Engine) -> Sequence[date]:
    """Return the run dates of marked loads that still have rows."""
    return _dates(engine, load_run.c.pruned_at.is_not(None) & _HAS_PARTS)


def _dates(engine: Engine, wanted: ColumnElement[bool]) -> Sequence[date]:
    query = select(load_run.c.run_date).where(wanted).distinct().order_by(load_run.c.run_date)
    with engine.connect() as connection:
        return connection.scalars(query).all()


_HAS_PARTS: Final = select(load_part).where(load_part.c.load_id == load_run.c.load_id).exists()


def marked(engine: Engine, run_date: date) -> set[int]:
    """Return the marked loads of a run date."""
    of_date = load_run.c.run_date == run_date, load_run.c.pruned_at.is_not(None)
    with engine.connect() as connection:
        return {*connection.scalars(select(load_run.c.load_id).where(*of_date))}


def prunable(connection: Connection, run_date: date, before: datetime) -> list[int]:
    """Return the loads of a run date to prune.

    They were unpublished, or ended without a publish, before a timestamp. No rollback restores
    them.
    """
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
    """Return the loads of a run date that rollbacks may restore, one after another."""
    needed = set()
    load = next((load for load in loads.values() if load.status == "published"), None)
    while load and load.can_roll_back and load.published_at >= before:
        needed.add(load.replaced_load_id)
        load = loads.get(load.replaced_load_id)
    return needed


def mark(lease: Lease, before: datetime) -> list[int]:
    """Mark the loads of a run date to prune, and return them: from now on they are not whole."""
    with lease.transaction() as connection:
        loads = prunable(connection, lease.run_date, before)
        of_loads = update(load_run).where(load_run.c.load_id.in_(loads))
        connection.execute(of_loads.values(pruned_at=func.clock_timestamp()))
    return loads


def delete_rows(lease: Lease) -> int:
    """Delete up to :data:`BATCH_ROWS` rows of a marked load of the run date.

    Returns
    -------
    int
        Number of rows deleted; 0 if none is left.
    """
    with_rows = select(load_run.c.load_id).where(
        load_run.c.run_date == lease.run_date,
        load_run.c.pruned_at.is_not(None),
        load_run.c.status.in_((*ONCE_PUBLISHED, *NEVER_PUBLISHED)),
        _HAS_PARTS,
    )
    limit = BATCH_ROWS
    with lease.transaction() as connection:
        load_id = connection.scalar(with_rows.limit(1).with_for_update())
        if load_id is None:
            return 0
        # `load_part` comes last: its rows tell that others may be left.
        for table in (*facts_turned_off(connection), *COPIED_TABLES, *LOAD_MARTS, load_part):
            if limit:
                limit -= _delete(connection, table, lease.run_date, load_id, limit)
    return BATCH_ROWS - limit


def _delete(connection: Connection, table: Table, run_date: date, load_id: int, limit: int) -> int:
    """Delete up to `limit` rows of a load, by ctid: PostgreSQL has no DELETE with a limit."""
    same = table.alias("same")
    ctid: ColumnElement[Any] = literal_column("ctid")
    batch = select(ctid).select_from(same).where(*_of_load(same.c, run_date, load_id)).limit(limit)
    ctids = func.array(batch.scalar_subquery())
    rows = delete(table).where(*_of_load(table.c, run_date, load_id), ctid == any_(ctids))
    return connection.execute(rows).rowcount


def _of_load(columns: Any, run_date: date, load_id: int) -> list[Any]:
    """Return the conditions for a load's rows; the run date limits facts to one partition."""
    of_date = [columns.run_date == run_date] if "run_date" in columns else []
    return [*of_date, columns.load_id == load_id]


def count_rows(engine: Engine, loads: Sequence[int]) -> int:
    """Return the number of rows of loads in the storage and in ``load_part``."""
    of_loads = load_run.c.load_id.in_(loads)
    with engine.connect() as connection:
        run_dates = connection.scalars(select(load_run.c.run_date).where(of_loads).distinct()).all()

        def rows(table: Table) -> Select[Any]:
            of_dates = [table.c.run_date.in_(run_dates)] if "run_date" in table.c else []
            return (
                select(func.count()).select_from(table).where(table.c.load_id.in_(loads), *of_dates)
            )

        tables = (*facts_turned_off(connection), *COPIED_TABLES, *LOAD_MARTS, load_part)
        return sum(connection.scalar(rows(table)) or 0 for table in tables)


# Raw texts of rejected records, and samples of issues: personal data.


def dates_with_texts(engine: Engine, before: datetime) -> Sequence[date]:
    """Return the run dates whose loads have texts that were read before a timestamp."""
    old = load_run.c.source_read_at < before
    rejects = select(load_run.c.run_date).join(
        rejected_record, rejected_record.c.load_id == load_run.c.load_id
    )
    issues = select(load_run.c.run_date).join(
        data_issue, data_issue.c.load_id == load_run.c.load_id
    )
    query = (
        rejects.where(old, _HAS_TEXT).union(issues.where(old, _HAS_SAMPLES)).order_by("run_date")
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
    """Return the number of ledger rows that :func:`redact_texts` would change."""
    old = select(load_run.c.load_id).where(load_run.c.source_read_at < before)
    with engine.connect() as connection:
        return sum(
            connection.scalar(
                select(func.count()).select_from(table).where(has_text, table.c.load_id.in_(old))
            )
            or 0
            for table, has_text in ((rejected_record, _HAS_TEXT), (data_issue, _HAS_SAMPLES))
        )


def redact_texts(lease: Lease, before: datetime) -> int:
    """Delete the texts and samples of a run date's loads that were read before a timestamp.

    File, position, path and code stay. Messages and replay results go too, since they may quote
    the text.

    Returns
    -------
    int
        Number of ledger rows that had a text or samples.
    """
    old = select(load_run.c.load_id).where(
        load_run.c.run_date == lease.run_date, load_run.c.source_read_at < before
    )
    rejects = update(rejected_record).where(_HAS_TEXT, rejected_record.c.load_id.in_(old))
    issues = update(data_issue).where(_HAS_SAMPLES, data_issue.c.load_id.in_(old))
    with lease.transaction() as connection:
        return (
            connection.execute(rejects.values(_REDACTED)).rowcount
            + connection.execute(issues.values(samples=[])).rowcount
        )
