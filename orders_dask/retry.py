"""Retry transient errors with exponential backoff and jitter; other errors propagate at once.

A retry ends with the last error after a number of attempts, or after a timeout. Only idempotent
work is retried.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event
from typing import Any, Final, ParamSpec, TypeVar

from tenacity import (
    RetryCallState,
    retry,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_attempt,
    stop_after_delay,
    stop_before_delay,
    stop_when_event_set,
    wait_exponential,
    wait_exponential_jitter,
    wait_random,
)
from tenacity.stop import stop_base

from orders_dask.errors import (
    LeaseLost,
    RunDateLocked,
    SchedulerEnded,
    ServiceUnavailable,
    SourceMissing,
    StoredObjectChanged,
)

P = ParamSpec("P")
T = TypeVar("T")

LOG: Final = logging.getLogger("orders_dask")

ATTEMPTS: Final = 5
"""Attempts of an effect, some 10 s with the waits. A PostgreSQL that crashed is back in 3 s."""

RUN_ATTEMPTS: Final = 3
"""Attempts of a run date. A later attempt uses the parts that are staged already."""

LOCK_WAIT_SECONDS: Final = 600
"""Timeout for a run date that another run has locked. A day of 2 million orders takes 300 s."""

_BACKOFF: Final = wait_exponential_jitter(multiplier=0.5, max=10, jitter=1)


def _log_retry(state: RetryCallState) -> None:
    """Log the error and the wait until the next attempt."""
    error = state.outcome and state.outcome.exception()
    LOG.warning("%s (Trying again in %.1f s.)", error, state.upcoming_sleep)


def log_first_retry(state: RetryCallState) -> None:
    """Log the error, and that it is waited for, once; an outage each time."""
    error = state.outcome and state.outcome.exception()
    if state.attempt_number == 1 or isinstance(error, ServiceUnavailable):
        LOG.warning("%s (Waiting for it.)", error)


retry_transient: Final = retry(
    retry=retry_if_exception_type(ServiceUnavailable),
    wait=_BACKOFF,
    stop=stop_after_attempt(ATTEMPTS),
    before_sleep=_log_retry,
    reraise=True,
)
"""Retry a function while a service is unavailable. It must be idempotent."""


def retry_until_found(find: Callable[P, T], seconds: float) -> Callable[P, T]:
    """Retry a function every minute, at first more often, while there is no file for a run date.

    An outage of S3 doesn't end the wait: it may be over long before the dump is late.

    Parameters
    ----------
    find
        Function that raises SourceMissing or ServiceUnavailable.
    seconds
        Longest time to wait.
    """
    retried: Callable[P, T] = retry(
        retry=retry_if_exception_type((SourceMissing, ServiceUnavailable)),
        wait=wait_exponential(max=60),
        stop=stop_before_delay(seconds),
        before_sleep=log_first_retry,
        reraise=True,
    )(find)
    return retried


def retry_run(run: Callable[P, T], stop: Event | None = None) -> Callable[P, T]:
    """Retry a whole run date, from its listing, after a lost service, scheduler, lease or object.

    Parameters
    ----------
    run
        Function that runs the date.
    stop
        Ends the retries when it is set.
    """
    is_transient = retry_if_exception_type(
        (ServiceUnavailable, SchedulerEnded, LeaseLost, StoredObjectChanged)
    )
    options = _stop_options(stop or Event(), stop_after_attempt(RUN_ATTEMPTS))
    retried: Callable[P, T] = retry(retry=is_transient, wait=_BACKOFF, **options)(run)
    return retried


def wait_for_lock(run: Callable[P, T], stop: Event) -> Callable[P, T]:
    """Wait while another run has the run date locked; it may do our work for us.

    Parameters
    ----------
    run
        Function that runs the date.
    stop
        Ends the wait when it is set.
    """
    locked = retry_if_exception_type(RunDateLocked)
    options = _stop_options(stop, stop_after_delay(LOCK_WAIT_SECONDS))
    retried: Callable[P, T] = retry(retry=locked, wait=wait_random(1, 3), **options)(run)
    return retried


def _stop_options(stop_event: Event, limit: stop_base) -> dict[str, Any]:
    """Return tenacity's options for retries that end at a limit, or when an event is set."""
    return {
        "stop": limit | stop_when_event_set(stop_event),
        "sleep": sleep_using_event(stop_event),
        "before_sleep": _log_retry,
        "reraise": True,
    }
