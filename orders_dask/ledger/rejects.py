"""Queries on rejected records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Select, Table, case, func, select, true

from orders_dask.contract.ledger_tables import (
    counter_column,
    load_file,
    load_run,
    rejected_record,
)
from orders_dask.contract.order_tables import fact_order
from orders_dask.ledger.queries import first_of_each_date


@dataclass(frozen=True)
class RejectedRecord:
    """A rejected record. See docs/contract.md#bad-values.

    Attributes
    ----------
    run_date, load_id, file_id, file
        The load, and the file by id and by name.
    position, path
        Number of the record in the file, from 1, and the path of a child in its order. See
        docs/contract.md#position.
    code, message
        What is wrong, as issue code and for people.
    raw, order_raw, corrected_raw
        The raw text, on the first rejected child of an order the order's raw text, and the
        corrected text; None if there is none.
    replay_load_id, replay_result
        The load that last replayed it, if that made one, and the outcome, unless that load was
        never published or is unpublished.
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
    """Select the load of each run date whose rejects count.

    It is the last load that is published, refused or held, else the latest, of those that recorded
    their files. Loads that failed, were abandoned or are unpublished don't hide it.
    """
    has_files = select(load_file).where(load_file.c.load_id == load_run.c.load_id).exists()
    counts = load_run.c.status.in_(("published", "refused", "held"))
    first = first_of_each_date(has_files.desc(), counts.desc(), load_run.c.load_id.desc())
    return select(first.c.load_id)


def rejects(
    engine: Engine, run_date: date | None = None, code: str | None = None
) -> Iterator[RejectedRecord]:
    """Yield the rejected records of each run date's last published, refused or held load.

    For a run date without such a load: of the latest load that recorded its files.

    Parameters
    ----------
    engine
        Engine of the database.
    run_date, code
        Only records of this run date, only records with this code; all by default.
    """
    r = rejected_record.c
    replay_load = load_run.alias()
    # A replay writes the outcomes before it publishes, and its load may be unpublished later.
    is_valid = r.replay_load_id.is_(None) | replay_load.c.status.in_(("published", "replaced"))
    result = case((is_valid, r.replay_result))
    query: Select[Any] = (
        select(
            *(load_run.c.run_date, r.load_id, r.file_id, load_file.c.name, r.position, r.path),
            *(r.code, r.message, r.raw, r.order_raw, r.corrected_raw, r.replay_load_id, result),
        )
        .join_from(rejected_record, load_run, load_run.c.load_id == r.load_id)
        .join(load_file, load_file.c.file_id == r.file_id)
        .join(replay_load, replay_load.c.load_id == r.replay_load_id, isouter=True)
        .where(r.load_id.in_(_loads_with_rejects()))
        .order_by(load_run.c.run_date, r.file_id, r.position, r.path)
    )
    if run_date is not None:
        query = query.where(load_run.c.run_date == run_date)
    if code is not None:
        query = query.where(r.code == code)
    with engine.connect() as connection:
        # A server-side cursor: the records may not fit in memory.
        for row in connection.execution_options(yield_per=1000).execute(query):
            yield RejectedRecord(*row)


def rejected_codes(engine: Engine, run_date: date | None = None) -> dict[str, int]:
    """Count the rejected records of :func:`rejects` by code, the most frequent code first."""
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
    """Why most of the rejected records of a load were rejected.

    Attributes
    ----------
    code, message
        The most common code, and the most common message with that code, which quotes nobody's
        data.
    records, total
        Number of records rejected with this code, and with any code.
    """

    code: str
    message: str
    records: int
    total: int

    def __str__(self) -> str:
        """Return the reason for people, without a full stop."""
        return f"{self.code} ({self.records:,}): {self.message.removesuffix('.')}"


def most_common_reject(
    connection: Connection, load_id: int, fact: Table
) -> MostCommonReject | None:
    """Return why most orders of a load, or most lines without their order, were rejected.

    Parameters
    ----------
    connection, load_id
        The session and the load.
    fact
        ``fact_order`` for orders, ``fact_order_line`` for lines.
    """
    r = rejected_record.c
    rejected = r[counter_column(fact, "rejected")]
    records = func.sum(rejected).label("records")
    by_code = (
        select(
            r.code,
            func.mode().within_group(r.message).label("message"),
            records,
            func.sum(records).over().label("total"),
        )
        .where(r.load_id == load_id, rejected > 0)
        .where(true() if fact is fact_order else r.path != "")
        .group_by(r.code)
        .order_by(records.desc(), r.code)
    )
    first = connection.execute(by_code.limit(1)).one_or_none()
    return first and MostCommonReject(
        first.code, first.message, int(first.records), int(first.total)
    )


def unreadable_message(connection: Connection, load_id: int, file: str) -> str | None:
    """Return why a file of a load is unreadable; None if no rejected record says it."""
    r = rejected_record.c
    messages = (
        select(r.message)
        .join(load_file, load_file.c.file_id == r.file_id)
        .where(r.load_id == load_id, r.code == "unreadable_file", load_file.c.name == file)
    )
    message: str | None = connection.scalar(messages.order_by(r.position).limit(1))
    return message
