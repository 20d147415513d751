"""Rejected records and issues: the quarantine of bad records, and the counts of bad values.

See docs/contract.md#bad-values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Table

from orders_dask.contract.issue_codes import RejectedCode, ValueCode
from orders_dask.contract.json_parser import Json, sanitise, truncate_raw
from orders_dask.contract.order_tables import fact_order
from orders_dask.contract.record_keys import CHILDREN

MAX_SAMPLES: Final = 3
"""Values that an :class:`Issue` has as samples. See docs/contract.md#limits."""


@dataclass(frozen=True)
class Rejected:
    """A rejected record, or a rejected child of an order. It is in no fact table.

    Attributes
    ----------
    position
        Number of the record in its file, from 1. A child has the position of its order.
    path
        Empty for a record, else the path of the child, counted from 0: ``line_items[3]``.
    code, message
        The issue code, and a sentence for people.
    raw
        The text in the dump, sanitised and cut at 64 KiB. A child's is written anew from its
        values.
    counts
        Number of records rejected with it, itself included, by the name of their fact table.
    order_raw
        The text of the whole order, like `raw`. Only the first rejected child of an order has it.
    """

    position: int
    path: str
    code: RejectedCode
    message: str
    raw: str
    counts: Mapping[str, int]
    order_raw: str | None = None


@dataclass(frozen=True)
class StoredReject:
    """A rejected record in the ledger, or a loaded order of which children were rejected.

    Attributes
    ----------
    file_id
        The ledger's id of its file.
    name, size, etag
        Name, size in bytes and ETag of the file, as discovered.
    position
        Number of the record in the whole file, from 1.
    code
        The issue code.
    text
        The whole text, from the dump or as somebody corrected it.
    counts
        Number of records rejected with it, itself included, by the name of their fact table. For a
        loaded order: number of its rejected children.
    children
        Paths of the rejected children of a loaded order; empty for a rejected record.
    corrected
        Whether somebody corrected the text.
    """

    file_id: int
    name: str
    size: int
    etag: str
    position: int
    code: str
    text: str
    counts: Mapping[str, int]
    children: tuple[str, ...] = ()
    corrected: bool = False


@dataclass(frozen=True)
class Issue:
    """Repaired or nulled values of one field, with the same code.

    Attributes
    ----------
    field
        Dotted path as in :func:`orders_dask.contract.arrow.paths`. The path of a whole array lacks
        its ``[]``.
    code
        The issue code.
    count
        Number of values.
    samples
        Position and text of the least :data:`MAX_SAMPLES` values.
    """

    field: str
    code: ValueCode
    count: int
    samples: tuple[tuple[int, str], ...]


def merge_issues(issues: Iterable[Issue]) -> tuple[Issue, ...]:
    """Add up issues by field and code, with the least samples. Their order never matters."""
    merged: dict[tuple[str, ValueCode], tuple[int, list[tuple[int, str]]]] = {}
    for issue in issues:
        count, samples = merged.get((issue.field, issue.code), (0, []))
        if len(samples) < MAX_SAMPLES or issue.samples < (samples[-1],):
            samples = sorted([*samples, *issue.samples])[:MAX_SAMPLES]
        merged[issue.field, issue.code] = count + issue.count, samples
    return tuple(Issue(*key, count, tuple(samples)) for key, (count, samples) in merged.items())


def reject_record(
    line: bytes, position: int, code: RejectedCode, message: str, record: Json = None
) -> Rejected:
    """Return the rejection of a record. Its children are counted if its value is given."""
    raw = truncate_raw(line.removesuffix(b"\n"))
    return Rejected(
        position, "", code, sanitise(message), raw, count_with_children(record, fact_order)
    )


def reject_invalid_json(line: bytes, position: int, strict: bool, why: str) -> Rejected:
    """Return the rejection of a line that is not JSON.

    The code is ``unreadable_file`` if the line may contain any number of orders: if the text is not
    newline-delimited (`strict`), if the line begins like a page or an array, or if it is a last
    line without a newline.
    """
    may_have_many = strict or not line.endswith(b"\n") or _CONTAINER_START.match(line)
    return reject_record(
        line,
        position,
        "unreadable_file" if may_have_many else "invalid_json",
        f"The record is not JSON: {why}.",
    )


_CONTAINER_START: Final = re.compile(rb'[ \t\r\n]*(?:\[|\{[ \t\r\n]*"orders")')
"""Text that begins like an array or a page may contain any number of orders."""


def count_with_children(record: Json, fact: Table) -> dict[str, int]:
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
