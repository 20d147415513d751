"""Where the time of a load went, by what its ledger row keeps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import Engine, func, select

from orders_dask.contract.ledger_tables import load_file, load_run
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
    "publish",
)

_ONE_TASK: Final = ("decode", "normalise", "stage")
"""Steps that one task does for a split: they share the wall time of ``decode`` by what they took on the workers."""

_MB: Final = 1e6


@dataclass(frozen=True)
class StepTiming:
    """What a step of a load took.

    Attributes
    ----------
    step
        Its name.
    seconds
        Wall seconds.
    share
        Of the wall seconds of all steps, 0 to 1.
    cpu_seconds
        CPU seconds of the workers; None where the client or the server does the work.
    orders_per_second
        Orders of the load by wall seconds; None where it took no time.
    megabytes
        What it read of the dump (decode), wrote of Parquet (stage) or sent to PostgreSQL (load), in
        10^6 bytes; None of other steps.
    megabytes_per_second
        These by wall seconds.
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
    """What the steps of a load took.

    Attributes
    ----------
    run_date, load_id, status
        The load and its status.
    orders
        Orders loaded.
    bytes
        Size of its files as stored.
    seconds
        Wall seconds of all steps.
    cpu_seconds
        CPU seconds of the workers.
    steps
        Those that were begun, in their order.
    """

    run_date: date
    load_id: int
    status: str
    orders: int
    bytes: int
    seconds: float
    cpu_seconds: float
    steps: list[StepTiming]

    def __str__(self) -> str:
        """Say how fast it was, and which step took most of the time."""
        if not self.seconds:
            return f"Load {self.load_id} of {self.run_date} is {self.status}; nothing is known of its time."
        most = max(self.steps, key=lambda step: step.seconds)
        cores = (most.cpu_seconds or 0) / most.seconds
        where = (
            "on the client and in PostgreSQL"
            if most.cpu_seconds is None
            else f"with {cores:.1f} cores busy on the workers"
        )
        return (
            f"Load {self.load_id} of {self.run_date}, {self.status}: {self.seconds:.1f} s, "
            f"{self.orders / self.seconds:,.0f} orders/s, {self.bytes / _MB / self.seconds:,.1f} MB/s, "
            f"{self.cpu_seconds:.1f} CPU seconds of the workers. The bottleneck was {most.step}: "
            f"{most.share:.0%} of the time, {where}."
        )


def load_timings(engine: Engine, run_date: date) -> LoadTimings | None:
    """Tell where the time of a run date's published load went, else of its latest; None where there is none."""
    standing = next((load for load in status(engine) if load.run_date == run_date), None)
    if standing is None:
        return None
    of_load = load_run.c.load_id == standing.load_id
    size = select(func.coalesce(func.sum(load_file.c.bytes), 0))
    size = size.where(load_file.c.load_id == standing.load_id)
    with engine.connect() as connection:
        row = connection.execute(
            select(load_run.c.step_seconds, load_run.c.step_metrics).where(of_load)
        ).one()
        read = int(connection.scalar(size) or 0)
    costs = {step: StepMetrics(**cost) for step, cost in (row.step_metrics or {}).items()}
    wall = _share_wall_time(row.step_seconds or {}, costs)
    total = sum(wall.values())
    return LoadTimings(
        run_date,
        standing.load_id,
        standing.status,
        standing.orders,
        read,
        total,
        sum(cost.cpu_seconds for cost in costs.values()),
        [
            _timing(step, wall[step], total, costs.get(step), standing.orders)
            for step in STEPS
            if step in wall
        ],
    )


def _share_wall_time(seconds: dict[str, Any], costs: dict[str, StepMetrics]) -> dict[str, float]:
    """Give the wall seconds of each step."""
    wall = {step: float(took) for step, took in seconds.items()}
    tasks = {step: costs[step].seconds for step in _ONE_TASK if step in costs}
    if "decode" in wall and any(tasks.values()):
        whole = wall.pop("decode")
        wall |= {step: whole * took / sum(tasks.values()) for step, took in tasks.items()}
    return wall


def _timing(
    step: str, seconds: float, total: float, cost: StepMetrics | None, orders: int
) -> StepTiming:
    megabytes = cost.bytes / _MB if cost and cost.bytes else None
    return StepTiming(
        step,
        seconds,
        seconds / total if total else 0.0,
        cost.cpu_seconds if cost else None,
        orders / seconds if seconds else None,
        megabytes,
        megabytes / seconds if megabytes and seconds else None,
    )
