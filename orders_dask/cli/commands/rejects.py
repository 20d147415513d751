"""`orders-dask rejects` and `orders-dask rejects replay`."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from orders_dask.cli import output
from orders_dask.cli.app import app, with_error_handling
from orders_dask.cli.cluster import command_settings, connecting
from orders_dask.cli.options import JsonOutput, SchedulerAddress, Workers, parse_date
from orders_dask.cli.progress import shown_progress
from orders_dask.errors import SettingsError

if TYPE_CHECKING:
    from sqlalchemy import Engine

group = typer.Typer()
app.add_typer(group, name="rejects")

Code = Annotated[
    str | None, typer.Option(help="With this code, such as bad_order_id.", show_default="all")
]


@group.callback(invoke_without_command=True)
@with_error_handling
def rejects(
    context: typer.Context,
    run_date: Annotated[
        date | None,
        typer.Option(
            parser=parse_date, metavar="DATE", help="Of this run date.", show_default="all"
        ),
    ] = None,
    code: Code = None,
    json: JsonOutput = False,
) -> None:
    """Show what was rejected, why, and where it is; replay takes in what was corrected."""
    if context.invoked_subcommand:
        if run_date or code or json:
            raise SettingsError(
                f"Give the options of {context.invoked_subcommand} behind its name."
            )
        return
    from orders_dask.ledger import rejects as ledger
    from orders_dask.load.ready import ready_database
    from orders_dask.settings import load_settings

    database = ready_database(load_settings())
    rows = ledger.rejects(database, run_date, code)
    if json:
        output.result_json_rows(rows)
    for row in rows:  # no table: there may be more rows than fit into memory
        where = f"{row.file}, record {row.position}" + (f", {row.path}" if row.path else "")
        outcome = f" ({row.replay_result})" if row.replay_result else ""
        output.result(f"{row.run_date}  {row.code}  {where}: {row.message}{outcome}")
    _message_if_none(database, run_date, code)


def _message_if_none(database: Engine, run_date: date | None, code: str | None) -> None:
    """Print that nothing was rejected, or nothing with this code, and which codes there are."""
    from orders_dask.ledger import rejects as ledger

    codes = ledger.rejected_codes(database, run_date)
    if not codes:
        output.message("Nothing was rejected.")
    elif code is not None and code not in codes:
        counts = ", ".join(f"{number:,} {name}" for name, number in codes.items())
        output.message(f"Nothing was rejected with the code {code}: there are {counts}.")


@group.command()
@with_error_handling
def replay(
    run_date: Annotated[
        date, typer.Option(parser=parse_date, metavar="DATE", help="Run date that is published.")
    ],
    code: Code = None,
    scheduler: SchedulerAddress = None,
    workers: Workers = None,
    json: JsonOutput = False,
) -> None:
    """Replay the rejected records of a run date, as corrected, and publish the good ones."""
    settings = command_settings(None, scheduler, workers)

    from orders_dask.jobs.replay import replay_with
    from orders_dask.load.ready import ready_database

    with connecting(settings, scheduler, workers) as connect, shown_progress() as listener:
        ended = replay_with(connect, run_date, code, settings, listener)
    if not ended.taken_in and not ended.still_rejected:
        _message_if_none(ready_database(settings), run_date, code)
    if json:
        output.result_json(ended)
        return
    output.result(output.show_replay(ended))
    output.result(output.show_outcome(ended.run))
