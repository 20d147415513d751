"""`orders-dask prune`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orders_dask.cli import output
from orders_dask.cli.app import command
from orders_dask.cli.options import JsonOutput

if TYPE_CHECKING:
    from orders_dask.pipeline.results import PruneResult

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")]


@command()
def prune(
    older_than: Annotated[
        int,
        typer.Option(
            min=1, metavar="DAYS", help="Remove what nobody sees, or can roll back to, for longer."
        ),
    ] = 30,
    rejected_older_than: Annotated[
        int,
        typer.Option(
            min=1, metavar="DAYS", help="Forget the texts of rejected records of loads before that."
        ),
    ] = 90,
    dry_run: DryRun = False,
    json: JsonOutput = False,
) -> None:
    """Remove loads that nobody sees any more, staged parts that nobody needs, and old raw texts."""
    from orders_dask.jobs import prune as job

    ended = job.prune(older_than, rejected_older_than, dry_run=dry_run)
    if json:
        output.result_json(ended)
        return
    output.result(_summary(ended, "Would remove" if dry_run else "Removed"))
    output.message_left_over(ended.skipped, ended.waiting)


def _summary(ended: PruneResult, did: str) -> str:
    return (
        f"{did} {ended.loads:,} loads with {ended.rows:,} rows, {ended.parts:,} staged parts, "
        f"{ended.bytes:,} bytes of the stage, and raw texts in {ended.redacted_rows:,} rows of the "
        f"ledger and {ended.redacted_parts:,} staged parts; "
        f"{ended.made_irreversible:,} publishes can't be rolled back any more."
        f"{output.dropped_partitions(ended.partitions)}"
    )
