"""Schema drift: count the unknown keys of the lines that the JSON reader took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from heapq import nsmallest
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from orders_dask.contract.json_parser import parse
from orders_dask.contract.schema_drift import (
    KINDS,
    MAX_KEY,
    MAX_PATHS,
    OTHER,
    DriftCounter,
    UnknownKey,
    name_of_key,
    sample_of,
)
from orders_dask.extract.records import Rows

if TYPE_CHECKING:
    from orders_dask.extract.json_scanner import Bytes, Ints


@dataclass(frozen=True)
class UnknownKeys:
    """The unknown keys of lines, each as often as it occurs.

    Attributes
    ----------
    text
        The lines.
    rows
        A row of :attr:`~orders_dask.extract.json_scanner.Cells.unknown_keys` for each, by line.
    prefixes
        What the path of a key begins with, by the node of its object; the keys of objects that have
        none don't count.
    """

    text: Bytes
    rows: NDArray[np.int32]
    prefixes: Mapping[int, str]

    def of_lines(self, lines: Rows) -> UnknownKeys:
        """Return those of the lines of these numbers, numbered anew from 0."""
        if not len(self.rows):
            return self
        from orders_dask.extract import json_scanner

        row_lines = self.rows[:, json_scanner.LINE]
        numbers = np.full(max(row_lines[-1], lines.max(initial=0)) + 1, -1)
        numbers[lines] = np.arange(len(lines))
        rows = np.column_stack((numbers[row_lines], self.rows[:, 1:])).astype(np.int32)
        return replace(self, rows=rows[rows[:, json_scanner.LINE] >= 0])


NO_UNKNOWN_KEYS: Final = UnknownKeys(np.zeros(0, np.uint8), np.zeros((0, 3), np.int32), {})


def count_unknown_keys(found: UnknownKeys, positions: Rows, counter: DriftCounter) -> None:
    """Add unknown keys to a counter.

    Parameters
    ----------
    found
        The keys.
    positions
        The position of each line.
    counter
        What they are added to.
    """
    if not len(found.rows):
        return
    from orders_dask.extract import json_scanner

    paths, numbers = _paths(found)
    last_lines, samples = np.full((2, len(paths)), -1)
    records, kinds = np.zeros((2, len(paths)), np.int64)
    json_scanner.count_unknown_keys(
        found.text, found.rows, numbers, last_lines, records, kinds, samples
    )
    for path, number, bits, row in zip(paths, records, kinds, samples, strict=True):
        names = tuple(sorted(kind for bit, kind in enumerate(KINDS) if bits >> bit & 1))
        key = UnknownKey(path, int(number), names)
        rank = 0
        if row >= 0:
            begin, end = json_scanner.value_of_key(found.text, found.rows[row, json_scanner.NAME])
            key = replace(key, sample=sample_of(parse(found.text[begin:end].tobytes())))
            rank = int(positions[found.rows[row, json_scanner.LINE]])
        counter.add(key, rank)


def _paths(found: UnknownKeys) -> tuple[list[str], Ints]:
    """Return the least paths, more than are kept if there are, and the number of each key's path.

    The number is -1 for a key whose path is not among them.
    """
    from orders_dask.extract import json_scanner

    hashes = json_scanner.hash_unknown_keys(found.text, found.rows)
    _, firsts, groups = np.unique(hashes, return_index=True, return_inverse=True)
    least: set[str] = set()
    for row in firsts:
        path = _path(found, row)
        if path is not None:
            least.add(path)
        if len(least) > 2 * MAX_PATHS:  # hostile text may have millions
            least = {*nsmallest(MAX_PATHS + 1, least)}
    paths = sorted(least)
    number_of: dict[str | None, int] = {path: number for number, path in enumerate(paths)}
    numbers = np.array([number_of.get(_path(found, row), -1) for row in firsts])
    return paths, numbers[groups]


def _path(found: UnknownKeys, row: int) -> str | None:
    """Return the path of a key, None if it stands outside of the order."""
    from orders_dask.extract import json_scanner

    prefix = found.prefixes.get(int(found.rows[row, json_scanner.OBJECT_OF_KEY]))
    if prefix is None:
        return None
    begin = found.rows[row, json_scanner.NAME]
    text = found.text[begin : begin + MAX_KEY + 1].tobytes()
    name, end, _ = text.partition(b'"')
    try:
        return prefix + (name_of_key(name.decode()) if end else OTHER)
    except UnicodeDecodeError:
        return prefix + OTHER
