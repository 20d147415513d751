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
    wait_exponential_jitter,
)

from orders_dask.errors import LeaseLost, ServiceUnavailable, SourceChanged

LOG: Final = logging.getLogger("orders_dask")

ATTEMPTS: Final = 5
"""Times that an effect is tried: with the waits between for some 10 s, where a PostgreSQL that crashed is back in 3."""

RUNS: Final = 3
"""Times that a run date is tried: what it staged before is used again, so that a later try costs little."""

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
        When it is set, the waits end.
    """
    return retry(
        retry=retry_if_exception_type((ServiceUnavailable, LeaseLost, SourceChanged)),
        wait=_WAITS,
        stop=stop_after_attempt(RUNS),
        sleep=sleep_using_event(stop),
        before_sleep=_say,
        reraise=True,
    )
