"""Collect thousands of part records on the client in little memory, and add up their totals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from sys import intern
from typing import NamedTuple

from orders_dask.contract.control_totals import ControlTotals
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.schema_drift import NO_DRIFT, Drift, DriftCounter
from orders_dask.stage.record import Part


class CollectedParts(NamedTuple):
    """The parts of a load.

    Attributes
    ----------
    parts
        The parts in the order of their numbers, without their control totals and schema drift.
    totals
        Control totals of all parts together, by the name of the fact.
    drift
        Schema drift of all parts together.
    """

    parts: list[Part]
    totals: dict[str, ControlTotals]
    drift: Drift


def collect_parts(parts: Iterable[tuple[int, Part]]) -> CollectedParts:
    """Sort parts by number, and add up what they count.

    Parameters
    ----------
    parts
        Numbers and parts, in any order.
    """
    collected: dict[int, Part] = {}
    totals = {fact.name: ControlTotals() for fact in FACTS}
    drift = DriftCounter()
    interner = _Interner()
    for number, part in parts:
        totals = {fact: total + part.totals_of(fact) for fact, total in totals.items()}
        drift.add_all(part.drift, number)
        collected[number] = _interned(part, interner)
    in_order = [collected[number] for number in sorted(collected)]
    return CollectedParts(in_order, totals, drift.drift())


@dataclass(frozen=True)
class _Interner:
    """Shares equal values between parts and files."""

    counts_seen: dict[tuple[tuple[str, int], ...], dict[str, int]] = field(default_factory=dict)

    def counts(self, counts: Mapping[str, int]) -> dict[str, int]:
        # Table names are a str subclass of SQLAlchemy, which can't be interned.
        shared = {intern(str(name)): number for name, number in counts.items()}
        return self.counts_seen.setdefault(tuple(shared.items()), shared)


def _interned(part: Part, interner: _Interner) -> Part:
    """Return a part without what was added up, which shares equal values with other parts.

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
            )
            for file in part.files
        ],
        rows=interner.counts(part.rows),
        totals={},
        drift=NO_DRIFT,
        bytes={intern(str(name)): size for name, size in part.bytes.items()},
        packed={intern(str(name)): begin for name, begin in part.packed.items()},
    )
