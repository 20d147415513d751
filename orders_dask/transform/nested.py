"""Nested Arrow arrays taken apart: the leaves of structs, the elements of lists, joins and sums over lists.

Arrays may be slices of others, a null struct or list may stand over values that nobody should see,
and an empty list is not a null one; everything here keeps to that.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Rows = NDArray[np.int64]
"""Row numbers, from 0."""


class Elements(NamedTuple):
    """The elements of all lists of an array, one after another, null elements included.

    Attributes
    ----------
    values
        The elements.
    lists
        For each element, the row of its list.
    places
        For each element, its place in its list, from 1.
    """

    values: pa.Array
    lists: Rows
    places: Rows

    def where(self, mask: pa.BooleanArray) -> Elements:
        """Give the elements where `mask` is true; their places stay those in the list."""
        chosen = mask.to_numpy(zero_copy_only=False)
        return Elements(self.values.filter(mask), self.lists[chosen], self.places[chosen])

    def present(self) -> Elements:
        """Give the elements that are not null."""
        return self.where(self.values.is_valid()) if self.values.null_count else self


def struct_field(records: pa.Array, path: str) -> pa.Array:
    """Give the values at a dotted path of structs; null where one of the structs is; `records` where it is empty."""
    for name in path.split(".") if path else ():
        # field() is 50 times faster on wide structs, but shows what stands under a null struct.
        records = pc.struct_field(records, name) if records.null_count else records.field(name)
    return records


def explode(lists: pa.ListArray) -> Elements:
    """Give the elements of an array of lists; null lists have none."""
    # Not list_parent_indices: it counts what stands under a null list, which list_flatten leaves
    # out.
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy().astype(np.int64)
    rows = np.repeat(np.arange(len(lists)), lengths)
    begins = np.cumsum(lengths) - lengths
    return Elements(pc.list_flatten(lists), rows, np.arange(len(rows)) - begins[rows] + 1)


def join_texts(texts: Elements, lists: pa.ListArray) -> pa.StringArray:
    """Join the texts of each list by ``", "``, null ones left out: ``""`` for an empty list, null for a null one."""
    texts = texts.present()
    ends = np.cumsum(count_by_row(texts.lists, len(lists)))
    offsets = pa.array(np.concatenate([[0], ends]), pa.int32())
    whole = pa.ListArray.from_arrays(offsets, texts.values, mask=lists.is_null())
    return pc.binary_join(whole, ", ")


def count_by_row(rows: Rows, size: int) -> Rows:
    """Count how often each row number below `size` occurs."""
    return np.bincount(rows, minlength=size).astype(np.int64)


def sum_by_row(values: pa.Array, rows: Rows, size: int) -> pa.Array:
    """Add up the values of each list, exactly.

    Parameters
    ----------
    values
        What is added up: a decimal. (Sums of int64 would wrap around.)
    rows
        For each value, the row of its list; ascending.
    size
        How many lists there are.

    Returns
    -------
    pa.Array
        A row a list: 0 where there is nothing to add, null where one of the values is null. Of the
        widest precision: 38 digits for a ``decimal128``, 76 for a ``decimal256``.
    """
    summed = (
        pa.table({"row": rows, "value": values})
        .group_by("row", use_threads=False)  # in order of first occurrence: ascending
        .aggregate([("value", "sum", pc.ScalarAggregateOptions(skip_nulls=False))])
    )["value_sum"].combine_chunks()
    occurs = count_by_row(rows, size) > 0
    totals = summed.take(pa.array(np.cumsum(occurs) - 1, mask=~occurs))
    return pc.if_else(occurs, totals, pa.scalar(0, summed.type))


def null_where_missing(totals: pa.Array, lists: pa.ListArray) -> pa.Array:
    """Give the totals of the lists that are there, null for those that are missing."""
    return pc.if_else(lists.is_valid(), totals, pa.scalar(None, totals.type))
