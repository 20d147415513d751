"""Refused records in the ledger: which can be read again, and what became of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Connection,
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
from orders_dask.load.planner import prefer_hash_plans

_RECORD: Final = rejected_record.c


# Of a record; the refused children of an order that stands count as one, for it is their order that
# is read again.
_CORRECTED: Final = func.max(_RECORD.corrected_raw)


_STORED: Final = func.max(case((_RECORD.path == "", _RECORD.raw), else_=_RECORD.order_raw))


_TEXT: Final = func.coalesce(_CORRECTED, _STORED)


FETCH_RECORDS: Final = 100
"""Records fetched at once: of each, up to 64 KiB are kept."""


TRUNCATED_FROM: Final = MAX_RAW_BYTES - 3
"""Bytes from which a text may have been cut: on the boundary of a character, which has four bytes at the most."""


class _Reason(NamedTuple):
    """Why some records can't be read again: which, in few words, and what to do."""

    applies: ColumnElement[bool]
    reason: str
    advice: str


_CORRECT_FILE: Final = "mend the file and run the date again"


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
        "one order mended in two ways",
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


_IS_REPLAYABLE: Final = not_(func.coalesce(or_(*(each.applies for each in _REASONS)), False))


def _selected(load_id: int, code: str | None, *of_each: ColumnElement[Any]) -> Select[Any]:
    """Select the records of a load, or those with a code, by file and position, and more of each."""
    with_code = true() if code is None else func.bool_or(_RECORD.code == code)
    return (
        select(_RECORD.file_id, _RECORD.position, *of_each)
        .where(_RECORD.load_id == load_id)
        .group_by(_RECORD.file_id, _RECORD.position)
        .having(with_code)
    )


def replay_identity(connection: Connection, load_id: int, code: str | None) -> str:
    """Give what stands for the records that can be read again, and for their texts."""
    texts = func.md5(_TEXT).label("text"), _IS_CORRECTED.label("mended")
    each = _selected(load_id, code, *texts).having(_IS_REPLAYABLE).subquery().c
    record = func.concat_ws(":", *each)
    records = func.string_agg(record, aggregate_order_by(literal(" "), each.file_id, each.position))
    database = select(schema_info.c.database_id).scalar_subquery()
    return str(connection.scalar(select(func.concat_ws(" ", database, load_id, func.md5(records)))))


def replayable(connection: Connection, load_id: int, code: str | None) -> Iterator[StoredReject]:
    """Give the records of a load that can be read again, file by file, a few in memory at a time.

    Of an order that stands without some children it is the order, whole.

    Parameters
    ----------
    code
        Only those with this code, and orders with such a child; all by default.
    """
    file = load_file.c
    children = func.array_agg(aggregate_order_by(_RECORD.path, _RECORD.path)).filter(
        _RECORD.path != ""
    )
    counts = (func.sum(_RECORD[counter_column(fact, "rejected")]) for fact in FACTS)
    of_each = func.min(_RECORD.code), _TEXT, _IS_CORRECTED, children, *counts
    records = _selected(load_id, code, *of_each).having(_IS_REPLAYABLE).subquery()
    query = (
        select(file.name, file.bytes, file.etag, records)
        .join_from(records, load_file, file.file_id == records.c.file_id)
        .order_by(records.c.file_id, records.c.position)
    )
    for row in connection.execution_options(yield_per=FETCH_RECORDS).execute(query):
        name, size, etag, file_id, position, its_code, text, mended, paths, *refused = row
        of_fact = {fact.name: int(n) for fact, n in zip(FACTS, refused, strict=True)}
        of_file = file_id, name, size, etag
        yield StoredReject(*of_file, position, its_code, text, of_fact, tuple(paths or ()), mended)


def has_replayable(connection: Connection, load_id: int, code: str | None) -> bool:
    """Tell whether :func:`replayable` gives any record."""
    query = _selected(load_id, code).having(_IS_REPLAYABLE)
    return connection.execute(query.limit(1)).first() is not None


def mark_unreplayable(
    connection: Connection, load_id: int, code: str | None, replay_load_id: int | None
) -> dict[str, int]:
    """Write down of the records that can't be read again why, and what to do; count them by reason.

    Parameters
    ----------
    replay_load_id
        The load that the others were read for, if it came to one.
    """
    reason = case(*((each.applies, each.reason) for each in _REASONS))
    result = case(
        *((each.applies, f"not read again: {each.reason}: {each.advice}") for each in _REASONS)
    )
    of_each = func.count().label("rows"), reason.label("reason"), result.label("result")
    those = _selected(load_id, code, *of_each).having(not_(_IS_REPLAYABLE)).subquery().c
    counted = select(those.reason, func.sum(those.rows)).group_by(those.reason)
    found = {why: int(rows) for why, rows in connection.execute(counted)}
    prefer_hash_plans(connection)
    connection.execute(
        update(rejected_record)
        .where(
            _RECORD.load_id == load_id,
            _RECORD.file_id == those.file_id,
            _RECORD.position == those.position,
        )
        .values({_RECORD.replay_load_id: replay_load_id, _RECORD.replay_result: those.result})
    )
    return found


def record_outcomes(
    connection: Connection,
    load_id: int,
    records: Sequence[tuple[int, int, str, str]],
    replay_load_id: int | None,
) -> None:
    """Write down what became of records that were read again.

    Parameters
    ----------
    load_id
        The load that had refused them.
    records
        Their files' ids, positions and paths, and what became of them.
    replay_load_id
        The load that they were read for, if it came to one.
    """
    results = Column("result", Text)
    prefer_hash_plans(connection)
    told = _as_constants(
        [*zip(*records, strict=True)], [_RECORD.file_id, _RECORD.position, _RECORD.path, results]
    )
    connection.execute(
        update(rejected_record)
        .where(_RECORD.load_id == load_id, _RECORD.file_id == told.c.file_id)
        .where(_RECORD.position == told.c.position, _RECORD.path == told.c.path)
        .values({_RECORD.replay_load_id: replay_load_id, _RECORD.replay_result: told.c.result})
    )


def copy_remaining(
    connection: Connection, load_id: int, read: Collection[tuple[int, int]], replay_load_id: int
) -> None:
    """Write the refused records of a load down for the one that takes its place, but for those of orders that it read.

    Parameters
    ----------
    load_id
        The load that had refused them.
    read
        Files' ids there and positions of these orders. What is refused of them now is written down
        already.
    replay_load_id
        The load that takes its place: it has the same files, under ids of its own.
    """
    prefer_hash_plans(connection)
    had, has = load_file.alias(), load_file.alias()
    gone = _as_constants([*zip(*read, strict=True)], [_RECORD.file_id, _RECORD.position])
    is_gone = and_(_RECORD.file_id == gone.c.file_id, _RECORD.position == gone.c.position)
    same = [c for c in rejected_record.c if c not in {_RECORD.load_id, _RECORD.file_id}]
    rows = (
        select(literal(replay_load_id), has.c.file_id, *same)
        .join_from(rejected_record, had, had.c.file_id == _RECORD.file_id)
        .join(has, and_(has.c.load_id == replay_load_id, has.c.name == had.c.name))
        .where(
            _RECORD.load_id == load_id,
            ~select(literal(1)).select_from(gone).where(is_gone).exists(),
        )
    )
    names = [_RECORD.load_id, _RECORD.file_id, *same]
    connection.execute(insert(rejected_record).from_select(names, rows))


def _as_constants(columns: Sequence[Sequence[Any]], of: Sequence[Column[Any]]) -> TableValuedAlias:
    """Make a table of values, given by column; it takes names and types of columns that are there."""
    arrays = (
        literal(list(values), ARRAY(like.type)) for values, like in zip(columns, of, strict=True)
    )
    names = (column(like.name, like.type) for like in of)
    return func.unnest(*arrays).table_valued(*names, name="given").render_derived()
