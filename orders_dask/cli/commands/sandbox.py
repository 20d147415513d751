"""`orders-dask sandbox`."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
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
    shop: Annotated[
        bool,
        typer.Option("--shop", help="Serve a fake shop too, for fetch: orders of three days."),
    ] = False,
) -> None:
    """Start a real PostgreSQL and a real S3 server on this machine, with an empty bucket "orders".

    COMMAND runs with all settings in its environment. Without it the settings are printed as export
    lines.
    """
    from orders_dask.sandbox import sandbox as running
    from orders_dask.urls import split_zip_url

    chosen = os.environ.get("_AWS_S3_URL_SOURCE", "")
    remove_service_variables()
    with running(data, upload or []) as services, _served_shop(shop) as of_shop:
        settings = {**services.environment, **of_shop}
        if shop:
            settings["_AWS_S3_URL_SOURCE"] += "run_date={run_date}/"
        if argv:
            # Only a source in the sandbox's own bucket is meant for it.
            bucket = services.environment["_AWS_S3_URL_SOURCE"]
            if split_zip_url(chosen)[1].startswith(bucket):
                settings["_AWS_S3_URL_SOURCE"] = chosen
            raise typer.Exit(_exit_code(argv, os.environ | settings))
        for name, value in settings.items():
            output.result(f"export {name}={shlex.quote(value)}")
        with suppress(KeyboardInterrupt):
            output.message("PostgreSQL and S3 are running; Ctrl-C ends them.")
            while True:
                time.sleep(1)


@contextmanager
def _served_shop(wanted: bool) -> Iterator[dict[str, str]]:
    """Serve a fake shop with orders of the three days up to yesterday, and yield its settings."""
    if not wanted:
        yield {}
        return
    from orders_dask.sandbox.serve_shop import served
    from orders_dask.sandbox.shop import TOKEN, Shop
    from orders_dask.synthetic import generate

    days = 3
    start = datetime.now(UTC).date() - timedelta(days=days)
    with TemporaryDirectory() as folder:
        generate(folder, start=start, days=days, orders=1_000)
        files = sorted(Path(folder).rglob("*.*"))
        orders = [json.loads(line) for file in files for line in file.open("rb")]
    with served(Shop(orders)) as url:
        yield {"ORDERS_DASK_API_URL": url, "ORDERS_DASK_API_TOKEN": TOKEN}


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
