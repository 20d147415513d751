"""What a load costs: CPU, time of the database, bytes, requests to S3, and money by prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from orders_dask.step_metrics import MetricsByStep, StepMetrics

Price = Literal["worker_hour", "database_hour", "put_1000", "get_1000", "gigabyte"]
"""What a price is for: an hour of a worker's CPU or of the database, 1,000 requests, 10^9 bytes."""

_SECONDS_PER_HOUR: Final = 3600
_IN_THE_DATABASE: Final = ("verify", "check", "publish")
"""Steps in which the client waits for the database alone."""


@dataclass(frozen=True)
class Cost:
    """What a load costs.

    Attributes
    ----------
    worker_cpu_seconds
        CPU seconds of the workers' processes while they had tasks.
    database_seconds
        Seconds in which tasks or the client waited for the database, and tasks for S3 while they
        loaded: an estimate of what its CPUs did, for PostgreSQL doesn't say.
    bytes_read
        Bytes of the dump that were decoded, as stored. Staged parts that are used again have none.
    bytes_staged
        Bytes of Parquet written.
    bytes_sent
        Bytes sent to the database.
    put_requests, get_requests
        Requests to S3 of workers and client.
    money
        Sum by the prices; None without any.
    """

    worker_cpu_seconds: float
    database_seconds: float
    bytes_read: int
    bytes_staged: int
    bytes_sent: int
    put_requests: int
    get_requests: int
    money: float | None

    def __str__(self) -> str:
        """Return a sentence about all figures."""
        text = (
            f"It cost {self.worker_cpu_seconds:,.1f} CPU seconds of the workers, "
            f"{self.database_seconds:,.1f} s of the database, {_megabytes(self.bytes_read)} read, "
            f"{_megabytes(self.bytes_staged)} staged, {_megabytes(self.bytes_sent)} sent, and "
            f"{self.put_requests:,} PUT and {self.get_requests:,} GET requests"
        )
        return text + ("." if self.money is None else f": {self.money:,.4f} by ORDERS_DASK_PRICES.")


def cost_of_load(
    step_seconds: Mapping[str, float], metrics: MetricsByStep, prices: Mapping[Price, float]
) -> Cost:
    """Return what a load costs.

    Parameters
    ----------
    step_seconds
        Wall seconds of its steps.
    metrics
        Metrics of all its tasks, by step.
    prices
        Prices in any currency; what has none is free.
    """
    everything = sum(metrics.values(), StepMetrics())
    decode, stage, load = (metrics.get(step, StepMetrics()) for step in ("decode", "stage", "load"))
    waited = sum(step_seconds.get(step, 0) for step in _IN_THE_DATABASE)
    database_seconds = max(load.seconds - load.cpu_seconds, 0) + waited
    used: dict[Price, float] = {
        "worker_hour": everything.cpu_seconds / _SECONDS_PER_HOUR,
        "database_hour": database_seconds / _SECONDS_PER_HOUR,
        "put_1000": everything.put_requests / 1000,
        "get_1000": everything.get_requests / 1000,
        "gigabyte": decode.bytes / 1e9,
    }
    money = sum(prices.get(name, 0) * amount for name, amount in used.items())
    return Cost(
        worker_cpu_seconds=round(everything.cpu_seconds, 6),
        database_seconds=database_seconds,
        bytes_read=decode.bytes,
        bytes_staged=stage.bytes,
        bytes_sent=load.bytes,
        put_requests=everything.put_requests,
        get_requests=everything.get_requests,
        money=money if prices else None,
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
