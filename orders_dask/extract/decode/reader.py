"""Read JSON into Arrow: by the compiled reader, or little text in Python.

Both give the same. In Python every record goes through the rules, which leave nothing to find.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from json import loads
from typing import Any

import numpy as np
import pyarrow as pa

from orders_dask.contract.arrow import PRESENCE_TYPE, raw_schema
from orders_dask.contract.envelopes import Envelope
from orders_dask.extract.decode.compile_once import ensure_compiled
from orders_dask.extract.decode.schema_drift import NO_UNKNOWN_KEYS, UnknownKeys
from orders_dask.extract.lines import Lines
from orders_dask.extract.little_text import is_little, reads_in_python
from orders_dask.extract.records import Rows


def read_lines(
    lines: Lines, *, in_page: bool, envelope: Envelope | None = None
) -> tuple[pa.Table, Rows, UnknownKeys]:
    """Read the lines that are good orders, as :func:`.json_reader.read_lines` does.

    Of little text it takes none: all lines are for the rules.
    """
    if reads_in_python(lines.text):
        return raw_schema().empty_table(), np.zeros(0, np.int64), NO_UNKNOWN_KEYS
    ensure_compiled()
    from orders_dask.extract.decode import json_reader

    return json_reader.read_lines(lines, in_page=in_page, envelope=envelope)


def read_repaired(lines: Sequence[bytes], positions: Sequence[int]) -> pa.Table:
    """Read lines that the rules wrote, as :func:`.json_reader.read_repaired` does."""
    if is_little(*lines):
        return read_in_python(lines)
    ensure_compiled()
    from orders_dask.extract.decode import json_reader

    return json_reader.read_repaired(lines, positions)


def all_json(lines: Sequence[bytes]) -> bool:
    """Return whether each line is one JSON value; False also if only Python's parser can tell."""
    if is_little(*lines):
        return False
    ensure_compiled()
    from orders_dask.extract.decode import json_reader

    return json_reader.all_json(lines)


def read_in_python(lines: Sequence[bytes]) -> pa.Table:
    """Read lines that the rules wrote, without machine code.

    Parameters
    ----------
    lines
        One record each.

    Returns
    -------
    pyarrow.Table
        A table of :func:`~orders_dask.contract.arrow.raw_schema`.
    """
    records = [loads(line) for line in lines]
    columns = [_array(_values(records, field), field.type) for field in raw_schema()]
    return pa.Table.from_arrays(columns, schema=raw_schema())


def _values(objects: Sequence[Mapping[str, Any]], field: pa.Field) -> list[Any]:
    """Return the values of a key; of one that only has to be there, whether it is."""
    if field.type == PRESENCE_TYPE:
        return [1 if field.name in each else None for each in objects]
    return [each.get(field.name) for each in objects]


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return parsed values as an array: amounts and rates are texts, as the rules write them."""
    if pa.types.is_struct(kind):
        objects: list[Mapping[str, Any]] = [value or {} for value in values]
        return pa.StructArray.from_arrays(
            [_array(_values(objects, field), field.type) for field in kind],
            fields=list(kind),
            mask=_nulls(values),
        )
    if pa.types.is_list(kind):
        offsets = np.cumsum([0, *(len(value or ()) for value in values)], dtype=np.int32)
        elements = [element for value in values for element in value or ()]
        return pa.ListArray.from_arrays(
            pa.array(offsets), _array(elements, kind.value_type), type=kind, mask=_nulls(values)
        )
    if pa.types.is_decimal(kind):
        values = [None if value is None else Decimal(value) for value in values]
    return pa.array(values, kind)


def _nulls(values: Sequence[Any]) -> pa.Array:
    return pa.array([value is None for value in values], pa.bool_())
