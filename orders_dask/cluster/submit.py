"""Calls of a function on the workers, a window of them at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any, Final, NamedTuple, TypeVar

from distributed import CancelledError, Client, Future, KilledWorker
from distributed.client import ClosedClientError
from distributed.comm.core import CommClosedError

from orders_dask.errors import ClusterLost, RunCancelled, WorkersDied

Result = TypeVar("Result")

MapTasks = Callable[..., Generator[tuple[int, Any]]]
"""`in_window` with its client, name and stop."""

POLL_SECONDS: Final = 0.5
"""Seconds between looks at whether to stop, while no task ends."""


class TaskCall(NamedTuple):
    """One call of a function on a worker."""

    label: str
    """What it works on, for people."""
    arguments: tuple[Any, ...]
    """Small records, without secrets."""


def map_bounded(
    client: Client,
    function: Callable[..., Result],
    calls: Iterable[TaskCall],
    *,
    step: str,
    key_suffix: str,
    max_in_flight: int,
    stop: Event,
) -> Generator[tuple[int, Result]]:
    """Call a function on the workers, yielding each call's number and result as it ends.

    At most `max_in_flight` calls run at once. The next one is submitted when one ends and its
    future is dropped: a bound on the client holds no threads, doesn't leak and follows an elastic
    cluster, which semaphores and worker resources don't. A call whose worker died is made again on
    another one: pure work may run twice, and effects happen once by their key. Dask gives up on
    each call that ran or waited on four workers that died; those are made again at the end, in
    their order and one at a time, and only a call that has workers die even then ends it. So does
    any other error: what may pass, the task has tried again by itself (:mod:`orders_dask.retry`).

    Parameters
    ----------
    step, key_suffix
        What the task keys begin with: the step, which the dashboard groups by, then the load, in a
        name that is unique on the cluster.
    stop
        When it is set, nothing more is submitted and what waits is cancelled.

    Raises
    ------
    ClusterLost
        The scheduler was lost.
    RunStopped
        `stop` was set.
    WorkersDied
        Workers died again and again over the same call.
    """
    suspects: list[tuple[int, TaskCall]] = []
    submit = partial(_submit, client, function, f"{step}-{key_suffix}")
    with closing(_run_bounded(client, submit, enumerate(calls), max_in_flight, stop)) as made:
        for number, call, future in made:
            try:
                yield number, _result(future)
            except KilledWorker:
                suspects.append((number, call))
    submit = partial(_submit, client, function, f"{step}-{key_suffix}-alone")
    with closing(_run_bounded(client, submit, sorted(suspects), 1, stop)) as made:
        for number, call, future in made:
            try:
                yield number, _result(future)
            except KilledWorker as error:
                raise WorkersDied(
                    f"Workers died again and again over {call.label}: look at their logs, and give them more memory, "
                    "lower ORDERS_DASK_BLOCK_SIZE, or take the file away; what was published stands."
                ) from error


def _run_bounded(
    client: Client,
    submit: Callable[[int, TaskCall], Future[Any]],
    calls: Iterable[tuple[int, TaskCall]],
    max_in_flight: int,
    stop: Event,
) -> Generator[tuple[int, TaskCall, Future[Any]]]:
    """Make calls, `max_in_flight` at a time, and give each with its future when it has ended."""
    waiting = iter(calls)
    running: dict[Future[Any], tuple[int, TaskCall]] = {}
    # `distributed.wait` would leave a task for each pending future at each look: 130 MB with a
    # window of 256.
    finished: SimpleQueue[Future[Any]] = SimpleQueue()
    try:
        while True:
            for number, call in islice(waiting, max_in_flight - len(running)):
                future = submit(number, call)
                running[future] = number, call
                future.add_done_callback(finished.put)
            if not running:
                return
            if stop.is_set():
                raise RunCancelled("The run was stopped; what was published stands.")
            try:
                future = finished.get(timeout=POLL_SECONDS)
            except Empty:
                continue
            yield *running.pop(future), future
    finally:
        with suppress(*_SCHEDULER_GONE):
            client.cancel(list(running))


def _submit(
    client: Client, function: Callable[..., Any], key: str, number: int, call: TaskCall
) -> Future[Any]:
    with _translate_cluster_errors():
        return client.submit(function, *call.arguments, key=f"{key}-{number}", pure=False)


def _result(future: Future[Any]) -> Any:
    with _translate_cluster_errors():
        return future.result()


_SCHEDULER_GONE: Final = (CancelledError, ClosedClientError, CommClosedError)
"""What a client says, now and then, when its scheduler is gone."""


@contextmanager
def _translate_cluster_errors() -> Iterator[None]:
    try:
        yield
    except _SCHEDULER_GONE as error:
        raise ClusterLost(
            "The Dask scheduler was lost: see that it runs, then give the same command again."
        ) from error
