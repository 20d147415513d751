"""Calls of a function on the workers, a window of them at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from threading import Event
from typing import Any, Final, TypeVar

from distributed import CancelledError, Client, Future, KilledWorker, wait

from orders_dask.errors import RunStopped, ServiceUnavailable, TerminalError

Result = TypeVar("Result")

RETRIES: Final = 2
"""Times that a task is tried again: pure work may run twice, and effects happen once by their key."""

POLL: Final = 0.5
"""Seconds between looks at whether to stop, while no task ends."""


def in_window(
    client: Client,
    function: Callable[..., Result],
    calls: Iterable[tuple[Any, ...]],
    *,
    step: str,
    of: str,
    window: int,
    stop: Event,
) -> Iterator[tuple[int, Result]]:
    """Call a function on the workers, `window` calls at a time, and give each call's number and result as it ends.

    The next call is submitted when one ends and its future is dropped: a window on the client holds no threads, doesn't
    leak and follows an elastic cluster, which semaphores and worker resources don't.

    Parameters
    ----------
    calls
        The arguments of each call.
    step, of
        What the task keys begin with: the step, which the dashboard groups by, then the load, in a name that is unique
        on the cluster.
    stop
        When it is set, nothing more is submitted and what waits is cancelled.

    Raises
    ------
    TransientError
        The scheduler was lost, or `stop` was set.
    TerminalError
        Workers died again and again over the same call.
    """
    waiting = enumerate(calls)
    running: dict[Future[Any], int] = {}
    try:
        while True:
            for number, arguments in islice(waiting, window - len(running)):
                future = client.submit(
                    function, *arguments, key=f"{step}-{of}-{number}", pure=False, retries=RETRIES
                )
                running[future] = number
            if not running:
                return
            if stop.is_set():
                raise RunStopped("The run was stopped; what was published stands.")
            for future in _ended(list(running)):
                yield running.pop(future), _result_of(future)
    finally:
        client.cancel(list(running))


def _ended(futures: list[Future[Any]]) -> set[Future[Any]]:
    """Wait a while for some to end."""
    try:
        done: set[Future[Any]] = wait(futures, timeout=POLL, return_when="FIRST_COMPLETED").done
    except TimeoutError:
        return set()
    except CancelledError as error:
        raise _lost_scheduler() from error
    return done


def _result_of(future: Future[Any]) -> Any:
    try:
        return future.result()
    except KilledWorker as error:
        raise TerminalError(
            f"Workers died again and again over {future.key}: look at their logs, and give them more memory or lower "
            "ORDERS_DASK_BLOCK_SIZE."
        ) from error
    except CancelledError as error:
        raise _lost_scheduler() from error


def _lost_scheduler() -> ServiceUnavailable:
    return ServiceUnavailable(
        "The Dask scheduler was lost: see that it runs, then give the same command again."
    )
