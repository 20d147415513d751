"""Write what a command did, and the state of the ledger, into a file for Prometheus."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from datetime import time as time_of_day
from pathlib import Path
from typing import Final, get_args

from sqlalchemy import Engine

from orders_dask.errors import OrdersDaskError
from orders_dask.jobs.daily import overdue
from orders_dask.ledger.queries import count_held_dates, latest_publish, published_dates
from orders_dask.ledger.timings import STEPS, sum_timings
from orders_dask.load.connect import engine
from orders_dask.monitoring.prometheus import Gauge, former_gauges, write_gauges
from orders_dask.pipeline.results import Outcome, RunResult
from orders_dask.settings import Settings
from orders_dask.step_metrics import StepMetrics

LOG: Final = logging.getLogger("orders_dask")

LAST_SUCCESS: Final = "last_success_timestamp_seconds"
"""Gauge of the end of the last command with exit code 0, which no ledger has."""

LEDGER_GAUGES: Final = (
    "ledger_read_timestamp_seconds",
    "last_published_run_date_timestamp_seconds",
    "last_publish_timestamp_seconds",
    "published_run_dates",
    "held_run_dates",
    "overdue_run_dates",
)
"""Gauges of the state of the ledger, without a label."""


def write_metrics(
    file: Path,
    results: Sequence[RunResult],
    settings: Settings,
    *,
    exit_code: int,
    seconds: float,
    expect_dump: bool = True,
    is_interrupted: bool = False,
) -> None:
    """Write the metrics of a command that ends into a file; a failure is a warning and no more.

    Parameters
    ----------
    file
        The file, which is replaced.
    results
        How run dates ended.
    settings
        Settings of the command.
    exit_code, seconds
        Exit code and wall seconds of the command.
    expect_dump
        Whether each due run date has a dump, as in :func:`orders_dask.jobs.daily.overdue`.
    is_interrupted
        Whether somebody stopped the command. Then it doesn't wait for PostgreSQL.
    """
    gauges = [
        *_command(results, exit_code, seconds),
        *_last_success(file, exit_code),
    ]
    try:
        if is_interrupted:
            gauges += former_gauges(file, LEDGER_GAUGES)
        else:
            database = engine(settings)
            gauges += [
                *_ledger(database, settings, expect_dump),
                *_loads(database, [each for each in results if each.outcome == "published"]),
            ]
    except OrdersDaskError as error:
        LOG.warning("The state in %s is that of an earlier command: %s", file, error)
        gauges += former_gauges(file, LEDGER_GAUGES)
    try:
        write_gauges(file, gauges)
    except OSError as error:
        LOG.warning(
            "The metrics can't be written to %s (%s): check --metrics and who may write there.",
            file,
            error.strerror or type(error).__name__,
        )


def _command(results: Sequence[RunResult], exit_code: int, seconds: float) -> list[Gauge]:
    """Return the gauges of the command itself."""
    counted = Counter(each.outcome for each in results)
    outcomes = {outcome: float(counted[outcome]) for outcome in get_args(Outcome)}
    published = [each for each in results if each.outcome == "published"]
    return [
        Gauge("last_command_timestamp_seconds", "End of the last command.", time.time()),
        Gauge("last_command_duration_seconds", "Wall time of the last command.", seconds),
        Gauge("last_command_exit_code", "Exit code of the last command.", exit_code),
        Gauge(
            "last_command_run_dates",
            "Run dates of the last command, by outcome.",
            label="outcome",
            values=outcomes,
        ),
        *(
            Gauge(
                f"last_command_{name}",
                f"{text} in the loads that the last command published.",
                sum(getattr(each, attribute) for each in published),
            )
            for name, text, attribute in _COUNTS
        ),
    ]


_COUNTS: Final = (
    ("files", "Files read", "files"),
    ("orders", "Orders", "orders"),
    ("lines", "Lines", "lines"),
    ("superseded_orders", "Orders superseded within their run date", "superseded"),
    ("rejected_orders", "Orders rejected", "rejected"),
)
"""Gauges of the loads: name, meaning, and attribute of the result of a run date."""


def _last_success(file: Path, exit_code: int) -> list[Gauge]:
    """Return when a command last ended with exit code 0: now, or as the file has it."""
    if exit_code:
        return former_gauges(file, (LAST_SUCCESS,))
    meaning = "End of the last command with exit code 0."
    return [Gauge(LAST_SUCCESS, meaning, time.time())]


def _ledger(database: Engine, settings: Settings, expect_dump: bool) -> list[Gauge]:
    """Return the gauges of the state of the ledger, which are :data:`LEDGER_GAUGES`."""
    published = published_dates(database)
    begin = datetime.combine(max(published), time_of_day(), settings.zone) if published else None
    latest = latest_publish(database)
    late = overdue(settings=settings, expect_dump=expect_dump)
    return [
        Gauge(
            "ledger_read_timestamp_seconds",
            "When the state of the ledger was read.",
            time.time(),
        ),
        Gauge(
            "last_published_run_date_timestamp_seconds",
            "Midnight, in the shop's time zone, that begins the greatest published run date.",
            begin.timestamp() if begin else None,
        ),
        Gauge(
            "last_publish_timestamp_seconds",
            "When a run date was last published.",
            latest.timestamp() if latest else None,
        ),
        Gauge("published_run_dates", "Run dates that are published.", len(published)),
        Gauge(
            "held_run_dates",
            "Run dates with a load that waits for accept or discard.",
            count_held_dates(database),
        ),
        Gauge(
            "overdue_run_dates",
            "Run dates of the last fourteen days that are due and not published.",
            len(late),
        ),
    ]


def _loads(database: Engine, published: Sequence[RunResult]) -> list[Gauge]:
    """Return the gauges of the steps of the loads that the command published."""
    load_ids = [each.load_id for each in published if each.load_id is not None]
    seconds, metrics = sum_timings(database, load_ids)
    by_step = dict.fromkeys(STEPS, 0.0) | seconds
    money = [each.cost.money for each in published if each.cost and each.cost.money is not None]
    return [
        Gauge(
            "last_command_step_seconds",
            "Wall seconds by step, of the loads that the last command published.",
            label="step",
            values=by_step,
        ),
        *(
            Gauge(
                f"last_command_step_{name}",
                f"{text} by step, of the loads that the last command published.",
                label="step",
                values={
                    step: getattr(metrics.get(step, StepMetrics()), attribute) for step in STEPS
                },
            )
            for name, text, attribute in _STEP_METRICS
        ),
        Gauge(
            "last_command_cost",
            "Cost, by ORDERS_DASK_PRICES, of the loads that the last command published.",
            sum(money) if money else None,
        ),
    ]


_STEP_METRICS: Final = (
    ("cpu_seconds", "CPU seconds of the workers", "cpu_seconds"),
    ("bytes", "Bytes read from the dump, staged or sent to PostgreSQL", "bytes"),
    ("put_requests", "Requests to S3 at the price of a PUT", "put_requests"),
    ("get_requests", "Requests to S3 at the price of a GET", "get_requests"),
)
"""Gauges of the steps: name, meaning, and attribute of the step metrics."""
