"""Write the ledger rows of several loads at once, in few statements."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Text,
    cast,
    func,
    insert,
    literal,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from orders_dask.contract.ledger_tables import load_run


def create_loads(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Create loads with status ``loading``, in the transaction of the leases of their run dates.

    Parameters
    ----------
    connection
        The transaction.
    rows
        Columns of their rows in the ledger, by name.

    Returns
    -------
    list of int
        Their ids.
    """
    row = insert(load_run).returning(load_run.c.load_id, sort_by_parameter_order=True)
    return list(connection.scalars(row, [{"status": "loading", **each} for each in rows]))


def write_json(
    connection: Connection, column: Column[Any], values: Mapping[int, Mapping[str, Any]]
) -> None:
    """Write a column of JSON of the rows of loads, by load."""
    document = cast(literal(json.dumps(values), Text), JSONB)
    each = func.jsonb_each(document).table_valued("key", "value").render_derived()
    of_load = load_run.c.load_id == cast(each.c.key, BigInteger)
    connection.execute(update(load_run).where(of_load).values({column: each.c.value}))
