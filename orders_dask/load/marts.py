"""The functions and triggers of ``sql/marts.sql``, with the columns that are declared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import Table

from orders_dask.contract.mart_tables import (
    EVENT_COLUMNS,
    FIRST_OF_ORDER,
    Count,
    Sum,
    bounds,
    figures,
    key,
    load_sales_customer,
    load_sales_day,
    sales_customer,
    sales_day,
)
from orders_dask.load.locks import Lock
from orders_dask.load.planner import WORK_MEM
from orders_dask.load.sale_events import load_events, order_events
from orders_dask.load.sql_files import sql_file

TRIGGERS: Final = ("marts", "marts_delete", "marts_insert", "marts_published")
"""The triggers of the file: without one of them sums become wrong."""

IS_FIRST: Final = "kind = 'sale' and row_number() over (partition by order_id, kind) = 1"
"""What :data:`~orders_dask.contract.mart_tables.FIRST_OF_ORDER` is in SQL, of current versions."""

_IS_FIRST_OF_VERSION: Final = IS_FIRST.replace("order_id", "order_id, run_date")
"""The same of versions of several run dates: two of the same order may cease to count at once."""


def values(mart: Table) -> dict[str, str]:
    """Return the SQL expression over events of each figure and bound of a mart."""
    return {name: _expression(figure) for name, figure in figures(mart).items()} | {
        name: f"{bound.aggregate}({bound.of})" for name, bound in bounds(mart).items()
    }


def _expression(figure: Sum | Count) -> str:
    if isinstance(figure, Count):
        conditions = [f"{figure.null} is null"] if figure.null else []
        conditions += [FIRST_OF_ORDER] if figure.of_orders else []
        return f"count(*){_filter(conditions)}"
    total = f"sum({figure.of})" + _filter(f"{name} = '{value}'" for name, value in figure.where)
    return f"coalesce({'-' if figure.negated else ''}{total}, 0.0000)"


def _filter(conditions: Iterable[str]) -> str:
    text = " and ".join(conditions)
    return f" filter (where {text})" if text else ""


def mart_functions() -> str:
    """Return the statements that make the functions and triggers that keep the marts exact."""
    lists = {
        "day": _lists(sales_day, load_sales_day),
        "customer": _lists(sales_customer, load_sales_customer),
    }
    return sql_file("marts.sql").format(
        work_mem=WORK_MEM[1],
        publish_lock=int(Lock.PUBLISH),
        count_lock=int(Lock.COUNT),
        event_columns=_list((*EVENT_COLUMNS, f"{_IS_FIRST_OF_VERSION} as {FIRST_OF_ORDER}")),
        load_events=load_events("orders", "load", "date_of_load"),
        order_events=order_events("loads", "dates", "orders"),
        **{f"{mart}_{name}": text for mart, of in lists.items() for name, text in of.items()},
    )


def _lists(mart: Table, load_mart: Table) -> Mapping[str, str]:
    """Return the lists of columns and expressions of a mart, by their names in the file."""
    limits = {name: bound.aggregate for name, bound in bounds(mart).items()}
    sums = {name: values(mart)[name] for name in figures(mart)}
    named_bounds = {name: values(mart)[name] for name in limits}
    of_new, of_old = (
        {name: f"{least}({name}) filter (where sign = {sign})" for name, least in limits.items()}
        for sign in (1, -1)
    )
    bounds_differ = [f"{of_new[name]} is distinct from {of_old[name]}" for name in limits]
    sides = (_SIDE.format(1, load_mart, "new"), _SIDE.format(-1, load_mart, "old"))
    return {
        "key": _list(key(mart)),
        "figures": _list(sums),
        "sums": _list(sums.values()),
        "total": _list(f"sum({name})" for name in sums),
        "sides": f"({' union all '.join(sides)}) side",
        "sums_of_sides": _list(f"sum(sign * {name})" for name in sums),
        "signed_sums": _list(f"sign * {expression}" for expression in sums.values()),
        "added": _list(f"{name} = mart.{name} + excluded.{name}" for name in sums),
        "differs": " or ".join([*(f"sum(sign * {name}) <> 0" for name in sums), *bounds_differ]),
        "bounds": _list(limits),
        "bounds_differ": " or ".join(bounds_differ),
        "bounds_of_events": _list(named_bounds.values()),
        "named_bounds_of_events": _list(f"{of} as {name}" for name, of in named_bounds.items()),
        "bounds_of_c": _list(f"c.{name}" for name in limits),
        "bounds_of_found": _list(f"found.{name}" for name in limits),
        "bounds_of_new": _list(of_new.values()),
        "bounds_of_loads": _list(f"{least}({name})" for name, least in limits.items()),
        # A row whose orders all went away has bounds of before.
        "widened": _list(
            f"{name} = case mart.order_count when 0 then excluded.{name}"
            f" else {_WIDER[least]}(mart.{name}, excluded.{name}) end"
            for name, least in limits.items()
        ),
    }


# With the parameters of replace_load.
_SIDE: Final = "select {0} as sign, l.* from {1} l where load_id = {2}_load"

_WIDER: Final = {"min": "least", "max": "greatest"}


def _list(parts: Iterable[str]) -> str:
    return ", ".join(parts)
