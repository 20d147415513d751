"""Where the time of a load went, computed from its ledger row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Engine, func, select

from orders_dask.contract.ledger_tables import load_file, load_run
from orders_dask.cost import Cost, Price, cost_of_load
from orders_dask.ledger.queries import status
from orders_dask.step_metrics import StepMetrics

STEPS: Final = (
    "discover",
    "decode",
    "normalise",
    "stage",
    "resolve",
    "load",
    "verify",
    "check",
    "publish",
)

_TASKS: Final = {
    "decode": ("decode", "normalise", "stage"),
    "load": ("decode", "normalise", "stage", "resolve", "load"),
}
"""Steps of one task share the wall time of the one that it is timed as, by worker seconds.

A small run date has a task for all of them.
"""

_MB: Final = 1e6


@dataclass(frozen=True)
class StepTiming:
    """Time and throughput of a step of a load.

    Attributes
    ----------
    step
        Its name, of :data:`STEPS`.
    seconds
        Wall seconds.
    share
        Share in the wall seconds of all steps, 0 to 1.
    cpu_seconds
        CPU seconds of the workers; None if the client or the server does the work.
    orders_per_second
        Orders of the load per wall second; None if the step took no time.
    megabytes
        Bytes read from the dump (decode), written as Parquet (stage) or sent to PostgreSQL (load),
        in 10^6 bytes; None for other steps.
    megabytes_per_second
        Megabytes per wall second; None if there are none, or the step took no time.
    """

    step: str
    seconds: float
    share: float
    cpu_seconds: float | None
    orders_per_second: float | None
    megabytes: float | None
    megabytes_per_second: float | None


@dataclass(frozen=True)
class LoadTimings:
    """Time and throughput of a load and its steps.

    Attributes
    ----------
    run_date, load_id, status
        The load and its status.
    orders
        Number of orders loaded.
    bytes
        Size of its files as stored.
    seconds
        Wall seconds of all steps.
    cpu_seconds
        CPU seconds of the workers.
    steps
        The steps that began, in their order.
    cost
        What it cost.
    """

    run_date: date
    load_id: int
    status: str
    orders: int
    bytes: int
    seconds: float
    cpu_seconds: float
    steps: list[StepTiming]
    cost: Cost

    def __str__(self) -> str:
        """Return a sentence about its speed and its slowest step."""
        if not self.seconds:
            return (
                f"Load {self.load_id} of {self.run_date} is {self.status}; nothing is known of its "
                "time."
            )
        slowest = max(self.steps, key=lambda step: step.seconds)
        cores = (slowest.cpu_seconds or 0) / slowest.seconds
        where = (
            "on the client and in PostgreSQL"
            if slowest.cpu_seconds is None
            else f"with {cores:.1f} cores busy on the workers"
        )
        return (
            f"Load {self.load_id} of {self.run_date}, {self.status}: {self.seconds:.1f} s, "
            f"{self.orders / self.seconds:,.0f} orders/s, "
            f"{self.bytes / _MB / self.seconds:,.1f} MB/s, "
            f"{self.cpu_seconds:.1f} CPU seconds of the workers. The bottleneck was "
            f"{slowest.step}: {slowest.share:.0%} of the time, {where}."
        )


def load_timings(
    engine: Engine, run_date: date, prices: Mapping[Price, float] = MappingProxyType({})
) -> LoadTimings | None:
    """Return the timings of a run date's published load, else of its latest; None: it has none.

    Parameters
    ----------
    engine, run_date
        The database, and the date.
    prices
        Prices of its cost (:func:`~orders_dask.cost.cost_of_load`).
    """
    load = next((load for load in status(engine) if load.run_date == run_date), None)
    if load is None:
        return None
    of_load = load_run.c.load_id == load.load_id
    size = select(func.coalesce(func.sum(load_file.c.bytes), 0))
    size = size.where(load_file.c.load_id == load.load_id)
    with engine.connect() as connection:
        row = connection.execute(
            select(load_run.c.step_seconds, load_run.c.step_metrics).where(of_load)
        ).one()
        bytes_read = int(connection.scalar(size) or 0)
    return timings_of_load(
        run_date,
        load.load_id,
        load.status,
        load.orders,
        bytes_read,
        row.step_seconds or {},
        row.step_metrics or {},
        prices,
    )


def timings_of_load(
    run_date: date,
    load_id: int,
    status: str,
    orders: int,
    size: int,
    step_seconds: Mapping[str, float],
    step_metrics: Mapping[str, Any],
    prices: Mapping[Price, float],
) -> LoadTimings:
    """Return the timings of a load by its ledger row.

    Parameters
    ----------
    run_date, load_id, status
        The load and its status.
    orders, size
        Number of orders loaded, and bytes of its files as stored.
    step_seconds, step_metrics
        Wall seconds of its steps, and the metrics of its tasks, as the ledger has them.
    prices
        Prices of its cost (:func:`~orders_dask.cost.cost_of_load`).
    """
    metrics = {step: StepMetrics(**stored) for step, stored in step_metrics.items()}
    wall_seconds = _share_wall_time(step_seconds, metrics)
    total = sum(wall_seconds.values())
    return LoadTimings(
        run_date,
        load_id,
        status,
        orders,
        size,
        total,
        sum(of_step.cpu_seconds for of_step in metrics.values()),
        [
            _timing(step, wall_seconds[step], total, metrics.get(step), orders)
            for step in STEPS
            if step in wall_seconds
        ],
        cost_of_load(step_seconds, metrics, prices),
    )


def sum_timings(
    engine: Engine, load_ids: Sequence[int]
) -> tuple[dict[str, float], dict[str, StepMetrics]]:
    """Return the wall seconds and the step metrics of some loads together, each by step."""
    query = select(load_run.c.step_seconds, load_run.c.step_metrics)
    seconds: defaultdict[str, float] = defaultdict(float)
    metrics: defaultdict[str, StepMetrics] = defaultdict(StepMetrics)
    with engine.connect() as connection:
        rows = connection.execute(query.where(load_run.c.load_id.in_(load_ids))).all()
    for row in rows:
        of_load = {step: StepMetrics(**each) for step, each in (row.step_metrics or {}).items()}
        for step, wall_seconds in _share_wall_time(row.step_seconds or {}, of_load).items():
            seconds[step] += wall_seconds
        for step, of_step in of_load.items():
            metrics[step] += of_step
    return dict(seconds), dict(metrics)


def _share_wall_time(
    seconds: Mapping[str, Any], metrics: dict[str, StepMetrics]
) -> dict[str, float]:
    """Return each step's wall seconds; those of a task are split among its steps."""
    wall_seconds = {step: float(of_step) for step, of_step in seconds.items()}
    timed_as = "decode" if "decode" in wall_seconds else "load"
    on_workers = {step: metrics[step].seconds for step in _TASKS[timed_as] if step in metrics}
    if timed_as in wall_seconds and any(on_workers.values()):
        shared, total = wall_seconds.pop(timed_as), sum(on_workers.values())
        wall_seconds |= {step: shared * of_step / total for step, of_step in on_workers.items()}
    return wall_seconds


def _timing(
    step: str, seconds: float, total: float, metrics: StepMetrics | None, orders: int
) -> StepTiming:
    megabytes = metrics.bytes / _MB if metrics and metrics.bytes else None
    return StepTiming(
        step,
        seconds,
        seconds / total if total else 0.0,
        metrics.cpu_seconds if metrics and metrics.seconds else None,
        orders / seconds if seconds else None,
        megabytes,
        megabytes / seconds if megabytes and seconds else None,
    )
