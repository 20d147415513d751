"""Charts of the report: whatever the figures are, they lie within their axes."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from orders_dask.reporting.charts import HEIGHT, WIDTH, line_chart, short_number, stacked_bars

FIGURES = st.lists(
    st.none() | st.floats(min_value=0, max_value=1e12, allow_subnormal=False),
    min_size=1,
    max_size=70,
)


def days(number: int) -> list[date]:
    """Return consecutive days."""
    return [date(2026, 1, 1) + timedelta(days=n) for n in range(number)]


@given(FIGURES, st.booleans())
def test_points_lie_within_the_axes_and_the_higher_figure_is_higher(
    figures: list[float | None], is_share: bool
) -> None:
    band = [None if value is None else (value / 2, value) for value in figures]
    texts = [str(value) for value in figures]
    chart = line_chart(days(len(figures)), figures, band, texts, is_share=is_share)
    assert [point.text for point in chart.points] == [str(v) for v in figures if v is not None]
    assert all(0 <= p.x <= WIDTH and 0 <= p.y <= HEIGHT for p in chart.points)
    lowest, highest = chart.y_ticks[0].at, chart.y_ticks[-1].at
    assert all(highest - 0.1 <= point.y <= lowest for point in chart.points)
    known = [value for value in figures if value is not None]
    by_figure = [p.y for _, p in sorted(zip(known, chart.points, strict=True), key=lambda e: e[0])]
    assert by_figure == sorted(by_figure, reverse=True)
    assert all(0 <= tick.at <= WIDTH for tick in chart.x_ticks)


def test_a_day_without_a_figure_interrupts_line_and_band() -> None:
    figures = [1.0, 2.0, None, 3.0]
    band = [None if value is None else (0.0, value) for value in figures]
    chart = line_chart(days(4), figures, band, [""] * 4)
    assert chart.line.count("M") == chart.band.count("M") == chart.band.count("Z") == 2


def test_bars_of_a_day_stand_on_each_other() -> None:
    stacks = [{"decode": 1.0, "load": 3.0}, {}]
    texts = [{"decode": "a", "load": "b"}, {}]
    decode, load = stacked_bars(days(2), stacks, texts).bars
    assert load.y + load.height == decode.y
    assert (load.height, load.name, load.text) == (3 * decode.height, "load", "b")


def test_numbers_of_an_axis_are_short() -> None:
    assert [short_number(n) for n in (0, 0.025, 12, 1200, 2_500_000, 3e9)] == [
        "0",
        "0.025",
        "12",
        "1.2k",
        "2.5M",
        "3G",
    ]
