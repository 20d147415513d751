"""What a publish brings into the dimensions, what it keeps of them, and how a rollback puts that back.

All of it happens in a transaction that has taken its turn at the gate
(:func:`orders_dask.publish.pointer.lock_publishing`): no other one writes dimensions meanwhile.
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
    """Bring what a load said of the dimensions into them, and keep each row that this overwrites as it stood.

    Of the load's rows for a key, the one of the greatest (version, file, position) counts. Its
    attributes stand, as a whole, if it has any and no later run date gave some.
    """
    for dimension, said, before in zip(DIMENSIONS, DIMENSION_ROWS, DIMENSION_UNDO, strict=True):
        connection.execute(_upsert(dimension, said, before, run_date, load_id))


def restore(connection: Connection, load_id: int) -> None:
    """Put back the rows that the publish of a load overwrote, where no later publish has written them since.

    Where one has, the row stays, and what is put back when that one is rolled back too is what
    stood before both. Into the rows that are put back comes what later publishes had said of them
    and was already there then.
    """
    published_at = select(load_run.c.published_at).where(load_run.c.load_id == load_id)
    later = select(load_run.c.run_date, load_run.c.load_id).where(
        load_run.c.status == "published", load_run.c.published_at > published_at.scalar_subquery()
    )
    loads = connection.execute(later.order_by(load_run.c.published_at)).all()
    for dimension, said, before in zip(DIMENSIONS, DIMENSION_ROWS, DIMENSION_UNDO, strict=True):
        latest = connection.execute(
            select(func.coalesce(func.max(before.c.change_id), 0))
        ).scalar_one()
        connection.execute(_restore(dimension, before, load_id))
        for run_date, later_id in loads:
            restored = _restored_values(said, before, load_id, latest)
            connection.execute(_upsert(dimension, said, before, run_date, later_id, restored))
        connection.execute(delete(before).where(before.c.load_id == load_id))


def discard_undo(connection: Connection, load_ids: Sequence[int]) -> None:
    """Forget what the publishes of some loads overwrote: they can't be rolled back any more.

    What earlier publishes overwrote of the same rows goes too: nothing else tells that the rows
    were written since, and a rollback of those publishes is to leave them alone.
    """
    for before in DIMENSION_UNDO:
        later = before.alias("later")
        same = _same_key(before, later, before.info["key"])
        connection.execute(
            delete(before).where(
                same, before.c.change_id <= later.c.change_id, later.c.load_id.in_(load_ids)
            )
        )


def _upsert(
    dimension: Table,
    staged: Table,
    undo: Table,
    run_date: date,
    load_id: int,
    only: ColumnElement[bool] | None = None,
) -> Insert:
    """Make the statement for one dimension: a single one, so that the load's rows are ranked once.

    Parameters
    ----------
    only
        Which rows of `staged` count; all of the load's by default.
    """
    key, names = dimension.info["key"], [c.name for c in attributes(dimension)]
    order = (
        staged.c.version_at.desc().nulls_last(),
        staged.c.source_file_id.desc(),
        staged.c.source_position.desc(),
    )
    place = func.row_number().over(partition_by=[staged.c[k] for k in key], order_by=order)
    counts = true() if only is None else only
    ranked = (
        select(staged, place.label("place")).where(staged.c.load_id == load_id, counts).subquery()
    )
    says_any = or_(false(), *(ranked.c[name].is_not(None) for name in names))
    this = literal(run_date)
    rows = (
        select(
            *(ranked.c[name] for name in (*key, *names)),
            case((says_any, this)).label("attributes_run_date"),
            this.label("first_seen"),
            this.label("last_seen"),
        )
        .where(ranked.c.place == 1)
        .order_by(*(ranked.c[k] for k in key))
        .cte("brought")
    )
    written = [c.name for c in rows.c]
    was_there = dimension.c.first_seen.is_not(None)
    kept = insert(undo).from_select(
        ["load_id", *written],
        select(
            literal(load_id, ID),
            *(rows.c[name] if name in key else dimension.c[name] for name in written),
        )
        .join_from(rows, dimension, _same_key(rows, dimension, key), isouter=True)
        .where(or_(~was_there, _overwrites_row(dimension.c, rows.c))),
    )
    new = insert(dimension).from_select(written, select(rows))
    had, given = dimension.c, new.excluded
    stands = _keeps_row(dimension.c, given)
    return new.on_conflict_do_update(
        index_elements=list(dimension.primary_key),
        set_={
            **{name: case((stands, given[name]), else_=had[name]) for name in names},
            "attributes_run_date": func.greatest(
                had.attributes_run_date, given.attributes_run_date
            ),
            "first_seen": func.least(had.first_seen, given.first_seen),
            "last_seen": func.greatest(had.last_seen, given.last_seen),
        },
        where=_overwrites_row(dimension.c, given),
    ).add_cte(kept.cte("kept"))


def _keeps_row(had: Columns, given: Columns) -> ColumnElement[bool]:
    """Say whether the attributes given stand in place of those a row had."""
    name = "attributes_run_date"
    stands: ColumnElement[bool] = given[name] >= func.coalesce(had[name], given[name])
    return stands


def _overwrites_row(had: Columns, given: Columns) -> ColumnElement[bool]:
    """Say whether a row that is there changes by what is given."""
    return or_(
        _keeps_row(had, given),
        given["first_seen"] < had["first_seen"],
        given["last_seen"] > had["last_seen"],
    )


def _restore(dimension: Table, undo: Table, load_id: int) -> Delete:
    """Make the statement for one dimension; its parts see the same rows, and each row is written by one of them."""
    key = dimension.info["key"]
    mine = undo.alias("mine")
    # A window over the rows of the same keys: as a min() for each row it read all later rows by
    # their turn, and 100,000 rows took more than a minute.
    next_change = func.lead(undo.c.change_id).over(
        partition_by=[undo.c[k] for k in key], order_by=undo.c.change_id
    )
    chain = (
        select(undo, next_change.label("next_change"))
        .join_from(undo, mine, _same_key(undo, mine, key))
        .where(mine.c.load_id == load_id)
        .subquery()
    )
    kept = select(chain).where(chain.c.load_id == load_id).cte("kept")
    stood = {name: kept.c[name] for name in (c.name for c in dimension.c) if name not in key}
    untouched = and_(_same_key(dimension, kept, key), kept.c.next_change.is_(None))
    handed_on = update(undo).where(undo.c.change_id == kept.c.next_change).values(stood)
    put_back = update(dimension).where(untouched, kept.c.first_seen.is_not(None)).values(stood)
    taken_out = delete(dimension).where(untouched, kept.c.first_seen.is_(None))
    return taken_out.add_cte(handed_on.cte("handed_on"), put_back.cte("put_back"))


def _restored_values(rows: Table, before: Table, load_id: int, latest: int) -> ColumnElement[bool]:
    """Say of what was said that its row was put back: the load's publish was the last to write it, up to a turn."""
    mine, later = before.alias("mine"), before.alias("later")
    key = before.info["key"]
    written = select(later).where(
        _same_key(later, mine, key),
        later.c.change_id > mine.c.change_id,
        later.c.change_id <= latest,
    )
    mine_alone = mine.c.load_id == load_id, _same_key(mine, rows, key), ~written.exists()
    return select(mine).where(*mine_alone).exists()


def _same_key(one: FromClause, other: FromClause, key: Sequence[str]) -> ColumnElement[bool]:
    return and_(*(one.c[name] == other.c[name] for name in key))
