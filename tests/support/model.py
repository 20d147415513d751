"""Model the published state after some publishes, rollbacks and unpublishes, the slow way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from orders_dask.contract.order_tables import DIMENSIONS, attributes

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
    """The loads published of each run date, the last one visible, and the states of each row.

    Attributes
    ----------
    published
        The published loads of each run date that were not rolled back, oldest first.
    written
        The states of each dimension row, each with the id of the load that wrote it.
    publish_order
        The ids of all loads in the order of their publishes.
    """

    published: dict[date, list[Loaded]] = field(default_factory=dict)
    written: dict[Key, list[tuple[int, dict[str, Any]]]] = field(default_factory=dict)
    publish_order: list[int] = field(default_factory=list)

    def publish(self, load: Loaded) -> None:
        self.published.setdefault(load.run_date, []).append(load)
        self.publish_order.append(load.load_id)
        for key, given in _attributes_of(load).items():
            self._write(key, load, given)

    def _write(self, key: Key, load: Loaded, given: dict[str, Any]) -> None:
        states = self.written.setdefault(key, [])
        day = load.run_date
        nothing = dict.fromkeys(given), None, day, day
        had, gave, first, last = states[-1][1].values() if states else nothing
        wins = any(v is not None for v in given.values()) and (gave is None or day >= gave)
        if not states or wins or not first <= day <= last:
            after = {
                "attributes": given if wins else had,
                "attributes_run_date": day if wins else gave,
                "first_seen": min(first, day),
                "last_seen": max(last, day),
            }
            states.append((load.load_id, after))

    def roll_back(self, run_date: date) -> None:
        removed = self.published[run_date].pop()
        rank = self.publish_order.index(removed.load_id)
        later = [
            load for load in self.seen().values() if self.publish_order.index(load.load_id) > rank
        ]
        later.sort(key=lambda load: self.publish_order.index(load.load_id))
        for key, states in list(self.written.items()):
            self.written[key] = [state for state in states if state[0] != removed.load_id]
            if states and states[-1][0] == removed.load_id:
                for load in later:
                    if key in _attributes_of(load):
                        self._write(key, load, _attributes_of(load)[key])

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
        rows = {key: states[-1][1] for key, states in self.written.items() if states}
        return {
            key[1:]: {**row["attributes"], **{k: v for k, v in row.items() if k != "attributes"}}
            for key, row in rows.items()
            if key[0] == name
        }


def _attributes_of(load: Loaded) -> dict[Key, dict[str, Any]]:
    """Return the attributes that a load has for each key of each dimension."""
    found: dict[Key, dict[str, Any]] = {}
    for dimension in DIMENSIONS:
        names = [c.name for c in attributes(dimension)]
        for row in sorted(load.rows(dimension.name), key=_version):
            key = (dimension.name, *(row[k] for k in dimension.info["key"]))
            found[key] = {name: row.get(name) for name in names}
    return found


def _version(row: Row) -> tuple[datetime, int]:
    return row["version_at"] or EARLIEST, row["source_position"]
