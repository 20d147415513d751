"""Rejected records in the ledger: which of them can be replayed, and with what outcome."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import date
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Select,
    Text,
    and_,
    case,
    column,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.sql.selectable import TableValuedAlias

from orders_dask.contract.json_parser import MAX_RAW_BYTES
from orders_dask.contract.ledger_tables import (
    counter_column,
    load_file,
    rejected_record,
    schema_info,
)
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.rejects import StoredReject
from orders_dask.contract.storage_tables import published
from orders_dask.load.planner import prefer_hash_plans

_RECORD: Final = rejected_record.c

# Aggregates over the rows of one position: a rejected record, or the rejected children of an order.
# Such children count as one record, because a replay reads their order.
_CORRECTED: Final = func.max(_RECORD.corrected_raw)
_STORED: Final = func.max(case((_RECORD.path == "", _RECORD.raw), else_=_RECORD.order_raw))
_TEXT: Final = func.coalesce(_CORRECTED, _STORED)

# A prune deletes results together with texts: then nobody knows.
_WAS_CORRECTED: Final = or_(
    _RECORD.replay_result.is_(None),
    and_(_RECORD.corrected_raw.is_not(None), _RECORD.replay_result.like("taken in%")),
)

FETCH_RECORDS: Final = 100
"""Records fetched at once: each has up to 64 KiB."""

TRUNCATED_FROM: Final = MAX_RAW_BYTES - 3
"""Bytes from which a text may be cut: that is done between characters, of at most four bytes."""


class _Reason(NamedTuple):
    """Why records can't be replayed: the condition, a few words, and what to do."""

    applies: ColumnElement[bool]
    reason: str
    advice: str


_CORRECT_FILE: Final = "correct the file and run the date again"

_CORRECT: Final = (
    f"set corrected_raw to the whole text, of a child to that of its order, or {_CORRECT_FILE}"
)

_REASONS: Final = (
    _Reason(
        func.bool_or(_RECORD.code == "unreadable_file"),
        "rest of a file that can't be read",
        f"it may hold any number of records; {_CORRECT_FILE}",
    ),
    _Reason(
        func.min(_RECORD.corrected_raw) != _CORRECTED,
        "one order corrected in two ways",
        "set corrected_raw to the same text for all of its children, or for one of them alone",
    ),
    _Reason(_TEXT.is_(None), "text removed", _CORRECT),
    _Reason(
        and_(_CORRECTED.is_(None), func.octet_length(_STORED) >= TRUNCATED_FROM),
        "text not kept whole",
        f"it has more than {MAX_RAW_BYTES // 1024} KiB; {_CORRECT}",
    ),
)


_IS_CORRECTED: Final = _CORRECTED.is_not(None)

_IS_REPLAYABLE: Final = not_(func.coalesce(or_(*(reason.applies for reason in _REASONS)), False))


def _select_records(load_id: int, code: str | None, *columns: ColumnElement[Any]) -> Select[Any]:
    """Select file, position and `columns` of a load's records, or of those with a code."""
    with_code = true() if code is None else func.bool_or(_RECORD.code == code)
    return (
        select(_RECORD.file_id, _RECORD.position, *columns)
        .where(_RECORD.load_id == load_id)
        .group_by(_RECORD.file_id, _RECORD.position)
        .having(with_code)
    )


def corrected_records(engine: Engine, run_date: date | None = None) -> dict[date, int]:
    """Return how many records of what is published were corrected, by run date; none without any.

    A load of the dump lacks the corrections.

    Parameters
    ----------
    engine
        Engine of the database.
    run_date
        Only this run date; all by default.
    """
    of_date = true() if run_date is None else published.c.run_date == run_date
    # What is published may be the replay of a replay.
    made = select(published.c.run_date, published.c.load_id).where(of_date)
    loads = made.cte("loads", recursive=True)
    replayed = _RECORD.replay_load_id == loads.c.load_id
    before = select(loads.c.run_date, _RECORD.load_id).join_from(loads, rejected_record, replayed)
    loads = loads.union(before)
    query = (
        select(loads.c.run_date, func.count())
        .join_from(loads, rejected_record, _RECORD.replay_load_id == loads.c.load_id)
        .where(_WAS_CORRECTED)
        .group_by(loads.c.run_date)
    )
    with engine.connect() as connection:
        return {day: number for day, number in connection.execute(query)}


def replay_identity(connection: Connection, load_id: int, code: str | None) -> str:
    """Return a text that is the same only for the same replayable records with the same texts."""
    texts = func.md5(_TEXT).label("text"), _IS_CORRECTED.label("is_corrected")
    r = _select_records(load_id, code, *texts).having(_IS_REPLAYABLE).subquery().c
    record = func.concat_ws(":", *r)
    records = func.string_agg(record, aggregate_order_by(literal(" "), r.file_id, r.position))
    database = select(schema_info.c.database_id).scalar_subquery()
    return str(connection.scalar(select(func.concat_ws(" ", database, load_id, func.md5(records)))))


def replayable(connection: Connection, load_id: int, code: str | None) -> Iterator[StoredReject]:
    """Yield the replayable records of a load by file and position, fetching a few at a time.

    The rejected children of an order become one record: their whole order. See
    docs/contract.md#replay.

    Parameters
    ----------
    connection, load_id
        The session and the load.
    code
        Only records with this code, and orders with such a child; all by default.
    """
    file = load_file.c
    children = func.array_agg(aggregate_order_by(_RECORD.path, _RECORD.path)).filter(
        _RECORD.path != ""
    )
    counts = (func.sum(_RECORD[counter_column(fact, "rejected")]) for fact in FACTS)
    columns = func.min(_RECORD.code), _TEXT, _IS_CORRECTED, children, *counts
    records = _select_records(load_id, code, *columns).having(_IS_REPLAYABLE).subquery()
    query = (
        select(file.name, file.bytes, file.etag, records)
        .join_from(records, load_file, file.file_id == records.c.file_id)
        .order_by(records.c.file_id, records.c.position)
    )
    for row in connection.execution_options(yield_per=FETCH_RECORDS).execute(query):
        name, size, etag, file_id, position, its_code, text, corrected, paths, *rejected = row
        by_fact = {fact.name: int(n) for fact, n in zip(FACTS, rejected, strict=True)}
        yield StoredReject(
            file_id,
            name,
            size,
            etag,
            position,
            its_code,
            text,
            by_fact,
            tuple(paths or ()),
            corrected,
        )


def has_replayable(connection: Connection, load_id: int, code: str | None) -> bool:
    """Return whether :func:`replayable` yields any record."""
    query = _select_records(load_id, code).having(_IS_REPLAYABLE)
    return connection.execute(query.limit(1)).first() is not None


def mark_unreplayable(
    connection: Connection, load_id: int, code: str | None, replay_load_id: int | None
) -> dict[str, int]:
    """Write why records can't be replayed, and what to do; return their number by reason.

    Parameters
    ----------
    connection, load_id
        The session, in an open transaction, and the load that rejected the records.
    code
        Only records with this code, and orders with such a child; all by default.
    replay_load_id
        The load that the replay made; None if it made none.
    """
    reason = case(*((each.applies, each.reason) for each in _REASONS))
    result = case(
        *((each.applies, f"not read again: {each.reason}: {each.advice}") for each in _REASONS)
    )
    columns = func.count().label("rows"), reason.label("reason"), result.label("result")
    r = _select_records(load_id, code, *columns).having(not_(_IS_REPLAYABLE)).subquery().c
    by_reason = select(r.reason, func.sum(r.rows)).group_by(r.reason)
    counts = {reason: int(rows) for reason, rows in connection.execute(by_reason)}
    prefer_hash_plans(connection)
    connection.execute(
        update(rejected_record)
        .where(
            _RECORD.load_id == load_id,
            _RECORD.file_id == r.file_id,
            _RECORD.position == r.position,
        )
        .values({_RECORD.replay_load_id: replay_load_id, _RECORD.replay_result: r.result})
    )
    return counts


def record_outcomes(
    connection: Connection,
    load_id: int,
    records: Sequence[tuple[int, int, str, str]],
    replay_load_id: int | None,
) -> None:
    """Write the outcomes of records that were replayed.

    Parameters
    ----------
    connection
        The session, in an open transaction.
    load_id
        The load that rejected them.
    records
        File id, position, path and outcome of each; not empty.
    replay_load_id
        The load that the replay made; None if it made none.
    """
    result = Column("result", Text)
    prefer_hash_plans(connection)
    outcomes = _values_table(
        [*zip(*records, strict=True)], [_RECORD.file_id, _RECORD.position, _RECORD.path, result]
    )
    connection.execute(
        update(rejected_record)
        .where(_RECORD.load_id == load_id, _RECORD.file_id == outcomes.c.file_id)
        .where(_RECORD.position == outcomes.c.position, _RECORD.path == outcomes.c.path)
        .values({_RECORD.replay_load_id: replay_load_id, _RECORD.replay_result: outcomes.c.result})
    )


def copy_remaining(
    connection: Connection, load_id: int, read: Collection[tuple[int, int]], replay_load_id: int
) -> None:
    """Copy a load's rejected records to the replay's load, except those of orders that it read.

    Parameters
    ----------
    connection
        The session, in an open transaction.
    load_id
        The load that rejected them.
    read
        File id (of `load_id`) and position of each order that the replay read; not empty. Their
        records that are still rejected are written already.
    replay_load_id
        The load that the replay made. It has the same files, with ids of its own.
    """
    prefer_hash_plans(connection)
    old_file, new_file = load_file.alias(), load_file.alias()
    done = _values_table([*zip(*read, strict=True)], [_RECORD.file_id, _RECORD.position])
    is_done = and_(_RECORD.file_id == done.c.file_id, _RECORD.position == done.c.position)
    columns = [c for c in rejected_record.c if c not in {_RECORD.load_id, _RECORD.file_id}]
    rows = (
        select(literal(replay_load_id), new_file.c.file_id, *columns)
        .join_from(rejected_record, old_file, old_file.c.file_id == _RECORD.file_id)
        .join(
            new_file,
            and_(new_file.c.load_id == replay_load_id, new_file.c.name == old_file.c.name),
        )
        .where(
            _RECORD.load_id == load_id,
            ~select(literal(1)).select_from(done).where(is_done).exists(),
        )
    )
    names = [_RECORD.load_id, _RECORD.file_id, *columns]
    connection.execute(insert(rejected_record).from_select(names, rows))


def _values_table(
    values: Sequence[Sequence[Any]], columns: Sequence[Column[Any]]
) -> TableValuedAlias:
    """Return values, by column, as a table with the names and types of `columns`."""
    arrays = (
        literal(list(of_column), ARRAY(like.type))
        for of_column, like in zip(values, columns, strict=True)
    )
    names = (column(like.name, like.type) for like in columns)
    return func.unnest(*arrays).table_valued(*names, name="constants").render_derived()
