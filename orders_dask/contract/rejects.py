"""What is found in records: rejections and issues, as the ledger keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

MAX_SAMPLES: Final = 3
"""Values that an :class:`Issue` shows."""


@dataclass(frozen=True)
class Rejected:
    """A record that is in no fact table.

    Attributes
    ----------
    position
        Number of the record in its file, from 1; a child has its order's.
    path
        Empty for the record itself, else that of the child, such as ``line_items[3]`` (from 0).
    code, message
        The contract's code of what is wrong, and a sentence for people.
    raw
        The text as it stood, cleaned, cut at 64 KiB. A child's is written again from its values.
    counts
        Records refused with it, itself included, by the name of their fact table.
    order_raw
        The text of the order that stands without this child, as `raw`; only on the first refused
        child of each order.
    """

    position: int
    path: str
    code: str
    message: str
    raw: str
    counts: Mapping[str, int]
    order_raw: str | None = None


@dataclass(frozen=True)
class StoredReject:
    """A rejected record as the ledger kept it, or an order that stands without children which were rejected.

    Attributes
    ----------
    file_id
        The ledger's id of its file.
    name, size, etag
        The file's, as discovered.
    position
        Number of the record in the whole file, from 1.
    code
        The contract's code of what was wrong.
    text
        The whole text, as it stood or as it was mended.
    counts
        Records that were refused with it, itself included, by the name of their fact table; of an
        order that stands, those that were refused of it.
    children
        Paths of the children that were refused of an order that stands; empty for a rejected
        record.
    corrected
        People mended the text.
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
    """Values that were repaired or nulled.

    Attributes
    ----------
    field
        Dotted path as in :func:`orders_dask.contract.arrow.paths`; of an array as a whole without
        its ``[]``.
    code
        The contract's code.
    count
        How many values.
    samples
        Position and text of the least :data:`MAX_SAMPLES` of them.
    """

    field: str
    code: str
    count: int
    samples: tuple[tuple[int, str], ...]


def merge_issues(issues: Iterable[Issue]) -> tuple[Issue, ...]:
    """Add up issues by field and code; the samples that stand are the least, whatever order they come in."""
    found: dict[tuple[str, str], tuple[int, list[tuple[int, str]]]] = {}
    for issue in issues:
        count, samples = found.get((issue.field, issue.code), (0, []))
        if len(samples) < MAX_SAMPLES or issue.samples < (samples[-1],):
            samples = sorted([*samples, *issue.samples])[:MAX_SAMPLES]
        found[issue.field, issue.code] = count + issue.count, samples
    return tuple(Issue(*key, count, tuple(samples)) for key, (count, samples) in found.items())
