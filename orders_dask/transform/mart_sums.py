"""Add up events of sales to rows of the marts: Arrow in, Arrow out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Table

from orders_dask.contract.arrow import PART_NUMBER, arrow_schema
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
from orders_dask.contract.order_tables import fact_order
from orders_dask.transform.sale_events import sale_events
from orders_dask.transform.sale_sources import sale_sources


def mart_sums(facts: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """Return what orders add to the marts, by the name of the table of a load.

    Parameters
    ----------
    facts
        Their rows, as :func:`~orders_dask.transform.sale_sources.sale_sources` takes them; those of
        ``fact_order`` with :data:`~orders_dask.contract.arrow.PART_NUMBER` if they are of several
        parts.

    Returns
    -------
    dict
        Rows with the columns of the mart, and the part's number.

    Raises
    ------
    pa.ArrowInvalid
        An amount has more digits than its Arrow type. SQL has room for it.
    """
    events = sale_events(facts[fact_order.name], sale_sources(facts))
    return {
        of_load.name: _add_up(events, mart) for mart, of_load in zip(MARTS, LOAD_MARTS, strict=True)
    }


def _add_up(events: pa.Table, mart: Table) -> pa.Table:
    """Return the rows of a mart, by part if the events have its number."""
    of_part = [PART_NUMBER] if PART_NUMBER in events.column_names else []
    of_key = key(mart)
    for column in (mart.c[name] for name in of_key):
        if not column.nullable:  # an event of nobody
            events = events.filter(events[column.name].is_valid())
    of_bounds, of_figures = bounds(mart), figures(mart)
    columns = {name: events[name] for name in (*of_key, *of_part)}
    columns |= {name: events[bound.of] for name, bound in of_bounds.items()}
    columns |= {name: _addend(events, figure) for name, figure in of_figures.items()}
    aggregates: dict[str, str] = dict.fromkeys(of_figures, "sum")
    aggregates |= {name: bound.aggregate for name, bound in of_bounds.items()}
    # A worker runs as many tasks as it has threads already.
    sums = (
        pa.table(columns)
        .group_by([*of_key, *of_part], use_threads=False)
        .aggregate([*aggregates.items()])
    ).rename_columns({f"{name}_{aggregate}": name for name, aggregate in aggregates.items()})
    filled = {name: sums[name].fill_null(0) for name in of_figures}
    rows = {column.name: filled.get(column.name, sums[column.name]) for column in mart.c}
    made = pa.table(rows).cast(arrow_schema(mart))
    for name in of_part:
        made = made.append_column(name, sums[name])
    return made


def _addend(events: pa.Table, figure: Sum | Count) -> Any:
    """Return what each event adds to a figure."""
    if isinstance(figure, Count):
        if figure.null:
            counts = events[figure.null].is_null()
        elif figure.of_orders:
            counts = events[FIRST_OF_ORDER]
        else:
            counts = pa.repeat(True, events.num_rows)
        return counts.cast(pa.int64())
    amount = events[figure.of]
    for name, value in figure.where:
        amount = pc.if_else(pc.equal(events[name], value), amount, pa.scalar(None, amount.type))
    return pc.negate(amount) if figure.negated else amount
