"""Keep the dimensions what the published loads say: merge the rows of one, recompute others.

All of this runs in a transaction that holds the publish lock
(:func:`orders_dask.publish.pointer.lock_publishing`), so no other writes dimensions meanwhile.
After any publishes, rollbacks and unpublishes the dimensions are those of loading what is published
into an empty database. See docs/contract.md#dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Delete,
    FromClause,
    Select,
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

from orders_dask.contract.columns import DATE, ID
from orders_dask.contract.dimension_tables import DIMENSIONS, attributes
from orders_dask.contract.storage_tables import DIMENSION_NAMES, DIMENSION_ROWS, published


def replace(
    connection: Connection, loads: Mapping[date, int | None], replaced: Mapping[date, int]
) -> None:
    """Make the dimensions say what is published, after the pointers of run dates have moved.

    Parameters
    ----------
    connection
        The transaction.
    loads
        The load that is published now, by run date; None where there is none.
    replaced
        The loads that were published until now, by run date, where there was one.
    """
    shown = {run_date: load_id for run_date, load_id in loads.items() if load_id is not None}
    for dimension, rows in zip(DIMENSIONS, DIMENSION_ROWS, strict=True):
        if shown:
            connection.execute(_merge(dimension, rows, shown))
        for run_date, load_id in replaced.items():
            connection.execute(_recompute(dimension, rows, run_date, load_id, loads[run_date]))
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


def _merge(dimension: Table, rows: Table, loads: Mapping[date, int]) -> Insert:
    """Return the upsert of the rows of loads into a dimension.

    Their attributes are written as a whole, if they have any and no later run date gave some.
    """
    key, names = dimension.info["key"], [c.name for c in attributes(dimension)]
    stored = _rows_of(rows, loads).subquery()
    by_key = [stored.c[name] for name in key]
    ranked = select(
        stored,
        func.min(stored.c.run_date).over(partition_by=by_key).label("first_seen"),
        func.max(stored.c.run_date).over(partition_by=by_key).label("last_seen"),
        _rank(stored, key, _latest_first(stored, names, stored.c.run_date.desc())),
    ).subquery()
    incoming = (
        select(
            *(ranked.c[name] for name in (*key, *names)),
            case((_has_attributes(ranked, names), ranked.c.run_date)).label("attributes_run_date"),
            ranked.c.first_seen,
            ranked.c.last_seen,
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


def _rows_of(rows: Table, loads: Mapping[date, int]) -> Select[Any]:
    """Select the rows of loads, with the run dates of these."""
    if len(loads) == 1:
        [(run_date, load_id)] = loads.items()
        return select(rows, literal(run_date, DATE).label("run_date")).where(
            rows.c.load_id == load_id
        )
    ids, dates = literal([*loads.values()], ARRAY(ID)), literal([*loads], ARRAY(DATE))
    of_loads = func.unnest(ids, dates).table_valued("load_id", "run_date").render_derived()
    return select(rows, of_loads.c.run_date).join(of_loads, of_loads.c.load_id == rows.c.load_id)


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
