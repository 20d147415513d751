"""Timestamps are parsed by column, in agreement with Python's own calendar and zones."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orders_dask.extract.decode.timestamps import local_days, parse_timestamps

ZONES = [
    "UTC",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Africa/Casablanca",
]
MOMENTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31))
OFFSETS = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(
    lambda minutes: timezone(timedelta(minutes=minutes))
)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(MOMENTS, OFFSETS, st.sampled_from(["seconds", "minutes", "microseconds"])),
        max_size=20,
    )
)
def test_timestamps_with_an_offset(moments: list[tuple[datetime, timezone, str]]) -> None:
    local = [moment.replace(tzinfo=offset) for moment, offset, _ in moments]
    texts = [
        moment.isoformat(timespec=spec) for moment, (_, _, spec) in zip(local, moments, strict=True)
    ]
    timestamps = parse_timestamps(pa.array(texts, pa.string()), ZoneInfo("UTC"))
    assert timestamps.utc.to_pylist() == [datetime.fromisoformat(text) for text in texts]
    assert not timestamps.bad.any()
    assert not timestamps.no_offset.any()
    days, minutes = local_days(timestamps, ZoneInfo("UTC"))
    assert days.to_pylist() == [moment.date() for moment, _, _ in moments]
    assert minutes.to_pylist() == [
        (moment.utcoffset() or timedelta()) // timedelta(minutes=1) for moment in local
    ]


@pytest.mark.parametrize("name", ZONES)
@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.one_of(MOMENTS, st.datetimes(datetime(2010, 1, 1), datetime(2045, 1, 1))), max_size=20
    )
)
def test_timestamps_without_an_offset_are_the_shops(name: str, moments: list[datetime]) -> None:
    zone = ZoneInfo(name)
    texts = pa.array([moment.isoformat(" ") for moment in moments], pa.string())
    timestamps = parse_timestamps(texts, zone)
    # A text has no fold: an ambiguous or skipped hour has the offset before the change.
    expected = [moment.replace(tzinfo=zone, fold=0).astimezone(UTC) for moment in moments]
    assert timestamps.utc.to_pylist() == expected
    assert timestamps.no_offset.all()
    days, minutes = local_days(timestamps, zone)
    assert days.to_pylist() == [moment.astimezone(zone).date() for moment in expected]
    assert minutes.to_pylist() == [
        (moment.astimezone(zone).utcoffset() or timedelta()) // timedelta(minutes=1)
        for moment in expected
    ]


def test_every_minute_around_a_change_of_the_zone() -> None:
    zone = ZoneInfo("America/New_York")
    begins = (datetime(2025, 3, 9), datetime(2025, 11, 2))
    moments = [begin + timedelta(minutes=n) for begin in begins for n in range(300)]
    timestamps = parse_timestamps(
        pa.array([f"{moment:%Y-%m-%dT%H:%M}" for moment in moments]), zone
    )
    assert timestamps.utc.to_pylist() == [
        moment.replace(tzinfo=zone).astimezone(UTC) for moment in moments
    ]


def test_slices_and_nulls_keep_their_positions() -> None:
    texts = pa.array([None, "x", None, "2020-01-01T00:00:00+01:00", "2020-01-01T00:00Z", None, ""])[
        1:
    ]
    timestamps = parse_timestamps(texts, ZoneInfo("UTC"))
    moments = [datetime(2019, 12, 31, 23, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)]
    assert timestamps.utc.to_pylist() == [None, None, *moments, None, None]
    assert timestamps.bad.tolist() == [True, False, False, False, False, True]
    assert timestamps.utc_offset.tolist() == [0, 0, 3600, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "zone", "day"),
    [
        ("0001-01-01T00:00:00Z", "Asia/Tokyo", date(1, 1, 1)),
        ("0001-01-01T00:00:00Z", "America/New_York", None),
        ("9999-12-31T23:59:59Z", "America/New_York", date(9999, 12, 31)),
        ("9999-12-31T23:59:59Z", "Asia/Tokyo", None),
    ],
)
def test_a_local_day_beyond_the_calendar_is_null(text: str, zone: str, day: date | None) -> None:
    days, minutes = local_days(parse_timestamps(pa.array([text]), ZoneInfo(zone)), ZoneInfo(zone))
    assert days.to_pylist() == [day]
    assert minutes.is_null().to_pylist() == [day is None]
