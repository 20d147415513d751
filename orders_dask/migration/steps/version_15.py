"""Version 15 adds up the sales of several loads at once, by functions of other arguments."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

from orders_dask.migration.steps.step import Step

_DROP: Final = """
drop function if exists
    orders_store.order_events(bigint, date, bigint[]),
    orders_store.sale_events(bigint, bigint[]),
    orders_store.add_orders(bigint, bigint[], int),
    orders_store.superseded_orders(bigint)
"""


def _drop_functions(connection: Connection) -> None:
    """Drop those of before, once the triggers call the others."""
    connection.exec_driver_sql(_DROP)


STEP: Final = Step(15, after=_drop_functions)
