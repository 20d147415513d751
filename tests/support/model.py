"""Model the published state after some publishes, rollbacks and unpublishes, the slow way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from orders_dask.contract.dimension_tables import DIMENSIONS, attributes

EARLIEST = datetime.min.replace(tzinfo=UTC)
Row = Mapping[str, Any]
Key = tuple[str, *tuple[Any, ...]]


@dataclass(frozen=True)
class Loaded:
    """A load: its id, its run date, and the rows of its parts by table."""

    load_id: int
    run_date: date
    parts: Sequence[Mapping[str, Sequence[Row]]]

    def rows(self, table: str) -> list[Row]:
        return [row for part in self.parts for row in part.get(table, ())]


@dataclass
class Model:
    """The loads published of each run date that were not rolled back, oldest first."""

    published: dict[date, list[Loaded]] = field(default_factory=dict)

    def publish(self, load: Loaded) -> None:
        self.published.setdefault(load.run_date, []).append(load)

    def roll_back(self, run_date: date) -> None:
        self.published[run_date].pop()

    def unpublish(self, run_date: date) -> None:
        del self.published[run_date]

    def seen(self) -> dict[date, Loaded]:
        return {day: loads[-1] for day, loads in sorted(self.published.items()) if loads}

    def superseded(self) -> set[tuple[int, date]]:
        versions: dict[int, list[tuple[datetime, date]]] = {}
        for day, load in self.seen().items():
            for order in load.rows("fact_order"):
                versions.setdefault(order["order_id"], []).append(
                    (order["updated_at"] or EARLIEST, day)
                )
        return {(i, d) for i, of_order in versions.items() for _, d in sorted(of_order)[:-1]}

    def dimension(self, name: str) -> dict[tuple[Any, ...], dict[str, Any]]:
        """Return the rows of a dimension by key: attributes by name, then the three run dates."""
        rows: dict[tuple[Any, ...], dict[str, Any]] = {}
        for day, load in self.seen().items():
            for (dimension, *key), given in _attributes_of(load).items():
                if dimension != name:
                    continue
                row = rows.setdefault(
                    tuple(key), {**given, "attributes_run_date": None, "first_seen": day}
                )
                if any(value is not None for value in given.values()):
                    row |= {**given, "attributes_run_date": day}
                row["last_seen"] = day
        return rows


def _attributes_of(load: Loaded) -> dict[Key, dict[str, Any]]:
    """Return the attributes that a load has for each key of each dimension."""
    found: dict[Key, dict[str, Any]] = {}
    for dimension in DIMENSIONS:
        names = [c.name for c in attributes(dimension)]
        for row in sorted(load.rows(dimension.name), key=_version):
            key = (dimension.name, *(row[k] for k in dimension.info["key"]))
            values = {name: row.get(name) for name in names}
            if key not in found or any(value is not None for value in values.values()):
                found[key] = values
    return found


def _version(row: Row) -> tuple[datetime, int]:
    return row["version_at"] or EARLIEST, row["source_position"]
