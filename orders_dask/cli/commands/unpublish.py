"""`orders-dask unpublish`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orders_dask.cli import output
from orders_dask.cli.app import command
from orders_dask.cli.commands.prune import DryRun
from orders_dask.cli.options import JsonOutput

if TYPE_CHECKING:
    from orders_dask.pipeline.results import UnpublishResult


@command()
def unpublish(
    older_than: Annotated[
        int, typer.Option(min=1, metavar="DAYS", help="Unpublish run dates that lie further back.")
    ],
    dry_run: DryRun = False,
    json: JsonOutput = False,
) -> None:
    """Unpublish old run dates, and free the partitions that hold nothing else."""
    from orders_dask.jobs import unpublish as job

    ended = job.unpublish(older_than, dry_run=dry_run)
    if json:
        output.result_json(ended)
        return
    output.result(_summary(ended, "Would unpublish" if dry_run else "Unpublished"))
    output.message_left_over(ended.skipped, ended.waiting)


def _summary(ended: UnpublishResult, did: str) -> str:
    days = f", {ended.run_dates[0]} to {ended.run_dates[-1]}" if ended.run_dates else ""
    size = f" They held {ended.bytes:,} bytes." if ended.partitions else ""
    return (
        f"{did} {len(ended.run_dates):,} run dates{days}."
        + output.dropped_partitions(ended.partitions)
        + size
    )
