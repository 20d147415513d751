"""Call tasks in this process, where there is no cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Final, TypeVar

from orders_dask.cluster.task_calls import TaskCall, raise_if_stopped, task_of
from orders_dask.settings import Settings

Result = TypeVar("Result")

POLL_SECONDS: Final = 0.5
"""Seconds between checks of the stop event, while a task runs."""


def map_in_process(
    function: Callable[..., Result],
    calls: Iterable[TaskCall],
    *,
    step: str,
    key_suffix: str,
    max_in_flight: int,
    settings: Settings,
    stop: Event,
) -> Generator[tuple[int, Result]]:
    """Call a function in this process, one call after another, each in a thread of its own.

    This thread can be stopped meanwhile: in a library that waits for a service it could not.

    Parameters
    ----------
    function, calls, step, key_suffix, max_in_flight, settings, stop
        As in :func:`orders_dask.cluster.submit.map_bounded`. There are no keys of Dask here, and
        one call is in flight.

    Yields
    ------
    tuple of int and object
        Number of the call, from 0, and its result.

    Raises
    ------
    RunCancelled
        `stop` was set.
    """
    for number, call in enumerate(calls):
        raise_if_stopped(stop)
        yield number, _call(partial(function, *call.arguments), settings, stop)


def _call(function: Callable[[], Result], settings: Settings, stop: Event) -> Result:
    """Return what a function returns, unless it is to be stopped: then it ends with the process.

    What it does to a service is given up as that of a worker that was killed.
    """
    ended: SimpleQueue[Future[Result]] = SimpleQueue()

    def run() -> None:
        future = Future[Result]()
        try:
            with task_of(settings):
                future.set_result(function())
        except BaseException as error:  # noqa: BLE001 (the other thread raises it)
            future.set_exception(error)
        ended.put(future)

    Thread(target=copy_context().run, args=(run,), name="task", daemon=True).start()
    while True:
        try:
            return ended.get(timeout=POLL_SECONDS).result()
        except Empty:
            raise_if_stopped(stop)
