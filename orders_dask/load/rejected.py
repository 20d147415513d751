"""Refused records in the ledger: which can be read again, and what became of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Connection,
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

from orders_dask.contract.findings import Kept
from orders_dask.contract.jsontext import RAW_BYTES
from orders_dask.contract.tables import FACTS, book_column, installed, load_file, rejected_record
from orders_dask.load.connect import without_nested_loops

_R: Final = rejected_record.c
_TEXT: Final = func.coalesce(_R.mended, _R.raw)

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
_MEND: Final = f"set mended to the whole text, or {_MEND_FILE}"

_OBSTACLES: Final = (
    _Obstacle(
        _R.path != "",
        "child of an order that stands",
        f"the text of that order is not kept; {_MEND_FILE}",
    ),
    _Obstacle(
        _R.code == "unreadable_file",
        "rest of a file that can't be read",
        f"it may hold any number of records; {_MEND_FILE}",
    ),
    _Obstacle(and_(_R.mended.is_(None), _R.raw.is_(None)), "text removed", _MEND),
    _Obstacle(
        and_(_R.mended.is_(None), func.octet_length(_R.raw) >= CUT),
        "text not kept whole",
        f"it has more than {RAW_BYTES // 1024} KiB; {_MEND}",
    ),
)

_READABLE: Final = not_(func.coalesce(or_(*(each.stands for each in _OBSTACLES)), False))


def _asked(load_id: int, code: str | None) -> ColumnElement[bool]:
    return and_(_R.load_id == load_id, true() if code is None else _R.code == code)


def identity(connection: Connection, load_id: int, code: str | None) -> str:
    """Give what stands for the records that can be read again, and for their texts."""
    record = func.concat_ws(":", _R.file_id, _R.position, _R.code, func.md5(_TEXT))
    records = func.string_agg(record, aggregate_order_by(literal(" "), _R.file_id, _R.position))
    database = select(installed.c.installation).scalar_subquery()
    query = select(func.concat_ws(" ", database, load_id, func.md5(records)))
    return str(connection.scalar(query.where(_asked(load_id, code), _READABLE)))


def kept(connection: Connection, load_id: int, code: str | None) -> Iterator[Kept]:
    """Give the records of a load that can be read again, file by file, a few in memory at a time.

    Parameters
    ----------
    code
        Only those with this code; all by default.
    """
    file = load_file.c
    counts = [_R[book_column(fact, "rejected")] for fact in FACTS]
    query = (
        select(_R.file_id, file.name, file.bytes, file.etag, _R.position, _R.code, _TEXT, *counts)
        .join_from(rejected_record, load_file, file.file_id == _R.file_id)
        .where(_asked(load_id, code), _READABLE)
        .order_by(_R.file_id, _R.position)
    )
    for row in connection.execution_options(yield_per=AT_ONCE).execute(query):
        file_id, name, size, etag, position, its_code, text, *refused = row
        of_fact = {fact.name: n for fact, n in zip(FACTS, refused, strict=True)}
        yield Kept(file_id, name, size, etag, position, its_code, text, of_fact)


def readable(connection: Connection, load_id: int, code: str | None) -> int:
    """Count the records that :func:`kept` gives."""
    query = select(func.count()).select_from(rejected_record)
    return int(connection.scalar(query.where(_asked(load_id, code), _READABLE)) or 0)


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
    those = _asked(load_id, code), not_(_READABLE)
    counted = select(reason, func.count()).where(*those).group_by(reason).order_by(reason)
    found = {why: int(number) for why, number in connection.execute(counted)}
    connection.execute(
        update(rejected_record)
        .where(*those)
        .values({_R.replayed_in: replayed_in, _R.replay_result: result})
    )
    return found


def tell(
    connection: Connection,
    load_id: int,
    records: Sequence[tuple[int, int, str]],
    replayed_in: int | None,
) -> None:
    """Write down what became of records that were read again.

    Parameters
    ----------
    load_id
        The load that had refused them.
    records
        Their files' ids and positions, and what became of them.
    replayed_in
        The load that they were read for, if it came to one.
    """
    results = Column("result", Text)
    without_nested_loops(connection)
    told = _given([*zip(*records, strict=True)], [_R.file_id, _R.position, results])
    connection.execute(
        update(rejected_record)
        .where(_R.load_id == load_id, _R.path == "", _R.file_id == told.c.file_id)
        .where(_R.position == told.c.position)
        .values({_R.replayed_in: replayed_in, _R.replay_result: told.c.result})
    )


def carry(
    connection: Connection, load_id: int, taken: Sequence[tuple[int, int]], replayed_in: int
) -> None:
    """Write the refused records of a load down for the one that takes its place, but for those that it took in.

    Parameters
    ----------
    load_id
        The load that had refused them.
    taken
        Files' ids there and positions of those that were taken in.
    replayed_in
        The load that takes its place: it has the same files, under ids of its own.
    """
    without_nested_loops(connection)
    had, has = load_file.alias(), load_file.alias()
    gone = _given([*zip(*taken, strict=True)], [_R.file_id, _R.position])
    is_gone = and_(_R.path == "", _R.file_id == gone.c.file_id, _R.position == gone.c.position)
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
