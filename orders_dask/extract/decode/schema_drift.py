"""Schema drift: find keys of the dump that the contract doesn't read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from io import BytesIO
from itertools import islice
from typing import TypeAlias

import pyarrow as pa

from orders_dask.contract.arrow import typed_schema
from orders_dask.contract.envelopes import Envelope, Message, Opened, open_envelope
from orders_dask.contract.json_parser import Json, NotJson, parse, preview
from orders_dask.contract.record_keys import CONTAINER_KEYS, ORDER_KEYS
from orders_dask.extract.framing.documents import documents
from orders_dask.extract.records import INSPECTED_RECORDS, Records, Unreadable


def unknown_keys(records: Records, envelope: Envelope | None = None) -> tuple[str, ...]:
    """Return the dotted paths of unknown keys, such as ``line_items[].colour``, sorted.

    They are those of the lines that are to be inspected, and of a line that is a container, of its
    first :data:`~orders_dask.extract.records.INSPECTED_RECORDS` records: see
    docs/contract.md#schema-drift.

    Parameters
    ----------
    records
        Records of a file.
    envelope
        What stands around the order in each record; None for nothing.
    """
    found: set[str] = set()
    for line in islice(BytesIO(records.text), records.inspected):
        for order in islice(
            _parsed_orders(replace(records, text=line), envelope), INSPECTED_RECORDS
        ):
            found.update(_unknown_below(order, _known_keys(), ""))
    return tuple(sorted({preview(path) for path in found}))


def _parsed_orders(records: Records, envelope: Envelope | None) -> Iterator[Json]:
    """Yield parsed records, those of containers in place; None for one that is not an order."""
    if records.framing_error:
        yield None
        return
    for line in BytesIO(records.text):
        try:
            record = parse(line)
        except NotJson:
            yield None
            continue
        keys = record.keys() if isinstance(record, dict) else set()
        unwrapped = records.in_page or records.strict
        if not unwrapped and (isinstance(record, list) or not keys.isdisjoint(CONTAINER_KEYS)):
            try:
                for inner in documents([line]):
                    yield from _parsed_orders(inner, envelope)
            except Unreadable:
                continue
            continue
        if envelope is not None:
            opened = open_envelope(envelope, record)
            if isinstance(opened, Message):
                continue
            record = opened.order if isinstance(opened, Opened) else None
            keys = record.keys() if isinstance(record, dict) else set()
        yield record if records.in_page or not keys.isdisjoint(ORDER_KEYS) else None


_Known: TypeAlias = dict[str, "_Known"] | list["_Known"] | None
"""Keys that the contract reads: a dict for an object, a list for an array, None for a scalar."""


@cache
def _known_keys() -> _Known:
    return _known_below(typed_schema())


def _known_below(kind: pa.DataType | pa.Schema) -> _Known:
    if isinstance(kind, (pa.Schema, pa.StructType)):
        return {item.name: _known_below(item.type) for item in kind}
    return [_known_below(kind.value_type)] if isinstance(kind, pa.ListType) else None


def _unknown_below(value: Json, known: _Known, path: str) -> Iterator[str]:
    if isinstance(value, dict) and isinstance(known, dict):
        prefix = path and f"{path}."
        for key, inner in value.items():
            if key in known:
                yield from _unknown_below(inner, known[key], prefix + key)
            else:
                yield prefix + key
    elif isinstance(value, list) and isinstance(known, list):
        for element in value:
            yield from _unknown_below(element, known[0], f"{path}[]")
