"""Render a report: one HTML file with its style and charts inside, and no script."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime
from typing import Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from orders_dask.contract.ledger_tables import FILE_COUNTERS
from orders_dask.contract.order_tables import fact_order, fact_order_line
from orders_dask.contract.schema_drift import UnknownKey
from orders_dask.ledger.timings import STEPS, LoadTimings, timings_of_load
from orders_dask.reporting import charts
from orders_dask.reporting.data import Day, FieldIssue, Load, ReportData, State
from orders_dask.reporting.series import MAX_CURRENCIES, currencies_of, series_of
from orders_dask.settings import Settings

MARKS: Final[dict[State, str]] = {
    "published": "✓",
    "republished": "↻",
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
    "republished": "readers see it; another load of the date was published before",
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
        What :func:`~orders_dask.reporting.collect.collect` returned.
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
    environment.filters |= {
        "count": "{:,}".format,
        "megabytes": lambda size: f"{size / 1e6:,.2f}",
        "moment": lambda moment: f"{moment.astimezone(settings.zone):%Y-%m-%d %H:%M}",
        "mask": str if samples else mask,
    }
    last = data.last
    load = last.load if last else None
    timings = _timings(last.run_date, load, settings) if last and load else None
    keys = _unknown_keys(data.days)
    summary, is_well = _summary(data)
    return environment.get_template("report.html.j2").render(
        data=data,
        database=settings.pgsql_database,
        last=last,
        load=load,
        first=data.days[0].run_date,
        end=data.days[-1].run_date,
        made_at=made_at,
        zone=settings.shop_timezone,
        summary=summary,
        is_well=is_well,
        weeks=_weeks(data.days),
        marks=MARKS,
        meanings=STATE_MEANINGS,
        facts={fact_order.name: "Orders", fact_order_line.name: "Lines"},
        counters=FILE_COUNTERS,
        charts=charts,
        series=series_of(data),
        more_currencies=max(len(currencies_of(data)) - MAX_CURRENCIES, 0),
        steps=[
            step
            for step in STEPS
            if any(day.load and step in day.load.step_seconds for day in data.days)
        ],
        time_chart=_time_chart(data.days),
        timings=timings,
        issues=data.issues[:MAX_ISSUES],
        more_issues=max(len(data.issues) - MAX_ISSUES, 0),
        issue_bars=[_issue_bars(issue, data.days) for issue in data.issues[:MAX_ISSUES]],
        keys=keys[:MAX_KEYS],
        more_keys=max(len(keys) - MAX_KEYS, 0),
        more_files=max(load.files - len(data.files), 0) if load else 0,
        samples=samples,
    )


def mask(text: str) -> str:
    """Return a text with its shape alone: a letter is ``x`` and a digit ``9``."""
    return re.sub(r"[^\W\d_]", "x", re.sub(r"\d", "9", text))


def _summary(data: ReportData) -> tuple[str, bool]:
    """Return a sentence on how the run dates stand, and whether all is well."""
    states = Counter(day.state for day in data.days)
    later = Counter(day.later.state for day in data.days if day.later)
    published = sum(states[state] for state in _PUBLISHED)
    others = [f"{states[s]:,} {s}" for s in MARKS if states[s] and s not in _PUBLISHED]
    others += [f"of {later[s]:,} a later load is {s}" for s in MARKS if later[s]]
    text = f"{published:,} of {len(data.days):,} run dates are published"
    return f"{text}; {', '.join(others)}." if others else f"{text}: all is well.", not others


_PUBLISHED: Final[tuple[State, ...]] = ("published", "republished")


def _weeks(days: Sequence[Day]) -> list[tuple[str, list[Day | None]]]:
    """Return the days by week, from Monday to Sunday, each with the name of a month that begins.

    Days outside of the report are None.
    """
    first = days[0].run_date.weekday()
    padded: list[Day | None] = [*[None] * first, *days]
    padded += [None] * (-len(padded) % 7)
    weeks = [padded[at : at + 7] for at in range(0, len(padded), 7)]
    begins = [
        next((day.run_date for day in week if day and day.run_date.day == 1), days[0].run_date)
        if not at or any(day and day.run_date.day == 1 for day in week)
        else None
        for at, week in enumerate(weeks)
    ]
    return [(f"{day:%b}" if day else "", week) for day, week in zip(begins, weeks, strict=True)]


def _timings(run_date: date, load: Load, settings: Settings) -> LoadTimings:
    return timings_of_load(
        run_date=run_date,
        load_id=load.load_id,
        status=load.status,
        orders=load.total.counters[fact_order.name]["loaded"] if load.files else 0,
        size=load.total.bytes,
        step_seconds=load.step_seconds,
        step_metrics=load.step_metrics,
        prices=settings.prices,
    )


def _time_chart(days: Sequence[Day]) -> charts.BarChart:
    seconds_by_day = [day.load.step_seconds if day.load else {} for day in days]
    stacks = [{step: s[step] for step in STEPS if step in s} for s in seconds_by_day]
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


class _KeyDays(NamedTuple):
    """An unknown key on the days of a report: as it was on the last one that has it."""

    path: str
    type: str
    share: str
    first: date
    last: date
    days: int
    sample: str


def _unknown_keys(days: Sequence[Day]) -> list[_KeyDays]:
    """Return each unknown key, the newest first."""
    seen: dict[str, list[tuple[Day, UnknownKey]]] = {}
    for day in days:
        for key in day.load.drift.keys if day.load else ():
            seen.setdefault(key.path, []).append((day, key))
    keys = []
    for path, found in seen.items():
        last, key = found[-1]
        dates = found[0][0].run_date, last.run_date
        kind = key.type if key.records else ""
        keys.append(_KeyDays(path, kind, _share(key, last), *dates, len(found), key.sample))
    return sorted(keys, key=lambda each: (-each.first.toordinal(), each.path))


def _share(key: UnknownKey, day: Day) -> str:
    counters = day.load.total.counters.get(fact_order.name) if day.load else None
    read = counters["read"] if counters else 0
    return f"{min(key.records / read, 1):.1%}" if key.records and read else ""
