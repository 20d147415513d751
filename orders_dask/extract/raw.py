"""What the JSON reader is told to read: the contract's raw schema, amounts wider still, and probes for envelopes."""

from __future__ import annotations

from functools import cache
from typing import Final

import pyarrow as pa

from orders_dask.contract.arrow import RAW_MONEY_TYPE, raw_schema
from orders_dask.contract.rules import ENVELOPES

READ_MONEY_TYPE: Final = pa.decimal256(56, RAW_MONEY_TYPE.scale)
"""As precise as the raw type, with room for 10^56: the reader multiplies up to the scale without a look at overflow.

(Read as ``decimal128(38, 20)``, 984222509611114783577404 comes out as 9843.18670257657823100928. It costs the same.)
"""


@cache
def orders_schema() -> pa.Schema:
    """Give the raw schema with amounts as the reader reads them."""
    return pa.schema([item.with_type(_read(item.type)) for item in raw_schema()])


@cache
def reader_schema(enveloped: bool) -> pa.Schema:
    """Give what the reader is told; for text that may hold pages and wrappers with a probe for their keys.

    A probe is a truth value: an array or object in its place is refused by name, anything else is seen.
    """
    probes = [] if enveloped else [pa.field(name, pa.bool_()) for name in ENVELOPES]
    return pa.schema([*orders_schema(), *probes])


def _read(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([item.with_type(_read(item.type)) for item in kind])
    if pa.types.is_list(kind):
        return pa.list_(_read(kind.value_type))
    return READ_MONEY_TYPE if kind == RAW_MONEY_TYPE else kind
