"""What the JSON reader is told to read: the contract's raw schema, and probes for envelopes."""

from __future__ import annotations

from functools import cache

import pyarrow as pa

from orders_dask.contract.arrow import raw_schema
from orders_dask.contract.rules import ENVELOPES


@cache
def reader_schema(enveloped: bool) -> pa.Schema:
    """Give what the reader is told; for text that may hold pages and wrappers with a probe for their keys.

    A probe is a truth value: an array or object in its place is refused by name, anything else is seen.
    """
    probes = [] if enveloped else [pa.field(name, pa.bool_()) for name in ENVELOPES]
    return pa.schema([*raw_schema(), *probes])
