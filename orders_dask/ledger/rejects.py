"""Rejected records, as the ledger has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Engine,
    Select,
    Table,
    case,
    func,
    select,
    true,
)

from orders_dask.contract.ledger_tables import (
    counter_column,
    load_file,
    load_run,
    rejected_record,
)
from orders_dask.contract.order_tables import fact_order
from orders_dask.ledger.queries import (
    first_of_each_date,
)
from orders_dask.ledger.replay import _RECORD


@dataclass(frozen=True)
class RejectedRecord:
    """A record that was refused, and where it stands.

    Attributes
    ----------
    run_date, load_id, file_id, file
        The load, and the file by the ledger's id and by name.
    position, path
        Number of the record in the file, and of a child its place in the order.
    code, message
        What is wrong.
    raw, order_raw, corrected_raw
        The text as it stood, on the first rejected child of an order also the order's, and as
        people mended it since; None where there is none.
    replay_load_id, replay_result
        The load that last read it again, if it came to one, and what became of it, if that load was
        published.
    """

    run_date: date
    load_id: int
    file_id: int
    file: str
    position: int
    path: str
    code: str
    message: str
    raw: str | None
    order_raw: str | None
    corrected_raw: str | None
    replay_load_id: int | None
    replay_result: str | None


def _loads_with_rejects() -> Select[Any]:
    """Select of each run date the load whose rejections count: the last published or refused, else the latest.

    Those that failed, were given up or taken back don't hide what stands.
    """
    has_files = select(load_file).where(load_file.c.load_id == load_run.c.load_id).exists()
    tells = load_run.c.status.in_(("published", "refused"))
    first = first_of_each_date(has_files.desc(), tells.desc(), load_run.c.load_id.desc())
    return select(first.c.load_id)


def rejects(
    engine: Engine, run_date: date | None = None, code: str | None = None
) -> Iterator[RejectedRecord]:
    """Give what was refused by the load of each run date that was last published or refused.

    Of a run date without one by the latest that got as far as its files.

    Parameters
    ----------
    run_date, code
        Only those of this run date, only those with this code; all by default.
    """
    r = rejected_record.c
    replayed = load_run.alias()
    # A replay writes down what becomes of the records before it publishes, and may be taken back.
    stands = r.replay_load_id.is_(None) | replayed.c.status.in_(("published", "replaced"))
    result = case((stands, r.replay_result))
    query: Select[Any] = (
        select(
            *(load_run.c.run_date, r.load_id, r.file_id, load_file.c.name, r.position, r.path),
            *(r.code, r.message, r.raw, r.order_raw, r.corrected_raw, r.replay_load_id, result),
        )
        .join_from(rejected_record, load_run, load_run.c.load_id == r.load_id)
        .join(load_file, load_file.c.file_id == r.file_id)
        .join(replayed, replayed.c.load_id == r.replay_load_id, isouter=True)
        .where(r.load_id.in_(_loads_with_rejects()))
        .order_by(load_run.c.run_date, r.file_id, r.position, r.path)
    )
    if run_date is not None:
        query = query.where(load_run.c.run_date == run_date)
    if code is not None:
        query = query.where(r.code == code)
    with engine.connect() as connection:
        # A server-side cursor: there may be more than memory holds.
        for row in connection.execution_options(yield_per=1000).execute(query):
            yield RejectedRecord(*row)


def rejected_codes(engine: Engine, run_date: date | None = None) -> dict[str, int]:
    """Count what :func:`rejects` gives by its code; the most frequent comes first."""
    code = rejected_record.c.code
    query = (
        select(code, func.count())
        .join_from(rejected_record, load_run, load_run.c.load_id == rejected_record.c.load_id)
        .where(load_run.c.load_id.in_(_loads_with_rejects()))
        .group_by(code)
        .order_by(func.count().desc(), code)
    )
    if run_date is not None:
        query = query.where(load_run.c.run_date == run_date)
    with engine.connect() as connection:
        return {name: int(number) for name, number in connection.execute(query)}


class MostCommonReject(NamedTuple):
    """Why most of the refused records of a load were refused.

    Attributes
    ----------
    code, message
        The commonest code, and the commonest message with it, which quotes nobody's data.
    records, total
        Number of records that were refused with the code, and with any.
    """

    code: str
    message: str
    records: int
    total: int


def most_common_reject(
    connection: Connection, load_id: int, fact: Table
) -> MostCommonReject | None:
    """Find why most orders of a load were refused, or most lines that were refused by themselves."""
    refused = _RECORD[counter_column(fact, "rejected")]
    records = func.sum(refused).label("records")
    by_code = (
        select(
            _RECORD.code,
            func.mode().within_group(_RECORD.message).label("message"),
            records,
            func.sum(records).over().label("of"),
        )
        .where(_RECORD.load_id == load_id, refused > 0)
        .where(true() if fact is fact_order else _RECORD.path != "")
        .group_by(_RECORD.code)
        .order_by(records.desc(), _RECORD.code)
    )
    first = connection.execute(by_code.limit(1)).one_or_none()
    return first and MostCommonReject(first.code, first.message, int(first.records), int(first.of))


def unreadable_message(connection: Connection, load_id: int, file: str) -> str | None:
    """Say why a file of a load could not be read to its end, if that is written down with the load."""
    messages = (
        select(_RECORD.message)
        .join(load_file, load_file.c.file_id == _RECORD.file_id)
        .where(
            _RECORD.load_id == load_id, _RECORD.code == "unreadable_file", load_file.c.name == file
        )
    )
    message: str | None = connection.scalar(messages.order_by(_RECORD.position).limit(1))
    return message
