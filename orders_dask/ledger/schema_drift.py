"""Queries on schema drift: the keys that the contract doesn't know, across loads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, Engine, func, select, union_all

from orders_dask.contract.ledger_tables import load_file, load_run
from orders_dask.contract.order_tables import fact_order
from orders_dask.contract.schema_drift import Drift, DriftCounter, UnknownKey
from orders_dask.ledger.queries import first_of_each_date, sum_over_files

_DRIFT = load_run.c.schema_drift


@dataclass(frozen=True)
class DriftingKey:
    """A key that the contract doesn't know, in the loads of some run dates.

    Attributes
    ----------
    path
        Its dotted path, such as ``line_items[].colour``.
    type
        The type that a column of it might have; None of loads before this was counted.
    records
        Number of records that have it.
    share
        Their share of the records that were read, 0 to 1; None if this wasn't counted.
    first_seen
        The least run date of all loads that have it.
    sample
        A value of it with ``x`` for letters and ``9`` for digits.
    """

    path: str
    type: str | None
    records: int
    share: float | None
    first_seen: date
    sample: str


@dataclass(frozen=True)
class DriftReport:
    """The keys that the contract doesn't know, in the loads of some run dates.

    Attributes
    ----------
    run_dates
        The run dates.
    keys
        The keys by path.
    more
        Whether there are more: a load lists a thousand.
    """

    run_dates: tuple[date, ...]
    keys: tuple[DriftingKey, ...]
    more: bool


def drift_report(engine: Engine, run_date: date | None = None, last: int = 1) -> DriftReport | None:
    """Return the unknown keys of run dates; None if there is no load.

    Parameters
    ----------
    engine
        The database.
    run_date
        Only this one.
    last
        Number of the latest run dates that have a load, without `run_date`.
    """
    with engine.connect() as connection:
        loads = _loads(connection, run_date, last)
        if not loads:
            return None
        counter, read = DriftCounter(), 0
        for rank, load in enumerate(loads):
            counter.add_all(Drift.from_json(load.schema_drift), rank)
            read += load.read
        drift = counter.drift()
        first_seen = _first_seen(connection, drift.paths)
    keys = (_drifting(key, read, first_seen[key.path]) for key in drift.keys)
    return DriftReport(tuple(load.run_date for load in loads), tuple(keys), drift.more)


def _loads(connection: Connection, run_date: date | None, last: int) -> Sequence[Any]:
    """Return run date, drift and number of records of the loads, the latest run date first.

    As for rejects, a later load that is refused, perhaps for its keys, hides the published one.
    """
    counts = load_run.c.status.in_(("published", "refused", "held"))
    shown = first_of_each_date(counts.desc(), load_run.c.load_id.desc())
    read = (
        select(sum_over_files(fact_order, "read"))
        .where(load_file.c.load_id == shown.c.load_id)
        .scalar_subquery()
    )
    query = select(shown.c.run_date, shown.c.schema_drift, read.label("read"))
    query = query.order_by(shown.c.run_date.desc()).limit(last)
    if run_date is not None:
        query = query.where(shown.c.run_date == run_date)
    return connection.execute(query).all()


def _first_seen(connection: Connection, paths: Sequence[str]) -> dict[str, date]:
    """Return the least run date whose loads have each path."""
    kind = func.jsonb_typeof(_DRIFT)
    keys = func.jsonb_object_keys(_DRIFT["keys"])
    before = func.jsonb_array_elements_text(_DRIFT)  # as versions before stage format 8 wrote it
    seen = union_all(
        select(load_run.c.run_date, keys.label("path")).where(kind == "object"),
        select(load_run.c.run_date, before.label("path")).where(kind == "array"),
    ).subquery()
    query = select(seen.c.path, func.min(seen.c.run_date)).where(seen.c.path.in_(paths))
    return dict(connection.execute(query.group_by(seen.c.path)).all())


def _drifting(key: UnknownKey, read: int, first_seen: date) -> DriftingKey:
    share = min(key.records / read, 1.0) if key.records and read else None
    kind = key.type if key.records else None
    return DriftingKey(key.path, kind, key.records, share, first_seen, key.sample)
