"""Calls on workers that die: the call that kills is named, and the others succeed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from threading import Event

import pytest
from dask import config
from distributed import Client, LocalCluster

from orders_dask.cluster.submit import map_bounded
from orders_dask.cluster.task_calls import TaskCall
from orders_dask.cluster.workers import PROFILER_IS_SAFE, prepare_workers
from orders_dask.errors import WorkersDied
from orders_dask.settings import Settings

KILLS = "the file that kills"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Yield a client of one worker, with a scheduler that allows no failure of a task."""
    options = {
        "distributed.scheduler.allowed-failures": 0,
        "distributed.worker.profile.enabled": PROFILER_IS_SAFE,
    }
    with (
        config.set(options),
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client


def work(label: str) -> str:
    if label == KILLS:
        # distributed's nanny gives up on a worker that dies before it has reported its start: after
        # 0.2 s that was once so on a busy machine.
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)
    return label


@pytest.mark.parametrize("index", [0, 3])
def test_the_call_that_kills_workers_is_named_and_the_other_calls_succeed(
    client: Client, settings: Settings, index: int
) -> None:
    prepare_workers(client, settings)
    calls = [TaskCall(label := f"file {n}" if n != index else KILLS, (label,)) for n in range(5)]
    ended: list[tuple[int, str]] = []
    made = map_bounded(
        client,
        work,
        calls,
        step="work",
        key_suffix=str(index),
        max_in_flight=5,
        settings=settings,
        stop=Event(),
    )
    with pytest.raises(WorkersDied, match=f"again and again over {KILLS}:"):
        ended.extend(made)  # it keeps the results before the error
    others = [(n, call.label) for n, call in enumerate(calls) if n != index]
    # Calls after it may not have been retried.
    assert set(ended) <= set(others)
    assert {(n, label) for n, label in others if n < index} <= set(ended)
