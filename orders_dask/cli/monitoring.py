"""What commands that load run dates write and send for monitoring: metrics and spans."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orders_dask.errors import OrdersDaskError
from orders_dask.monitoring import telemetry
from orders_dask.pipeline.results import RunResult

if TYPE_CHECKING:
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
