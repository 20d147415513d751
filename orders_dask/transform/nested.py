"""Operations on nested Arrow arrays: fields of structs, elements of lists, joins and sums.

Every function handles sliced arrays, null structs and lists above values that don't count, and
empty lists, which differ from null lists.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Rows = NDArray[np.int64]
"""Row numbers, from 0."""

Columns = dict[str, pa.Array]
"""Columns of a table, by name."""


class Elements(NamedTuple):
    """The elements of all lists of an array, in order, null elements included.

    Attributes
    ----------
    values
        The elements.
    lists
        Row of each element's list.
    numbers
        Number of each element in its list, from 1.
    """

    values: pa.Array
    lists: Rows
    numbers: Rows

    def where(self, mask: pa.BooleanArray) -> Elements:
        """Return the elements where `mask` is true, with the numbers that they had."""
        chosen = mask.to_numpy(zero_copy_only=False)
        return Elements(self.values.filter(mask), self.lists[chosen], self.numbers[chosen])

    def present(self) -> Elements:
        """Return the elements that are not null, with the numbers that they had."""
        return self.where(self.values.is_valid()) if self.values.null_count else self


def struct_field(records: pa.Array, path: str) -> pa.Array:
    """Return the values at a dotted path of structs: null below a null struct.

    An empty path returns `records`.
    """
    for name in path.split(".") if path else ():
        # field() is 50 times faster on wide structs, but ignores that a struct may be null.
        records = pc.struct_field(records, name) if records.null_count else records.field(name)
    return records


def explode(lists: pa.ListArray) -> Elements:
    """Return the elements of an array of lists. Null lists have none."""
    # Not list_parent_indices: it counts values under a null list, which list_flatten leaves out.
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy().astype(np.int64)
    rows = np.repeat(np.arange(len(lists)), lengths)
    begins = np.cumsum(lengths) - lengths
    return Elements(pc.list_flatten(lists), rows, np.arange(len(rows)) - begins[rows] + 1)


def join_texts(texts: Elements, lists: pa.ListArray) -> pa.StringArray:
    """Join the texts of each list by ``", "``, without null ones.

    The result is ``""`` for an empty list, and null for a null list.
    """
    texts = texts.present()
    ends = np.cumsum(count_by_row(texts.lists, len(lists)))
    offsets = pa.array(np.concatenate([[0], ends]), pa.int32())
    whole = pa.ListArray.from_arrays(offsets, texts.values, mask=lists.is_null())
    return pc.binary_join(whole, ", ")


def count_by_row(rows: Rows, size: int) -> Rows:
    """Return how often each row number below `size` occurs."""
    return np.bincount(rows, minlength=size).astype(np.int64)


def sum_by_row(values: pa.Array, rows: Rows, size: int) -> pa.Array:
    """Add up the values of each list, exactly.

    Parameters
    ----------
    values
        Decimals. (Sums of int64 would wrap around.)
    rows
        Row of each value's list.
    size
        Number of lists.

    Returns
    -------
    pa.Array
        A row a list: 0 without values, null if one of its values is null. It has the widest
        precision: 38 digits for ``decimal128``, 76 for ``decimal256``.
    """
    not_skipping = pc.ScalarAggregateOptions(skip_nulls=False)
    sums, occurs = _aggregated_by_row(values, rows, size, ("value", "sum", not_skipping))
    return pc.if_else(occurs, sums, pa.scalar(0, sums.type))


def max_by_row(elements: Elements, size: int) -> pa.Array:
    """Return the greatest value of each of `size` lists; null without values but null ones."""
    elements = elements.present()
    greatest, _ = _aggregated_by_row(elements.values, elements.lists, size, ("value", "max"))
    return greatest


def _aggregated_by_row(
    values: pa.Array, rows: Rows, size: int, aggregation: tuple[object, ...]
) -> tuple[pa.Array, pa.BooleanArray]:
    """Aggregate the values of each row: null where a row has none, and whether it has any."""
    groups = (
        pa.table({"row": rows, "value": values})
        .group_by("row", use_threads=False)
        .aggregate([aggregation])
    )
    # Groups come in no order that one may rely on: some hundred rows with gaps are enough.
    indices = np.full(size, -1)
    indices[groups["row"].to_numpy()] = np.arange(len(groups))
    aggregated = groups[f"value_{aggregation[1]}"].combine_chunks()
    occurs = indices >= 0
    return aggregated.take(pa.array(indices, mask=~occurs)), pa.array(occurs)


def null_where_missing(totals: pa.Array, lists: pa.ListArray) -> pa.Array:
    """Return the totals of lists, with null for null lists."""
    return pc.if_else(lists.is_valid(), totals, pa.scalar(None, totals.type))
