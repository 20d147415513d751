"""What people and the next run ask the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Engine,
    Float,
    Select,
    case,
    cast,
    extract,
    func,
    select,
)

from orders_dask.contract.tables import (
    book_column,
    fact_order,
    fact_order_line,
    installed,
    load_file,
    load_part,
    load_run,
    rejected_record,
)


@dataclass(frozen=True)
class LoadStatus:
    """How a run date stands: its published load, else its latest.

    Attributes
    ----------
    run_date, load_id, state
        The load and its status.
    fingerprint
        What tells whether the same would be loaded again.
    orders, lines
        Number loaded.
    superseded, rejected
        Orders that lost to another version inside the run date, and orders refused.
    files
        Number read.
    seconds
        Wall time; None while it goes on.
    started_at, message
        When it began; why it was refused or failed.
    """

    run_date: date
    load_id: int
    state: str
    fingerprint: str
    orders: int
    lines: int
    superseded: int
    rejected: int
    files: int
    seconds: float | None
    started_at: datetime
    message: str | None


def status(engine: Engine) -> list[LoadStatus]:
    """Give a line for every run date that was ever begun, in order.

    Where a later load than the published one ended badly, the message says so.
    """
    published_first = (load_run.c.status == "published").desc()
    latest = {load.run_date: load for load in _statuses(engine, _first(load_run.c.load_id.desc()))}
    return [
        load
        if latest[load.run_date].load_id == load.load_id
        else replace(load, message=_later(latest[load.run_date]))
        for load in _statuses(engine, _first(published_first, load_run.c.load_id.desc()))
    ]


def _first(*order: ColumnElement[Any]) -> CTE:
    """Select one load of each run date: the first in an order."""
    place = func.row_number().over(partition_by=load_run.c.run_date, order_by=order)
    ranked = select(load_run, place.label("place")).subquery()
    return select(ranked).where(ranked.c.place == 1).cte()


def _later(load: LoadStatus) -> str:
    return f"Load {load.load_id} came later and is {load.state}" + (
        f": {load.message}" if load.message else "."
    )


def published_load(engine: Engine, run_date: date) -> LoadStatus | None:
    """Give the load that readers see for a run date."""
    seen = (load_run.c.run_date == run_date) & (load_run.c.status == "published")
    found = _statuses(engine, select(load_run).where(seen).cte())
    return found[0] if found else None


def load_status(engine: Engine, load_id: int) -> LoadStatus:
    """Give a load, whatever its status."""
    [load] = _statuses(engine, select(load_run).where(load_run.c.load_id == load_id).cte())
    return load


def installation(engine: Engine) -> str:
    """Give what tells this database's loads from those of others that share its stage."""
    with engine.connect() as connection:
        return str(connection.scalar(select(installed.c.installation)))


def loaded_parts(engine: Engine, load_id: int) -> set[str]:
    """Name the parts that were copied into a load."""
    with engine.connect() as connection:
        return {*connection.scalars(select(load_part.c.part).where(load_part.c.load_id == load_id))}


def _statuses(engine: Engine, loads: CTE) -> list[LoadStatus]:
    def total(fact: Any, entry: str) -> ColumnElement[int]:
        # sum(bigint) is numeric, which would come back as Decimal
        return cast(func.coalesce(func.sum(load_file.c[book_column(fact, entry)]), 0), BigInteger)

    wall = cast(extract("epoch", loads.c.finished_at - loads.c.started_at), Float)
    query = (
        select(
            loads.c.run_date,
            loads.c.load_id,
            loads.c.status,
            loads.c.fingerprint,
            total(fact_order, "loaded"),
            total(fact_order_line, "loaded"),
            total(fact_order, "superseded"),
            total(fact_order, "rejected"),
            func.count(load_file.c.file_id),
            wall,
            loads.c.started_at,
            loads.c.message,
        )
        .join_from(loads, load_file, load_file.c.load_id == loads.c.load_id, isouter=True)
        .group_by(*loads.c)
        .order_by(loads.c.run_date)
    )
    with engine.connect() as connection:
        return [LoadStatus(*row) for row in connection.execute(query)]


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
    raw, of_order, mended
        The text as it stood, on the first rejected child of an order also the order's, and as people mended it since;
        None where there is none.
    replayed_in, replay_result
        The load that last read it again, if it came to one, and what became of it, if that load was published.
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
    of_order: str | None
    mended: str | None
    replayed_in: int | None
    replay_result: str | None


def _telling() -> Select[Any]:
    """Select of each run date the load whose rejections count: the last published or refused, else the latest.

    Those that failed, were given up or taken back don't hide what stands.
    """
    has_files = select(load_file).where(load_file.c.load_id == load_run.c.load_id).exists()
    tells = load_run.c.status.in_(("published", "refused"))
    first = _first(has_files.desc(), tells.desc(), load_run.c.load_id.desc())
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
    stands = r.replayed_in.is_(None) | replayed.c.status.in_(("published", "replaced"))
    result = case((stands, r.replay_result))
    query: Select[Any] = (
        select(
            *(load_run.c.run_date, r.load_id, r.file_id, load_file.c.name, r.position, r.path),
            *(r.code, r.message, r.raw, r.of_order, r.mended, r.replayed_in, result),
        )
        .join_from(rejected_record, load_run, load_run.c.load_id == r.load_id)
        .join(load_file, load_file.c.file_id == r.file_id)
        .join(replayed, replayed.c.load_id == r.replayed_in, isouter=True)
        .where(r.load_id.in_(_telling()))
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
        .where(load_run.c.load_id.in_(_telling()))
        .group_by(code)
        .order_by(func.count().desc(), code)
    )
    if run_date is not None:
        query = query.where(load_run.c.run_date == run_date)
    with engine.connect() as connection:
        return {name: int(number) for name, number in connection.execute(query)}


def refused_since(engine: Engine, load: LoadStatus) -> int | None:
    """Give the latest load of a run date that was refused after the one that is published, if there is any."""
    later = (
        (load_run.c.run_date == load.run_date)
        & (load_run.c.status == "refused")
        & (load_run.c.load_id > load.load_id)
    )
    with engine.connect() as connection:
        found: int | None = connection.scalar(select(func.max(load_run.c.load_id)).where(later))
    return found
