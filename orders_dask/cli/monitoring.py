"""What commands that load run dates write and send beside: metrics, spans and reports."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from orders_dask.cli import output
from orders_dask.cli.output_file import write_file
from orders_dask.errors import OrdersDaskError
from orders_dask.monitoring import telemetry
from orders_dask.pipeline.results import RunResult

if TYPE_CHECKING:
    from distributed import Client

    from orders_dask.settings import Settings

Metrics = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="File that is written at the end with metrics for Prometheus, such as orders.prom.",
        show_default="none",
        dir_okay=False,
    ),
]

Report = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="File that is written at the end with the report of the run date.",
        show_default="none",
        dir_okay=False,
    ),
]

PerformanceReport = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="File that is written with Dask's own report of its tasks and workers.",
        show_default="none",
        dir_okay=False,
    ),
]


@contextmanager
def reported(run_date: date, settings: Settings, file: Path | None) -> Iterator[None]:
    """Write the report of a run date when a command ends, however it does; else only warn."""
    try:
        yield
    finally:
        if file is not None:
            from orders_dask.jobs.report import report

            _write_or_warn(file, partial(report, run_date, settings=settings))


@contextmanager
def performance_reported(client: Client | None, file: Path | None) -> Iterator[None]:
    """Write Dask's performance report of what a client does meanwhile."""
    if file is None or client is None:
        yield
        return
    from distributed import performance_report

    with TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        report = performance_report(filename=str(page))
        report.__enter__()
        yield
        # Only now: a cluster that was lost gives no report, and the error would hide the run's own.
        report.__exit__(None, None, None)
        _write_or_warn(file, page.read_text)


def _write_or_warn(file: Path, text: Callable[[], str]) -> None:
    """Write a text into a file; what prevents that is a warning, for the load has ended."""
    try:
        write_file(file, text())
        output.message(f"Wrote {file}.")
    except OrdersDaskError as error:
        output.message(f"Warning: {error}", logging.WARNING)


@contextmanager
def monitored(
    name: str, settings: Settings, metrics: Path | None, *, expect_dump: bool = True
) -> Iterator[list[RunResult]]:
    """Record a command as a span, and write its metrics when it ends, however it does.

    Parameters
    ----------
    name
        Name of the command.
    settings
        Settings of the command.
    metrics
        File of the metrics; None for none.
    expect_dump
        Whether each due run date has a dump.

    Yields
    ------
    list of RunResult
        To be filled with how run dates ended.
    """
    results: list[RunResult] = []
    began = time.monotonic()
    exit_code, is_interrupted = 1, False
    try:
        with telemetry.command_span(f"orders-dask {name}"):
            try:
                yield results
                exit_code = 0
            except (typer.Exit, OrdersDaskError) as error:
                exit_code = error.exit_code
                raise
            except KeyboardInterrupt as stop:
                exit_code, is_interrupted = 128 + (stop.args or (signal.SIGINT,))[0], True
                raise
            finally:
                telemetry.describe(exit_code=exit_code)
    finally:
        if metrics is not None:
            from orders_dask.jobs.metrics import write_metrics

            write_metrics(
                metrics,
                results,
                settings,
                exit_code=exit_code,
                seconds=time.monotonic() - began,
                expect_dump=expect_dump,
                is_interrupted=is_interrupted,
            )
