"""Keep the dimensions what the published loads say: merge the rows of one, recompute others.

All of this runs in a transaction that holds the publish lock
(:func:`orders_dask.publish.pointer.lock_publishing`), so no other writes dimensions meanwhile.
After any publishes, rollbacks and unpublishes the dimensions are those of loading what is published
into an empty database. See docs/contract.md#dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from sqlalchemy import (
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
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert

from orders_dask.contract.columns import DATE
from orders_dask.contract.dimension_tables import DIMENSIONS, attributes
from orders_dask.contract.storage_tables import DIMENSION_NAMES, DIMENSION_ROWS, published


def replace(
    connection: Connection, run_date: date, load_id: int | None, replaced: int | None
) -> None:
    """Make the dimensions say what is published, after the pointer of a run date has moved.

    Parameters
    ----------
    connection, run_date
        The transaction and the run date.
    load_id
        The load that is published now; None if there is none.
    replaced
        The load that was published until now; None if there was none.
    """
    for dimension, rows in zip(DIMENSIONS, DIMENSION_ROWS, strict=True):
        if load_id is not None:
            connection.execute(_merge(dimension, rows, run_date, load_id))
        if replaced is not None:
            connection.execute(_recompute(dimension, rows, run_date, replaced, load_id))
    set_names(connection)


def set_names(connection: Connection) -> None:
    """Copy the names that ``dimensions load`` has read to the rows of the dimensions."""
    for dimension, names in DIMENSION_NAMES.items():
        columns = [column.name for column in dimension.info["names"]]
        old, new = (tuple_(*(side.c[name] for name in columns)) for side in (dimension, names))
        connection.execute(
            update(dimension)
            .where(_same_key(dimension, names, dimension.info["key"]), old.is_distinct_from(new))
            .values({name: names.c[name] for name in columns})
        )


def _merge(dimension: Table, rows: Table, run_date: date, load_id: int) -> Insert:
    """Return the upsert of a load's rows into a dimension.

    Its attributes are written as a whole, if it has any and no later run date gave some.
    """
    key, names = dimension.info["key"], [c.name for c in attributes(dimension)]
    ranked = (
        select(rows, _rank(rows, key, _latest_first(rows, names)))
        .where(rows.c.load_id == load_id)
        .subquery()
    )
    day = literal(run_date)
    incoming = (
        select(
            *(ranked.c[name] for name in (*key, *names)),
            case((_has_attributes(ranked, names), day)).label("attributes_run_date"),
            day.label("first_seen"),
            day.label("last_seen"),
        )
        .where(ranked.c.rank == 1)
        .order_by(*(ranked.c[name] for name in key))
    )
    columns = [column.name for column in incoming.selected_columns]
    upserted = insert(dimension).from_select(columns, incoming)
    old, new = dimension.c, upserted.excluded
    wins = new["attributes_run_date"] >= func.coalesce(
        old.attributes_run_date, new["attributes_run_date"]
    )
    return upserted.on_conflict_do_update(
        index_elements=list(dimension.primary_key),
        set_={
            **{name: case((wins, new[name]), else_=old[name]) for name in names},
            "attributes_run_date": func.greatest(
                old.attributes_run_date, new["attributes_run_date"]
            ),
            "first_seen": func.least(old.first_seen, new["first_seen"]),
            "last_seen": func.greatest(old.last_seen, new["last_seen"]),
        },
        where=or_(
            wins,
            new["first_seen"] < old.first_seen,
            new["last_seen"] > old.last_seen,
        ),
    )


def _recompute(
    dimension: Table, rows: Table, run_date: date, load_id: int, successor: int | None
) -> Delete:
    """Return the statement that says a dimension's rows anew from what the published loads say.

    These are the keys of a load that is not published any more, where its run date shows in the
    row. All others say the same without it. A key that no published load has is deleted.

    Keys of which its successor says all that it said were merged already: their rows in all of
    history are not read. A product of every day has 3,650 of them after ten years, so the same day
    published once more took 44 s.

    Nothing is known of how many rows a CTE has, and the planner expects few: a join of two of them
    would be a nested loop, which took 270 s for 30,000 customers. So one pass over the keys' rows
    gives all, and a CTE is joined with tables that have an index on the key alone.
    """
    key, names = dimension.info["key"], [c.name for c in attributes(dimension)]
    touched = (
        select(*(rows.c[name] for name in key))
        .join_from(rows, dimension, _same_key(rows, dimension, key))
        .where(
            rows.c.load_id == load_id,
            literal(run_date, DATE).in_(
                [dimension.c.first_seen, dimension.c.last_seen, dimension.c.attributes_run_date]
            ),
        )
        .except_(
            select(*(rows.c[name] for name in key)).where(
                rows.c.load_id == successor, _has_attributes(rows, names) if names else true()
            )
        )
        .cte("touched")
        .prefix_with("materialized", dialect="postgresql")
    )
    of_load = published.c.load_id == rows.c.load_id
    stored = select(rows, published.c.run_date).join_from(rows, published, of_load).subquery()
    by_key = [touched.c[name] for name in key]
    order = _latest_first(stored, names, stored.c.run_date.desc())
    ranked = (
        select(
            *by_key,
            *(stored.c[name] for name in names),
            case((_has_attributes(stored, names), stored.c.run_date)).label("attributes_run_date"),
            func.min(stored.c.run_date).over(partition_by=by_key).label("first_seen"),
            func.max(stored.c.run_date).over(partition_by=by_key).label("last_seen"),
            func.row_number().over(partition_by=by_key, order_by=order).label("rank"),
        )
        .join_from(touched, stored, _same_key(touched, stored, key), isouter=True)
        .subquery()
    )
    new = (
        select(*(column for column in ranked.c if column is not ranked.c.rank))
        .where(ranked.c.rank == 1)
        .cte("new")
        .prefix_with("materialized", dialect="postgresql")
    )
    has_rows = new.c.last_seen.is_not(None)
    values = {column.name: column for column in new.c if column.name not in key}
    updated = update(dimension).where(_same_key(dimension, new, key), has_rows).values(values)
    return (
        delete(dimension)
        .where(_same_key(dimension, new, key), ~has_rows)
        .add_cte(updated.cte("updated"))
    )


def _rank(
    rows: FromClause, key: Sequence[str], order: Sequence[ColumnElement[Any]]
) -> ColumnElement[int]:
    """Return the rank of a row among those of its key."""
    rank = func.row_number().over(partition_by=[rows.c[name] for name in key], order_by=order)
    return rank.label("rank")


def _latest_first(
    rows: FromClause, names: Sequence[str], *before: ColumnElement[Any]
) -> list[ColumnElement[Any]]:
    """Return the order of a key's rows: the one that counts comes first.

    A row whose attributes are all null says nothing of them, whatever its version is. `before`
    orders the others before their versions do.
    """
    return [
        *([_has_attributes(rows, names).desc()] if names else []),
        *before,
        rows.c.version_at.desc().nulls_last(),
        rows.c.source_file_id.desc(),
        rows.c.source_position.desc(),
    ]


def _has_attributes(rows: FromClause, names: Sequence[str]) -> ColumnElement[bool]:
    return or_(false(), *(rows.c[name].is_not(None) for name in names))


def _same_key(one: FromClause, other: FromClause, key: Sequence[str]) -> ColumnElement[bool]:
    return and_(*(one.c[name] == other.c[name] for name in key))
