"""`orders-dask rollback`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orders_dask.cli import output
from orders_dask.cli.app import command
from orders_dask.cli.options import Because, JsonOutput, RunDate

if TYPE_CHECKING:
    from orders_dask.pipeline.results import RollbackResult


@command()
def rollback(run_date: RunDate, because: Because = None, json: JsonOutput = False) -> None:
    """Publish the load before, with what was overwritten; repeated, it goes one further back."""
    from orders_dask.jobs import rollback as job

    done = job.rollback(run_date, because)
    if json:
        output.result_json(done)
    else:
        output.result(_summary(done))


def _summary(done: RollbackResult) -> str:
    was = f"load {done.unpublished} ({_orders(done.unpublished_orders, done.unpublished_lines)})"
    if done.published is None:
        return (
            f"{done.run_date}  rolled back: {was} is unpublished, and nothing is published any more"
        )
    now = f"load {done.published} ({_orders(done.orders, done.lines)})"
    return f"{done.run_date}  rolled back: {was} is unpublished, and {now} is published again"


def _orders(orders: int, lines: int) -> str:
    return f"{output.plural(orders, 'order')}, {output.plural(lines, 'line')}"
