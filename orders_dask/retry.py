"""Trying again what may pass, with growing waits and jitter; all else ends at once."""

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
    stop_when_event_set,
    wait_exponential_jitter,
    wait_random,
)
from tenacity.stop import stop_base

from orders_dask.errors import LeaseLost, RunDateLocked, ServiceUnavailable, StoredObjectChanged

P = ParamSpec("P")
T = TypeVar("T")

LOG: Final = logging.getLogger("orders_dask")

ATTEMPTS: Final = 5
"""Times that an effect is tried: with the waits between for some 10 s, where a PostgreSQL that crashed is back in 3."""

RUN_ATTEMPTS: Final = 3
"""Times that a run date is tried: what it staged before is used again, so that a later try costs little."""

LOCK_WAIT_SECONDS: Final = 600
"""Seconds that a backfill waits for a run date that another run holds: a day of two million orders takes some 300."""

_BACKOFF: Final = wait_exponential_jitter(multiplier=0.5, max=10, jitter=1)


def _log_retry(state: RetryCallState) -> None:
    """Tell people what is waited for."""
    error = state.outcome and state.outcome.exception()
    LOG.warning("%s (Trying again in %.1f s.)", error, state.upcoming_sleep)


retry_transient: Final = retry(
    retry=retry_if_exception_type(ServiceUnavailable),
    wait=_BACKOFF,
    stop=stop_after_attempt(ATTEMPTS),
    before_sleep=_log_retry,
    reraise=True,
)
"""Try a function again while a service is unavailable. It must be pure, or happen once by its key."""


def retry_run(work: Callable[P, T], stop: Event | None = None) -> Callable[P, T]:
    """Let a whole run date be tried again, from its listing, when what it worked with broke off.

    Parameters
    ----------
    stop
        When it is set, nothing is tried again.
    """
    broke_off = retry_if_exception_type((ServiceUnavailable, LeaseLost, StoredObjectChanged))
    ends = _stop_options(stop or Event(), stop_after_attempt(RUN_ATTEMPTS))
    tried: Callable[P, T] = retry(retry=broke_off, wait=_BACKOFF, **ends)(work)
    return tried


def wait_for_lock(work: Callable[P, T], stop: Event) -> Callable[P, T]:
    """Let a run date be waited for while another run holds it: that one may leave nothing to do.

    Parameters
    ----------
    stop
        When it is set, the wait ends.
    """
    held = retry_if_exception_type(RunDateLocked)
    ends = _stop_options(stop, stop_after_delay(LOCK_WAIT_SECONDS))
    waited: Callable[P, T] = retry(retry=held, wait=wait_random(1, 3), **ends)(work)
    return waited


def _stop_options(stop_event: Event, give_up: stop_base) -> dict[str, Any]:
    return {
        "stop": give_up | stop_when_event_set(stop_event),
        "sleep": sleep_using_event(stop_event),
        "before_sleep": _log_retry,
        "reraise": True,
    }
