"""Raw orders, as the JSON reader gives them, to typed ones: instants in UTC."""

from __future__ import annotations

from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orders_dask.contract.arrow import (
    decoded_schema,
    typed_schema,
)
from orders_dask.contract.issue_codes import ValueCode
from orders_dask.contract.json_parser import preview
from orders_dask.contract.order_tables import fact_order
from orders_dask.contract.rules import MAX_SAMPLES, Issue
from orders_dask.extract.decode.timestamps import Flags, Timestamps, local_days, parse_timestamps

Positions = NDArray[np.int64]
"""For each value of an array, its record's position."""


def convert_types(
    raw: pa.Table, positions: Positions, zone: ZoneInfo
) -> tuple[pa.Table, list[Issue]]:
    """Convert raw orders.

    Parameters
    ----------
    raw
        Columns of :func:`~orders_dask.contract.arrow.raw_schema`.
    positions
        For each order, its position; ascending.
    zone
        The shop's, for instants without an offset.

    Returns
    -------
    tuple
        A table of :func:`orders_dask.contract.arrow.decoded_schema`, and what was repaired or
        nulled.
    """
    conversion = _Conversion(zone)
    columns = {
        item.name: conversion.convert(_one_chunk(raw[item.name]), item.type, item.name, positions)
        for item in typed_schema()
    }
    created = fact_order.c.created_at.info["source"]
    local_day, minutes = local_days(conversion.instants[created], zone)
    columns |= {
        fact_order.c.created_local_date.name: local_day,
        fact_order.c.created_utc_offset_min.name: minutes,
        fact_order.c.source_position.name: pa.array(positions),
    }
    return pa.table(columns, schema=decoded_schema()), conversion.issues


def flatten_lists(lists: pa.ListArray, rows: Positions) -> tuple[pa.Array, Positions]:
    """Give the elements of all lists, null lists having none, and for each the row of its list."""
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
    instants: dict[str, Timestamps] = field(default_factory=dict)

    def convert(
        self, values: pa.Array, kind: pa.DataType, path: str, positions: Positions
    ) -> pa.Array:
        """Convert the values at a path to their typed Arrow type."""
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
        return self._instants(values, path, positions)

    def _instants(self, texts: pa.Array, path: str, positions: Positions) -> pa.Array:
        instants = parse_timestamps(texts, self.zone)
        self._note(path, "bad_instant", instants.bad, positions, texts)
        self._note(path, "instant_without_offset", instants.no_offset, positions, texts)
        self.instants[path] = instants
        return instants.utc

    def _note(
        self,
        path: str,
        code: ValueCode,
        where: Flags,
        positions: Positions,
        values: pa.StringArray,
    ) -> None:
        """Note an issue where `where` holds: all its values counted, the least by position and text shown."""
        rows = np.flatnonzero(where)
        if not len(rows):
            return
        reach = np.searchsorted(positions[rows], positions[rows[:MAX_SAMPLES][-1]], "right")
        first = rows[:reach]
        texts = (preview(value) for value in values.take(pa.array(first)).to_pylist())
        samples = sorted(zip(positions[first].tolist(), texts, strict=True))[:MAX_SAMPLES]
        self.issues.append(Issue(path, code, len(rows), tuple(samples)))
