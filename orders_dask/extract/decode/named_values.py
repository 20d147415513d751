"""Select values by their names from arrays such as ``properties``, and convert these texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orders_dask.contract.arrow import MONEY_TYPE, RATE_TYPE
from orders_dask.contract.issue_codes import ValueCode
from orders_dask.contract.sources import Source
from orders_dask.contract.values import RULES

Flags = NDArray[np.bool_]

_PLAIN: Final[Mapping[pa.DataType, str]] = {
    pa.int64(): r"^-?[0-9]{1,18}$",
    MONEY_TYPE: r"^[+-]?[0-9]{1,17}(\.[0-9]{1,4})?$",
    RATE_TYPE: r"^[+-]?[0-9]{1,9}(\.[0-9]{1,8})?$",
    pa.bool_(): r"^(true|false)$",
}
"""Texts that need no rule: in an array of names and values, a number is a text."""


def select_by_name(fields: Mapping[str, pa.Array], source: Source) -> pa.StringArray:
    """Return the value of the first element of each record that has the name of a source.

    Parameters
    ----------
    fields
        Fields of the records: those on the path of the source at least.
    source
        A source that selects.

    Returns
    -------
    pa.StringArray
        A value a record; null where no element has the name.
    """
    array, by, value = source.array, source.name_path, source.path
    assert array is not None
    assert by is not None
    first, _, rest = array.partition(".")
    lists = _field(fields[first], rest)
    elements = lists.flatten()
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy()
    owners = np.repeat(np.arange(len(lists)), lengths)
    names, values = (_field(elements, path.removeprefix(f"{array}[].")) for path in (by, value))
    found = np.flatnonzero(_flags(pc.equal(names, source.name).fill_null(False)))[::-1]
    chosen = np.full(len(lists), -1)
    chosen[owners[found]] = found  # backwards, so that the first one stays
    return values.take(pa.array(chosen, mask=chosen < 0))


def parse_texts(
    texts: pa.StringArray, kind: pa.DataType
) -> tuple[pa.Array, dict[ValueCode, Flags]]:
    """Convert texts to integers, amounts, rates or booleans as the rules for single values do.

    Parameters
    ----------
    texts
        The texts.
    kind
        The Arrow type of the values.

    Returns
    -------
    tuple
        The values, and by issue code where a text was repaired or nulled. A plain number, and
        ``true`` or ``false``, has no code.
    """
    plain = pc.match_substring_regex(texts, _PLAIN[kind])
    values = pc.if_else(plain, texts, None).cast(kind)
    others = pc.if_else(plain, None, texts).dictionary_encode()
    if not len(others.dictionary):
        return values, {}
    # Once for each text that occurs, however many rows have it.
    ruled = [RULES[kind](text) for text in others.dictionary.to_pylist()]
    converted = pa.array([_written(value) for value, _ in ruled], pa.string()).cast(kind)
    codes = pa.array([code for _, code in ruled], pa.string()).take(others.indices)
    issues: dict[ValueCode, Flags] = {
        code: _flags(pc.equal(codes, code).fill_null(False)) for code in {c for _, c in ruled if c}
    }
    return pc.coalesce(values, converted.take(others.indices)), issues


def _written(value: str | int | bool | None) -> str | None:
    return str(value).lower() if value is not None else None


def _field(records: pa.StructArray, path: str) -> pa.Array:
    for name in path.split(".") if path else ():
        records = pc.struct_field(records, name)
    return records


def _flags(mask: pa.BooleanArray) -> Flags:
    flags: Flags = mask.to_numpy(zero_copy_only=False)
    return flags
