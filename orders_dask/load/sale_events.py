"""The events of sales, of ``sql/sale_events.sql``, for single orders and for whole loads."""

from __future__ import annotations

from typing import Final

from orders_dask.contract.mart_tables import LONGEST_TEXT, MOST_UNITS
from orders_dask.contract.order_tables import fact_order
from orders_dask.load.sql_files import sql_file

_OF_ORDER: Final = "e.run_date = o.run_date and e.load_id = o.load_id and e.order_id = o.order_id"


def version_sale() -> str:
    """Return the statements that make the view of all events of all versions."""
    events = _by_order("(select o.*)", _OF_ORDER, "")
    return sql_file("views/version_sale.sql").format(events=events)


def order_events(loads: str, dates: str, orders: str) -> str:
    """Return the query for the events of orders, each of which is looked up.

    Three arrays of the same length name the orders. That their dates are among those of the array
    is said of each table: the planner then knows which partitions it needs.
    """
    asked = _ASKED.format(loads=loads, dates=dates, orders=orders)
    return _by_order("(select o.*)", f"{_OF_ORDER} and e.run_date = any({dates})", "", asked)


def load_events(orders: str, load_id: str, run_date: str) -> str:
    """Return the query for the events of a load, or of these orders of it; null are all.

    Its tables are joined: the events of 200,000 orders took 10.5 s by look-ups, and take 5.4. Each
    ``offset 0`` has an amount worked out once, not in every figure that is made of it.
    """
    return sql_file("sale_events.sql").format(
        most_units=MOST_UNITS,
        longest_text=LONGEST_TEXT,
        asked=f"{fact_order} o",
        join="join",
        orders=str(fact_order),
        of_order="",
        on=f"on {_OF_ORDER}",
        rows=f"{_rows(load_id, run_date)} and ({orders} is null or o.order_id = any({orders}))",
        fence="offset 0",
    )


_ASKED: Final = """
unnest({loads}, {dates}, {orders}) u (load_id, run_date, order_id) cross join lateral (
    select o.* from orders_store.fact_order o
    where o.run_date = u.run_date and o.load_id = u.load_id and o.order_id = u.order_id
        and o.run_date = any({dates})
    offset 0
) o"""


def _by_order(order: str, of_order: str, rows: str, asked: str = f"{fact_order} o") -> str:
    """Return the query in which the events of an order are looked up by its key.

    ``offset 0`` has them looked up so whatever is joined; those of refunds only where there are.
    """
    return sql_file("sale_events.sql").format(
        most_units=MOST_UNITS,
        longest_text=LONGEST_TEXT,
        asked=asked,
        join="cross join lateral",
        orders=order,
        of_order=f"where {of_order} and (o.refund_count > 0 or e.cause <> 'refund') offset 0",
        on="",
        rows=rows,
        fence="",
    )


def _rows(load_id: str, run_date: str) -> str:
    return f"and o.run_date = {run_date} and o.load_id = {load_id}"
