"""Geometry of the charts of a report: pure numbers in, coordinates of SVG out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Final

WIDTH: Final = 420
HEIGHT: Final = 160
"""Size of a chart in its own units: letters of 11 stay readable on a phone."""

LEFT, RIGHT, TOP, BOTTOM = 52, 8, 10, 22
"""Margins for the labels of the axes."""


@dataclass(frozen=True)
class Tick:
    """A label of an axis, and where it stands."""

    at: float
    label: str


@dataclass(frozen=True)
class Point:
    """A value of a day, where it stands, and its text for people."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class LineChart:
    """A figure by day, with the band of what was usual.

    Attributes
    ----------
    line, band
        Paths of SVG; empty without values.
    points
        A point for each value; the last one is the day that the report is about.
    x_ticks, y_ticks
        Labels of the axes.
    """

    line: str
    band: str
    points: Sequence[Point]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]


@dataclass(frozen=True)
class Bar:
    """A rectangle of a bar chart, with the text for people."""

    x: float
    y: float
    width: float
    height: float
    name: str
    text: str


@dataclass(frozen=True)
class BarChart:
    """Stacked bars by day, with labels of the axes."""

    bars: Sequence[Bar]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]


def line_chart(
    days: Sequence[date],
    values: Sequence[float | None],
    band: Sequence[tuple[float, float] | None],
    texts: Sequence[str],
    *,
    is_share: bool = False,
) -> LineChart:
    """Return the chart of a figure by day; the vertical axis begins at 0.

    Parameters
    ----------
    days
        The days, in order.
    values
        The figure of each day; None for none, which interrupts the line.
    band
        Least and greatest value that was usual on each day; None if that isn't known.
    texts
        Text for people of each day's value.
    is_share
        Whether the figure is a share, whose axis has percent.
    """
    known_values = [value for value in values if value is not None]
    edges_of_bands = [edge for each in band if each for edge in each]
    most = max([*known_values, *edges_of_bands], default=0.0)
    scale = _y_scale(most, is_share=is_share)
    x = [_x(index, len(days)) for index in range(len(days))]
    points = [
        Point(at, scale.y(value), text)
        for at, value, text in zip(x, values, texts, strict=True)
        if value is not None
    ]
    line = _runs([None if v is None else (at, scale.y(v)) for at, v in zip(x, values, strict=True)])
    bands = []
    for known, group in groupby(zip(x, band, strict=True), key=lambda each: each[1] is not None):
        if known:
            edges = [(at, *each) for at, each in group if each]
            upper = [(at, scale.y(most)) for at, _, most in edges]
            lower = [(at, scale.y(least)) for at, least, _ in reversed(edges)]
            bands.append(_path([*upper, *lower]) + "Z")
    return LineChart(line, "".join(bands), points, x_ticks(days), scale.ticks)


def stacked_bars(
    days: Sequence[date], stacks: Sequence[Mapping[str, float]], texts: Sequence[Mapping[str, str]]
) -> BarChart:
    """Return stacked bars by day.

    Parameters
    ----------
    days
        The days, in order.
    stacks
        Values of each day by name, from the bottom up.
    texts
        Text for people of each of these values.
    """
    scale = _y_scale(max((sum(stack.values()) for stack in stacks), default=0.0))
    width = max((WIDTH - LEFT - RIGHT) / max(len(days), 1) * 0.8, 1.0)
    bars = []
    for index, (stack, words) in enumerate(zip(stacks, texts, strict=True)):
        below = 0.0
        for name, value in stack.items():
            top, bottom = scale.y(below + value), scale.y(below)
            left = _x(index, len(days)) - width / 2
            bars.append(Bar(left, top, width, bottom - top, name, words[name]))
            below += value
    return BarChart(bars, x_ticks(days), scale.ticks)


def x_ticks(days: Sequence[date]) -> list[Tick]:
    """Return labels for at most five of the days, the first and the last among them."""
    steps = min(len(days) - 1, 4)
    shares = [n / steps for n in range(steps + 1)] if steps else [0.0]
    indices = sorted({round(share * (len(days) - 1)) for share in shares})
    return [Tick(_x(index, len(days)), f"{days[index]:%d %b}") for index in indices]


@dataclass(frozen=True)
class _Scale:
    top: float
    ticks: Sequence[Tick]

    def y(self, value: float) -> float:
        height = (HEIGHT - TOP - BOTTOM) * max(value, 0.0) / self.top
        return round(HEIGHT - BOTTOM - height, 1)


def _y_scale(most: float, *, is_share: bool = False) -> _Scale:
    """Return an axis from 0 to a round number with a few round labels."""
    if most <= 0:
        return _Scale(1.0, [Tick(HEIGHT - BOTTOM, "0")])
    magnitude = 10 ** math.floor(math.log10(most / 3))
    step = next(each * magnitude for each in (1, 2, 2.5, 5, 10) if each * magnitude * 3 >= most)
    numbers = [n * step for n in range(math.ceil(most / step) + 1)]
    scale = _Scale(numbers[-1], [])
    label = short_percent if is_share else short_number
    return _Scale(scale.top, [Tick(scale.y(number), label(number)) for number in numbers])


def short_percent(share: float) -> str:
    """Return a share for an axis: 0.025 is ``2.5%``."""
    return f"{100 * share:.3g}%"


def short_number(value: float) -> str:
    """Return a number for an axis: 1200 is ``1.2k``."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if round(value, 6) >= limit:
            return f"{round(value / limit, 3):g}{unit}"
    return f"{value:.3g}"


def _x(index: int, days: int) -> float:
    if days == 1:
        return (LEFT + WIDTH - RIGHT) / 2
    return round(LEFT + 6 + (WIDTH - LEFT - RIGHT - 12) * index / (days - 1), 1)


def _runs(points: Sequence[tuple[float, float] | None]) -> str:
    """Return the path through points, interrupted where there is none."""
    parts = groupby(points, key=lambda point: point is not None)
    return "".join(_path([p for p in run if p]) for known, run in parts if known)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
