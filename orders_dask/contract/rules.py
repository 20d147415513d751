"""The rules for bad records: reject a record, or repair and null its bad values.

The fast decoder sends a record here if it can't read it, or can't tell whether it is good. The
result is a rejection (the ledger stores the record), or the record in JSON that the fast
decoder reads, with the contract's keys alone. A good record comes back with the same values. See
docs/contract.md#bad-values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple, TypeAlias

import pyarrow as pa
from sqlalchemy import Table

from orders_dask.contract.arrow import typed_schema
from orders_dask.contract.envelopes import (
    DELETED,
    DELETION_KEYS,
    VARIABLE,
    Closed,
    Envelope,
    Message,
    is_deleted,
    open_envelope,
    suggested_setting,
)
from orders_dask.contract.issue_codes import RejectedCode, ValueCode
from orders_dask.contract.json_parser import (
    DuplicateKeys,
    Json,
    NotJson,
    Number,
    parse,
    preview,
    sanitise,
    to_json,
    truncate_raw,
)
from orders_dask.contract.order_tables import FACTS, fact_order
from orders_dask.contract.rejects import MAX_SAMPLES, Issue, Rejected, merge_issues
from orders_dask.contract.values import RULES, Rule, Value, integer, tags

__all__ = [
    "CHILDREN",
    "CONTAINER_KEYS",
    "DRAFT_KEYS",
    "GRAPHQL_ID",
    "GRAPHQL_ORDER",
    "MAX_SAMPLES",
    "ORDER_KEYS",
    "Issue",
    "Rejected",
    "Repaired",
    "Skipped",
    "apply_rules",
    "id_key",
    "merge_issues",
    "reject_invalid_json",
    "reject_record",
]

ORDER_KEYS: Final = (
    "line_items",
    "total_price",
    "subtotal_price",
    "total_line_items_price",
    "order_number",
    "financial_status",
)
"""Outside of containers, an object with one of these keys is an order.

See docs/contract.md#input-documents.
"""

CONTAINER_KEYS: Final = ("orders", "order")
"""Outside of containers, an object with one of these keys is a page or a wrapper."""

CHILDREN: Final[dict[str, Table]] = {
    fact.info["records"]: fact for fact in FACTS if fact.info["records"]
}
"""The facts of an order's children by path, such as ``refunds[].refund_line_items[]``."""

GRAPHQL_ID: Final[str] = next(iter(fact_order.c.order_id.info["reads"]))
DRAFT_KEYS: Final[tuple[str, ...]] = tuple(fact_order.c.order_number.info["reads"])
"""An object with one of these keys and without an order number is a draft or a checkout.

https://shopify.dev/docs/api/admin-rest/latest/resources/draftorder
"""

GRAPHQL_ORDER: Final = r"^gid://(?s:.*)/Order/(?P<digits>[0-9]+)$"
"""An ``admin_graphql_api_id`` of this form must end in the order's id (code ``id_mismatch``).

RE2 and Python understand the pattern alike, except for Python's ``$``.
"""


_ORDER_NUMBER: Final[str] = fact_order.c.order_number.info["source"]


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


def reject_invalid_json(line: bytes, position: int, strict: bool, why: str) -> Rejected:
    """Return the rejection of a line that is not JSON.

    The code is ``unreadable_file`` if the line may contain any number of orders: if the text is not
    newline-delimited (`strict`), if the line begins like a page or an array, or if it is a last
    line without a newline.
    """
    may_have_many = strict or not line.endswith(b"\n") or CONTAINER_START.match(line)
    return reject_record(
        line,
        position,
        "unreadable_file" if may_have_many else "invalid_json",
        f"The record is not JSON: {why}.",
    )


def reject_record(
    line: bytes, position: int, code: RejectedCode, message: str, record: Json = None
) -> Rejected:
    """Return the rejection of a record. Its children are counted if its value is given."""
    raw = truncate_raw(line.removesuffix(b"\n"))
    return Rejected(
        position, "", code, sanitise(message), raw, _count_with_children(record, fact_order)
    )


def apply_rules(
    line: bytes,
    position: int,
    *,
    in_page: bool,
    unwrapped: bool,
    strict: bool,
    envelope: Envelope | None = None,
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

    Returns
    -------
    Repaired, Rejected, Skipped or None
        None for a container that the caller has to unwrap.
    """
    try:
        record = parse(line)
    except NotJson as error:
        return reject_invalid_json(line, position, strict, str(error))
    if isinstance(record, dict) and not in_page and any(key in record for key in CONTAINER_KEYS):
        if not unwrapped:
            return None
        message = f"The orders of the page with the keys {_preview_keys(record)} are no array."
        return reject_record(line, position, "not_an_order", message)
    if isinstance(record, list) and not in_page and not unwrapped:
        return None
    issues = _RecordIssues(position)
    outer = record
    if envelope is not None:
        opened = open_envelope(envelope, record)
        if isinstance(opened, Message):
            issues.add_value(opened.path, "message_without_order", opened.kind)
            return Skipped(issues.of_values())
        if isinstance(opened, Closed):
            if opened.is_missing:
                return _reject_without_order(line, position, outer, envelope, opened.message)
            return reject_record(line, position, opened.code, opened.message)
        for path, overwritten in opened.overwritten:
            issues.add_value(path, "duplicate_key", overwritten)
        record = opened.order
        if isinstance(record, dict) and not in_page and any(k in record for k in CONTAINER_KEYS):
            message = f"A page or a wrapper stands at {VARIABLE}={envelope.setting}, not one order."
            return reject_record(line, position, "not_an_order", message)
    if not isinstance(record, dict):
        message = f"An order is an object, not {_kind_of(record)}."
        return reject_record(line, position, "not_an_order", message)
    if is_deleted(record):
        return reject_record(line, position, "deleted_order", DELETED, record)
    is_like_order = any(key in record for key in ORDER_KEYS)
    if not is_like_order and (not in_page or suggested_setting(record, _looks_like_order)):
        message = f"An object with the keys {_preview_keys(record)} is no order."
        return _reject_without_order(line, position, outer, envelope, message, record)
    if record.get(_ORDER_NUMBER) is None and any(record.get(key) for key in DRAFT_KEYS):
        message = "A draft or an abandoned checkout is no order."
        return reject_record(line, position, "not_an_order", message, record)
    order_id = _positive_id(record, fact_order)
    if order_id is None:
        message = f"The order's id is {_kind_of_id(record, fact_order)}, not a positive integer."
        return reject_record(line, position, "bad_order_id", message, record)
    if _contradicts(record.get(GRAPHQL_ID), order_id):
        message = f"The order's id is {order_id}, but {GRAPHQL_ID} ends in another one."
        return reject_record(line, position, "id_mismatch", message, record)
    try:
        order = _ORDER(record, issues, "")
    except _TooManyRejected:
        message = f"More than {MAX_REJECTED_CHILDREN:,} children of the order are rejected."
        return reject_record(line, position, "bad_child_id", message, record)
    repaired = _encode(order).encode() + b"\n"
    return Repaired(repaired, issues.of_values(), _with_order_raw(issues.rejected, line))


def _reject_without_order(
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
        message = f"An object with the keys {_preview_keys(outer)} has no order at "
        message += f"{VARIABLE}={envelope.setting}."
        if _looks_like_order(outer):
            message = f"{message[:-1]}, but is one itself: leave {VARIABLE} unset."
            return reject_record(line, position, "not_an_order", message)
    setting = suggested_setting(outer, _looks_like_order)
    if setting and (envelope is None or setting != envelope.setting):
        message = f"{message[:-1]}, but one stands within it: set {VARIABLE}={setting}."
    return reject_record(line, position, "not_an_order", message)


def _looks_like_order(value: Mapping[str, Json]) -> bool:
    """Return whether an object has an id and one of the keys that only orders have."""
    return id_key(fact_order) in value and any(key in value for key in ORDER_KEYS)


def _with_order_raw(children: list[Rejected], line: bytes) -> list[Rejected]:
    """Add the text of the order to the first of its rejected children; there may be thousands."""
    if not children:
        return []
    first, *others = children
    return [replace(first, order_raw=truncate_raw(line.removesuffix(b"\n"))), *others]


MAX_REJECTED_CHILDREN: Final = 10_000
"""An order with more rejected children is rejected as a whole. Real orders have at most 500 lines.

See docs/contract.md#limits.
"""

CONTAINER_START: Final = re.compile(rb'[ \t\r\n]*(?:\[|\{[ \t\r\n]*"orders")')
"""Text that begins like an array or a page may contain any number of orders."""

_TRANSACTION: Final = "refunds[].transactions[]"

_encode = json.JSONEncoder(check_circular=False, separators=(",", ":")).encode


class _TooManyRejected(Exception):
    """More than :data:`MAX_REJECTED_CHILDREN` children of a record are rejected."""


@dataclass
class _RecordIssues:
    """Collects the bad values and the rejected children of one record."""

    position: int
    bad_values: dict[tuple[str, ValueCode], tuple[int, list[str]]] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)

    def add_value(self, path: str, code: ValueCode, value: Json) -> None:
        """Count a bad value under its path and code, and keep the least texts as samples."""
        count, texts = self.bad_values.get((path, code), (0, []))
        self.bad_values[path, code] = count + 1, sorted([*texts, preview(value)])[:MAX_SAMPLES]

    def add_rejected(self, child: Rejected) -> None:
        """Add a rejected child."""
        if len(self.rejected) == MAX_REJECTED_CHILDREN:
            raise _TooManyRejected
        self.rejected.append(child)

    def of_values(self) -> list[Issue]:
        """Return an issue for each path and code of bad values."""
        return [
            Issue(path, code, count, tuple((self.position, text) for text in texts))
            for (path, code), (count, texts) in self.bad_values.items()
        ]


_Rule: TypeAlias = Callable[[Json, _RecordIssues, str], Any]
"""Converts a value, given the issues and the path of its object, such as ``refunds[0].``."""


def _nested(kind: pa.DataType, path: str) -> _Rule:
    """Return the rule for a struct or list of a typed Arrow type at a dotted path."""
    if pa.types.is_struct(kind):
        return _object(kind, path)
    inner, elements = kind.value_type, f"{path}[]"
    if not pa.types.is_struct(inner):
        return _values(RULES[inner], path)
    if elements in CHILDREN:
        return _children(_object(inner, elements), path, CHILDREN[elements])
    return _array(_object(inner, elements), path)


def _object(kind: pa.StructType | pa.Schema, path: str) -> _Rule:
    """Return the rule for objects: each value that the contract reads has its own rule."""
    name = path.rpartition(".")[2]
    prefix = path and f"{path}."
    scalars = {item.name: RULES[item.type] for item in kind if item.type in RULES}
    if "tags" in scalars:
        scalars["tags"] = tags
    if not path:
        scalars[GRAPHQL_ID] = _text_without_code
        scalars |= dict.fromkeys((*DRAFT_KEYS, *DELETION_KEYS), _nothing)
    nested = {
        item.name: _nested(item.type, prefix + item.name) for item in kind if item.type not in RULES
    }

    def convert(value: Json, issues: _RecordIssues, where: str) -> Any:
        if value is None:
            return None
        if not isinstance(value, dict):
            issues.add_value(path, "bad_children", value)
            return None
        if isinstance(value, DuplicateKeys):
            for key, overwritten in value.overwritten:
                if key in scalars or key in nested:
                    issues.add_value(prefix + key, "duplicate_key", overwritten)
        inside = where if not name or name.endswith("]") else f"{where}{name}."
        converted: dict[str, Any] = {}
        for key, given in value.items():
            if rule := scalars.get(key):
                converted[key], code = (None, None) if given is None else rule(given)
                if code:
                    issues.add_value(prefix + key, code, given)
            elif key in nested:
                converted[key] = nested[key](given, issues, inside)
        if path == _TRANSACTION and converted.get("currency", "") is None is not value["currency"]:
            converted["amount"] = None  # of which currency it is can't be known
        return converted

    return convert


def _values(rule: Rule, path: str) -> _Rule:
    """Return the rule for an array of scalars: each bad element is nulled by itself."""

    def convert(value: Json, issues: _RecordIssues, where: str) -> Any:
        if value is None:
            return None
        if not isinstance(value, list):
            issues.add_value(path, "bad_children", value)
            return None
        converted = []
        for given in value:
            stored, code = (None, None) if given is None else rule(given)
            if code:
                issues.add_value(f"{path}[]", code, given)
            converted.append(stored)
        return converted

    return convert


def _array(element: _Rule, path: str) -> _Rule:
    """Return the rule for an array of objects without ids: any other element nulls it."""

    def convert(value: Json, issues: _RecordIssues, where: str) -> Any:
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            issues.add_value(path, "bad_children", value)
            return None
        return [element(each, issues, where) for each in value]

    return convert


def _children(element: _Rule, path: str, fact: Table) -> _Rule:
    """Return the rule for an array of children with ids: each that is rejected becomes null."""
    name = path.rpartition(".")[2]

    def convert(value: Json, issues: _RecordIssues, where: str) -> Any:
        if value is None:
            return None
        if not isinstance(value, list):
            issues.add_value(path, "bad_children", value)
            return None
        ids = [_positive_id(child, fact) for child in value]
        last = {child_id: index for index, child_id in enumerate(ids)}

        def convert_child(index: int, child: Json) -> Any:
            here = f"{where}{name}[{index}]"
            code: RejectedCode
            if not isinstance(child, dict):
                code, message = "bad_child_id", f"{here} is no object."
            elif ids[index] is None:
                code = "bad_child_id"
                message = f"The id of {here} is {_kind_of_id(child, fact)}, not a positive integer."
            elif last[ids[index]] != index:
                code = "duplicate_child"
                message = f"{here} has the id {ids[index]} of a later one, which stands."
            else:
                return element(child, issues, f"{here}.")
            raw = truncate_raw(sanitise(to_json(child)).encode())
            counts = _count_with_children(child, fact)
            issues.add_rejected(Rejected(issues.position, here, code, message, raw, counts))
            return None

        return [convert_child(index, child) for index, child in enumerate(value)]

    return convert


def _text_without_code(value: Json) -> tuple[Value, None]:
    """Return a value as text without a code: it is stored nowhere."""
    return RULES[pa.string()](value)[0], None


def _nothing(_: Json) -> tuple[None, None]:
    """Return nothing: the value has been looked at, and is stored nowhere."""
    return None, None


def _contradicts(graphql_id: Json, order_id: int) -> bool:
    """Return whether a GraphQL id names another order."""
    match = re.fullmatch(GRAPHQL_ORDER, graphql_id) if isinstance(graphql_id, str) else None
    return match is not None and match["digits"] != str(order_id)


def id_key(fact: Table) -> str:
    """Return the JSON key of a fact's ids, which is the source of its last key column."""
    source: str = fact.c[fact.info["key"][-1]].info["source"]
    return source


def _positive_id(record: Json, fact: Table) -> int | None:
    """Return the id of a record of `fact`, or None if it is not a positive integer."""
    value = record.get(id_key(fact)) if isinstance(record, dict) else None
    number = integer(value)[0] if value is not None else None
    return number if number is not None and number > 0 else None


# Everybody who sees how a run ended reads these messages, so they quote no personal data.


def _preview_keys(record: Mapping[str, Json]) -> str:
    """Return the first keys of an object; others, and such as an email address, are counted."""
    names = [key for key in record if _NAME.fullmatch(key)][:MAX_PREVIEW_KEYS]
    others = len(record) - len(names)
    named = preview(", ".join(names)) or "(none)"
    return f"{named} and {others:,} more" if others else named


MAX_PREVIEW_KEYS: Final = 10
_NAME: Final = re.compile(r"(?!\d)[\w-]{1,40}")


def _kind_of(value: Json) -> str:
    """Describe a value without quoting any text, array or object."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, str) and not isinstance(value, Number):
        return "a text" if value else "an empty text"
    return to_json(value)[:40]


def _kind_of_id(record: Mapping[str, Json], fact: Table) -> str:
    """Describe the id of a record, which may be missing."""
    return _kind_of(record[id_key(fact)]) if id_key(fact) in record else "missing"


def _count_with_children(record: Json, fact: Table) -> dict[str, int]:
    """Count a record of `fact` and its children, by the names of their facts."""
    counts = {fact.name: 1}
    own = fact.info["records"]
    for path, child in CHILDREN.items():
        if path != own and path.startswith(own and f"{own}."):
            number = _count_at(record, path.removeprefix(own).removeprefix(".").split("."))
            counts |= {child.name: number} if number else {}
    return counts


def _count_at(value: Json, steps: list[str]) -> int:
    """Count the elements at a path of arrays: ``["refunds[]", "refund_line_items[]"]``."""
    if not steps:
        return 1
    inner = value.get(steps[0].removesuffix("[]")) if isinstance(value, dict) else None
    if not steps[0].endswith("[]"):
        return _count_at(inner, steps[1:])
    return sum(_count_at(each, steps[1:]) for each in inner) if isinstance(inner, list) else 0


_ORDER: Final = _object(typed_schema(), "")
