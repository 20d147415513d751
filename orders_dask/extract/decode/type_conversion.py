"""Convert raw orders, as the JSON reader returns them, to typed ones: timestamps to UTC."""

from __future__ import annotations

from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orders_dask.contract.arrow import (
    decoded_schema,
    typed_schema,
)
from orders_dask.contract.issue_codes import ValueCode
from orders_dask.contract.json_parser import preview
from orders_dask.contract.order_tables import fact_order
from orders_dask.contract.rejects import MAX_SAMPLES, Issue
from orders_dask.extract.decode.timestamps import Flags, Timestamps, local_days, parse_timestamps

Positions = NDArray[np.int64]
"""For each value of an array, the position of its record."""


def convert_types(
    raw: pa.Table, positions: Positions, zone: ZoneInfo
) -> tuple[pa.Table, list[Issue]]:
    """Convert raw orders to typed ones.

    Parameters
    ----------
    raw
        Columns of :func:`~orders_dask.contract.arrow.raw_schema`.
    positions
        The position of each order, ascending.
    zone
        The shop's time zone, for timestamps without an offset.

    Returns
    -------
    tuple
        A table of :func:`orders_dask.contract.arrow.decoded_schema`, and the values that were
        repaired or nulled.
    """
    conversion = _Conversion(zone)
    columns = {
        item.name: conversion.convert(_one_chunk(raw[item.name]), item.type, item.name, positions)
        for item in typed_schema()
    }
    created = fact_order.c.created_at.info["source"]
    local_day, minutes = local_days(conversion.timestamps[created], zone)
    conversion.add_days_off_calendar(local_day, positions, _one_chunk(raw[created]))
    columns |= {
        fact_order.c.created_local_date.name: local_day,
        fact_order.c.created_utc_offset_min.name: minutes,
        fact_order.c.source_position.name: pa.array(positions),
    }
    return pa.table(columns, schema=decoded_schema()), conversion.issues


def flatten_lists(lists: pa.ListArray, rows: Positions) -> tuple[pa.Array, Positions]:
    """Return the elements of all lists that are not null, and for each the row of its list."""
    return lists.flatten(), np.repeat(rows, _lengths(lists))


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _lengths(lists: pa.ListArray) -> NDArray[np.int32]:
    lengths: NDArray[np.int32] = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    return lengths


@dataclass
class _Conversion:
    zone: ZoneInfo
    issues: list[Issue] = field(default_factory=list)
    timestamps: dict[str, Timestamps] = field(default_factory=dict)

    def convert(
        self, values: pa.Array, kind: pa.DataType, path: str, positions: Positions
    ) -> pa.Array:
        """Return the values at a path in their typed Arrow type."""
        if values.type == kind:
            return values
        if pa.types.is_struct(kind):
            inner = [
                self.convert(child, item.type, f"{path}.{item.name}", positions)
                for child, item in zip(values.flatten(), kind, strict=True)
            ]
            return pa.StructArray.from_arrays(inner, fields=list(kind), mask=values.is_null())
        if pa.types.is_list(kind):
            elements, owners = flatten_lists(values, positions)
            inner = self.convert(elements, kind.value_type, f"{path}[]", owners)
            offsets = pa.array(np.concatenate(([0], np.cumsum(_lengths(values)))), pa.int32())
            return pa.ListArray.from_arrays(offsets, inner, type=kind, mask=values.is_null())
        return self._convert_timestamps(values, path, positions)

    def _convert_timestamps(self, texts: pa.Array, path: str, positions: Positions) -> pa.Array:
        timestamps = parse_timestamps(texts, self.zone)
        self._add_issue(path, "bad_instant", timestamps.bad, positions, texts)
        self._add_issue(path, "instant_without_offset", timestamps.no_offset, positions, texts)
        self._add_issue(path, "instant_with_zone_name", timestamps.zone_name, positions, texts)
        self.timestamps[path] = timestamps
        return timestamps.utc

    def add_days_off_calendar(
        self, local_day: pa.Date32Array, positions: Positions, created: pa.Array
    ) -> None:
        """Add the local days that lie outside of the years 1..9999, though their moment doesn't."""
        moments = self.timestamps[fact_order.c.created_at.info["source"]].utc
        if local_day.null_count > moments.null_count:
            outside = np.asarray(pc.and_(moments.is_valid(), local_day.is_null()))
            path = fact_order.c.created_local_date.name
            self._add_issue(path, "bad_instant", outside, positions, created)

    def _add_issue(
        self,
        path: str,
        code: ValueCode,
        where: Flags,
        positions: Positions,
        values: pa.StringArray,
    ) -> None:
        """Count the values where `where` is set as an issue; the first of them are samples."""
        rows = np.flatnonzero(where)
        if not len(rows):
            return
        # Samples are sorted by position and text, so take all values of the last position.
        stop = np.searchsorted(positions[rows], positions[rows[:MAX_SAMPLES][-1]], "right")
        first = rows[:stop]
        texts = (preview(value) for value in values.take(pa.array(first)).to_pylist())
        samples = sorted(zip(positions[first].tolist(), texts, strict=True))[:MAX_SAMPLES]
        self.issues.append(Issue(path, code, len(rows), tuple(samples)))
