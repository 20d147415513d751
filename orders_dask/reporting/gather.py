"""Read what a report shows from the ledger, in one snapshot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Connection, Engine, func, select

from orders_dask.checks.measures import Measures
from orders_dask.checks.run import EARLIER
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
from orders_dask.ledger.queries import first_of_each_date
from orders_dask.load.connect import snapshot

State = Literal[
    "published",
    "replaced",
    "held",
    "refused",
    "failed",
    "loading",
    "unpublished",
    "late",
    "missing",
]
"""How a run date stands: ``replaced`` is published after another load of the date was, ``late`` is
due and has no load, and ``missing`` has no load and is not due, or lies before the first load."""

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
"""State of a run date by the status of its load that is shown."""

MAX_FILES: Final = 50
"""Files that a report lists; of the others it has the sums."""

MAX_SAMPLES: Final = 3
"""Samples of a kind of bad value, of as many days."""

MAX_SAMPLE_CHARACTERS: Final = 120
"""Characters of a sample: a rejected record may have 64 KiB."""


@dataclass(frozen=True)
class FileCounts:
    """A file of a load, or the sum of several, with its counters of each fact.

    Attributes
    ----------
    name, bytes
        Full name, and size as stored.
    unreadable
        Whether it could not be read to its end.
    counters
        ``read``, ``loaded``, ``superseded`` and ``rejected``, by fact.
    """

    name: str
    bytes: int
    unreadable: bool
    counters: Mapping[str, Mapping[str, int]]

    @property
    def balances(self) -> bool:
        """Whether what was read is what was loaded, superseded or rejected, for each fact."""
        return all(
            of_fact["read"] == of_fact["loaded"] + of_fact["superseded"] + of_fact["rejected"]
            for of_fact in self.counters.values()
        )


@dataclass(frozen=True)
class Finding:
    """What a check found in a load: its name, severity, and a sentence."""

    check_name: str
    severity: str
    message: str


@dataclass(frozen=True)
class Day:
    """A run date of the report.

    Attributes
    ----------
    run_date, state
        The date, and how it stands.
    later
        State of a load that came after the published one and is held, refused or failed; None if
        there is none.
    load_id, status, message
        The load that is shown: the published one, else the latest; None if there is none.
    started_at, finished_at
        Its begin and end.
    files, total
        Number of its files, and their sums.
    measures
        Its measures; None if it was never checked.
    later_message
        Why that is so.
    findings
        What its checks found, and those of a held load.
    step_seconds, step_metrics
        Wall seconds of its steps, and the metrics of its tasks, as the ledger has them.
    drift, left_out
        Unknown keys, and names of objects beside the dump.
    reviewed
        Who accepted it or rolled it back, when and why; None if nobody did.
    """

    run_date: date
    state: State
    later: State | None = None
    later_message: str | None = None
    load_id: int | None = None
    status: str | None = None
    message: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    files: int = 0
    total: FileCounts = FileCounts("", 0, False, {})
    measures: Measures | None = None
    findings: Sequence[Finding] = ()
    step_seconds: Mapping[str, float] = field(default_factory=dict)
    step_metrics: Mapping[str, Any] = field(default_factory=dict)
    drift: Sequence[str] = ()
    left_out: Sequence[str] = ()
    reviewed: str | None = None


@dataclass(frozen=True)
class FieldIssue:
    """A kind of bad value over the days of a report.

    Attributes
    ----------
    field, code
        Dotted path of the field and the issue's code; ``record`` for rejected records.
    by_day
        Number of values by run date; days without are left out.
    samples
        The beginnings of some of the values: personal data.
    """

    field: str
    code: str
    by_day: Mapping[date, int]
    samples: Sequence[str] = ()

    @property
    def total(self) -> int:
        """Number of values in all days."""
        return sum(self.by_day.values())


@dataclass(frozen=True)
class SentAlert:
    """An alert: its run date, kind and message, and when it was sent and recovered."""

    run_date: date
    kind: str
    message: str
    sent_at: datetime | None
    recovered_at: datetime | None


@dataclass(frozen=True)
class ReportData:
    """All that a report shows.

    Attributes
    ----------
    days
        The run dates, in order, one a day.
    earlier
        Measures of the published dates before them that charts compare with.
    issues
        Repaired and nulled values, and rejected records, the most frequent kind first.
    alerts
        Alerts on these dates, the latest first.
    files
        Files of the last day that has a load, at most :data:`MAX_FILES`.
    """

    days: Sequence[Day]
    earlier: Mapping[date, Measures]
    issues: Sequence[FieldIssue]
    alerts: Sequence[SentAlert]
    files: Sequence[FileCounts]

    @property
    def last(self) -> Day | None:
        """The last day that has a load."""
        return next((day for day in reversed(self.days) if day.load_id is not None), None)


def gather(database: Engine, run_dates: Sequence[date], due: date) -> ReportData:
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
        loads = [load.load_id for load in shown.values()]
        sums = _sums_by_load(connection, loads)
        findings = _findings(connection, {*loads, *(load.load_id for load in later.values())})
        days = [
            _day(
                run_date,
                shown.get(run_date),
                later.get(run_date),
                sums,
                findings,
                is_late=run_date <= due,
            )
            for run_date in run_dates
        ]
        of_last = next((day.load_id for day in reversed(days) if day.load_id is not None), None)
        return ReportData(
            days,
            _earlier(connection, first),
            _issues(connection, {load.load_id: load.run_date for load in shown.values()}),
            _alerts(connection, first, last),
            _files(connection, of_last) if of_last is not None else (),
        )


def _shown_loads(connection: Connection, first: date, last: date) -> dict[date, Any]:
    """Return the ledger row of each run date's published load, else of its latest one."""
    order = (load_run.c.status == "published").desc(), load_run.c.load_id.desc()
    shown = first_of_each_date(*order)
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


def _day(
    run_date: date,
    load: Any,
    later: Any,
    sums: Mapping[int, tuple[int, FileCounts]],
    findings: Mapping[int, Sequence[Finding]],
    *,
    is_late: bool,
) -> Day:
    if load is None:
        return Day(run_date, "late" if is_late else "missing")
    state = _STATES.get(load.status, "loading")
    if state == "published" and load.replaced_load_id is not None:
        state = "replaced"
    files, total = sums.get(load.load_id, (0, FileCounts("", 0, False, {})))
    ids = [each.load_id for each in (load, later) if each]
    return Day(
        run_date,
        state,
        _STATES[later.status] if later else None,
        later.message if later else None,
        load.load_id,
        load.status,
        load.message,
        load.started_at,
        load.finished_at,
        files,
        total,
        Measures.from_json(load.measures) if load.measures else None,
        [finding for each in ids for finding in findings.get(each, ())],
        load.step_seconds or {},
        load.step_metrics or {},
        load.schema_drift or (),
        load.left_out or (),
        _review(load),
    )


def _review(load: Any) -> str | None:
    if load.reviewed_at is None:
        return None
    because = f": {load.review_note}" if load.review_note else ""
    return f"{load.reviewed_at:%Y-%m-%d %H:%M} by {load.reviewed_by}{because}"


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


def _findings(connection: Connection, loads: Collection[int]) -> dict[int, list[Finding]]:
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
        load_run.c.run_date.between(first - EARLIER, first - timedelta(days=1)),
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
    counts: defaultdict[tuple[str, str], dict[date, int]] = defaultdict(dict)
    samples: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    rows = [
        *connection.execute(repaired),
        *((load_id, "record", *row) for load_id, *row in connection.execute(rejected)),
    ]
    for load_id, path, code, number, sample in rows:
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
