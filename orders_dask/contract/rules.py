"""The rules for bad records: reject a record, or repair and null its bad values.

The fast decoder sends a record here if it can't read it, or can't tell whether it is good. The
result is a rejection (the ledger stores the record), or the record in JSON that the fast
decoder reads, with the contract's keys alone. A good record comes back with the same values. See
docs/contract.md#bad-values.

This module tells whether a record is an order; :mod:`orders_dask.contract.nested_rules` has the
rules for what the order contains, :mod:`orders_dask.contract.values` those for single values.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Final, NamedTuple

from orders_dask.contract.descriptions import kind_of, kind_of_id, preview_keys
from orders_dask.contract.envelopes import (
    DELETED,
    VARIABLE,
    Closed,
    Envelope,
    Message,
    is_deleted,
    open_envelope,
    suggested_setting,
)
from orders_dask.contract.json_parser import Json, NotJson, parse, truncate_raw
from orders_dask.contract.nested_rules import (
    RecordIssues,
    TooManyChildren,
    repair_order,
)
from orders_dask.contract.no_order import looks_like_order, reject_without_order
from orders_dask.contract.order_tables import fact_order
from orders_dask.contract.record_keys import (
    DRAFT_KEYS,
    GRAPHQL_ID,
    GRAPHQL_ORDER,
    has_order_key,
    is_page_or_wrapper,
    positive_id,
)
from orders_dask.contract.rejects import Issue, Rejected, reject_invalid_json, reject_record
from orders_dask.contract.schema_drift import DriftCounter

_ORDER_NUMBER: Final[str] = fact_order.c.order_number.info["source"]
_encode = json.JSONEncoder(check_circular=False, separators=(",", ":")).encode


class Repaired(NamedTuple):
    """A record that is not rejected.

    Attributes
    ----------
    line
        Its repaired text for the fast decoder, ending in LF.
    issues
        Its repaired and nulled values.
    rejected
        Its rejected children.
    """

    line: bytes
    issues: list[Issue]
    rejected: list[Rejected]


class Skipped(NamedTuple):
    """A message of an envelope that is no record: it has no position. It is counted in `issues`."""

    issues: list[Issue]


def apply_rules(
    line: bytes,
    position: int,
    *,
    in_page: bool,
    unwrapped: bool,
    strict: bool,
    envelope: Envelope | None = None,
    drift: DriftCounter | None = None,
) -> Repaired | Rejected | Skipped | None:
    """Apply the rules to one record.

    Parameters
    ----------
    line
        The record's text. Only the last line of a file may lack its LF.
    position
        Number of the record in its file, from 1.
    in_page
        Whether it is inside of a page or a wrapper, where every object is an order.
    unwrapped
        Whether it can't be a container itself: it comes out of one, or the text is not
        newline-delimited.
    strict
        Whether a record that is not JSON makes the file unreadable.
    envelope
        What stands around the order in each record; None for nothing.
    drift
        Counts the unknown keys of the record, if it is an order, rejected or not.

    Returns
    -------
    Repaired, Rejected, Skipped or None
        None for a container that the caller has to unwrap.
    """
    try:
        outer = parse(line)
    except NotJson as error:
        return reject_invalid_json(line, position, strict, str(error))
    if not (in_page or unwrapped) and (isinstance(outer, list) or is_page_or_wrapper(outer)):
        return None
    if not in_page and is_page_or_wrapper(outer):
        message = f"The orders of the page with the keys {preview_keys(outer)} are no array."
        return reject_record(line, position, "not_an_order", message)
    issues = RecordIssues(position)
    record: Json | Skipped | Rejected = outer
    if envelope is not None:
        record = _open(envelope, outer, line, issues, in_page=in_page)
    if isinstance(record, Skipped | Rejected):
        return record
    if not isinstance(record, dict):
        message = f"An order is an object, not {kind_of(record)}."
        return reject_record(line, position, "not_an_order", message)
    if is_deleted(record):
        return reject_record(line, position, "deleted_order", DELETED, record)
    if not has_order_key(record) and (not in_page or suggested_setting(record, looks_like_order)):
        message = f"An object with the keys {preview_keys(record)} is no order."
        return reject_without_order(line, position, outer, envelope, message, record)
    if record.get(_ORDER_NUMBER) is None and any(record.get(key) for key in DRAFT_KEYS):
        message = "A draft or an abandoned checkout is no order."
        return reject_record(line, position, "not_an_order", message, record)
    if drift is not None:
        drift.add_order(record, position)
    order_id = positive_id(record, fact_order)
    if order_id is None:
        message = f"The order's id is {kind_of_id(record, fact_order)}, not a positive integer."
        return reject_record(line, position, "bad_order_id", message, record)
    if _contradicts(record.get(GRAPHQL_ID), order_id):
        message = f"The order's id is {order_id}, but {GRAPHQL_ID} ends in another one."
        return reject_record(line, position, "id_mismatch", message, record)
    try:
        order = repair_order(record, issues)
    except TooManyChildren as error:
        return reject_record(line, position, "bad_child_id", str(error), record)
    repaired = _encode(order).encode() + b"\n"
    return Repaired(repaired, issues.of_values(), _with_order_raw(issues.rejected, line))


def _open(
    envelope: Envelope, outer: Json, line: bytes, issues: RecordIssues, *, in_page: bool
) -> Json | Skipped | Rejected:
    """Return what stands in an envelope for the order, or what becomes of a record without one.

    Parameters
    ----------
    envelope
        What should stand around the order.
    outer, line
        The record, parsed and as text.
    issues
        Collects a message without an order, and values that are overwritten on the way.
    in_page
        As in :func:`apply_rules`.
    """
    position = issues.position
    opened = open_envelope(envelope, outer)
    if isinstance(opened, Message):
        issues.add_value(opened.path, "message_without_order", opened.kind)
        return Skipped(issues.of_values())
    if isinstance(opened, Closed):
        if opened.is_missing:
            return reject_without_order(line, position, outer, envelope, opened.message)
        return reject_record(line, position, opened.code, opened.message)
    for path, overwritten in opened.overwritten:
        issues.add_value(path, "duplicate_key", overwritten)
    if not in_page and is_page_or_wrapper(opened.order):
        message = f"A page or a wrapper stands at {VARIABLE}={envelope.setting}, not one order."
        return reject_record(line, position, "not_an_order", message)
    return opened.order


def _contradicts(graphql_id: Json, order_id: int) -> bool:
    """Return whether a GraphQL id names another order."""
    match = re.fullmatch(GRAPHQL_ORDER, graphql_id) if isinstance(graphql_id, str) else None
    return match is not None and match["digits"] != str(order_id)


def _with_order_raw(children: list[Rejected], line: bytes) -> list[Rejected]:
    """Add the text of the order to the first of its rejected children; there may be thousands."""
    if not children:
        return []
    first, *others = children
    return [replace(first, order_raw=truncate_raw(line.removesuffix(b"\n"))), *others]
