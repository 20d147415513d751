"""Collect what a report shows from the ledger, in one snapshot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Engine, func, select

from orders_dask.checks.measures import Measures
from orders_dask.checks.run import EARLIER, days_before
from orders_dask.contract.ledger_tables import (
    FILE_COUNTERS,
    alert,
    check_finding,
    counter_column,
    data_issue,
    load_file,
    load_run,
    rejected_record,
)
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.schema_drift import Drift
from orders_dask.ledger.queries import SHOWN_FIRST, first_of_each_date
from orders_dask.load.connect import snapshot
from orders_dask.reporting.data import (
    Day,
    Decision,
    FieldIssue,
    FileCounts,
    Finding,
    Load,
    ReportData,
    SentAlert,
    State,
)

_STATES: Final[Mapping[str, State]] = {
    "published": "published",
    "held": "held",
    "refused": "refused",
    "failed": "failed",
    "abandoned": "failed",
    "discarded": "unpublished",
    "unpublished": "unpublished",
    "replaced": "unpublished",
    "comparison": "unpublished",
}
"""State of a run date by the status of its load that is shown; else it is being loaded."""

_DAY: Final = timedelta(days=1)

MAX_FILES: Final = 50
"""Files that a report lists; of the others it has the sums."""

MAX_SAMPLES: Final = 3
"""Samples of a kind of bad value, of as many days."""

MAX_SAMPLE_CHARACTERS: Final = 120
"""Characters of a sample: a rejected record may have 64 KiB."""


def collect(database: Engine, run_dates: Sequence[date], due: date) -> ReportData:
    """Return what a report of run dates shows.

    Parameters
    ----------
    database
        Engine of the database.
    run_dates
        Consecutive run dates. Those before the first load that there ever was are left out.
    due
        The last run date that should be published by now.

    Raises
    ------
    ServiceUnavailable
        PostgreSQL can't be reached.
    """
    with snapshot(database) as connection:
        first_load = connection.scalar(select(func.min(load_run.c.run_date))) or run_dates[-1]
        run_dates = [day for day in run_dates if day >= first_load] or run_dates[-1:]
        first, last = run_dates[0], run_dates[-1]
        shown = _shown_loads(connection, first, last)
        later = _later_loads(connection, shown)
        rows = [*shown.values(), *later.values()]
        loads = _loads(connection, {row.load_id: row for row in rows})
        days = [
            _day(run_date, shown.get(run_date), later.get(run_date), loads, is_due=run_date <= due)
            for run_date in run_dates
        ]
        last_load = next((day.load for day in reversed(days) if day.load), None)
        return ReportData(
            days,
            _earlier(connection, first),
            _issues(connection, {load.load_id: load.run_date for load in shown.values()}),
            _alerts(connection, first, last),
            _files(connection, last_load.load_id) if last_load else (),
        )


def _shown_loads(connection: Connection, first: date, last: date) -> dict[date, Any]:
    """Return the ledger row of each run date's published load, else held, else latest one."""
    shown = first_of_each_date(*SHOWN_FIRST)
    query = select(shown).where(shown.c.run_date.between(first, last))
    return {load.run_date: load for load in connection.execute(query)}


def _later_loads(connection: Connection, shown: Mapping[date, Any]) -> dict[date, Any]:
    """Return the last held, else refused or failed load after the shown one, by run date."""
    off = "held", "refused", "failed", "abandoned"
    later = first_of_each_date(
        (load_run.c.status == "held").desc(),
        load_run.c.status.in_(off).desc(),
        load_run.c.load_id.desc(),
    )
    query = select(later).where(later.c.run_date.in_(shown), later.c.status.in_(off))
    return {
        load.run_date: load
        for load in connection.execute(query)
        if load.load_id > shown[load.run_date].load_id
    }


def _loads(connection: Connection, rows: Mapping[int, Any]) -> dict[int, Load]:
    """Return loads by id, made of their ledger rows."""
    sums = _sums_by_load(connection, rows)
    findings = _findings(connection, rows)
    return {
        load_id: Load(
            load_id=load_id,
            status=row.status,
            state=_state(row),
            message=row.message,
            decision=(
                Decision(row.reviewed_by, row.reviewed_at, row.review_note)
                if row.reviewed_at
                else None
            ),
            findings=findings[load_id],
            files=sums[load_id][0] if load_id in sums else 0,
            total=sums[load_id][1] if load_id in sums else FileCounts("", 0, False, {}),
            measures=Measures.from_json(row.measures) if row.measures else None,
            step_seconds=row.step_seconds or {},
            step_metrics=row.step_metrics or {},
            drift=Drift.from_json(row.schema_drift),
            left_out=row.left_out or (),
        )
        for load_id, row in rows.items()
    }


def _state(row: Any) -> State:
    state = _STATES.get(row.status, "loading")
    is_second = state == "published" and row.replaced_load_id is not None
    return "republished" if is_second else state


def _day(run_date: date, shown: Any, later: Any, loads: Mapping[int, Load], *, is_due: bool) -> Day:
    if shown is None:
        return Day(run_date, "late" if is_due else "missing")
    load = loads[shown.load_id]
    return Day(run_date, load.state, load, loads[later.load_id] if later else None)


def _counters(of_all: bool) -> list[ColumnElement[Any]]:
    columns = [load_file.c[counter_column(f, c)] for f in FACTS for c in FILE_COUNTERS]
    return [func.sum(column) for column in columns] if of_all else list(columns)


def _by_fact(values: Sequence[Any]) -> dict[str, dict[str, int]]:
    numbers = iter(values)
    return {fact.name: {counter: int(next(numbers)) for counter in FILE_COUNTERS} for fact in FACTS}


def _sums_by_load(
    connection: Connection, loads: Collection[int]
) -> dict[int, tuple[int, FileCounts]]:
    """Return the number of files of each load, and their sums."""
    f = load_file.c
    query = (
        select(
            *(f.load_id, func.count(), func.coalesce(func.sum(f.bytes), 0)),
            *(func.bool_or(f.unreadable), *_counters(of_all=True)),
        )
        .where(f.load_id.in_(loads))
        .group_by(f.load_id)
    )
    return {
        load_id: (files, FileCounts("", int(size), unreadable, _by_fact(counters)))
        for load_id, files, size, unreadable, *counters in connection.execute(query)
    }


def _files(connection: Connection, load_id: int) -> list[FileCounts]:
    f = load_file.c
    query = select(f.name, f.bytes, f.unreadable, *_counters(of_all=False))
    query = query.where(f.load_id == load_id).order_by(f.file_id).limit(MAX_FILES)
    return [
        FileCounts(name, int(size or 0), unreadable, _by_fact(counters))
        for name, size, unreadable, *counters in connection.execute(query)
    ]


def _findings(connection: Connection, loads: Collection[int]) -> defaultdict[int, list[Finding]]:
    f = check_finding.c
    query = select(f.load_id, f.check_name, f.severity, f.message).where(f.load_id.in_(loads))
    found: defaultdict[int, list[Finding]] = defaultdict(list)
    for load_id, *finding in connection.execute(query.order_by(f.load_id, f.number)):
        found[load_id].append(Finding(*finding))
    return found


def _earlier(connection: Connection, first: date) -> dict[date, Measures]:
    """Return the measures of the published dates that the first ones are compared with."""
    query = select(load_run.c.run_date, load_run.c.measures).where(
        load_run.c.status == "published",
        load_run.c.measures.is_not(None),
        load_run.c.run_date.between(days_before(first, EARLIER), days_before(first, _DAY)),
    )
    return {day: Measures.from_json(measures) for day, measures in connection.execute(query)}


def _issues(connection: Connection, run_dates: Mapping[int, date]) -> list[FieldIssue]:
    """Return repaired and nulled values and rejected records by kind, the most frequent first."""
    i, r = data_issue.c, rejected_record.c
    repaired = (
        select(
            *(i.load_id, i.field, i.code, func.sum(i.value_count)),
            func.min(func.left(i.samples[0][1].astext, MAX_SAMPLE_CHARACTERS)),
        )
        .where(i.load_id.in_(run_dates))
        .group_by(i.load_id, i.field, i.code)
    )
    rejected = (
        select(r.load_id, r.code, func.count(), func.min(func.left(r.raw, MAX_SAMPLE_CHARACTERS)))
        .where(r.load_id.in_(run_dates))
        .group_by(r.load_id, r.code)
    )
    rows = [
        *connection.execute(repaired),
        *((load_id, "record", *row) for load_id, *row in connection.execute(rejected)),
    ]
    counts: defaultdict[tuple[str, str], dict[date, int]] = defaultdict(dict)
    samples: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for load_id, path, code, number, sample in sorted(rows, key=lambda row: run_dates[row[0]]):
        counts[path, code][run_dates[load_id]] = int(number)
        if sample and len(samples[path, code]) < MAX_SAMPLES:
            samples[path, code].append(sample)
    issues = [FieldIssue(*kind, by_day, samples[kind]) for kind, by_day in counts.items()]
    return sorted(issues, key=lambda issue: (-issue.total, issue.field, issue.code))


def _alerts(connection: Connection, first: date, last: date) -> list[SentAlert]:
    a = alert.c
    query = select(a.run_date, a.kind, a.message, a.sent_at, a.recovered_at)
    query = query.where(a.run_date.between(first, last)).order_by(a.alert_id.desc())
    return [SentAlert(*row) for row in connection.execute(query)]
