"""Render a report: one HTML file with its style and charts inside, and no script."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from orders_dask.contract.ledger_tables import FILE_COUNTERS
from orders_dask.contract.order_tables import fact_order, fact_order_line
from orders_dask.ledger.timings import STEPS, LoadTimings, timings_of_load
from orders_dask.reporting import charts
from orders_dask.reporting.gather import Day, FieldIssue, ReportData, State
from orders_dask.reporting.series import series_of
from orders_dask.settings import Settings

MARKS: Final[dict[State, str]] = {
    "published": "✓",
    "replaced": "↻",
    "held": "H",
    "refused": "✕",
    "failed": "!",
    "loading": "…",
    "unpublished": "○",
    "late": "L",
    "missing": "·",
}
"""The mark of a run date's state in the calendar: colours alone are not for everybody."""

STATE_MEANINGS: Final[dict[State, str]] = {
    "published": "readers see it",
    "replaced": "readers see it; another load of the date was published before",
    "held": "a check held its load: accept or discard it",
    "refused": "its data was refused",
    "failed": "its load ended with an error, or was given up",
    "loading": "it is being loaded",
    "unpublished": "it was rolled back, unpublished or discarded",
    "late": "it is due, and nothing was loaded",
    "missing": "nothing was loaded yet",
}

MAX_ISSUES: Final = 40
"""Kinds of bad values that are listed."""

MAX_KEYS: Final = 100
"""Unknown keys that are listed."""


def render(data: ReportData, settings: Settings, made_at: datetime, *, samples: bool) -> str:
    """Return a report as HTML.

    Parameters
    ----------
    data
        What :func:`~orders_dask.reporting.gather.gather` returned.
    settings
        The shop's time zone, and prices.
    made_at
        When it is made, with a time zone.
    samples
        Whether samples of bad values are shown as they are. They are personal data; otherwise
        letters and digits are masked.
    """
    environment = Environment(
        loader=PackageLoader("orders_dask.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"count": _count, "megabytes": _megabytes, "mask": _mask_unless(samples)}
    last = data.last
    timings = _timings(last, settings) if last else None
    return environment.get_template("report.html.j2").render(
        data=data,
        database=settings.pgsql_database,
        last=last,
        first=data.days[0].run_date,
        end=data.days[-1].run_date,
        made_at=made_at.astimezone(settings.zone),
        zone=settings.shop_timezone,
        summary=_summary(data),
        weeks=_weeks(data.days),
        marks=MARKS,
        meanings=STATE_MEANINGS,
        facts={fact_order.name: "Orders", fact_order_line.name: "Lines"},
        counters=FILE_COUNTERS,
        width=charts.WIDTH,
        height=charts.HEIGHT,
        series=series_of(data),
        steps=[step for step in STEPS if any(step in day.step_seconds for day in data.days)],
        time_chart=_time_chart(data.days),
        timings=timings,
        issues=data.issues[:MAX_ISSUES],
        more_issues=max(len(data.issues) - MAX_ISSUES, 0),
        issue_bars=[_issue_bars(issue, data.days) for issue in data.issues[:MAX_ISSUES]],
        keys=_unknown_keys(data.days)[:MAX_KEYS],
        more_keys=max(len(_unknown_keys(data.days)) - MAX_KEYS, 0),
        more_files=max(last.files - len(data.files), 0) if last else 0,
        samples=samples,
    )


def _count(number: int) -> str:
    return f"{number:,}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.2f}"


def _mask_unless(shown: bool) -> Any:
    def mask(text: str) -> str:
        """Return a text with its shape alone: a letter is ``x`` and a digit ``9``."""
        if shown:
            return text
        return re.sub(r"[^\W\d_]", "x", re.sub(r"\d", "9", text))

    return mask


def _summary(data: ReportData) -> str:
    """Return a sentence on how the run dates stand."""
    published = sum(day.state in ("published", "replaced") for day in data.days)
    states = Counter(day.later or day.state for day in data.days)
    others = {state: states[state] for state in MARKS if states[state]}
    for state in ("published", "replaced"):
        others.pop(state, None)
    text = f"{published:,} of {len(data.days):,} run dates are published"
    words = ", ".join(f"{number:,} {state}" for state, number in others.items())
    return f"{text}; {words}." if words else f"{text}: all is well."


def _weeks(days: Sequence[Day]) -> list[list[Day | None]]:
    """Return the days by week, from Monday to Sunday; None outside of the report."""
    first = days[0].run_date.weekday()
    padded: list[Day | None] = [*[None] * first, *days]
    padded += [None] * (-len(padded) % 7)
    return [padded[at : at + 7] for at in range(0, len(padded), 7)]


def _timings(day: Day, settings: Settings) -> LoadTimings:
    return timings_of_load(
        day.run_date,
        day.load_id or 0,
        day.status or "",
        day.total.counters[fact_order.name]["loaded"] if day.files else 0,
        day.total.bytes,
        day.step_seconds,
        day.step_metrics,
        settings.prices,
    )


def _time_chart(days: Sequence[Day]) -> charts.BarChart:
    stacks = [
        {step: day.step_seconds[step] for step in STEPS if step in day.step_seconds} for day in days
    ]
    texts = [
        {step: f"{day.run_date:%a %d %b}: {step} {seconds:.2f} s" for step, seconds in s.items()}
        for day, s in zip(days, stacks, strict=True)
    ]
    return charts.stacked_bars([day.run_date for day in days], stacks, texts)


def _issue_bars(issue: FieldIssue, days: Sequence[Day]) -> list[tuple[int, float, str]]:
    """Return the days that have values by index: the share of the most, 0 to 1, and a text."""
    most = max(issue.by_day.values())
    by_index = [(index, day.run_date) for index, day in enumerate(days)]
    numbers = [(index, day, issue.by_day.get(day)) for index, day in by_index]
    return [(index, n / most, f"{day}: {n:,}") for index, day, n in numbers if n]


def _unknown_keys(days: Sequence[Day]) -> list[tuple[str, date, date, int]]:
    """Return each unknown key with its first and last day and its number of days, newest first."""
    seen: dict[str, list[date]] = {}
    for day in days:
        for key in day.drift:
            seen.setdefault(key, []).append(day.run_date)
    keys = [(key, dates[0], dates[-1], len(dates)) for key, dates in seen.items()]
    return sorted(keys, key=lambda each: (-each[1].toordinal(), each[0]))
