"""Add up events of sales to rows of the marts: Arrow in, Arrow out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Table

from orders_dask.contract.arrow import arrow_schema
from orders_dask.contract.mart_tables import (
    FIRST_OF_ORDER,
    LOAD_MARTS,
    MARTS,
    Count,
    Sum,
    bounds,
    figures,
    key,
)
from orders_dask.transform.sale_events import sale_events


def mart_sums(facts: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """Return what orders add to the marts, by the name of the table of a load.

    Parameters
    ----------
    facts
        Their rows, as :func:`~orders_dask.transform.sale_events.sale_events` takes them.

    Returns
    -------
    dict
        Rows with the columns of the mart. Empty if a sum has more digits than its Arrow type: such
        a load is added up in SQL, which has room for it.
    """
    events = sale_events(facts)
    sums = [_add_up(events, mart) for mart in MARTS]
    schemas = [arrow_schema(mart) for mart in MARTS]
    try:
        rows = [each.cast(schema) for each, schema in zip(sums, schemas, strict=True)]
    except pa.ArrowInvalid:
        return {}
    return {mart.name: each for mart, each in zip(LOAD_MARTS, rows, strict=True)}


def _add_up(events: pa.Table, mart: Table) -> pa.Table:
    """Return the rows of a mart, whose sums have the widest types."""
    of_key = key(mart)
    for column in (mart.c[name] for name in of_key):
        if not column.nullable:  # an event of nobody
            events = events.filter(events[column.name].is_valid())
    limits, of_figures = bounds(mart), figures(mart)
    columns = {name: events[name] for name in of_key}
    columns |= {name: events[bound.of] for name, bound in limits.items()}
    columns |= {name: _addend(events, figure) for name, figure in of_figures.items()}
    aggregates = {name: bound.aggregate for name, bound in limits.items()}
    aggregates |= dict.fromkeys(of_figures, "sum")
    sums = (
        pa.table(columns).group_by(of_key, use_threads=False).aggregate([*aggregates.items()])
    ).rename_columns({f"{name}_{aggregate}": name for name, aggregate in aggregates.items()})
    filled = {name: sums[name].fill_null(0) for name in of_figures}
    return pa.table({column.name: filled.get(column.name, sums[column.name]) for column in mart.c})


def _addend(events: pa.Table, figure: Sum | Count) -> Any:
    """Return what each event adds to a figure."""
    if isinstance(figure, Count):
        counts = pa.repeat(pa.scalar(True), events.num_rows)
        if figure.null:
            counts = events[figure.null].is_null()
        if figure.first_of:
            counts = pc.and_(events[FIRST_OF_ORDER], pc.equal(events["kind"], figure.first_of))
        return counts.cast(pa.int64())
    amount = events[figure.of]
    for name, value in figure.where:
        amount = pc.if_else(pc.equal(events[name], value), amount, pa.scalar(None, amount.type))
    return pc.negate(amount) if figure.negated else amount
