"""Commands to try it all on this machine: real services, generated dumps, and a demo of the whole."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from orders_dask.cli import output as screen
from orders_dask.cli.app import Data, Json, Workers, a_date, command
from orders_dask.errors import ServiceUnavailable, SettingsError


def _spoilt(text: str) -> tuple[str, float]:
    code, _, share = text.partition("=")
    try:
        return code, float(share)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not a code and its share such as bad_money=0.01"
        ) from None


@command(allow_interspersed_args=False)
def sandbox(
    argv: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- COMMAND",
            help="What to run in it, and only as long as it runs.",
            show_default=False,
        ),
    ] = None,
    upload: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True, help="File or folder to put into the bucket first.", show_default=False
        ),
    ] = None,
    data: Data = None,
) -> None:
    """Start a real PostgreSQL and a real S3 server on this machine, with an empty bucket "orders".

    COMMAND runs with all settings in its environment. Without it the settings are printed as export lines.
    """
    from orders_dask.sandbox import sandbox as running
    from orders_dask.settings import packed

    chosen = os.environ.get("_AWS_S3_URL_SOURCE", "")
    leave_services()
    with running(data, upload or []) as services:
        settings = dict(services.environment)
        if argv:
            # A source within the sandbox's bucket is meant for it; any other is that of another place.
            if packed(chosen)[1].startswith(settings["_AWS_S3_URL_SOURCE"]):
                settings["_AWS_S3_URL_SOURCE"] = chosen
            raise typer.Exit(_exit_code(argv, os.environ | settings))
        for name, value in settings.items():
            screen.result(f"export {name}={shlex.quote(value)}")
        with suppress(KeyboardInterrupt):
            screen.note("PostgreSQL and S3 are running; Ctrl-C ends them.")
            while True:
                time.sleep(1)


def leave_services() -> None:
    """Take out of this process's environment what says which PostgreSQL, S3 and Dask to use: none of it is meant."""
    from orders_dask.settings import without_services

    mine = without_services(os.environ)
    os.environ.clear()
    os.environ.update(mine)


def _exit_code(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command to its end and return its exit code, as a shell has it."""
    try:
        process = subprocess.Popen(argv, env=environment)
    except OSError as error:
        raise SettingsError(f"Can't run {argv[0]}: {error.strerror}.") from error
    while True:
        try:
            code = process.wait()
            return code if code >= 0 else 128 - code
        except KeyboardInterrupt as stop:
            # Ctrl-C reaches the command by itself; a signal that asked this process is passed on.
            if stop.args:
                process.send_signal(stop.args[0])


@command()
def generate(
    destination: Annotated[
        str, typer.Argument(help="Folder, as path or URL such as s3://orders/.")
    ],
    start: Annotated[
        date | None,
        typer.Option(
            parser=a_date,
            metavar="DATE",
            help="First run date.",
            show_default="so that yesterday is the last",
        ),
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="Run dates.")] = 3,
    orders: Annotated[int, typer.Option(min=1, help="Distinct orders of a run date.")] = 1_000,
    seed: Annotated[int, typer.Option(help="The same seed writes the same bytes.")] = 0,
    layout: Annotated[
        Literal["ndjson", "pages"], typer.Option(help="An order a line, or pages of 250 orders.")
    ] = "ndjson",
    compression: Annotated[
        Literal["none", "gzip", "zip"], typer.Option(help="How files are compressed.")
    ] = "none",
    files_per_day: Annotated[
        int, typer.Option(min=1, help="Files, or members of a zip, of a run date.")
    ] = 1,
    edited: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of orders that were made on an earlier day and edited."
        ),
    ] = 0.05,
    duplicates: Annotated[
        float, typer.Option(min=0, max=1, help="Share of orders that come twice on a day.")
    ] = 0.01,
    defects: Annotated[
        float, typer.Option(min=0, max=1, help="Share of orders with each kind of defect.")
    ] = 0.0,
    defect: Annotated[
        list[Any] | None,
        typer.Option(
            parser=_spoilt,
            metavar="CODE=SHARE",
            help="Share of orders with this defect, instead of --defects; may be repeated.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write a synthetic dump, the same from the same seed, and tell what a load of it must find."""
    from orders_dask.synthetic import generate as write

    first = start or date.today() - timedelta(days=days)
    try:
        with screen.counting("Generating", round(days * orders * (1 + duplicates))) as more:
            made = write(
                destination,
                start=first,
                days=days,
                orders=orders,
                seed=seed,
                layout=layout,
                compression=compression,
                files_per_day=files_per_day,
                edited=edited,
                duplicates=duplicates,
                defects=dict(defect) if defect else defects,
                progress=more,
            )
    except OSError as error:
        raise ServiceUnavailable(f"Can't write to {destination}: {error}.") from error
    if json:
        screen.result_json(made)
        return
    screen.result_table(
        [
            {
                "run_date": day.run_date,
                "records": day.records,
                "orders": day.rows["fact_order"],
                "lines": day.rows["fact_order_line"],
                "superseded": day.superseded,
                "rejected": day.rejected,
            }
            for day in made.days
        ],
        "What a load must find",
    )
    screen.result(f"_AWS_S3_URL_SOURCE={shlex.quote(made.source)}")


@command()
def demo(
    orders: Annotated[int, typer.Option(min=100, help="Orders of each of the three days.")] = 3_000,
    workers: Workers = None,
    data: Data = None,
) -> None:
    """Generate three days with some of every defect, load them in a sandbox, and show what became of them."""
    from orders_dask.cli.demo import show

    leave_services()
    show(orders, workers, data)
