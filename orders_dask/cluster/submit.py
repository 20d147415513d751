"""Submit calls of a function to the workers, with a bounded number in flight.

A bound on the client holds no threads, doesn't leak, and follows an elastic cluster. Semaphores and
worker resources of Dask don't.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, suppress
from functools import partial
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any, Final, NamedTuple, TypeVar

from distributed import Client, Future, KilledWorker

from orders_dask.cluster.connection_errors import DISCONNECT_ERRORS, translate_cluster_errors
from orders_dask.cluster.task_calls import TaskCall, raise_if_stopped
from orders_dask.cluster.workers import call_task, plugin_name
from orders_dask.errors import ClusterLost, WorkersDied
from orders_dask.settings import Settings

Result = TypeVar("Result")

LOG: Final = logging.getLogger("orders_dask")

POLL_SECONDS: Final = 0.5
"""Seconds between checks of the stop event, while no task ends."""


class _EndedCall(NamedTuple):
    """A call that has ended, with its number and future."""

    number: int
    call: TaskCall
    future: Future[Any]


def map_bounded(
    client: Client,
    function: Callable[..., Result],
    calls: Iterable[TaskCall],
    *,
    step: str,
    key_suffix: str,
    max_in_flight: int,
    settings: Settings,
    stop: Event,
) -> Generator[tuple[int, Result]]:
    """Call a function on the workers, and yield the number and result of each call as it ends.

    When a call ends, its future is released and the next one is submitted. Dask repeats a call
    whose worker died on another worker, so the function must be idempotent. Dask gives up on a call
    after four workers died that ran it or had it queued. Such calls are repeated at the end, in
    order and one at a time, to tell the call that kills workers from its neighbours. Any other
    error ends the iteration: tasks retry transient errors themselves (:mod:`orders_dask.retry`).

    Parameters
    ----------
    client
        Client of the cluster.
    function
        The task.
    calls
        Calls of it. They are consumed as they are submitted.
    step, key_suffix
        Prefix of the task keys: the step, which the dashboard groups by, and a name of the load
        that is unique on the cluster.
    max_in_flight
        Maximum number of calls that are submitted and have not ended.
    settings
        Settings of the run. Their ``workers_timeout`` ends the wait while the cluster has no
        worker: an adaptive one starts them once it has work, and a nanny may give up on a worker
        that dies while it starts.
    stop
        When this event is set, nothing more is submitted and pending calls are cancelled.

    Yields
    ------
    tuple of int and object
        Number of the call, from 0, and its result.

    Raises
    ------
    ClusterLost
        The scheduler was lost, or no worker came within the timeout.
    RunCancelled
        `stop` was set.
    WorkersDied
        Workers died repeatedly over the same call.
    """
    suspects: list[tuple[int, TaskCall]] = []
    task = partial(call_task, plugin_name(settings), function)
    submit = partial(_submit, client, task, f"{step}-{key_suffix}")
    run = partial(_run_bounded, client, workers_timeout=settings.workers_timeout, stop=stop)
    with closing(run(submit, enumerate(calls), max_in_flight)) as ended:
        for number, call, future in ended:
            try:
                yield number, _result(future)
            except KilledWorker:
                suspects.append((number, call))
    submit = partial(_submit, client, task, f"{step}-{key_suffix}-alone")
    with closing(run(submit, sorted(suspects), 1)) as ended:
        for number, call, future in ended:
            try:
                yield number, _result(future)
            except KilledWorker as error:
                raise WorkersDied(
                    f"Workers died again and again over {call.label}: look at their logs, and give "
                    "them more memory, lower ORDERS_DASK_BLOCK_SIZE, or take the file away; what "
                    "was published stands."
                ) from error


def _run_bounded(
    client: Client,
    submit: Callable[[int, TaskCall], Future[Any]],
    calls: Iterable[tuple[int, TaskCall]],
    max_in_flight: int,
    *,
    workers_timeout: float,
    stop: Event,
) -> Generator[_EndedCall]:
    """Submit calls, at most `max_in_flight` at a time, and yield each one when it has ended."""
    pending = iter(calls)
    running: dict[Future[Any], tuple[int, TaskCall]] = {}
    # Not `distributed.wait`: it leaves a task per pending future, 130 MB with 256 in flight.
    finished: SimpleQueue[Future[Any]] = SimpleQueue()
    check_workers = _workers_watch(client, workers_timeout)
    try:
        while True:
            for number, call in islice(pending, max_in_flight - len(running)):
                future = submit(number, call)
                running[future] = number, call
                future.add_done_callback(finished.put)
            if not running:
                return
            raise_if_stopped(stop)
            try:
                future = finished.get(timeout=POLL_SECONDS)
            except Empty:
                check_workers()
                continue
            yield _EndedCall(*running.pop(future), future)
    finally:
        with suppress(*DISCONNECT_ERRORS):
            client.cancel(list(running))


def _workers_watch(client: Client, timeout: float) -> Callable[[], None]:
    """Return a function that raises once it has seen no worker of the cluster for `timeout` s."""
    none_since: float | None = None

    def check() -> None:
        nonlocal none_since
        scheduler = client.scheduler_info(n_workers=0)
        # A client that has lost its scheduler knows nothing; then the futures end by themselves.
        if scheduler.get("n_workers") != 0:
            none_since = None
        elif none_since is None:
            none_since = time.monotonic()
            LOG.warning(
                "The Dask cluster at %s has no worker: waiting up to %g s for one.",
                scheduler["address"],
                timeout,
            )
        elif time.monotonic() - none_since > timeout:
            address = scheduler["address"]
            raise ClusterLost(
                f"The Dask cluster at {address} had no worker for {timeout:g} s: see why none "
                f"starts (by hand: 'dask worker {address}'), or set ORDERS_DASK_WORKERS_TIMEOUT."
            )

    return check


def _submit(
    client: Client, function: Callable[..., Any], key: str, number: int, call: TaskCall
) -> Future[Any]:
    with translate_cluster_errors():
        return client.submit(function, *call.arguments, key=f"{key}-{number}", pure=False)


def _result(future: Future[Any]) -> Any:
    with translate_cluster_errors():
        return future.result()
