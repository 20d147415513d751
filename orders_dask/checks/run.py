"""Check a verified load: measure it, compare it with what is published, and record the findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Engine, case, func, insert, select

from orders_dask.checks import sql_files
from orders_dask.checks.builtin import CHECKS
from orders_dask.checks.comparison import Comparison, EarlierDay, Finding, Severity
from orders_dask.checks.measures import Measures, Rows, measure
from orders_dask.checks.sql_files import SqlCheck
from orders_dask.contract.ledger_tables import check_finding, load_run
from orders_dask.contract.order_tables import fact_order
from orders_dask.errors import SettingsError
from orders_dask.ledger.batches import write_json
from orders_dask.ledger.leases import Lease
from orders_dask.ledger.rejects import most_common_reject
from orders_dask.settings import Settings

EARLIER: Final = timedelta(weeks=8)
"""How far back a load is compared: eight days of each weekday."""


@dataclass(frozen=True)
class Checks:
    """The checks of a run, by the settings.

    Attributes
    ----------
    severities, thresholds
        Severity and threshold of each check that is built in, by name.
    own
        Checks of one's own, in the order of their names.
    """

    severities: dict[str, Severity]
    thresholds: dict[str, float]
    own: tuple[SqlCheck, ...] = ()


def load_checks(settings: Settings, database: Engine) -> Checks:
    """Return the checks that the settings ask for.

    Raises
    ------
    SettingsError
        A check is unknown, or a file of checks is wrong.
    """
    own = sql_files.load(settings.checks_folder, database) if settings.checks_folder else ()
    names = [check.name for check in own]
    if taken := sorted(set(names) & CHECKS.keys()):
        raise SettingsError(
            f"{sql_files.VARIABLE} has {', '.join(taken)}, as a check that is built in: name it "
            "otherwise."
        )
    with_threshold = [name for name, check in CHECKS.items() if check.threshold]
    for variable, given, known in (
        ("ORDERS_DASK_CHECK_SEVERITY", settings.check_severities, [*CHECKS, *names]),
        ("ORDERS_DASK_CHECK_THRESHOLD", settings.check_thresholds, with_threshold),
    ):
        if unknown := sorted(given.keys() - set(known)):
            raise SettingsError(
                f"{variable} names no such check: {', '.join(unknown)}; there are "
                f"{', '.join(known)}."
            )
    severities = {name: check.severity for name, check in CHECKS.items()}
    thresholds = {name: check.threshold for name, check in CHECKS.items()}
    return Checks(
        severities | {n: s for n, s in settings.check_severities.items() if n in CHECKS},
        thresholds | settings.check_thresholds,
        tuple(
            replace(check, severity=settings.check_severities.get(check.name, check.severity))
            for check in own
        ),
    )


def check_load(
    lease: Lease, load_id: int, checks: Checks, rows: Mapping[int, Rows]
) -> list[Finding]:
    """Check a verified load, and record its measures and findings in the ledger.

    Parameters
    ----------
    lease
        The lease of its run date.
    load_id
        The load.
    checks
        What :func:`load_checks` returned.
    rows
        What :func:`~orders_dask.checks.measures.measure_rows` returned.
    """
    database, run_date = lease.connection.engine, lease.run_date
    of_own = sql_files.run(database, run_date, load_id, checks.own)
    with lease.transaction() as connection:
        measured = measure_and_check(connection, {run_date: load_id}, checks, rows)
        findings = measured[load_id][1]
        findings += of_own
        record_findings(connection, measured)
    return findings


Measured = tuple[Measures, list[Finding]]
"""Measures of a load, and what the checks that are built in find in them."""


def measure_and_check(
    connection: Connection, loads: Mapping[date, int], checks: Checks, rows: Mapping[int, Rows]
) -> dict[int, Measured]:
    """Measure verified loads and check them, in the order of their run dates.

    A load that nothing holds counts as published for those of later dates.

    Parameters
    ----------
    connection
        With an open transaction.
    loads
        The loads by run date.
    checks
        What :func:`load_checks` returned.
    rows
        What :func:`~orders_dask.checks.measures.measure_rows` returned.
    """
    measured = measure(connection, loads, rows)
    days = {day.run_date: day for day in _published_days(connection, min(loads), max(loads))}
    found: dict[int, Measured] = {}
    for run_date, load_id in sorted(loads.items()):
        measures = measured[load_id]
        comparison = _compare(run_date, measures, days)
        if measures.rejected:
            reason = most_common_reject(connection, load_id, fact_order)
            if reason and reason.total == measures.rejected:  # else it is a replay's, of a few
                comparison = replace(comparison, reject_reason=str(reason))
        findings = list(evaluate(comparison, checks))
        found[load_id] = measures, findings
        if not is_held(findings):
            days[run_date] = EarlierDay(run_date, measures)
    return found


def is_held(findings: Sequence[Finding]) -> bool:
    """Return whether what was found holds a load."""
    return any(finding.severity == "hold" for finding in findings)


def record_findings(connection: Connection, measured: Mapping[int, Measured]) -> None:
    """Write the measures of loads to the ledger, and what checks found."""
    write_json(
        connection,
        load_run.c.measures,
        {load_id: measures.to_json() for load_id, (measures, _) in measured.items()},
    )
    rows = [
        {"load_id": load_id, "number": number} | vars(finding)
        for load_id, (_, findings) in measured.items()
        for number, finding in enumerate(findings, 1)
    ]
    if rows:
        connection.execute(insert(check_finding), rows)


def days_before(run_date: date, span: timedelta) -> date:
    """Return the date that lies so long before another one, or the first that there is."""
    return run_date - span if run_date - date.min > span else date.min


def compare(connection: Connection, run_date: date, measures: Measures) -> Comparison:
    """Return measures of a load with those of what is published, now and earlier."""
    days = _published_days(connection, run_date, run_date)
    return _compare(run_date, measures, {day.run_date: day for day in days})


def _published_days(connection: Connection, first: date, last: date) -> list[EarlierDay]:
    """Return the days that are published, from some time before the first to the last."""
    published = connection.execute(
        select(load_run.c.run_date, load_run.c.measures, _accepted_checks()).where(
            load_run.c.status == "published",
            load_run.c.measures.is_not(None),
            load_run.c.run_date.between(days_before(first, EARLIER), last),
        )
    )
    return [
        EarlierDay(row.run_date, Measures.from_json(row.measures), frozenset(row.accepted or ()))
        for row in published
    ]


def _compare(run_date: date, measures: Measures, days: Mapping[date, EarlierDay]) -> Comparison:
    now = days[run_date].measures if run_date in days else None
    before = days_before(run_date, EARLIER)
    earlier = sorted(
        (day for day in days.values() if before <= day.run_date < run_date),
        key=lambda day: day.run_date,
    )
    return Comparison(run_date, measures, now, earlier)


def _accepted_checks() -> ColumnElement[Any]:
    """Select the names of the checks that had held a load, if somebody accepted it."""
    held = check_finding.c.load_id == load_run.c.load_id, check_finding.c.severity == "hold"
    names = select(func.array_agg(check_finding.c.check_name)).where(*held).scalar_subquery()
    return case((load_run.c.reviewed_at.is_not(None), names)).label("accepted")


def evaluate(comparison: Comparison, checks: Checks) -> Iterator[Finding]:
    """Yield what the checks that are built in find in a comparison."""
    for name, check in CHECKS.items():
        limit = checks.severities[name]
        if limit == "off":
            continue
        found = check.find(replace(comparison, check_name=name), checks.thresholds[name])
        for asked, message in found:
            severity: Severity = "hold" if asked == limit == "hold" else "warn"
            yield Finding(name, severity, message)


def held_message(load_id: int, run_date: date, findings: Sequence[Finding], replaces: bool) -> str:
    """Return why a load is held, and what to do.

    Parameters
    ----------
    load_id, run_date, findings
        The load, and what its checks found.
    replaces
        Whether another load of the run date is published.
    """
    reasons = "; ".join(f"{f.message} ({f.check_name})" for f in findings if f.severity == "hold")
    stands = "what was published stands" if replaces else "nothing is published for the date"
    look = f"see `orders-dask diff --run-date {run_date}`, then " if replaces else ""
    return (
        f"Load {load_id} of {run_date} is held, and {stands}: {reasons}; {look}give `orders-dask "
        f"accept --run-date {run_date}` or `orders-dask discard --run-date {run_date}`."
    )
