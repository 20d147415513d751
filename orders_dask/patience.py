"""Trying again what may pass, with growing waits and jitter; all else ends at once."""

from __future__ import annotations

import logging
from threading import Event
from typing import Any, Final

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

from orders_dask.errors import LeaseLost, RunDateHeld, ServiceUnavailable, SourceChanged

LOG: Final = logging.getLogger("orders_dask")

ATTEMPTS: Final = 5
"""Times that an effect is tried: with the waits between for some 10 s, where a PostgreSQL that crashed is back in 3."""

RUNS: Final = 3
"""Times that a run date is tried: what it staged before is used again, so that a later try costs little."""

HELD_SECONDS: Final = 600
"""Seconds that a backfill waits for a run date that another run holds: a day of two million orders takes some 300."""

_WAITS: Final = wait_exponential_jitter(multiplier=0.5, max=10, jitter=1)


def _say(state: RetryCallState) -> None:
    """Tell people what is waited for."""
    error = state.outcome and state.outcome.exception()
    LOG.warning("%s (Trying again in %.1f s.)", error, state.upcoming_sleep)


patiently: Final = retry(
    retry=retry_if_exception_type(ServiceUnavailable),
    wait=_WAITS,
    stop=stop_after_attempt(ATTEMPTS),
    before_sleep=_say,
    reraise=True,
)
"""Try a function again while a service is unavailable. It must be pure, or happen once by its key."""


def again(stop: Event) -> Any:
    """Give a decorator that tries a whole run date again, from its listing, when what it worked with broke off.

    Parameters
    ----------
    stop
        When it is set, nothing is tried again.
    """
    broke_off = retry_if_exception_type((ServiceUnavailable, LeaseLost, SourceChanged))
    return _retry_until(stop, retry=broke_off, stop=stop_after_attempt(RUNS), wait=_WAITS)


def in_turn(stop: Event) -> Any:
    """Give a decorator that waits for a run date while another run holds it: it may leave nothing to do.

    Parameters
    ----------
    stop
        When it is set, the wait ends.
    """
    held = retry_if_exception_type(RunDateHeld)
    return _retry_until(
        stop, retry=held, stop=stop_after_delay(HELD_SECONDS), wait=wait_random(1, 3)
    )


def _retry_until(ended: Event, *, stop: stop_base, **policy: Any) -> Any:
    return retry(
        stop=stop | stop_when_event_set(ended),
        sleep=sleep_using_event(ended),
        before_sleep=_say,
        reraise=True,
        **policy,
    )
