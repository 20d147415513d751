"""Draw keys of orders at positions of a dump, and order their versions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from orders_dask.contract.arrow import FILE, ORDER_ROW, POSITION, key_schema
from orders_dask.transform.resolve import PART

Json = dict[str, Any]

NOON = datetime(2017, 11, 4, 12, tzinfo=UTC)

KEYS = pa.schema([*key_schema(), pa.field(PART, pa.int64()), pa.field(ORDER_ROW, pa.int64())])


# Few ids, versions, files and positions, so that orders tie in all of them but the last.
VERSIONS = st.sampled_from(
    [None, NOON, NOON + timedelta(microseconds=1), datetime.min.replace(tzinfo=UTC)]
)

POSITIONS = st.tuples(st.integers(0, 3), st.integers(1, 9))

IDS = st.sampled_from([1, 2, 2**63 - 1])


def version_key(record: Json) -> tuple[bool, datetime, int, int]:
    """Return the sort key of versions: (version, file, position), a null version first.

    See docs/contract.md#versions.
    """
    version = record["version_at"]
    return (version is not None, version or NOON, record[FILE], record[POSITION])


@st.composite
def keys(draw: st.DrawFn) -> list[Json]:
    positions = draw(st.lists(POSITIONS, unique=True, max_size=12))
    return [
        {
            "order_id": draw(IDS),
            "version_at": draw(VERSIONS),
            FILE: file,
            POSITION: position,
            PART: number % 3,
            ORDER_ROW: number // 3,
        }
        for number, (file, position) in enumerate(positions)
    ]
