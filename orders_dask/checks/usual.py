"""How far a figure is from what is usual: a robust z-score against earlier days.

A count or amount is compared by its logarithm, for growth and noise are proportional; a share by
the arcsine of its root, whose sampling noise is the same for every share. The centre is the median
and the spread the MAD (median absolute deviation), so a sales day or a fault among the earlier days
moves neither. See docs/checks.md#what-is-usual.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

MIN_DAYS: Final = 4
"""Earlier days of the weekday that are needed: with fewer, no figure is unusual."""

MAD_TO_DEVIATION: Final = 1.4826
"""A normal distribution's standard deviation, in MADs."""

LOG_SPREAD: Final = 0.15
"""Least spread of a logarithm: days whose figures happen to be alike are no promise."""

SHARE_SPREAD: Final = 0.02
"""Least spread of an arcsine of a root of a share: near 0, a share of 0.04%."""


@dataclass(frozen=True)
class Figure:
    """A figure of a day, on a scale where its noise is about the same whatever it is.

    Attributes
    ----------
    value
        The figure as people read it.
    scaled
        The figure on the scale.
    noise
        Standard deviation that chance gives it there, for the number of orders or rows behind it.
    is_share
        Whether it is a share of rows. Then few rows today are noise. Few orders are what a count
        is to tell.
    """

    value: float
    scaled: float
    noise: float
    is_share: bool = False


def amount(value: float, orders: int) -> Figure:
    """Return a count or amount that a number of orders make up; a negative one counts as 0."""
    value_of_order = max(value, 0.0) / orders if orders else 1.0
    # Half an order more, so that a day without one is on the scale.
    scaled = math.log(max(value, 0.0) + max(value_of_order / 2, 0.005))
    return Figure(value, scaled, 1 / math.sqrt(orders + 0.5))


def share(part: int, whole: int) -> Figure:
    """Return a share of some rows."""
    value = part / whole if whole else 0.0
    return Figure(value, math.asin(math.sqrt(value)), 0.5 / math.sqrt(whole + 0.5), is_share=True)


def distance(figure: Figure, earlier: Sequence[Figure]) -> float:
    """Return the robust z-score of a figure against earlier days, signed; 0 with too few of them.

    Parameters
    ----------
    figure
        The figure of the day.
    earlier
        The same figure of earlier days of the same weekday.
    """
    if len(earlier) < MIN_DAYS:
        return 0.0
    scaled = [each.scaled for each in earlier]
    centre = median(scaled)
    spread = MAD_TO_DEVIATION * median(abs(each - centre) for each in scaled)
    noise = median(each.noise for each in earlier)
    if figure.is_share:
        deviation = math.hypot(spread, noise, SHARE_SPREAD, figure.noise)
    else:
        deviation = math.hypot(spread, noise, LOG_SPREAD)
    return (figure.scaled - centre) / deviation


def is_near(figure: Figure, other: Figure) -> bool:
    """Return whether two figures are no further apart than days that happen to be alike."""
    spread = SHARE_SPREAD if figure.is_share else LOG_SPREAD
    return abs(figure.scaled - other.scaled) <= 2 * spread
