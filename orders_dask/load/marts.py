"""The functions and triggers of ``sql/marts.sql``, with the columns that are declared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import Table

from orders_dask.contract.mart_tables import (
    EVENT_COLUMNS,
    FIRST_OF_ORDER,
    IS_FIRST,
    bounds,
    key,
    sales_customer,
    sales_day,
    sums,
)
from orders_dask.load.locks import Lock
from orders_dask.load.planner import WORK_MEM
from orders_dask.load.sale_events import load_events, order_events
from orders_dask.load.sql_files import sql_file

TRIGGERS: Final = ("marts", "marts_delete", "marts_insert")
"""The triggers of the file: without one of them sums become wrong."""


def mart_functions() -> str:
    """Return the statements that make the functions and triggers that keep the marts exact."""
    lists = {"day": _lists(sales_day), "customer": _lists(sales_customer)}
    of_orders = "orders", "load", "date_of_load"
    return sql_file("marts.sql").format(
        work_mem=WORK_MEM[1],
        publish_lock=int(Lock.PUBLISH),
        count_lock=int(Lock.COUNT),
        event_columns=_list((*EVENT_COLUMNS, f"{IS_FIRST} as {FIRST_OF_ORDER}")),
        load_events=load_events(*of_orders),
        order_events=order_events(*of_orders),
        **{f"{mart}_{name}": text for mart, of in lists.items() for name, text in of.items()},
    )


def _lists(mart: Table) -> Mapping[str, str]:
    """Return the lists of columns and expressions of a mart, by their names in the file."""
    figures, limits = sums(mart), bounds(mart)
    of_new = {
        name: f"{least}({name}) filter (where sign = 1)" for name, (least, _) in limits.items()
    }
    of_old = {
        name: f"{least}({name}) filter (where sign = -1)" for name, (least, _) in limits.items()
    }
    bounds_differ = [f"{of_new[name]} is distinct from {of_old[name]}" for name in limits]
    return {
        "key": _list(key(mart)),
        "figures": _list(figures),
        "sums": _list(figures.values()),
        "total": _list(f"sum({name})" for name in figures),
        "sides": f"({_SIDE.format(1, mart, 'new')} union all {_SIDE.format(-1, mart, 'old')}) side",
        "sums_of_sides": _list(f"sum(sign * {name})" for name in figures),
        "signed_sums": _list(f"sign * {expression}" for expression in figures.values()),
        "added": _list(f"{name} = mart.{name} + excluded.{name}" for name in figures),
        "differs": " or ".join([*(f"sum(sign * {name}) <> 0" for name in figures), *bounds_differ]),
        "bounds": _list(limits),
        "bounds_differ": " or ".join(bounds_differ),
        "bounds_of_events": _list(f"{least}({of})" for least, of in limits.values()),
        "named_bounds_of_events": _list(
            f"{least}({of}) as {name}" for name, (least, of) in limits.items()
        ),
        "bounds_of_c": _list(f"c.{name}" for name in limits),
        "bounds_of_found": _list(f"found.{name}" for name in limits),
        "bounds_of_new": _list(of_new.values()),
        "bounds_of_loads": _list(f"{least}({name})" for name, (least, _) in limits.items()),
        # A row whose orders all went away has bounds of before.
        "widened": _list(
            f"{name} = case mart.order_count when 0 then excluded.{name}"
            f" else {_WIDER[least]}(mart.{name}, excluded.{name}) end"
            for name, (least, _) in limits.items()
        ),
    }


_SIDE: Final = "select {0} as sign, l.* from {1.schema}.load_{1.name} l where load_id = {2}_load"

_WIDER: Final = {"min": "least", "max": "greatest"}


def _list(parts: Iterable[str]) -> str:
    return ", ".join(parts)
