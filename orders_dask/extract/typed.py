"""Raw orders, as the JSON reader gives them, to typed ones: amounts rounded, instants in UTC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orders_dask.contract.arrow import (
    INSTANT_TYPE,
    MONEY_TYPE,
    RAW_MONEY_TYPE,
    decoded_schema,
    typed_schema,
)
from orders_dask.contract.jsontext import shown
from orders_dask.contract.rules import SAMPLES, Issue
from orders_dask.contract.tables import fact_order
from orders_dask.contract.values import ROUNDING
from orders_dask.extract.instants import Flags, Instants, local_days, read_instants

Positions = NDArray[np.int64]
"""For each value of an array, its record's position."""

_NOISE = int(ROUNDING.scaleb(RAW_MONEY_TYPE.scale))


def typed(raw: pa.Table, positions: Positions, zone: ZoneInfo) -> tuple[pa.Table, list[Issue]]:
    """Convert raw orders.

    Parameters
    ----------
    raw
        Columns of :func:`~orders_dask.contract.arrow.raw_schema`; all amounts fit the typed ones after rounding.
    positions
        For each order, its position; ascending.
    zone
        The shop's, for instants without an offset.

    Returns
    -------
    tuple
        A table of :func:`orders_dask.contract.arrow.decoded_schema`, and what was repaired or nulled.
    """
    conversion = _Conversion(zone)
    columns = {
        item.name: conversion.convert(_whole(raw[item.name]), item.type, item.name, positions)
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


def flattened(lists: pa.ListArray, rows: Positions) -> tuple[pa.Array, Positions]:
    """Give the elements of all lists, null lists having none, and for each the row of its list."""
    return lists.flatten(), np.repeat(rows, _lengths(lists))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _lengths(lists: pa.ListArray) -> NDArray[np.int32]:
    lengths: NDArray[np.int32] = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    return lengths


@dataclass
class _Conversion:
    zone: ZoneInfo
    issues: list[Issue] = field(default_factory=list)
    instants: dict[str, Instants] = field(default_factory=dict)

    def convert(
        self, values: pa.Array, kind: pa.DataType, path: str, positions: Positions
    ) -> pa.Array:
        """Convert the values at a path to their typed Arrow type."""
        if pa.types.is_struct(kind):
            inner = [
                self.convert(child, item.type, f"{path}.{item.name}", positions)
                for child, item in zip(values.flatten(), kind, strict=True)
            ]
            return pa.StructArray.from_arrays(inner, fields=list(kind), mask=values.is_null())
        if pa.types.is_list(kind):
            elements, owners = flattened(values, positions)
            inner = self.convert(elements, kind.value_type, f"{path}[]", owners)
            offsets = pa.array(np.concatenate(([0], np.cumsum(_lengths(values)))), pa.int32())
            return pa.ListArray.from_arrays(offsets, inner, type=kind, mask=values.is_null())
        if kind == MONEY_TYPE:
            return self._money(values, path, positions)
        if kind == INSTANT_TYPE:
            return self._instants(values, path, positions)
        return values

    def _money(self, values: pa.Array, path: str, positions: Positions) -> pa.Array:
        rounded = pc.round(values, MONEY_TYPE.scale, "half_towards_infinity")
        changed = _changes(values, rounded) > _NOISE
        self._note(path, "money_rounded", changed, positions, values, _plain)
        return rounded.cast(MONEY_TYPE)

    def _instants(self, texts: pa.Array, path: str, positions: Positions) -> pa.Array:
        instants = read_instants(texts, self.zone)
        self._note(path, "bad_instant", instants.bad, positions, texts, shown)
        self._note(path, "instant_without_offset", instants.zoneless, positions, texts, shown)
        self.instants[path] = instants
        return instants.utc

    def _note(
        self,
        path: str,
        code: str,
        where: Flags,
        positions: Positions,
        values: pa.Array,
        show: Callable[[Any], str],
    ) -> None:
        """Note an issue where `where` holds: all its values counted, the least by position and text shown."""
        rows = np.flatnonzero(where)
        if not len(rows):
            return
        reach = np.searchsorted(positions[rows], positions[rows[:SAMPLES][-1]], "right")
        first = rows[:reach]
        texts = (show(value) for value in values.take(pa.array(first)).to_pylist())
        samples = sorted(zip(positions[first].tolist(), texts, strict=True))[:SAMPLES]
        self.issues.append(Issue(path, code, len(rows), tuple(samples)))


def _plain(amount: Decimal) -> str:
    return f"{amount:f}".rstrip("0")  # what is rounded has decimals


def _changes(values: pa.Array, rounded: pa.Array) -> NDArray[np.int64]:
    """Give how far apart two arrays of raw amounts are, in units of the last decimal; 0 for null.

    They are at most half a unit of the fourth decimal apart, 5e15 of the twentieth, so the low 64 of the 128 bits tell
    all (and Arrow doesn't subtract decimals of 38 digits).
    """
    changes: NDArray[np.int64] = np.abs(_low_words(values) - _low_words(rounded))
    if values.null_count:
        changes[values.is_null().to_numpy(zero_copy_only=False)] = 0
    return changes


def _low_words(values: pa.Array) -> NDArray[np.int64]:
    buffer = values.buffers()[1]
    if buffer is None:
        return np.zeros(len(values), np.int64)
    words = np.frombuffer(buffer, "<i8")[::2]
    return words[values.offset : values.offset + len(values)]
