"""Instants as text to instants in UTC, a column at a time.

The grammar is the contract's: ISO 8601's date and time to the minute or finer, with or without an
offset, a little wider where real dumps are (https://www.rfc-editor.org/rfc/rfc3339#section-5.6 is
the core of it).
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

# RE2: \d is ASCII, $ only the end of the text. How far each number goes is checked after it.
_GRAMMAR: Final = (
    r"^(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)[Tt ]"
    r"(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d+))?)?"
    r"(?: ?(?:(?P<utc>Z)|(?P<sign>[+-])(?P<hours>\d\d)(?::?(?P<minutes>\d\d))?))?$"
)

_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
_EPOCH: Final = datetime(1970, 1, 1)
_FIRST, _LAST = (
    (moment - _EPOCH) // timedelta(microseconds=1) for moment in (datetime.min, datetime.max)
)


class Timestamps(NamedTuple):
    """A column of instants.

    Attributes
    ----------
    utc
        ``timestamp[us, UTC]``; null where the text is null or bad.
    bad
        Where the text is no instant of the contract.
    no_offset
        Where it had no offset, so that the shop's zone was taken.
    utc_offset
        Seconds that the local time as written is ahead of UTC; 0 where `local_unknown`.
    local_unknown
        Where the text names no local time: ``Z``, ``-00:00``, no offset, bad and null.
    """

    utc: pa.TimestampArray
    bad: Flags
    no_offset: Flags
    utc_offset: Ints
    local_unknown: Flags


def parse_timestamps(texts: pa.StringArray, zone: ZoneInfo) -> Timestamps:
    """Read a column of instants.

    Digits past microseconds are cut. Without an offset a time is the shop's: a repeated one the
    earlier, a skipped one with the offset before the gap. An instant outside years 1..9999 in UTC
    is bad.
    """
    written, others = _fast_path(texts)
    if others.size:
        written = _concat(written, _slow_path(texts, others))
    year, month, day, hour, minute, second, hours, minutes = written.fields.T
    days, on_calendar = _days(year, month, day)
    local = days * _DAY + ((hour * 60 + minute) * 60 + second) * _SECOND + written.fraction
    offset = written.sign * (hours * 60 + minutes) * 60
    without = ~written.zoned
    if without.any():
        offset[without] = _per_day(local[without], lambda moment: _utc_offset(moment, zone))
    moment = local - offset * _SECOND

    good = on_calendar & (written.fields >= _LEAST).all(1) & (written.fields <= _MOST).all(1)
    good &= (moment >= _FIRST) & (moment <= _LAST)
    said = good & (written.sign != 0) & ~((written.sign < 0) & (offset == 0))

    def column(values: NDArray[Any]) -> NDArray[Any]:
        of_all = np.zeros(len(texts), values.dtype)
        of_all[written.rows] = values
        return of_all

    read = column(good)
    return Timestamps(
        utc=pa.array(column(moment), mask=~read).cast(TIMESTAMP_TYPE),
        bad=_flags(texts.is_valid()) & ~read,
        no_offset=column(without & good),
        utc_offset=column(np.where(said, offset, 0)),
        local_unknown=~column(said),
    )


class _Parsed(NamedTuple):
    """What texts say: the row of each, then year to second and the offset's hours and minutes, and what isn't a field.

    `sign` is that of a numeric offset, else 0; `zoned` tells whether there is any offset, ``Z``
    included.
    """

    rows: Ints
    fields: Ints
    fraction: Ints
    sign: Ints
    zoned: Flags


_FIELDS: Final = ("year", "month", "day", "hour", "minute", "second", "hours", "minutes")
_LEAST: Final = (0, 1, 1, 0, 0, 0, 0, 0)
_MOST: Final = (9999, 12, 31, 23, 59, 59, 23, 59)

_FAST_LAYOUT: Final = np.frombuffer(b"0000-00-00T00:00:00+00:00", np.uint8)
_DIGITS: Final = np.equal(_FAST_LAYOUT, ord("0"))
_SIGN: Final = 19
# From the digits of the usual form to its fields.
_WEIGHTS: Final = np.zeros((len(_FAST_LAYOUT), len(_FIELDS)))
for _field, _begin, _end in zip(
    range(8), (0, 5, 8, 11, 14, 17, 20, 23), (4, 7, 10, 13, 16, 19, 22, 25), strict=True
):
    _WEIGHTS[_begin:_end, _field] = 10.0 ** np.arange(_end - _begin)[::-1]


def _fast_path(texts: pa.StringArray) -> tuple[_Parsed, Ints]:
    """Read the texts of the form that instants nearly always have; also give the rows of the others.

    As a matrix of bytes, at a tenth of what the grammar costs.
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
    written = _Parsed(
        rows[fits],
        (digits @ _WEIGHTS).astype(np.int64),
        np.zeros(len(data), np.int64),
        np.where(data[:, _SIGN] == ord("-"), -1, 1),
        np.ones(len(data), bool),
    )
    return written, np.flatnonzero(others)


def _slow_path(texts: pa.StringArray, rows: Ints) -> _Parsed:
    """Read the texts of some rows by the grammar."""
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
        (sign != 0) | _flags(pc.equal(parts.field("utc"), "Z")),
    )


def local_days(timestamps: Timestamps, zone: ZoneInfo) -> tuple[pa.Date32Array, pa.Int32Array]:
    """Give the local day of each instant, and the minutes that its local time is ahead of UTC.

    As written; in the shop's zone where the text names no local time. Null where the local day
    would lie outside years 1..9999, as it can for an instant of the calendar's first or last day.
    """
    present = _flags(timestamps.utc.is_valid())
    utc = timestamps.utc.cast(pa.int64()).fill_null(0).to_numpy()
    ahead = timestamps.utc_offset.copy()
    asked = timestamps.local_unknown & present
    if asked.any():
        ahead[asked] = _per_day(
            utc[asked],
            lambda moment: _utc_offset(moment.replace(tzinfo=UTC).astimezone(zone), zone),
        )
    local = utc + ahead * _SECOND
    known = present & (local >= _FIRST) & (local <= _LAST)  # Python and pandas hold no other day
    days = (local // _DAY).astype(np.int32)
    minutes = (ahead // 60).astype(np.int32)
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
    """Read a group of the grammar; 0 where it is absent."""
    texts = parts.field(name)
    return _ints(pc.if_else(pc.equal(texts, ""), "0", texts))


def _days(year: Ints, month: Ints, day: Ints) -> tuple[Ints, Flags]:
    """Give the days since 1970-01-01, and whether the month has such a day."""
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    first = months.astype("datetime64[D]").astype(np.int64)
    after = (months + np.timedelta64(1, "M")).astype("datetime64[D]").astype(np.int64)
    days = first + day - 1
    return days, days < after


def _utc_offset(moment: datetime, zone: ZoneInfo) -> int:
    """Give the seconds that the zone is ahead at a local time: of two, or across a gap, those before the change."""
    ahead = moment.replace(tzinfo=zone, fold=moment.fold).utcoffset()
    return 0 if ahead is None else ahead // timedelta(seconds=1)


def _per_day(moments: Ints, offset: Callable[[datetime], int]) -> Ints:
    """Ask for the offset at each moment (microseconds since 1970), once a day where it doesn't change on that day.

    From Python's own zone data: Arrow's stops at 2037 where the machine's is written in the compact
    form.
    """

    def ask(moment: int) -> int:
        # A zone can't be asked within a day of the calendar's ends, where no offset ever changed.
        return offset(
            _EPOCH + timedelta(microseconds=min(max(moment, _FIRST + _DAY), _LAST - _DAY))
        )

    days, which = np.unique(moments // _DAY, return_inverse=True)
    begin = np.array([ask(int(day) * _DAY) for day in days], np.int64)
    end = np.array([ask((int(day) + 1) * _DAY - 1) for day in days], np.int64)
    offsets = begin[which]
    changing = np.flatnonzero((begin != end)[which])
    offsets[changing] = [ask(int(moment)) for moment in moments[changing]]
    return offsets
