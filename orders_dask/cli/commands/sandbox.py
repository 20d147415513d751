"""`orders-dask sandbox`."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from orders_dask.cli import output
from orders_dask.cli.app import command
from orders_dask.cli.options import DataFolder
from orders_dask.errors import SettingsError


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
    data: DataFolder = None,
) -> None:
    """Start a real PostgreSQL and a real S3 server on this machine, with an empty bucket "orders".

    COMMAND runs with all settings in its environment. Without it the settings are printed as export
    lines.
    """
    from orders_dask.sandbox import sandbox as running
    from orders_dask.urls import split_zip_url

    chosen = os.environ.get("_AWS_S3_URL_SOURCE", "")
    remove_service_variables()
    with running(data, upload or []) as services:
        settings = dict(services.environment)
        if argv:
            # Only a source in the sandbox's own bucket is meant for it.
            if split_zip_url(chosen)[1].startswith(settings["_AWS_S3_URL_SOURCE"]):
                settings["_AWS_S3_URL_SOURCE"] = chosen
            raise typer.Exit(_exit_code(argv, os.environ | settings))
        for name, value in settings.items():
            output.result(f"export {name}={shlex.quote(value)}")
        with suppress(KeyboardInterrupt):
            output.message("PostgreSQL and S3 are running; Ctrl-C ends them.")
            while True:
                time.sleep(1)


def remove_service_variables() -> None:
    """Remove variables that point at real services, so the sandbox can't touch them."""
    from orders_dask.settings import without_service_variables

    remaining = without_service_variables(os.environ)
    os.environ.clear()
    os.environ.update(remaining)


def _exit_code(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command to its end and return its exit code as a shell would."""
    try:
        process = subprocess.Popen(argv, env=environment)
    except OSError as error:
        raise SettingsError(f"Can't run {argv[0]}: {error.strerror}.") from error
    while True:
        try:
            code = process.wait()
            return code if code >= 0 else 128 - code
        except KeyboardInterrupt as stop:
            # Ctrl-C reaches the command by itself; SIGTERM has to be passed on.
            if stop.args:
                process.send_signal(stop.args[0])
