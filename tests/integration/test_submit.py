"""Calls on workers that die: the call that kills is named, and those beside it end well."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from threading import Event

import pytest
from dask import config
from distributed import Client, LocalCluster

from orders_dask.cluster.connect import PROFILER_IS_SAFE
from orders_dask.cluster.submit import TaskCall, map_bounded
from orders_dask.errors import WorkersDied

KILLS = "the file that kills"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """One worker, on which calls wait for each other, and a scheduler that gives up on them when it dies once."""
    given = {
        "distributed.scheduler.allowed-failures": 0,
        "distributed.worker.profile.enabled": PROFILER_IS_SAFE,
    }
    with (
        config.set(given),
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client


def work(about: str) -> str:
    if about == KILLS:
        os.kill(os.getpid(), signal.SIGKILL)
    return about


@pytest.mark.parametrize("place", [0, 3])
def test_workers_died_over_the_call_that_kills_and_what_was_beside_it_ends_well(
    client: Client, place: int
) -> None:
    calls = [TaskCall(about := f"file {n}" if n != place else KILLS, (about,)) for n in range(5)]
    ended: list[tuple[int, str]] = []
    made = map_bounded(
        client, work, calls, step="work", key_suffix=str(place), max_in_flight=5, stop=Event()
    )
    with pytest.raises(WorkersDied, match=f"again and again over {KILLS}:"):
        ended.extend(made)  # what came before the error stays in it
    others = [(n, call.label) for n, call in enumerate(calls) if n != place]
    # Of those that shared its fate, the ones after it may not have had their turn again.
    assert set(ended) <= set(others)
    assert {(n, about) for n, about in others if n < place} <= set(ended)
