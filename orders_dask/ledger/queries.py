"""What people and the next run ask the ledger."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Engine,
    Float,
    cast,
    extract,
    func,
    select,
)

from orders_dask.contract.ledger_tables import (
    counter_column,
    load_file,
    load_part,
    load_run,
    schema_info,
)
from orders_dask.contract.order_tables import fact_order, fact_order_line


@dataclass(frozen=True)
class LoadStatus:
    """How a run date stands: its published load, else its latest.

    Attributes
    ----------
    run_date, load_id, status
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
    status: str
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
    latest = {
        load.run_date: load
        for load in _statuses(engine, first_of_each_date(load_run.c.load_id.desc()))
    }
    return [
        load
        if latest[load.run_date].load_id == load.load_id
        else replace(load, message=_later_load_message(latest[load.run_date]))
        for load in _statuses(
            engine, first_of_each_date(published_first, load_run.c.load_id.desc())
        )
    ]


def first_of_each_date(*order: ColumnElement[Any]) -> CTE:
    """Select one load of each run date: the first in an order."""
    place = func.row_number().over(partition_by=load_run.c.run_date, order_by=order)
    ranked = select(load_run, place.label("place")).subquery()
    return select(ranked).where(ranked.c.place == 1).cte()


def _later_load_message(load: LoadStatus) -> str:
    return f"Load {load.load_id} came later and is {load.status}" + (
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


def database_id(engine: Engine) -> str:
    """Give what tells this database's loads from those of others that share its stage."""
    with engine.connect() as connection:
        return str(connection.scalar(select(schema_info.c.database_id)))


def loaded_parts(engine: Engine, load_id: int) -> set[str]:
    """Name the parts that were copied into a load."""
    with engine.connect() as connection:
        return {*connection.scalars(select(load_part.c.part).where(load_part.c.load_id == load_id))}


def _statuses(engine: Engine, loads: CTE) -> list[LoadStatus]:
    def total(fact: Any, entry: str) -> ColumnElement[int]:
        # sum(bigint) is numeric, which would come back as Decimal
        return cast(
            func.coalesce(func.sum(load_file.c[counter_column(fact, entry)]), 0), BigInteger
        )

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


def latest_refused_after(engine: Engine, load: LoadStatus) -> int | None:
    """Give the latest load of a run date that was refused after the one that is published, if there is any."""
    later = (
        (load_run.c.run_date == load.run_date)
        & (load_run.c.status == "refused")
        & (load_run.c.load_id > load.load_id)
    )
    with engine.connect() as connection:
        found: int | None = connection.scalar(select(func.max(load_run.c.load_id)).where(later))
    return found
