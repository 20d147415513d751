"""`orders-dask migrate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orders_dask.cli import output
from orders_dask.cli.app import command

if TYPE_CHECKING:
    from orders_dask.migration.changes import Change


@command()
def migrate(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the SQL, and change nothing.")
    ] = False,
) -> None:
    """Upgrade the tables to this version and its settings, while people read and runs load."""
    from orders_dask.jobs import migrate as job
    from orders_dask.settings import load_settings

    settings = load_settings()
    if dry_run:
        planned = job.plan_migration(settings=settings)
        for change in planned.changes:
            output.result(_sql(change))
        if planned.complete and not planned.changes:
            output.message(
                "No table or view has to change: `orders-dask migrate` grants rights and records "
                "the version."
            )
            return
        if not planned.complete:
            output.message("What is to be added is known only when this was done.")
        output.message(
            "`orders-dask migrate` also grants rights and records the version, after this SQL."
        )
        return
    migration = job.migrate(settings=settings, progress=_print_change)
    output.result(
        f"Database {settings.pgsql_database} on {settings.pgsql_hostname} is of version "
        f"{migration.to_version}, after {output.plural(len(migration.changes), 'change')}."
    )


def _print_change(change: Change, seconds: float) -> None:
    output.message(f"{change.description}: {seconds:.2f} s")


def _sql(change: Change) -> str:
    """Return a change as it could be given to psql."""
    statements = [statement.strip().removesuffix(";") + ";" for statement in change.statements]
    body = [f"{change.lock};", *statements] if change.lock else statements
    if not change.concurrently and len(body) > 1:
        body = ["BEGIN;", *body, "COMMIT;"]
    return "\n".join([f"-- {change.description}", *body])
