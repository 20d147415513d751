"""The records that a report is rendered from: days, their loads, bad values and alerts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

from orders_dask.checks.measures import Measures
from orders_dask.contract.schema_drift import NO_DRIFT, Drift

State = Literal[
    "published",
    "republished",
    "held",
    "refused",
    "failed",
    "loading",
    "unpublished",
    "late",
    "missing",
]
"""How a run date stands: ``republished`` is published after another load of the date was, ``late``
is due and has no load, and ``missing`` has none and is not due."""


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
    def is_reconciled(self) -> bool:
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
class Decision:
    """Who accepted, discarded or rolled back a load, when, and why if they said it."""

    by: str
    at: datetime
    because: str | None


@dataclass(frozen=True)
class Load:
    """A load of the report.

    Attributes
    ----------
    load_id, status, state
        The load, its status in the ledger, and how it makes its run date stand.
    message
        Why it was refused, held or failed.
    decision
        What somebody decided about it; None if nobody did.
    findings
        What its checks found.
    files, total
        Number of its files, and their sums.
    measures
        Its measures; None if it was never checked.
    step_seconds, step_metrics
        Wall seconds of its steps, and the metrics of its tasks, as the ledger has them.
    drift, left_out
        Unknown keys, and names of objects beside the dump.
    """

    load_id: int
    status: str
    state: State
    message: str | None = None
    decision: Decision | None = None
    findings: Sequence[Finding] = ()
    files: int = 0
    total: FileCounts = FileCounts("", 0, False, {})
    measures: Measures | None = None
    step_seconds: Mapping[str, float] = field(default_factory=dict)
    step_metrics: Mapping[str, Any] = field(default_factory=dict)
    drift: Drift = NO_DRIFT
    left_out: Sequence[str] = ()


@dataclass(frozen=True)
class Day:
    """A run date of the report.

    Attributes
    ----------
    run_date, state
        The date, and how it stands.
    load
        The load that is shown: the published one, else the held one, else the latest; None if
        there is none.
    later
        A load that came after the published one and is held, refused or failed; None if there is
        none.
    """

    run_date: date
    state: State
    load: Load | None = None
    later: Load | None = None

    @property
    def loads(self) -> list[Load]:
        """The load that is shown, and the later one."""
        return [load for load in (self.load, self.later) if load]

    @property
    def needs_a_look(self) -> bool:
        """Whether a load has a message or a finding, or somebody decided about it."""
        return any(load.message or load.findings or load.decision for load in self.loads)


@dataclass(frozen=True)
class FieldIssue:
    """A kind of bad value over the days of a report.

    Attributes
    ----------
    field, code
        Dotted path of the field and the issue's code; ``record`` for rejected records.
    by_day
        Number of values by run date, in order; days without are left out.
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
        Files of the last day that has a load; of many only the first ones.
    """

    days: Sequence[Day]
    earlier: Mapping[date, Measures]
    issues: Sequence[FieldIssue]
    alerts: Sequence[SentAlert]
    files: Sequence[FileCounts]

    @property
    def last(self) -> Day | None:
        """The last day that has a load."""
        return next((day for day in reversed(self.days) if day.load), None)
