"""What commands that load run dates write and send beside: metrics, spans and reports."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orders_dask.cli import output
from orders_dask.cli.app import exit_code_of
from orders_dask.cli.report_file import write_report
from orders_dask.errors import OrdersDaskError
from orders_dask.monitoring import telemetry
from orders_dask.pipeline.results import RunResult

if TYPE_CHECKING:
    from distributed import Client

    from orders_dask.cluster.clients import Connect
    from orders_dask.settings import Settings


def _file_option(written: str) -> Any:
    """Return the option of a file that a command writes beside its work."""
    return typer.Option(
        metavar="FILE", help=f"File that is written {written}.", show_default="none", dir_okay=False
    )


Metrics = Annotated[
    Path | None, _file_option("at the end with metrics for Prometheus, such as orders.prom")
]
Report = Annotated[Path | None, _file_option("at the end with the report of the run date")]
PerformanceReport = Annotated[
    Path | None, _file_option("with Dask's own report of its tasks and workers")
]


@contextmanager
def writing_report(run_date: date, settings: Settings, file: Path | None) -> Iterator[None]:
    """Write the report of a run date when a command ends, unless somebody stops it."""
    try:
        yield
    except KeyboardInterrupt:
        file = None
        raise
    finally:
        if file is not None:
            from orders_dask.jobs.report import report

            with _only_warning("the report of the run date"):
                write_report(file, report(run_date, settings=settings))
                output.message(f"Wrote {file}.")


@contextmanager
def performance_reported(connect: Connect, file: Path | None) -> Iterator[Connect]:
    """Yield what connects, and write Dask's report of all from then on, if it ends well.

    There is one of a cluster alone, so even little data is loaded on one.
    """
    if file is None:
        yield connect
        return
    with ExitStack() as stack:

        @cache
        def begin() -> None:
            stack.enter_context(_writing_performance_report(file))

        def reported(settings: Settings, is_small: bool) -> Client | None:
            client = connect(settings, False)
            begin()
            return client

        yield reported


@contextmanager
def _writing_performance_report(file: Path) -> Iterator[None]:
    from distributed import performance_report

    with TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        report = performance_report(filename=str(page))
        with _only_warning("Dask's report"):
            report.__enter__()
        yield
        with _only_warning("Dask's report"):
            report.__exit__(None, None, None)
            write_report(file, page.read_text(encoding="utf-8"))
            output.message(f"Wrote {file}.")


@contextmanager
def _only_warning(what: str) -> Iterator[None]:
    """Make any error a warning: the load has ended, and its outcome counts."""
    try:
        yield
    except OrdersDaskError as error:
        output.message(f"Warning: {what} is missing: {error}", logging.WARNING)
    except Exception as error:  # noqa: BLE001
        # Of a template, or of Dask where the cluster was lost. A message may hold anything.
        output.message(f"Warning: {what} is missing ({type(error).__name__}).", logging.WARNING)


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
    exit_code, is_interrupted = 0, False
    try:
        with telemetry.command_span(f"orders-dask {name}"):
            try:
                yield results
            except BaseException as error:
                exit_code = exit_code_of(error)
                is_interrupted = isinstance(error, KeyboardInterrupt)
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
