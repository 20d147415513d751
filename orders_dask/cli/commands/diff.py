"""`orders-dask diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orders_dask.cli import output
from orders_dask.cli.app import command
from orders_dask.cli.cluster import command_settings, connecting
from orders_dask.cli.options import JsonOutput, RunDate, SchedulerAddress, Source, Workers
from orders_dask.cli.progress import shown_progress

if TYPE_CHECKING:
    from orders_dask.publish.diff import DiffResult, OrderDiff


@command()
def diff(
    run_date: RunDate,
    source: Source = None,
    scheduler: SchedulerAddress = None,
    workers: Workers = None,
    limit: Annotated[int, typer.Option(min=0, help="Show at most so many orders.")] = 20,
    json: JsonOutput = False,
) -> None:
    """Show what the last run of a run date changed, or what a run of its changed dump would."""
    settings = command_settings(source, scheduler, workers)

    from orders_dask.jobs import diff as job

    found = job.diff_without_loading(run_date, settings=settings)
    if found is None:
        output.message(
            f"The dump of {run_date} has changed: it is loaded beside, and not published."
        )
        with (
            connecting(settings, scheduler, workers) as connect,
            shown_progress() as listener,
        ):
            found = job.diff_with(connect, run_date, settings, listener)
    if json:
        output.result_json_with(found, "orders", found.orders())
    else:
        _show(found, limit)


def _show(found: DiffResult, limit: int) -> None:
    before, after = f"load {found.before}", f"load {found.after}"
    if found.published:
        sides = f"{after}, which is published, against {before}, which it replaced"
    else:
        sides = f"{after}, which a run would publish, against {before}, which is published"
    counts = f"{found.added:,} added, {found.removed:,} removed, {found.changed:,} changed"
    output.result(f"{found.run_date}  {sides}\nOrders: {counts}")
    rows = [(each.table, each.before, each.after, each.after - each.before) for each in found.rows]
    output.result_table(
        [dict(zip(("table", "before", "after", "difference"), row, strict=True)) for row in rows],
        title="Rows",
    )
    money = [
        {
            "currency": each.currency or "none",
            "column": each.column,
            "before": each.before,
            "after": each.after,
            "difference": each.difference,
        }
        for each in found.money
        if each.difference
    ]
    if money:
        output.result_table(money, title="Money")
    else:
        output.result("\nNo sum of money differs.")
    if found.left_out:
        output.result(f"Not compared, since only one has it: {', '.join(found.left_out)}")
    for order in found.orders(limit):
        output.result(_order(order))
    more = found.added + found.removed + found.changed - limit
    if more > 0:
        output.result(f"and {output.plural(more, 'more order')}: --json gives all")


def _order(order: OrderDiff) -> str:
    columns = f": {', '.join(order.columns)}" if order.columns else ""
    return f"order {order.order_id} {order.change}{columns}"
