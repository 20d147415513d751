"""Reject a record in which no order was found, and say where one seems to be."""

from __future__ import annotations

from collections.abc import Mapping

from orders_dask.contract.descriptions import preview_keys
from orders_dask.contract.envelopes import VARIABLE, Envelope, suggested_setting
from orders_dask.contract.json_parser import Json
from orders_dask.contract.order_tables import fact_order
from orders_dask.contract.record_keys import has_order_key, id_key
from orders_dask.contract.rejects import Rejected, reject_record


def reject_without_order(
    line: bytes,
    position: int,
    outer: Json,
    envelope: Envelope | None,
    message: str,
    inner: Json = None,
) -> Rejected:
    """Return the rejection of a record in which no order was found, with where one seems to be.

    Parameters
    ----------
    line, position
        The record's text and position.
    outer
        Its value.
    envelope
        What should stand around the order; None for nothing.
    message
        What is wrong, for people.
    inner
        The object that should be the order; null if there is none.
    """
    document = inner if isinstance(inner, dict) else outer
    if isinstance(document, dict) and "errors" in document:
        # It stands in place of a page of up to 250 orders.
        message = "An error document of an API stands where orders should be."
        return reject_record(line, position, "unreadable_file", message)
    if envelope is not None and isinstance(outer, dict):
        message = f"An object with the keys {preview_keys(outer)} has no order at "
        message += f"{VARIABLE}={envelope.setting}."
        if looks_like_order(outer):
            message = f"{message[:-1]}, but is one itself: leave {VARIABLE} unset."
            return reject_record(line, position, "not_an_order", message)
    setting = suggested_setting(outer, looks_like_order)
    if setting and (envelope is None or setting != envelope.setting):
        message = f"{message[:-1]}, but one stands within it: set {VARIABLE}={setting}."
    return reject_record(line, position, "not_an_order", message)


def looks_like_order(value: Mapping[str, Json]) -> bool:
    """Return whether an object has an id and one of the keys that only orders have."""
    return id_key(fact_order) in value and has_order_key(value)
