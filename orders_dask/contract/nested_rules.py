"""The rules for what an order contains: its objects, its arrays and its children.

Bad values are repaired or nulled, each by the rule of its type
(:mod:`orders_dask.contract.values`); bad children are rejected. See
docs/contract.md#objects-and-arrays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar

import pyarrow as pa
from sqlalchemy import Table

from orders_dask.contract.arrow import typed_schema
from orders_dask.contract.descriptions import kind_of_id
from orders_dask.contract.envelopes import DELETION_KEYS
from orders_dask.contract.issue_codes import RejectedCode, ValueCode
from orders_dask.contract.json_parser import (
    DuplicateKeys,
    Json,
    preview,
    sanitise,
    to_json,
    truncate_raw,
)
from orders_dask.contract.order_tables import fact_order
from orders_dask.contract.record_keys import (
    CHILDREN,
    DRAFT_KEYS,
    GRAPHQL_ID,
    MAX_ELEMENTS,
    positive_id,
)
from orders_dask.contract.rejects import MAX_SAMPLES, Issue, Rejected, count_with_children
from orders_dask.contract.values import RULES, Rule, Value, tags, text

MAX_REJECTED_CHILDREN: Final = 10_000
"""An order with more rejected children is rejected as a whole. Real orders have at most 500 lines.

See docs/contract.md#limits.
"""

_TRANSACTION: Final = "refunds[].transactions[]"


class TooManyChildren(Exception):
    """A record has more children than can be read; the only argument is a sentence for people."""


@dataclass
class RecordIssues:
    """Collects the bad values and the rejected children of one record, and counts elements."""

    position: int
    bad_values: dict[tuple[str, ValueCode], tuple[int, list[str]]] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    elements: Counter[str] = field(default_factory=Counter)

    def add_value(self, path: str, code: ValueCode, value: Json) -> None:
        """Count a bad value under its path and code, and keep the least texts as samples."""
        count, texts = self.bad_values.get((path, code), (0, []))
        self.bad_values[path, code] = count + 1, sorted([*texts, preview(value)])[:MAX_SAMPLES]

    def add_rejected(self, child: Rejected) -> None:
        """Add a rejected child."""
        if len(self.rejected) == MAX_REJECTED_CHILDREN:
            raise TooManyChildren(
                f"More than {MAX_REJECTED_CHILDREN:,} children of the order are rejected."
            )
        self.rejected.append(child)

    def add_elements(self, path: str, number: int) -> None:
        """Count the elements of an array of objects without ids."""
        self.elements[path] += number
        if self.elements[path] > MAX_ELEMENTS:
            raise TooManyChildren(f"The order has more than {MAX_ELEMENTS:,} elements of {path}.")

    def of_values(self) -> list[Issue]:
        """Return an issue for each path and code of bad values."""
        return [
            Issue(path, code, count, tuple((self.position, text) for text in texts))
            for (path, code), (count, texts) in self.bad_values.items()
        ]


def repair_order(order: dict[str, Json], issues: RecordIssues) -> dict[str, Any]:
    """Return an order with the contract's keys alone and no bad value, for the JSON reader.

    Parameters
    ----------
    order
        The order, parsed.
    issues
        Collects its bad values and rejected children. The latter are null in the result.

    Raises
    ------
    TooManyChildren
        It has too many rejected children to be stored one by one, or too many without ids.
    """
    repaired: dict[str, Any] = _ORDER(order, issues, "")
    return repaired


_Kind = TypeVar("_Kind")

_RuleOf: TypeAlias = Callable[[_Kind, RecordIssues, str], Any]
"""Converts a value, given the issues and the path of its object, such as ``refunds[0].``."""

_Rule: TypeAlias = _RuleOf[Json]


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


def _only(kind: type[_Kind], path: str, convert: _RuleOf[_Kind]) -> _Rule:
    """Return the rule for objects or arrays: a value of any other type is nulled."""

    def convert_if(value: Json, issues: RecordIssues, where: str) -> Any:
        if isinstance(value, kind):
            return convert(value, issues, where)
        if value is not None:
            issues.add_value(path, "bad_children", value)
        return None

    return convert_if


def _object(kind: pa.StructType | pa.Schema, path: str) -> _Rule:
    """Return the rule for objects: each value that the contract reads has its own rule."""
    name = path.rpartition(".")[2]
    prefix = path and f"{path}."
    scalars = {item.name: RULES[item.type] for item in kind if item.type in RULES}
    if scalars.get("tags") is text:
        scalars["tags"] = tags
    if not path:
        if not _is_stored(GRAPHQL_ID):
            scalars[GRAPHQL_ID] = _text_without_code
        scalars |= dict.fromkeys((*DRAFT_KEYS, *DELETION_KEYS), _nothing)
    nested = {
        item.name: _nested(item.type, prefix + item.name) for item in kind if item.type not in RULES
    }

    def convert(value: dict[str, Json], issues: RecordIssues, where: str) -> dict[str, Any]:
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
        currency = value.get("currency")
        if path == _TRANSACTION and currency is not None and converted["currency"] is None:
            converted["amount"] = None  # of which currency it is can't be known
        return converted

    return _only(dict, path, convert)


def _values(rule: Rule, path: str) -> _Rule:
    """Return the rule for an array of scalars: each bad element is nulled by itself."""

    def convert(value: list[Json], issues: RecordIssues, where: str) -> list[Any]:
        converted = []
        for given in value:
            stored, code = (None, None) if given is None else rule(given)
            if code:
                issues.add_value(f"{path}[]", code, given)
            converted.append(stored)
        return converted

    return _only(list, path, convert)


def _array(element: _Rule, path: str) -> _Rule:
    """Return the rule for an array of objects without ids: any other element becomes null."""
    elements = f"{path}[]"

    def convert_element(value: Json, issues: RecordIssues, where: str) -> Any:
        if value is None:  # of an object that is null nothing is lost, of an element its place is
            issues.add_value(elements, "bad_children", value)
        return element(value, issues, where)

    def convert(value: list[Json], issues: RecordIssues, where: str) -> list[Any]:
        issues.add_elements(elements, len(value))
        return [convert_element(each, issues, where) for each in value]

    return _only(list, path, convert)


def _children(element: _Rule, path: str, fact: Table) -> _Rule:
    """Return the rule for an array of children with ids: each that is rejected becomes null."""
    name = path.rpartition(".")[2]

    def convert(value: list[Json], issues: RecordIssues, where: str) -> list[Any]:
        ids = [positive_id(child, fact) for child in value]
        last = {child_id: index for index, child_id in enumerate(ids)}

        def convert_child(index: int, child: Json) -> Any:
            here = f"{where}{name}[{index}]"
            code: RejectedCode
            if not isinstance(child, dict):
                code, message = "bad_child_id", f"{here} is no object."
            elif ids[index] is None:
                code = "bad_child_id"
                message = f"The id of {here} is {kind_of_id(child, fact)}, not a positive integer."
            elif last[ids[index]] != index:
                code = "duplicate_child"
                message = f"{here} has the id {ids[index]} of a later one, which stands."
            else:
                return element(child, issues, f"{here}.")
            raw = truncate_raw(sanitise(to_json(child)).encode())
            counts = count_with_children(child, fact)
            issues.add_rejected(Rejected(issues.position, here, code, message, raw, counts))
            return None

        return [convert_child(index, child) for index, child in enumerate(value)]

    return _only(list, path, convert)


def _is_stored(key: str) -> bool:
    """Return whether a column of orders has the value of a key."""
    return any(column.info["source"] == key for column in fact_order.c)


def _text_without_code(value: Json) -> tuple[Value, None]:
    """Return a value as text without a code: it is stored nowhere."""
    return RULES[pa.string()](value)[0], None


def _nothing(_: Json) -> tuple[None, None]:
    """Return nothing: the value has been looked at, and is stored nowhere."""
    return None, None


_ORDER: Final = _object(typed_schema(), "")
