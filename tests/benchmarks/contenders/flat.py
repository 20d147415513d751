"""Flatten orders into rows by a Python loop, for loaders that work on dictionaries.

Computed columns (counts, local days) stay null, and the dump must have no defects: both favour
these loaders."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from sqlalchemy import Column, DateTime, Numeric, Table

from orders_dask.contract.order_tables import fact_order, fact_order_line
from tests.benchmarks.dump import RUN_DATE

Row = dict[str, Any]
Getter = Callable[[Row], Any]


def flattened(order: Row) -> tuple[Row, list[Row]]:
    """Return the row of an order, and the rows of its lines."""
    row = {name: get(order) for name, get in _ORDER.items()}
    shared = {name: row[name] for name in _SHARED}
    lines = order[fact_order_line.info["records"].removesuffix("[]")]
    return row, [shared | {name: get(line) for name, get in _LINE.items()} for line in lines]


def _getter(column: Column[Any]) -> Getter:
    if not column.info["source"]:
        constant = RUN_DATE if column.name == "run_date" else None if column.nullable else 0
        return lambda record: constant
    path, array, rest = column.info["source"].partition("[]")
    names, key = path.split("."), rest.removeprefix(".")

    def value(record: Row) -> Any:
        found: Any = record
        for name in names:
            found = found and found.get(name)
        return found

    def joined(record: Row) -> Any:
        found = [element[key] if key else element for element in value(record) or []]
        if isinstance(column.type, Numeric):
            return sum(map(Decimal, found), Decimal())
        if isinstance(column.type, DateTime):
            return max(filter(None, found), default=None)
        return ", ".join(found)

    return joined if array else value


def _getters(columns: list[Column[Any]]) -> dict[str, Getter]:
    return {column.name: _getter(column) for column in columns}


def _shared(fact: Table) -> list[str]:
    return [c.name for c in fact.c if not c.info["source"] and c.name in fact_order.c]


_SHARED = _shared(fact_order_line)
_ORDER = _getters(list(fact_order.c))
_LINE = _getters([c for c in fact_order_line.c if c.name not in _SHARED])
