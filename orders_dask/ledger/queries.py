"""Queries on loads: the status of run dates, and what is published."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    ColumnElement,
    Engine,
    Float,
    Table,
    cast,
    extract,
    func,
    literal,
    or_,
    select,
)

from orders_dask.contract.columns import DATE, TEXT
from orders_dask.contract.ledger_tables import (
    counter_column,
    load_file,
    load_part,
    load_run,
    schema_info,
)
from orders_dask.contract.order_tables import FACTS, fact_order, fact_order_line
from orders_dask.contract.raw_text import RAW_COLUMN, raw_columns
from orders_dask.contract.schema_drift import Drift
from orders_dask.contract.storage_tables import STORED_COLUMNS, published


@dataclass(frozen=True)
class LoadStatus:
    """The status of a run date: its published load, else its held one, else its latest.

    Attributes
    ----------
    run_date, load_id, status
        The load and its status.
    fingerprint
        Hash of all that decides what the load contains.
    orders, lines
        Number of orders and lines loaded.
    superseded, rejected
        Number of orders that another version supersedes within the run date, and of rejected ones.
    files
        Number of files read.
    seconds
        Wall seconds; None while it runs.
    started_at, message
        When it began; why it was refused or failed.
    unknown_keys
        Paths of keys that the contract doesn't know.
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
    unknown_keys: tuple[str, ...] = ()


SHOWN_FIRST: Final = (
    (load_run.c.status == "published").desc(),
    (load_run.c.status == "held").desc(),
    load_run.c.load_id.desc(),
)
"""Order of the loads of a run date: the first one is shown. A held one waits for somebody."""


def status(engine: Engine) -> list[LoadStatus]:
    """Return the status of every run date that has a load, by date.

    If a later load than the one shown exists, the message says how it ended.
    """
    shown = _statuses(engine, first_of_each_date(*SHOWN_FIRST))
    # Read afterwards: a load that begins meanwhile may be the first one of its date.
    latest = {
        load.run_date: load
        for load in _statuses(engine, first_of_each_date(load_run.c.load_id.desc()))
    }
    return [
        load
        if latest[load.run_date].load_id == load.load_id
        else replace(load, message=_later_load_message(latest[load.run_date]))
        for load in shown
    ]


def first_of_each_date(*order: ColumnElement[Any]) -> CTE:
    """Select one load of each run date: the first in an order."""
    rank = func.row_number().over(partition_by=load_run.c.run_date, order_by=order)
    ranked = select(load_run, rank.label("rank")).subquery()
    return select(ranked).where(ranked.c.rank == 1).cte()


def _later_load_message(load: LoadStatus) -> str:
    return f"Load {load.load_id} came later and is {load.status}" + (
        f": {load.message}" if load.message else "."
    )


def published_load(engine: Engine, run_date: date) -> LoadStatus | None:
    """Return the load that readers see for a run date; None if nothing is published."""
    return published_loads(engine, [run_date]).get(run_date)


def published_loads(engine: Engine, run_dates: Collection[date]) -> dict[date, LoadStatus]:
    """Return the loads that readers see for run dates, where something is published."""
    of_dates = load_run.c.run_date.in_(run_dates) & (load_run.c.status == "published")
    loads = _statuses(engine, select(load_run).where(of_dates).cte())
    return {load.run_date: load for load in loads}


def published_dates(engine: Engine) -> dict[date, str]:
    """Return the fingerprint of each run date that is published, in order."""
    query = (
        select(load_run.c.run_date, load_run.c.fingerprint)
        .where(load_run.c.status == "published")
        .order_by(load_run.c.run_date)
    )
    with engine.connect() as connection:
        return {run_date: fingerprint for run_date, fingerprint in connection.execute(query)}


def latest_publish(engine: Engine) -> datetime | None:
    """Return when a run date was last published, whether it still is or not; None: never."""
    with engine.connect() as connection:
        moment: datetime | None = connection.scalar(select(func.max(load_run.c.published_at)))
    return moment


def count_held_dates(engine: Engine) -> int:
    """Return the number of run dates with a load that waits for somebody to accept or discard."""
    waiting = (load_run.c.status == "held") & load_run.c.pruned_at.is_(None)
    dates = select(func.count(load_run.c.run_date.distinct())).where(waiting)
    with engine.connect() as connection:
        return int(connection.scalar(dates) or 0)


FILES_HASH_LENGTH: Final = 32
"""Length of the hash of the files, with which a fingerprint begins."""


def held_or_discarded(engine: Engine, run_date: date, fingerprint: str) -> LoadStatus | None:
    """Return the latest load of a run date's files if it is held, discarded or rolled back."""
    return reviewed_loads(engine, {run_date: fingerprint}).get(run_date)


def reviewed_loads(engine: Engine, fingerprints: Mapping[date, str]) -> dict[date, LoadStatus]:
    """Return the latest loads of the files of run dates that are held, discarded or rolled back.

    Only what somebody decided counts: not a load that was discarded because another came later, nor
    one that was accepted and unpublished later. A held one counts with the same settings alone.

    Parameters
    ----------
    engine
        Engine of the database.
    fingerprints
        Fingerprint of each run date's dump.
    """
    if not fingerprints:
        return {}
    arrays = literal([*fingerprints], ARRAY(DATE)), literal([*fingerprints.values()], ARRAY(TEXT))
    dumps = func.unnest(*arrays).table_valued("run_date", "fingerprint").render_derived()
    length = FILES_HASH_LENGTH
    of_dump = (load_run.c.run_date == dumps.c.run_date) & (
        func.left(load_run.c.fingerprint, length) == func.left(dumps.c.fingerprint, length)
    )
    ended = "held", "discarded", "published", "replaced", "unpublished"
    latest = (
        select(func.max(load_run.c.load_id).label("load_id"), dumps.c.fingerprint)
        .join_from(dumps, load_run, of_dump)
        .where(load_run.c.status.in_(ended))
        .group_by(dumps.c.run_date, dumps.c.fingerprint)
        .subquery()
    )
    of_status = or_(
        (load_run.c.status == "held")
        & load_run.c.pruned_at.is_(None)
        & (load_run.c.fingerprint == latest.c.fingerprint),
        (load_run.c.status == "discarded") & load_run.c.reviewed_at.is_not(None),
        (load_run.c.status == "unpublished")
        & (load_run.c.reviewed_at >= load_run.c.unpublished_at),
    )
    reviewed = select(load_run).join(latest, latest.c.load_id == load_run.c.load_id)
    return {load.run_date: load for load in _statuses(engine, reviewed.where(of_status).cte())}


def held_load(engine: Engine, run_date: date) -> LoadStatus | None:
    """Return the load of a run date that is held; None if there is none."""
    return held_loads(engine, [run_date]).get(run_date)


def held_loads(engine: Engine, run_dates: Collection[date]) -> dict[date, LoadStatus]:
    """Return the latest load of each run date that is held, where there is one."""
    held = load_run.c.run_date.in_(run_dates) & (load_run.c.status == "held")
    latest = select(func.max(load_run.c.load_id)).where(held).group_by(load_run.c.run_date)
    loads = _statuses(engine, select(load_run).where(load_run.c.load_id.in_(latest)).cte())
    return {load.run_date: load for load in loads}


def load_status(engine: Engine, load_id: int) -> LoadStatus:
    """Return a load, whatever its status."""
    return load_statuses(engine, [load_id])[load_id]


def load_statuses(engine: Engine, load_ids: Collection[int]) -> dict[int, LoadStatus]:
    """Return loads, whatever their status, by id."""
    loads = _statuses(engine, select(load_run).where(load_run.c.load_id.in_(load_ids)).cte())
    return {load.load_id: load for load in loads}


def database_id(engine: Engine) -> str:
    """Return the id that tells this database's loads from those of others on the same stage."""
    with engine.connect() as connection:
        return str(connection.scalar(select(schema_info.c.database_id)))


def loaded_parts(engine: Engine, load_id: int) -> set[str]:
    """Return the names of the parts that were copied into a load."""
    with engine.connect() as connection:
        return {*connection.scalars(select(load_part.c.part).where(load_part.c.load_id == load_id))}


def columns_of_load(engine: Engine, load_id: int) -> list[str]:
    """Return the declared columns that a load's rows have."""
    of_load = select(load_run.c.columns).where(load_run.c.load_id == load_id)
    with engine.connect() as connection:
        has = connection.scalar(of_load) or []
    return [column for column in (*STORED_COLUMNS, RAW_COLUMN) if column in has]


def dates_without(engine: Engine, keep_raw: bool = False) -> dict[str, list[date]]:
    """Return the published run dates that lack a declared column, by column; none that all have.

    Parameters
    ----------
    engine
        Engine of the database.
    keep_raw
        Whether the column of raw texts counts too.
    """
    declared = {*STORED_COLUMNS, *raw_columns(keep_raw)}
    shown = (load_run.c.status == "published", load_run.c.load_id == published.c.load_id)
    query = (
        select(load_run.c.columns, func.array_agg(load_run.c.run_date))
        .where(*shown)
        .group_by(load_run.c.columns)
    )
    lacking: dict[str, list[date]] = {}
    with engine.connect() as connection:
        for has, dates in connection.execute(query):
            for column in sorted(declared.difference(has or ())):
                lacking.setdefault(column, []).extend(dates)
    return {column: sorted(dates) for column, dates in lacking.items()}


def files_of_load(engine: Engine, load_id: int) -> list[tuple[str, str, int]]:
    """Return name, ETag and bytes of a load's files, in the order of the listing."""
    query = select(
        load_file.c.name,
        func.coalesce(load_file.c.etag, ""),
        func.coalesce(load_file.c.bytes, 0),
    )
    of_load = query.where(load_file.c.load_id == load_id).order_by(load_file.c.file_id)
    with engine.connect() as connection:
        return [(name, etag, size) for name, etag, size in connection.execute(of_load)]


def row_counts(engine: Engine, load_id: int) -> tuple[int, dict[str, int]]:
    """Return the number of orders that a load read, and of the rows of each fact that it loaded."""
    loaded_rows = (sum_over_files(fact, "loaded") for fact in FACTS)
    query = select(sum_over_files(fact_order, "read"), *loaded_rows)
    with engine.connect() as connection:
        read, *loaded = connection.execute(query.where(load_file.c.load_id == load_id)).one()
    return read, dict(zip((fact.name for fact in FACTS), loaded, strict=True))


def sum_over_files(fact: Table, counter: str) -> ColumnElement[int]:
    """Return the sum of a fact's counter over the selected files; 0 without any."""
    # sum(bigint) is numeric, which the driver returns as Decimal.
    column = load_file.c[counter_column(fact, counter)]
    return cast(func.coalesce(func.sum(column), 0), BigInteger)


def _statuses(engine: Engine, loads: CTE) -> list[LoadStatus]:
    wall_seconds = cast(extract("epoch", loads.c.finished_at - loads.c.started_at), Float)
    query = (
        select(
            loads.c.run_date,
            loads.c.load_id,
            loads.c.status,
            loads.c.fingerprint,
            sum_over_files(fact_order, "loaded"),
            sum_over_files(fact_order_line, "loaded"),
            sum_over_files(fact_order, "superseded"),
            sum_over_files(fact_order, "rejected"),
            func.count(load_file.c.file_id),
            wall_seconds,
            loads.c.started_at,
            loads.c.message,
            loads.c.schema_drift,
        )
        .join_from(loads, load_file, load_file.c.load_id == loads.c.load_id, isouter=True)
        .group_by(*loads.c)
        .order_by(loads.c.run_date)
    )
    with engine.connect() as connection:
        return [
            LoadStatus(*row[:-1], unknown_keys=Drift.from_json(row[-1]).paths)  # type: ignore[misc]
            for row in connection.execute(query)
        ]


def latest_refused_after(engine: Engine, load: LoadStatus) -> int | None:
    """Return the latest refused or held load after a load of its run date; None: no such."""
    later = (
        (load_run.c.run_date == load.run_date)
        & load_run.c.status.in_(("refused", "held"))
        & (load_run.c.load_id > load.load_id)
    )
    with engine.connect() as connection:
        latest: int | None = connection.scalar(select(func.max(load_run.c.load_id)).where(later))
    return latest
