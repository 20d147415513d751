"""What a load is compared with, and whether a figure is unusual beside it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal, TypeAlias

from orders_dask.checks.measures import Measures
from orders_dask.checks.usual import Figure, distance, is_near

Severity: TypeAlias = Literal["off", "warn", "hold"]
"""What follows from a finding: nothing, a warning, or that the load is held."""


@dataclass(frozen=True)
class Finding:
    """What a check found in a load.

    Attributes
    ----------
    check_name
        Name of the check.
    severity
        ``warn``, or ``hold``: then the load is not published until somebody accepts it.
    message
        One sentence for people, with the figures. It holds no personal data.
    """

    check_name: str
    severity: Severity
    message: str


Found: TypeAlias = Iterator[tuple[Severity, str]]
"""What a check finds: the severity that it asks for, and a message."""


@dataclass(frozen=True)
class EarlierDay:
    """An earlier run date that is published.

    Attributes
    ----------
    run_date, measures
        The date and the measures of its load.
    accepted
        Names of the checks that had held the load before somebody accepted it.
    """

    run_date: date
    measures: Measures
    accepted: Collection[str] = ()


@dataclass(frozen=True)
class Comparison:
    """A load, and what its checks compare it with.

    Attributes
    ----------
    run_date, load
        Its run date and measures.
    published
        Measures of the load that readers see for the run date now; None if there is none.
    earlier
        The days of the eight weeks before the run date.
    check_name
        Name of the check that compares.
    reject_reason
        Why most of the rejected records were rejected, for people; empty if none was.
    """

    run_date: date
    load: Measures
    published: Measures | None = None
    earlier: Sequence[EarlierDay] = ()
    check_name: str = ""
    reject_reason: str = ""

    @property
    def weekday(self) -> Sequence[EarlierDay]:
        """The earlier days of the same weekday."""
        return [day for day in self.earlier if day.run_date.weekday() == self.run_date.weekday()]


def unusual(
    comparison: Comparison,
    what: str,
    of_day: Callable[[Measures], Figure | None],
    threshold: float,
    *,
    below: Severity | None = "hold",
    above: Severity | None = "hold",
) -> Found:
    """Yield whether a figure is further from the usual than the threshold, or than half of it.

    Parameters
    ----------
    comparison
        The load and what it is compared with.
    what
        The figure, for people.
    of_day
        Returns the figure of a day; None if the day has too few rows for it.
    threshold
        Robust z-score (:func:`orders_dask.checks.usual.distance`).
    below, above
        Severity of a figure that is less, and more, than usual; None if that is good.
    """
    figure = of_day(comparison.load)
    days = [(day, of_day(day.measures)) for day in comparison.weekday]
    usual = [each for _, each in days if each]
    if figure is None or not usual:
        return
    score = distance(figure, usual)
    severity = above if score > 0 else below
    # What is only warned of, such as a sales day, is common: it has to be as far.
    if severity is None or abs(score) < (threshold / 2 if severity == "hold" else threshold):
        return
    accepted = [
        each
        for day in comparison.earlier
        if comparison.check_name in day.accepted and (each := of_day(day.measures))
    ]
    if any(is_near(figure, each) for each in accepted):
        return
    shown = "{:.1%}" if figure.is_share else "{:,.0f}" if figure.value >= 100 else "{:,.2f}"
    least, most = (shown.format(f(each.value for each in usual)) for f in (min, max))
    yield (
        severity if abs(score) >= threshold else "warn",
        f"{what}: {shown.format(figure.value)}, where the last {len(usual)} "
        f"{comparison.run_date:%A}s had {least} to {most}",
    )
