"""Collect thousands of part records on the client in little memory, and add up their totals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from sys import intern

from orders_dask.contract.control_totals import ControlTotals
from orders_dask.contract.order_tables import FACTS
from orders_dask.stage.record import Part


def collect_parts(parts: Iterable[tuple[int, Part]]) -> tuple[list[Part], dict[str, ControlTotals]]:
    """Sort parts by number and add up their control totals.

    Parameters
    ----------
    parts
        Numbers and parts, in any order.

    Returns
    -------
    list of Part
        The parts in the order of their numbers, without their control totals.
    dict
        Control totals of all parts together, by the name of the fact.
    """
    collected: dict[int, Part] = {}
    totals = {fact.name: ControlTotals() for fact in FACTS}
    interner = _Interner()
    for number, part in parts:
        totals = {fact: total + part.totals_of(fact) for fact, total in totals.items()}
        collected[number] = _interned(part, interner)
    return [collected[number] for number in sorted(collected)], totals


@dataclass(frozen=True)
class _Interner:
    """Shares equal values between parts and files."""

    counts_seen: dict[tuple[tuple[str, int], ...], dict[str, int]] = field(default_factory=dict)
    texts_seen: dict[tuple[str, ...], list[str]] = field(default_factory=dict)

    def counts(self, counts: Mapping[str, int]) -> dict[str, int]:
        # Table names are a str subclass of SQLAlchemy, which can't be interned.
        shared = {intern(str(name)): number for name, number in counts.items()}
        return self.counts_seen.setdefault(tuple(shared.items()), shared)

    def texts(self, texts: Sequence[str]) -> list[str]:
        shared = [intern(text) for text in texts]
        return self.texts_seen.setdefault(tuple(shared), shared)


def _interned(part: Part, interner: _Interner) -> Part:
    """Return a part without its control totals that shares equal values with other parts.

    A part of ten orders takes 2.6 KB instead of 13 to 15.
    """
    return replace(
        part,
        files=[
            replace(
                file,
                name=intern(file.name),
                etag=intern(file.etag),
                read=interner.counts(file.read),
                rejected=interner.counts(file.rejected),
                drift=interner.texts(file.drift),
            )
            for file in part.files
        ],
        rows=interner.counts(part.rows),
        totals={},
        bytes={intern(str(name)): size for name, size in part.bytes.items()},
    )
