"""Find the records that the rules must see, although the JSON reader takes them.

False positives only cost time. False negatives are bugs: an unmarked row must equal the result of
the rules.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orders_dask.contract.envelopes import DELETION_KEYS, NOT_DELETED
from orders_dask.contract.order_tables import fact_order
from orders_dask.contract.record_keys import (
    CHILDREN,
    DRAFT_KEYS,
    GRAPHQL_ID,
    GRAPHQL_ORDER,
    MAX_ELEMENTS,
    ORDER_KEYS,
    id_key,
)
from orders_dask.extract.decode.type_conversion import flatten_lists
from orders_dask.extract.records import Rows

Flags = NDArray[np.bool_]


def needs_rules(raw: pa.Table, *, repaired: bool) -> Flags:
    """Mark the rows that the rules must see.

    Parameters
    ----------
    raw
        Columns of :func:`~orders_dask.contract.arrow.raw_schema`.
    repaired
        The rows come from the rules: a null element of an array is a child that they rejected, or
        an element that they nulled.

    Returns
    -------
    Flags
        One flag a row.
    """
    marked = np.zeros(raw.num_rows, bool)
    if not repaired:  # in a page too: an object without them may be what stands around an order
        marked |= ~_any_valid(raw, ORDER_KEYS)
    key = id_key(fact_order)
    order_ids = raw[key].combine_chunks()
    marked |= _not_positive(order_ids) | _id_mismatch(raw[GRAPHQL_ID].combine_chunks(), order_ids)
    marked |= _any_valid(raw, DRAFT_KEYS) & ~_any_valid(raw, (fact_order.c.order_number.name,))
    for name in DELETION_KEYS:
        marked |= marks_deletion(raw[name].combine_chunks())
    rows = np.arange(raw.num_rows)
    for name in raw.column_names:
        for path, values, owners in _levels(name, raw[name].combine_chunks(), rows):
            if f"{path}[]" in CHILDREN:
                bad = _bad_children(values, id_key(CHILDREN[f"{path}[]"]), repaired)
            elif pa.types.is_struct(values.type) and path.endswith("[]") and path not in CHILDREN:
                if repaired:  # a null element is one that the rules nulled
                    continue
                bad = _flags(values.is_null())
                if len(owners) > MAX_ELEMENTS:
                    marked |= np.bincount(owners, minlength=len(marked)) > MAX_ELEMENTS
            elif values.type == pa.string():
                bad = _unstorable(values)
            else:
                continue
            marked[owners[bad]] = True
    return marked


def marks_deletion(texts: pa.StringArray) -> Flags:
    """Mark the texts of a key by which an order is deleted that mean that it was."""
    if texts.null_count == len(texts):
        return np.zeros(len(texts), bool)
    return _flags(texts.is_valid()) & ~_flags(pc.is_in(texts, pa.array(NOT_DELETED)))


def _levels(path: str, values: pa.Array, rows: Rows) -> Iterator[tuple[str, pa.Array, Rows]]:
    """Yield the array at a path and all arrays in it, each with its values' rows of the order."""
    yield path, values, rows
    if pa.types.is_struct(values.type):
        for child, item in zip(values.flatten(), values.type, strict=True):
            yield from _levels(f"{path}.{item.name}", child, rows)
    elif pa.types.is_list(values.type):
        yield from _levels(f"{path}[]", *flatten_lists(values, rows))


def _flags(mask: pa.BooleanArray | pa.ChunkedArray) -> Flags:
    flags: Flags = mask.to_numpy(zero_copy_only=False)
    return flags


def _any_valid(raw: pa.Table, names: tuple[str, ...]) -> Flags:
    present = [_flags(raw[name].is_valid()) for name in names]
    flags: Flags = np.logical_or.reduce(present)
    return flags


def _not_positive(ids: pa.Int64Array) -> Flags:
    flags: Flags = ids.fill_null(0).to_numpy() <= 0
    return flags


def _id_mismatch(graphql_ids: pa.StringArray, order_ids: pa.Int64Array) -> Flags:
    texts = order_ids.cast(pa.string())
    common_form = pc.binary_join_element_wise("gid://shopify/Order/", texts, "")
    marked = _flags(pc.not_equal(graphql_ids, common_form).fill_null(False))
    if marked.any():
        others = pa.array(np.flatnonzero(marked))
        digits = pc.struct_field(
            pc.extract_regex(graphql_ids.take(others), GRAPHQL_ORDER), "digits"
        )
        wrong = pc.not_equal(digits, texts.take(others)).fill_null(False)
        marked = np.zeros(len(marked), bool)
        marked[others.filter(wrong).to_numpy()] = True
    return marked


def _bad_children(lists: pa.ListArray, key: str, repaired: bool) -> Flags:
    """Mark the lists that have a child without an id, or two children with the same id."""
    children, owners = flatten_lists(lists, np.arange(len(lists)))
    ids = pc.struct_field(children, key)
    bad = _not_positive(ids)
    if repaired:
        bad &= _flags(children.is_valid())
    if len(ids) - ids.null_count > pc.count_distinct(ids).as_py():
        numbers = ids.fill_null(0).to_numpy()
        order = np.lexsort((numbers, owners))
        repeated = (np.diff(numbers[order]) == 0) & (np.diff(owners[order]) == 0)
        bad[order[1:][repeated & (numbers[order[1:]] > 0)]] = True
    marked = np.zeros(len(lists), bool)
    marked[owners[bad]] = True
    return marked


def _unstorable(texts: pa.StringArray) -> Flags:
    """Mark the texts that are not UTF-8: the reader takes them, but PostgreSQL would not."""
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        values = texts.cast(pa.binary()).to_pylist()
        return np.array([value is not None and not _is_utf8(value) for value in values])
    return np.zeros(len(texts), bool)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
