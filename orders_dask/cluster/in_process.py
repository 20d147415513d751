"""Call tasks in this process, where there is no cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from threading import Event
from typing import TypeVar

from orders_dask.cluster.task_calls import TaskCall, raise_if_stopped, task_of
from orders_dask.settings import Settings

Result = TypeVar("Result")


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
    """Call a function in this process, one call after another.

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
        with task_of(settings):
            result = function(*call.arguments)
        yield number, result
