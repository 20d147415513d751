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

from orders_dask.contract.json_parser import RAW_BYTES
from orders_dask.contract.ledger_tables import book_column, installed, load_file, rejected_record
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.rejects import Kept
from orders_dask.load.planner import without_statistics

_R: Final = rejected_record.c


# Of a record; the refused children of an order that stands count as one, for it is their order that is read again.
_MENDED: Final = func.max(_R.mended)


_KEPT: Final = func.max(case((_R.path == "", _R.raw), else_=_R.of_order))


_TEXT: Final = func.coalesce(_MENDED, _KEPT)


AT_ONCE: Final = 100
"""Records fetched at once: of each, up to 64 KiB are kept."""


CUT: Final = RAW_BYTES - 3
"""Bytes from which a text may have been cut: on the boundary of a character, which has four bytes at the most."""


class _Obstacle(NamedTuple):
    """Why some records can't be read again: which, in few words, and what to do."""

    stands: ColumnElement[bool]
    reason: str
    advice: str


_MEND_FILE: Final = "mend the file and run the date again"


_MEND: Final = f"set mended to the whole text, of a child to that of its order, or {_MEND_FILE}"


_OBSTACLES: Final = (
    _Obstacle(
        func.bool_or(_R.code == "unreadable_file"),
        "rest of a file that can't be read",
        f"it may hold any number of records; {_MEND_FILE}",
    ),
    _Obstacle(
        func.min(_R.mended) != _MENDED,
        "one order mended in two ways",
        "set mended to the same text for all of its children, or for one of them alone",
    ),
    _Obstacle(_TEXT.is_(None), "text removed", _MEND),
    _Obstacle(
        and_(_MENDED.is_(None), func.octet_length(_KEPT) >= CUT),
        "text not kept whole",
        f"it has more than {RAW_BYTES // 1024} KiB; {_MEND}",
    ),
)


_IS_MENDED: Final = _MENDED.is_not(None)


_READABLE: Final = not_(func.coalesce(or_(*(each.stands for each in _OBSTACLES)), False))


def _asked(load_id: int, code: str | None, *of_each: ColumnElement[Any]) -> Select[Any]:
    """Select the records of a load, or those with a code, by file and position, and more of each."""
    with_code = true() if code is None else func.bool_or(_R.code == code)
    return (
        select(_R.file_id, _R.position, *of_each)
        .where(_R.load_id == load_id)
        .group_by(_R.file_id, _R.position)
        .having(with_code)
    )


def identity(connection: Connection, load_id: int, code: str | None) -> str:
    """Give what stands for the records that can be read again, and for their texts."""
    texts = func.md5(_TEXT).label("text"), _IS_MENDED.label("mended")
    each = _asked(load_id, code, *texts).having(_READABLE).subquery().c
    record = func.concat_ws(":", *each)
    records = func.string_agg(record, aggregate_order_by(literal(" "), each.file_id, each.position))
    database = select(installed.c.installation).scalar_subquery()
    return str(connection.scalar(select(func.concat_ws(" ", database, load_id, func.md5(records)))))


def kept(connection: Connection, load_id: int, code: str | None) -> Iterator[Kept]:
    """Give the records of a load that can be read again, file by file, a few in memory at a time.

    Of an order that stands without some children it is the order, whole.

    Parameters
    ----------
    code
        Only those with this code, and orders with such a child; all by default.
    """
    file = load_file.c
    children = func.array_agg(aggregate_order_by(_R.path, _R.path)).filter(_R.path != "")
    counts = (func.sum(_R[book_column(fact, "rejected")]) for fact in FACTS)
    of_each = func.min(_R.code), _TEXT, _IS_MENDED, children, *counts
    records = _asked(load_id, code, *of_each).having(_READABLE).subquery()
    query = (
        select(file.name, file.bytes, file.etag, records)
        .join_from(records, load_file, file.file_id == records.c.file_id)
        .order_by(records.c.file_id, records.c.position)
    )
    for row in connection.execution_options(yield_per=AT_ONCE).execute(query):
        name, size, etag, file_id, position, its_code, text, mended, paths, *refused = row
        of_fact = {fact.name: int(n) for fact, n in zip(FACTS, refused, strict=True)}
        of_file = file_id, name, size, etag
        yield Kept(*of_file, position, its_code, text, of_fact, tuple(paths or ()), mended)


def readable(connection: Connection, load_id: int, code: str | None) -> bool:
    """Tell whether :func:`kept` gives any record."""
    query = _asked(load_id, code).having(_READABLE)
    return connection.execute(query.limit(1)).first() is not None


def pass_over(
    connection: Connection, load_id: int, code: str | None, replayed_in: int | None
) -> dict[str, int]:
    """Write down of the records that can't be read again why, and what to do; count them by reason.

    Parameters
    ----------
    replayed_in
        The load that the others were read for, if it came to one.
    """
    reason = case(*((each.stands, each.reason) for each in _OBSTACLES))
    result = case(
        *((each.stands, f"not read again: {each.reason}: {each.advice}") for each in _OBSTACLES)
    )
    of_each = func.count().label("rows"), reason.label("reason"), result.label("result")
    those = _asked(load_id, code, *of_each).having(not_(_READABLE)).subquery().c
    counted = select(those.reason, func.sum(those.rows)).group_by(those.reason)
    found = {why: int(rows) for why, rows in connection.execute(counted)}
    without_statistics(connection)
    connection.execute(
        update(rejected_record)
        .where(_R.load_id == load_id, _R.file_id == those.file_id, _R.position == those.position)
        .values({_R.replayed_in: replayed_in, _R.replay_result: those.result})
    )
    return found


def tell(
    connection: Connection,
    load_id: int,
    records: Sequence[tuple[int, int, str, str]],
    replayed_in: int | None,
) -> None:
    """Write down what became of records that were read again.

    Parameters
    ----------
    load_id
        The load that had refused them.
    records
        Their files' ids, positions and paths, and what became of them.
    replayed_in
        The load that they were read for, if it came to one.
    """
    results = Column("result", Text)
    without_statistics(connection)
    told = _given([*zip(*records, strict=True)], [_R.file_id, _R.position, _R.path, results])
    connection.execute(
        update(rejected_record)
        .where(_R.load_id == load_id, _R.file_id == told.c.file_id)
        .where(_R.position == told.c.position, _R.path == told.c.path)
        .values({_R.replayed_in: replayed_in, _R.replay_result: told.c.result})
    )


def carry(
    connection: Connection, load_id: int, read: Collection[tuple[int, int]], replayed_in: int
) -> None:
    """Write the refused records of a load down for the one that takes its place, but for those of orders that it read.

    Parameters
    ----------
    load_id
        The load that had refused them.
    read
        Files' ids there and positions of these orders. What is refused of them now is written down already.
    replayed_in
        The load that takes its place: it has the same files, under ids of its own.
    """
    without_statistics(connection)
    had, has = load_file.alias(), load_file.alias()
    gone = _given([*zip(*read, strict=True)], [_R.file_id, _R.position])
    is_gone = and_(_R.file_id == gone.c.file_id, _R.position == gone.c.position)
    same = [c for c in rejected_record.c if c not in {_R.load_id, _R.file_id}]
    rows = (
        select(literal(replayed_in), has.c.file_id, *same)
        .join_from(rejected_record, had, had.c.file_id == _R.file_id)
        .join(has, and_(has.c.load_id == replayed_in, has.c.name == had.c.name))
        .where(_R.load_id == load_id, ~select(literal(1)).select_from(gone).where(is_gone).exists())
    )
    names = [_R.load_id, _R.file_id, *same]
    connection.execute(insert(rejected_record).from_select(names, rows))


def _given(columns: Sequence[Sequence[Any]], of: Sequence[Column[Any]]) -> TableValuedAlias:
    """Make a table of values, given by column; it takes names and types of columns that are there."""
    arrays = (
        literal(list(values), ARRAY(like.type)) for values, like in zip(columns, of, strict=True)
    )
    names = (column(like.name, like.type) for like in of)
    return func.unnest(*arrays).table_valued(*names, name="given").render_derived()
