"""Commands that remove what nobody needs any more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from orders_dask.cli import output as screen
from orders_dask.cli.app import Json, command

if TYPE_CHECKING:
    from orders_dask.jobs.prune import Pruned
    from orders_dask.jobs.unpublish import Dropped

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
            min=1, metavar="DAYS", help="Forget the texts of refused records of loads before that."
        ),
    ] = 90,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Remove loads that nobody sees any more, staged parts that nobody needs, and old raw texts."""
    from orders_dask.jobs import prune as job

    ended = job.prune(older_than, rejected_older_than, dry_run=dry_run)
    if json:
        screen.result_json(ended)
        return
    screen.result(_pruned(ended, "Would remove" if dry_run else "Removed"))
    _note(ended.skipped, ended.waiting)


@command()
def drop(
    older_than: Annotated[
        int, typer.Option(min=1, metavar="DAYS", help="Drop run dates that lie further back.")
    ],
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Unpublish old run dates, and free the partitions that hold nothing else."""
    from orders_dask.jobs import unpublish as job

    ended = job.drop(older_than, dry_run=dry_run)
    if json:
        screen.result_json(ended)
        return
    screen.result(_dropped(ended, "Would drop" if dry_run else "Dropped"))
    _note(ended.skipped, ended.waiting)


def _pruned(ended: Pruned, did: str) -> str:
    told = (
        f"{did} {ended.loads:,} loads with {ended.rows:,} rows, {ended.parts:,} staged parts, {ended.bytes:,} bytes of "
        f"the stage, and raw texts in {ended.texts:,} rows of the ledger and {ended.texts_of_parts:,} staged parts; "
        f"{ended.settled:,} publishes can't be rolled back any more."
    )
    return told + _leaves(ended.leaves)


def _dropped(ended: Dropped, did: str) -> str:
    days = f", {ended.run_dates[0]} to {ended.run_dates[-1]}" if ended.run_dates else ""
    size = f" They held {ended.bytes:,} bytes." if ended.leaves else ""
    return f"{did} {len(ended.run_dates):,} run dates{days}." + _leaves(ended.leaves) + size


def _leaves(leaves: Sequence[date]) -> str:
    return f" Freed the partitions that begin on {_listed(leaves)}." if leaves else ""


def _note(skipped: Sequence[date], waiting: str | None) -> None:
    if skipped:
        screen.note(f"Left to the next time, for somebody works on them: {_listed(skipped)}.")
    if waiting:
        screen.note(waiting)


def _listed(days: Sequence[date]) -> str:
    return ", ".join(map(str, days))
