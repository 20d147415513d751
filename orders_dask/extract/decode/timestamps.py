"""Parse timestamps from text to UTC, a column at a time.

The grammar is in docs/contract.md#timestamps: ISO 8601 date and time to the minute or finer, with
or without an offset. Its core is https://www.rfc-editor.org/rfc/rfc3339#section-5.6.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orders_dask.contract.arrow import TIMESTAMP_TYPE

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

# RE2: \d is ASCII, and $ is only the end of the text. The range of each number is checked later.
_GRAMMAR: Final = (
    r"^(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)[Tt ]"
    r"(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d+))?)?"
    r"(?: ?(?:(?P<utc>Z|UTC)|(?P<sign>[+-])(?P<hours>\d\d)(?::?(?P<minutes>\d\d))?))?$"
)

_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
_EPOCH: Final = datetime(1970, 1, 1)
_FIRST, _LAST = (
    (moment - _EPOCH) // timedelta(microseconds=1) for moment in (datetime.min, datetime.max)
)


class Timestamps(NamedTuple):
    """A column of timestamps; all arrays have one value a row.

    Attributes
    ----------
    utc
        ``timestamp[us, UTC]``; null if the text is null or bad.
    bad
        Whether the text is not a timestamp of the contract.
    no_offset
        Whether the text has no offset, so that the shop's time zone was used.
    zone_name
        Whether the text has ``UTC`` in place of an offset.
    utc_offset
        The offset that the text names, in seconds east of UTC; 0 if `local_unknown`.
    local_unknown
        Whether the text names no local time: ``Z``, ``UTC``, ``-00:00``, no offset, bad or null.
    """

    utc: pa.TimestampArray
    bad: Flags
    no_offset: Flags
    zone_name: Flags
    utc_offset: Ints
    local_unknown: Flags


def parse_timestamps(texts: pa.StringArray, zone: ZoneInfo) -> Timestamps:
    """Parse a column of timestamps.

    Digits past microseconds are cut. A time without an offset is in the shop's time zone. If DST
    makes it ambiguous or skips it, the offset before the change is used. A timestamp outside of the
    years 1..9999 in UTC is bad.

    Parameters
    ----------
    texts
        The texts as in the dump.
    zone
        The shop's time zone.
    """
    parsed, others = _fast_path(texts)
    if others.size:
        parsed = _concat(parsed, _slow_path(texts, others))
    year, month, day, hour, minute, second, hours, minutes = parsed.fields.T
    days, on_calendar = _days(year, month, day)
    local = days * _DAY + ((hour * 60 + minute) * 60 + second) * _SECOND + parsed.fraction
    offset = parsed.sign * (hours * 60 + minutes) * 60
    no_offset = ~parsed.zoned
    if no_offset.any():
        offset[no_offset] = _per_day(local[no_offset], lambda moment: _utc_offset(moment, zone))
    moment = local - offset * _SECOND

    good = on_calendar & (parsed.fields >= _LEAST).all(1) & (parsed.fields <= _MOST).all(1)
    good &= (moment >= _FIRST) & (moment <= _LAST)
    has_local = good & (parsed.sign != 0) & ~((parsed.sign < 0) & (offset == 0))

    def column(values: NDArray[Any]) -> NDArray[Any]:
        rows = np.zeros(len(texts), values.dtype)
        rows[parsed.rows] = values
        return rows

    valid = column(good)
    return Timestamps(
        utc=pa.array(column(moment), mask=~valid).cast(TIMESTAMP_TYPE),
        bad=_flags(texts.is_valid()) & ~valid,
        no_offset=column(no_offset & good),
        zone_name=column(parsed.zone_name & good),
        utc_offset=column(np.where(has_local, offset, 0)),
        local_unknown=~column(has_local),
    )


def parse_days(texts: pa.StringArray, zone: ZoneInfo) -> tuple[pa.Date32Array, Flags]:
    """Parse a column of days: ``2026-10-01``, or the day as written of a timestamp.

    Returns
    -------
    tuple
        The days; null if the text is null or bad. And whether the text is no day of the contract.
    """
    is_day = pc.match_substring_regex(texts, r"^\d{4}-\d\d-\d\d$")
    moments = pc.if_else(is_day, pc.binary_join_element_wise(texts, "00:00Z", "T"), texts)
    timestamps = parse_timestamps(moments, zone)
    # Not local_days: in the shop's zone, midnight in UTC may be the day before.
    named = pc.if_else(is_day, timestamps.utc.cast(pa.date32()), local_days(timestamps, zone)[0])
    return named, _flags(texts.is_valid()) & _flags(named.is_null())


class _Parsed(NamedTuple):
    """The fields of parsed texts, one row a text.

    Attributes
    ----------
    rows
        The row of each text in its column.
    fields
        Shape (texts, 8), in the order of :data:`_FIELDS`.
    fraction
        Microseconds.
    sign
        1 or -1, the sign of a numeric offset, else 0.
    zoned
        Whether there is an offset, ``Z`` and ``UTC`` included.
    zone_name
        Whether it is ``UTC``.
    """

    rows: Ints
    fields: Ints
    fraction: Ints
    sign: Ints
    zoned: Flags
    zone_name: Flags


_FIELDS: Final = ("year", "month", "day", "hour", "minute", "second", "hours", "minutes")
_LEAST: Final = (0, 1, 1, 0, 0, 0, 0, 0)
_MOST: Final = (9999, 12, 31, 23, 59, 59, 23, 59)

_FAST_LAYOUT: Final = np.frombuffer(b"0000-00-00T00:00:00+00:00", np.uint8)
_DIGITS: Final = np.equal(_FAST_LAYOUT, ord("0"))
_SIGN: Final = 19
# Multiplied with the digits of the common form, these give its fields.
_WEIGHTS: Final = np.zeros((len(_FAST_LAYOUT), len(_FIELDS)))
for _field, _begin, _end in zip(
    range(8), (0, 5, 8, 11, 14, 17, 20, 23), (4, 7, 10, 13, 16, 19, 22, 25), strict=True
):
    _WEIGHTS[_begin:_end, _field] = 10.0 ** np.arange(_end - _begin)[::-1]


def _fast_path(texts: pa.StringArray) -> tuple[_Parsed, Ints]:
    """Parse texts of the most common form; return also the rows of all others.

    They are parsed as a matrix of bytes, which takes a tenth of the time of the grammar.
    """
    lengths = pc.binary_length(texts).fill_null(0).to_numpy()
    rows = np.flatnonzero(lengths == len(_FAST_LAYOUT))
    chosen = texts.take(pa.array(rows))
    data = np.frombuffer(chosen.buffers()[2] or b"", np.uint8)[: len(rows) * len(_FAST_LAYOUT)]
    data = data.reshape(-1, len(_FAST_LAYOUT))
    digits = data - np.uint8(ord("0"))  # anything below "0" wraps around to above 9
    fits = (digits[:, _DIGITS] <= 9).all(1) & np.isin(data[:, _SIGN], (ord("+"), ord("-")))
    fixed = ~_DIGITS
    fixed[_SIGN] = False
    fits &= (data[:, fixed] == _FAST_LAYOUT[fixed]).all(1)
    others = lengths > 0
    others[rows[fits]] = False
    data, digits = data[fits], digits[fits]
    parsed = _Parsed(
        rows[fits],
        (digits @ _WEIGHTS).astype(np.int64),
        np.zeros(len(data), np.int64),
        np.where(data[:, _SIGN] == ord("-"), -1, 1),
        np.ones(len(data), bool),
        np.zeros(len(data), bool),
    )
    return parsed, np.flatnonzero(others)


def _slow_path(texts: pa.StringArray, rows: Ints) -> _Parsed:
    """Parse the texts of some rows by the grammar; rows that don't match are left out."""
    parts = pc.extract_regex(texts.take(pa.array(rows)), _GRAMMAR)
    rows = rows[_flags(parts.is_valid())]
    parts = parts.drop_null()
    digits = pc.utf8_slice_codeunits(parts.field("fraction"), 0, 6)
    sign = _flags(pc.equal(parts.field("sign"), "+")) * 1 - _flags(
        pc.equal(parts.field("sign"), "-")
    )
    return _Parsed(
        rows,
        np.column_stack([_numbers(parts, name) for name in _FIELDS]),
        _ints(pc.utf8_rpad(digits, 6, "0")),
        sign,
        (sign != 0) | _flags(pc.not_equal(parts.field("utc"), "")),
        _flags(pc.equal(parts.field("utc"), "UTC")),
    )


def local_days(timestamps: Timestamps, zone: ZoneInfo) -> tuple[pa.Date32Array, pa.Int32Array]:
    """Return the local date of each timestamp, and the local UTC offset in minutes.

    The local time is that of the text, or that of the shop's time zone if the text names none. The
    date is null outside of the years 1..9999, as it may be at both ends of the calendar.
    """
    present = _flags(timestamps.utc.is_valid())
    utc = timestamps.utc.cast(pa.int64()).fill_null(0).to_numpy()
    offset = timestamps.utc_offset.copy()
    in_shop_zone = timestamps.local_unknown & present
    if in_shop_zone.any():
        offset[in_shop_zone] = _per_day(
            utc[in_shop_zone],
            lambda moment: _utc_offset(moment.replace(tzinfo=UTC).astimezone(zone), zone),
        )
    local = utc + offset * _SECOND
    known = present & (local >= _FIRST) & (local <= _LAST)  # Python has no other dates
    days = (local // _DAY).astype(np.int32)
    minutes = (offset // 60).astype(np.int32)
    return pa.array(days, mask=~known).cast(pa.date32()), pa.array(minutes, mask=~known)


def _concat(one: _Parsed, other: _Parsed) -> _Parsed:
    columns: Any = map(np.concatenate, zip(one, other, strict=True))
    return _Parsed(*columns)


def _flags(mask: pa.BooleanArray) -> Flags:
    flags: Flags = mask.to_numpy(zero_copy_only=False)
    return flags


def _ints(texts: pa.StringArray) -> Ints:
    numbers: Ints = texts.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return numbers


def _numbers(parts: pa.StructArray, name: str) -> Ints:
    """Return the numbers of a group of the grammar; 0 where it is absent."""
    texts = parts.field(name)
    return _ints(pc.if_else(pc.equal(texts, ""), "0", texts))


def _days(year: Ints, month: Ints, day: Ints) -> tuple[Ints, Flags]:
    """Return the days since 1970-01-01, and whether the month has such a day."""
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    first = months.astype("datetime64[D]").astype(np.int64)
    after = (months + np.timedelta64(1, "M")).astype("datetime64[D]").astype(np.int64)
    days = first + day - 1
    return days, days < after


def _utc_offset(moment: datetime, zone: ZoneInfo) -> int:
    """Return the UTC offset in seconds at a local time.

    For an ambiguous or skipped local time (DST): the offset before the change, or the one after it
    if `moment.fold` is set.
    """
    offset = moment.replace(tzinfo=zone, fold=moment.fold).utcoffset()
    return 0 if offset is None else offset // timedelta(seconds=1)


def _per_day(moments: Ints, offset: Callable[[datetime], int]) -> Ints:
    """Return the offset at each moment, computed once a day if it doesn't change on that day.

    Python's own zone data is used: Arrow's stops at 2037 on machines with compact zone files.

    Parameters
    ----------
    moments
        Microseconds since 1970.
    offset
        Returns the offset in seconds at a moment.
    """

    def offset_at(moment: int) -> int:
        # Zones fail within a day of the calendar's ends, where no offset ever changed.
        return offset(
            _EPOCH + timedelta(microseconds=min(max(moment, _FIRST + _DAY), _LAST - _DAY))
        )

    days, day_index = np.unique(moments // _DAY, return_inverse=True)
    begin = np.array([offset_at(int(day) * _DAY) for day in days], np.int64)
    end = np.array([offset_at((int(day) + 1) * _DAY - 1) for day in days], np.int64)
    offsets = begin[day_index]
    changing = np.flatnonzero((begin != end)[day_index])
    offsets[changing] = [offset_at(int(moment)) for moment in moments[changing]]
    return offsets
