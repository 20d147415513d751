"""Convert raw orders, as the JSON reader returns them, to typed ones: timestamps to UTC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orders_dask.contract.arrow import (
    DAY_TYPE,
    TIMESTAMP_TYPE,
    arrow_type,
    decoded_schema,
    selected_field,
    typed_schema,
)
from orders_dask.contract.issue_codes import ValueCode
from orders_dask.contract.json_parser import preview
from orders_dask.contract.order_tables import LOCAL_DATES, SELECTED, fact_order
from orders_dask.contract.rejects import MAX_SAMPLES, Issue
from orders_dask.contract.sources import Source
from orders_dask.extract.decode.named_values import parse_texts, select_by_name
from orders_dask.extract.decode.timestamps import (
    Flags,
    Timestamps,
    local_days,
    parse_days,
    parse_timestamps,
)

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
    columns |= conversion.local_dates("", positions) | conversion.selected("", columns, positions)
    created, _ = conversion.timestamps[fact_order.c.created_at.info["source"]]
    columns |= {
        fact_order.c.created_utc_offset_min.name: local_days(created, zone)[1],
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
    """Converts values of a block, and collects what is found on the way.

    Attributes
    ----------
    zone
        The shop's time zone.
    issues
        The values that were repaired or nulled.
    timestamps
        The timestamps of each path that was converted, and their texts.
    """

    zone: ZoneInfo
    issues: list[Issue] = field(default_factory=list)
    timestamps: dict[str, tuple[Timestamps, pa.StringArray]] = field(default_factory=dict)

    def convert(
        self, values: pa.Array, kind: pa.DataType, path: str, positions: Positions
    ) -> pa.Array:
        """Return the values at a path in their typed Arrow type, local days with them."""
        if values.type == kind and not any(records.startswith(path) for records in SELECTED):
            return values
        if pa.types.is_struct(kind):
            inner = {
                item.name: self.convert(child, item.type, f"{path}.{item.name}", positions)
                for child, item in zip(values.flatten(), kind, strict=True)
            }
            inner |= self.local_dates(path, positions) | self.selected(path, inner, positions)
            return pa.StructArray.from_arrays(
                [*inner.values()], names=[*inner], mask=values.is_null()
            )
        if pa.types.is_list(kind):
            elements, owners = flatten_lists(values, positions)
            converted = self.convert(elements, kind.value_type, f"{path}[]", owners)
            offsets = pa.array(np.concatenate(([0], np.cumsum(_lengths(values)))), pa.int32())
            return pa.ListArray.from_arrays(offsets, converted, mask=values.is_null())
        return self._convert_texts(values, kind, path, positions)

    def _convert_texts(
        self, texts: pa.Array, kind: pa.DataType, path: str, positions: Positions
    ) -> pa.Array:
        """Return the values of texts in a type that is read as text."""
        if texts.type == kind:
            return texts
        if kind == TIMESTAMP_TYPE:
            return self._convert_timestamps(texts, path, positions)
        if kind == DAY_TYPE:
            days, bad = parse_days(texts, self.zone)
            self._add_issue(path, "bad_instant", bad, positions, texts)
            return days
        values, issues = parse_texts(texts, kind)
        for code, where in issues.items():
            self._add_issue(path, code, where, positions, texts)
        return values

    def _convert_timestamps(self, texts: pa.Array, path: str, positions: Positions) -> pa.Array:
        timestamps = parse_timestamps(texts, self.zone)
        self._add_issue(path, "bad_instant", timestamps.bad, positions, texts)
        self._add_issue(path, "instant_without_offset", timestamps.no_offset, positions, texts)
        self._add_issue(path, "instant_with_zone_name", timestamps.zone_name, positions, texts)
        self.timestamps[path] = timestamps, texts
        return timestamps.utc

    def local_dates(self, records: str, positions: Positions) -> dict[str, pa.Date32Array]:
        """Return the columns of local days of the records at a path, by name."""
        prefix = records and f"{records}."
        return {
            name: self._local_date(
                prefix + name, [self.timestamps[prefix + path] for path in paths], positions
            )
            for name, paths in LOCAL_DATES.get(records, {}).items()
        }

    def selected(
        self, records: str, fields: Mapping[str, pa.Array], positions: Positions
    ) -> dict[str, pa.Array]:
        """Return the columns that are selected by a name, of the records at a path with `fields`.

        There are few, and none but of somebody's own.
        """
        columns = {}
        for column in SELECTED.get(records, ()):
            source: Source = column.info["custom"]
            path = ".".join(filter(None, (records, source.text)))
            texts = select_by_name(fields, source)
            kind = arrow_type(column.type)
            columns[selected_field(column)] = self._convert_texts(texts, kind, path, positions)
        return columns

    def _local_date(
        self,
        path: str,
        columns: Sequence[tuple[Timestamps, pa.StringArray]],
        positions: Positions,
    ) -> pa.Date32Array:
        """Return the local day of the first timestamp that has one.

        A row that has a timestamp, but no day in the years 1..9999, is an issue.
        """
        days = pc.coalesce(*(local_days(timestamps, self.zone)[0] for timestamps, _ in columns))
        moments = pc.coalesce(*(timestamps.utc for timestamps, _ in columns))
        if days.null_count > moments.null_count:
            outside = np.asarray(pc.and_(moments.is_valid(), days.is_null()))
            texts = (pc.if_else(stamps.utc.is_valid(), texts, None) for stamps, texts in columns)
            self._add_issue(path, "bad_instant", outside, positions, pc.coalesce(*texts))
        return days

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
