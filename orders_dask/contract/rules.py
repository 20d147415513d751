"""What a bad value gets: the record-level rules, one record's text at a time.

The fast decoder sends a record here when it can't take it, or can't tell whether it is as it should
be. What comes back is either a rejection, or the record written again with the contract's keys
alone, in forms that the same decoder takes. So a good record comes out of here as it came in: the
rules only say more about bad ones.
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
from orders_dask.contract.values import RULES, Rule, Value, integer

__all__ = [
    "CHILDREN",
    "CONTAINER_KEYS",
    "GRAPHQL_ID",
    "GRAPHQL_ORDER",
    "MAX_SAMPLES",
    "ORDER_KEYS",
    "Issue",
    "Rejected",
    "Repaired",
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
"""Outside pages and wrappers an object is an order when it has one of these keys."""

CONTAINER_KEYS: Final = ("orders", "order")
"""Outside pages and wrappers an object that has one of these keys is a page or a wrapper."""

CHILDREN: Final[dict[str, Table]] = {
    fact.info["records"]: fact for fact in FACTS if fact.info["records"]
}
"""The facts whose records stand in arrays within an order, by their path, such as ``refunds[].refund_line_items[]``."""

GRAPHQL_ID: Final[str] = next(iter(fact_order.c.order_id.info["reads"]))
GRAPHQL_ORDER: Final = r"^gid://(?s:.*)/Order/(?P<digits>[0-9]+)$"
"""Such an ``admin_graphql_api_id`` must end in the order's id (RE2 and Python read it alike but for Python's ``$``)."""


class Repaired(NamedTuple):
    """A record that stands: its text for the decoder, ending in LF, and what was found in it."""

    line: bytes
    issues: list[Issue]
    rejected: list[Rejected]


def reject_invalid_json(line: bytes, position: int, strict: bool, why: str) -> Rejected:
    """Reject a line that is not JSON.

    It is ``unreadable_file`` where it may have held any number of orders: in text that is not
    newline-delimited (`strict`), where it begins like a page or an array, and in a last line
    without its newline.
    """
    many = strict or not line.endswith(b"\n") or CONTAINER_START.match(line)
    code = "unreadable_file" if many else "invalid_json"
    return reject_record(line, position, code, f"The record is not JSON: {why}.")


def reject_record(
    line: bytes, position: int, code: str, message: str, record: Json = None
) -> Rejected:
    """Reject a record, with the children of `record`, its value, if it is known and an order."""
    raw = truncate_raw(line.removesuffix(b"\n"))
    return Rejected(
        position, "", code, sanitise(message), raw, _count_with_children(record, fact_order)
    )


def apply_rules(
    line: bytes, position: int, *, in_page: bool, unwrapped: bool, strict: bool
) -> Repaired | Rejected | None:
    """Apply the rules to one record.

    Parameters
    ----------
    line
        The record's text; without LF only where the last line of a file has none.
    position
        Its number in its file.
    in_page
        It stood inside a page or a wrapper: every object is an order.
    unwrapped
        It was taken out of an array, page or wrapper, or isn't newline-delimited: it can't be one
        of these any more.
    strict
        A record that is not JSON makes the file unreadable.

    Returns
    -------
    Repaired, Rejected or None
        None for an array, a page or a wrapper that is still to be opened.
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
    if not isinstance(record, dict):
        message = f"An order is an object, not {_kind_of(record)}."
        return reject_record(line, position, "not_an_order", message)
    if not in_page and not any(key in record for key in ORDER_KEYS):
        message = f"An object with the keys {_preview_keys(record)} is no order."
        return reject_record(line, position, "not_an_order", message)
    order_id = _positive_id(record, fact_order)
    if order_id is None:
        message = f"The order's id is {_kind_of_id(record, fact_order)}, not a positive integer."
        return reject_record(line, position, "bad_order_id", message, record)
    if _contradicts(record.get(GRAPHQL_ID), order_id):
        message = f"The order's id is {order_id}, but {GRAPHQL_ID} ends in another one."
        return reject_record(line, position, "id_mismatch", message, record)
    notes = _RecordFindings(position)
    try:
        order = _ORDER(record, notes, "")
    except _TooManyRejected:
        message = f"More than {MAX_REJECTED_CHILDREN:,} children of the order are rejected."
        return reject_record(line, position, "bad_child_id", message, record)
    return Repaired(
        _encode(order).encode() + b"\n", notes.issues(), _with_order_raw(notes.rejected, line)
    )


def _with_order_raw(children: list[Rejected], line: bytes) -> list[Rejected]:
    """Keep the text of the order with the first of its rejected children: only there, for they may be many."""
    first = (
        replace(child, order_raw=truncate_raw(line.removesuffix(b"\n"))) for child in children[:1]
    )
    return [*first, *children[1:]]


MAX_REJECTED_CHILDREN: Final = 10_000
"""Children of one order that are rejected by themselves; one that has more is rejected as a whole.
(Real orders have at most 500 lines; of ``[0,0,…`` a record of 16 MiB holds 8 million.)"""

CONTAINER_START: Final = re.compile(rb'[ \t\r\n]*(?:\[|\{[ \t\r\n]*"orders")')
"""Text that begins like an array or a page may hold any number of orders."""

_encode = json.JSONEncoder(check_circular=False, separators=(",", ":")).encode


class _TooManyRejected(Exception):
    """More than :data:`MAX_REJECTED_CHILDREN` children of a record are rejected."""


@dataclass
class _RecordFindings:
    """What is found in one record."""

    position: int
    found: dict[tuple[str, str], tuple[int, list[str]]] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)

    def note(self, path: str, code: str, value: Json) -> None:
        """Count a value under its code; of many, a few texts are held."""
        count, texts = self.found.get((path, code), (0, []))
        self.found[path, code] = count + 1, sorted([*texts, preview(value)])[:MAX_SAMPLES]

    def reject(self, child: Rejected) -> None:
        """Note a child that is rejected by itself."""
        if len(self.rejected) == MAX_REJECTED_CHILDREN:
            raise _TooManyRejected
        self.rejected.append(child)

    def issues(self) -> list[Issue]:
        return [
            Issue(path, code, count, tuple((self.position, text) for text in texts))
            for (path, code), (count, texts) in self.found.items()
        ]


_Rule: TypeAlias = Callable[[Json, _RecordFindings, str], Any]
"""Gives what is stored in a value's place; the text is where its object stands, such as ``refunds[0].``."""


def _nested(kind: pa.DataType, path: str) -> _Rule:
    """Give the rule for the objects or arrays of a typed Arrow type at a dotted path."""
    if pa.types.is_struct(kind):
        return _object(kind, path)
    inner, elements = kind.value_type, f"{path}[]"
    if not pa.types.is_struct(inner):
        return _values(RULES[inner], path)
    if elements in CHILDREN:
        return _children(_object(inner, elements), path, CHILDREN[elements])
    return _array(_object(inner, elements), path)


def _object(kind: pa.StructType | pa.Schema, path: str) -> _Rule:
    name = path.rpartition(".")[2]
    prefix = path and f"{path}."
    scalars = {item.name: RULES[item.type] for item in kind if item.type in RULES}
    if not path:
        scalars[GRAPHQL_ID] = _graphql_id
    nested = {
        item.name: _nested(item.type, prefix + item.name) for item in kind if item.type not in RULES
    }

    def convert(value: Json, notes: _RecordFindings, where: str) -> Any:
        if value is None:
            return None
        if not isinstance(value, dict):
            notes.note(path, "bad_children", value)
            return None
        if isinstance(value, DuplicateKeys):
            for key, loser in value.overwritten:
                if key in scalars or key in nested:
                    notes.note(prefix + key, "duplicate_key", loser)
        inside = where if not name or name.endswith("]") else f"{where}{name}."
        made: dict[str, Any] = {}
        for key, given in value.items():
            if rule := scalars.get(key):
                made[key], code = (None, None) if given is None else rule(given)
                if code:
                    notes.note(prefix + key, code, given)
            elif key in nested:
                made[key] = nested[key](given, notes, inside)
        return made

    return convert


def _values(rule: Rule, path: str) -> _Rule:
    """Give the rule for an array of plain values, each of which stands or falls alone."""

    def convert(value: Json, notes: _RecordFindings, where: str) -> Any:
        if value is None:
            return None
        if not isinstance(value, list):
            notes.note(path, "bad_children", value)
            return None
        made = []
        for given in value:
            stored, code = (None, None) if given is None else rule(given)
            if code:
                notes.note(f"{path}[]", code, given)
            made.append(stored)
        return made

    return convert


def _array(element: _Rule, path: str) -> _Rule:
    """Give the rule for an array of objects without ids: an element that is none spoils it."""

    def convert(value: Json, notes: _RecordFindings, where: str) -> Any:
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            notes.note(path, "bad_children", value)
            return None
        return [element(each, notes, where) for each in value]

    return convert


def _children(element: _Rule, path: str, fact: Table) -> _Rule:
    """Give the rule for an array of children with ids: null stands in the place of each that is rejected."""
    name = path.rpartition(".")[2]

    def convert(value: Json, notes: _RecordFindings, where: str) -> Any:
        if value is None:
            return None
        if not isinstance(value, list):
            notes.note(path, "bad_children", value)
            return None
        ids = [_positive_id(child, fact) for child in value]
        last = {child_id: place for place, child_id in enumerate(ids)}

        def taken(place: int, child: Json) -> Any:
            here = f"{where}{name}[{place}]"
            if not isinstance(child, dict):
                code, message = "bad_child_id", f"{here} is no object."
            elif ids[place] is None:
                code = "bad_child_id"
                message = f"The id of {here} is {_kind_of_id(child, fact)}, not a positive integer."
            elif last[ids[place]] != place:
                code = "duplicate_child"
                message = f"{here} has the id {ids[place]} of a later one, which stands."
            else:
                return element(child, notes, f"{here}.")
            raw = truncate_raw(sanitise(to_json(child)).encode())
            counts = _count_with_children(child, fact)
            notes.reject(Rejected(notes.position, here, code, message, raw, counts))
            return None

        return [taken(place, child) for place, child in enumerate(value)]

    return convert


def _graphql_id(value: Json) -> tuple[Value, None]:
    """Keep the text that the order's id is checked with; what it is beyond that is ignored."""
    return RULES[pa.string()](value)[0], None


def _contradicts(graphql_id: Json, order_id: int) -> bool:
    match = re.fullmatch(GRAPHQL_ORDER, graphql_id) if isinstance(graphql_id, str) else None
    return match is not None and match["digits"] != str(order_id)


def id_key(fact: Table) -> str:
    """Give the key that holds the id of a fact's records: the source of the last column of the fact's own key."""
    source: str = fact.c[fact.info["key"][-1]].info["source"]
    return source


def _positive_id(record: Json, fact: Table) -> int | None:
    """Give the id of a record of `fact` if it is one."""
    value = record.get(id_key(fact)) if isinstance(record, dict) else None
    number = integer(value)[0] if value is not None else None
    return number if number is not None and number > 0 else None


# What a message says of a record is shown to all who see how a run ended, so it quotes nothing that
# may be of a person.


def _preview_keys(record: Mapping[str, Json]) -> str:
    """Name the keys of an object; those that are no names, such as an address for mail, are only counted."""
    names = [key for key in record if key.replace("-", "_").isidentifier()]
    others = len(record) - len(names)
    named = preview(", ".join(names)) or "(none)"
    return f"{named} and {others:,} that are no names" if others else named


def _kind_of(value: Json) -> str:
    """Say what a value is; of a text, an array or an object only that."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, str) and not isinstance(value, Number):
        return "a text" if value else "an empty text"
    return to_json(value)[:40]


def _kind_of_id(record: Mapping[str, Json], fact: Table) -> str:
    return _kind_of(record[id_key(fact)]) if id_key(fact) in record else "missing"


def _count_with_children(record: Json, fact: Table) -> dict[str, int]:
    """Count a record of `fact` and, by their fact's name, the children that it takes with it."""
    counts = {fact.name: 1}
    own = fact.info["records"]
    for path, child in CHILDREN.items():
        if path != own and path.startswith(own and f"{own}."):
            number = _count_at(record, path.removeprefix(own).removeprefix(".").split("."))
            counts |= {child.name: number} if number else {}
    return counts


def _count_at(value: Json, steps: list[str]) -> int:
    """Count the elements of the arrays at a path such as ``["refunds[]", "refund_line_items[]"]``."""
    if not steps:
        return 1
    inner = value.get(steps[0].removesuffix("[]")) if isinstance(value, dict) else None
    if not steps[0].endswith("[]"):
        return _count_at(inner, steps[1:])
    return sum(_count_at(each, steps[1:]) for each in inner) if isinstance(inner, list) else 0


_ORDER: Final = _object(typed_schema(), "")
