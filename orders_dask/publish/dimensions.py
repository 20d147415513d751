"""Upsert a load's dimension rows, save the rows that this overwrites, and restore them.

All of this runs in a transaction that holds the publish lock
(:func:`orders_dask.publish.pointer.lock_publishing`), so no other writes dimensions meanwhile. See
docs/contract.md#dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from sqlalchemy import (
    ColumnCollection,
    ColumnElement,
    Connection,
    Delete,
    FromClause,
    Table,
    and_,
    case,
    delete,
    false,
    func,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert

from orders_dask.contract.columns import ID
from orders_dask.contract.ledger_tables import load_run
from orders_dask.contract.order_tables import DIMENSIONS, attributes
from orders_dask.contract.storage_tables import DIMENSION_ROWS, DIMENSION_UNDO

Columns = ColumnCollection[str, Any]


def upsert(connection: Connection, run_date: date, load_id: int) -> None:
    """Upsert a load's dimension rows, and save each row that this overwrites.

    The load's rows are deduplicated: of a key's rows, the one of the greatest (version, file,
    position) counts. Its attributes are written as a whole, if it has any and no later run date
    gave some.
    """
    for dimension, rows, undo in zip(DIMENSIONS, DIMENSION_ROWS, DIMENSION_UNDO, strict=True):
        connection.execute(_upsert(dimension, rows, undo, run_date, load_id))


def restore(connection: Connection, load_id: int) -> None:
    """Restore the dimension rows that the publish of a load overwrote.

    If a later publish also changed a row, it stays. Rolling that one back as well restores the
    value from before both.

    A later publish may have left a row unchanged, because this load's values took precedence. Its
    values count once the row is restored, so they are upserted into it.
    """
    published_at = select(load_run.c.published_at).where(load_run.c.load_id == load_id)
    later = select(load_run.c.run_date, load_run.c.load_id).where(
        load_run.c.status == "published", load_run.c.published_at > published_at.scalar_subquery()
    )
    loads = connection.execute(later.order_by(load_run.c.published_at)).all()
    for dimension, rows, undo in zip(DIMENSIONS, DIMENSION_ROWS, DIMENSION_UNDO, strict=True):
        latest_change = connection.execute(
            select(func.coalesce(func.max(undo.c.change_id), 0))
        ).scalar_one()
        connection.execute(_restore(dimension, undo, load_id))
        for run_date, later_id in loads:
            restored = _is_restored(rows, undo, load_id, latest_change)
            connection.execute(_upsert(dimension, rows, undo, run_date, later_id, restored))
        connection.execute(delete(undo).where(undo.c.load_id == load_id))


def discard_undo(connection: Connection, load_ids: Sequence[int]) -> None:
    """Delete the saved rows of loads whose publishes can't be rolled back any more.

    The rows that earlier publishes saved for the same keys are deleted too. A rollback of these
    must not restore them, and only the deleted rows showed that the keys were written since.
    """
    for undo in DIMENSION_UNDO:
        later = undo.alias("later")
        same = _same_key(undo, later, undo.info["key"])
        connection.execute(
            delete(undo).where(
                same, undo.c.change_id <= later.c.change_id, later.c.load_id.in_(load_ids)
            )
        )


def _upsert(
    dimension: Table,
    rows: Table,
    undo: Table,
    run_date: date,
    load_id: int,
    only: ColumnElement[bool] | None = None,
) -> Insert:
    """Return the upsert of one dimension: a single statement, so the load's rows are ranked once.

    Parameters
    ----------
    dimension, rows, undo
        The dimension, what loads said of it, and its saved rows.
    run_date, load_id
        The load.
    only
        Condition on `rows`; by default all rows of the load count.
    """
    key, names = dimension.info["key"], [c.name for c in attributes(dimension)]
    order = (
        rows.c.version_at.desc().nulls_last(),
        rows.c.source_file_id.desc(),
        rows.c.source_position.desc(),
    )
    rank = func.row_number().over(partition_by=[rows.c[k] for k in key], order_by=order)
    condition = true() if only is None else only
    ranked = select(rows, rank.label("rank")).where(rows.c.load_id == load_id, condition).subquery()
    has_attributes = or_(false(), *(ranked.c[name].is_not(None) for name in names))
    day = literal(run_date)
    incoming = (
        select(
            *(ranked.c[name] for name in (*key, *names)),
            case((has_attributes, day)).label("attributes_run_date"),
            day.label("first_seen"),
            day.label("last_seen"),
        )
        .where(ranked.c.rank == 1)
        .order_by(*(ranked.c[k] for k in key))
        .cte("incoming")
    )
    columns = [c.name for c in incoming.c]
    exists = dimension.c.first_seen.is_not(None)
    saved = insert(undo).from_select(
        ["load_id", *columns],
        select(
            literal(load_id, ID),
            *(incoming.c[name] if name in key else dimension.c[name] for name in columns),
        )
        .join_from(incoming, dimension, _same_key(incoming, dimension, key), isouter=True)
        .where(or_(~exists, _changes_row(dimension.c, incoming.c))),
    )
    upserted = insert(dimension).from_select(columns, select(incoming))
    old, new = dimension.c, upserted.excluded
    wins = _attributes_win(old, new)
    return upserted.on_conflict_do_update(
        index_elements=list(dimension.primary_key),
        set_={
            **{name: case((wins, new[name]), else_=old[name]) for name in names},
            "attributes_run_date": func.greatest(old.attributes_run_date, new.attributes_run_date),
            "first_seen": func.least(old.first_seen, new.first_seen),
            "last_seen": func.greatest(old.last_seen, new.last_seen),
        },
        where=_changes_row(old, new),
    ).add_cte(saved.cte("saved"))


def _attributes_win(old: Columns, new: Columns) -> ColumnElement[bool]:
    """Return the condition that the new attributes replace the old ones."""
    name = "attributes_run_date"
    wins: ColumnElement[bool] = new[name] >= func.coalesce(old[name], new[name])
    return wins


def _changes_row(old: Columns, new: Columns) -> ColumnElement[bool]:
    """Return the condition that an upsert of the new row changes the old one."""
    return or_(
        _attributes_win(old, new),
        new["first_seen"] < old["first_seen"],
        new["last_seen"] > old["last_seen"],
    )


def _restore(dimension: Table, undo: Table, load_id: int) -> Delete:
    """Return the statement that restores one dimension.

    Its CTEs see the same snapshot, and each row is written by one of them.
    """
    key = dimension.info["key"]
    mine = undo.alias("mine")
    # A window over the rows of the same keys. A min() for each row read all later rows of its key:
    # 100,000 rows took more than a minute.
    next_change = func.lead(undo.c.change_id).over(
        partition_by=[undo.c[k] for k in key], order_by=undo.c.change_id
    )
    chain = (
        select(undo, next_change.label("next_change"))
        .join_from(undo, mine, _same_key(undo, mine, key))
        .where(mine.c.load_id == load_id)
        .subquery()
    )
    saved = select(chain).where(chain.c.load_id == load_id).cte("saved")
    values = {name: saved.c[name] for name in (c.name for c in dimension.c) if name not in key}
    is_last = and_(_same_key(dimension, saved, key), saved.c.next_change.is_(None))
    # The row was written later: that rollback restores what this publish overwrote.
    passed_on = update(undo).where(undo.c.change_id == saved.c.next_change).values(values)
    restored = update(dimension).where(is_last, saved.c.first_seen.is_not(None)).values(values)
    removed = delete(dimension).where(is_last, saved.c.first_seen.is_(None))
    return removed.add_cte(passed_on.cte("passed_on"), restored.cte("restored"))


def _is_restored(rows: Table, undo: Table, load_id: int, latest_change: int) -> ColumnElement[bool]:
    """Return the condition that a load's publish wrote a row's key last, up to a change.

    :func:`_restore` has restored the dimension rows of such keys.
    """
    mine, later = undo.alias("mine"), undo.alias("later")
    key = undo.info["key"]
    written_later = select(later).where(
        _same_key(later, mine, key),
        later.c.change_id > mine.c.change_id,
        later.c.change_id <= latest_change,
    )
    is_last = mine.c.load_id == load_id, _same_key(mine, rows, key), ~written_later.exists()
    return select(mine).where(*is_last).exists()


def _same_key(one: FromClause, other: FromClause, key: Sequence[str]) -> ColumnElement[bool]:
    return and_(*(one.c[name] == other.c[name] for name in key))
