"""Send events by OpenLineage's own client, in the background, as its own variables say."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from openlineage.client import OpenLineageClient

LOG: Final = logging.getLogger("orders_dask")

WAIT_SECONDS: Final = 5.0
"""Longest time that a run date waits at its end for its events to be sent."""

PAUSE_SECONDS: Final = 60.0
"""Time without further events after one could not be sent: a backfill has many."""

_THREAD: Final = "openlineage"

_pause_ends: float = 0.0


class Sending(Thread):
    """Makes and sends an event, after the one before it.

    Attributes
    ----------
    succeeded
        Whether it was sent.
    problem
        Type of the error; empty if there was none yet.
    """

    succeeded: bool = False
    problem: str = ""

    def __init__(self, make_event: Callable[[], Any], before: Sending | None) -> None:
        super().__init__(name=_THREAD, daemon=True)
        self._make_event = make_event
        self._before = before

    def run(self) -> None:
        """Send the event, unless the one before it could not be sent."""
        if self._before:
            self._before.join()
            if not self._before.succeeded:
                self.problem = self._before.problem
                return
        try:
            with _CLIENT_LOCK:
                client = _client()
            client.emit(self._make_event())
            self.succeeded = True
        except Exception as error:  # noqa: BLE001
            # Each version and transport has errors of its own, and none may end a run. Their texts
            # may have a URL with a password.
            self.problem = type(error).__name__


def is_configured() -> bool:
    """Return whether the client is installed and knows where to send events, and none failed.

    Without this, the client would print events on standard output.
    """
    if os.environ.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true":
        return False
    prefixes = "OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE__TRANSPORT"
    asked = any(name.startswith(prefixes) for name in os.environ)
    folders = Path(), Path("~/.openlineage").expanduser()
    if not asked and not any((folder / "openlineage.yml").is_file() for folder in folders):
        return False
    is_installed = find_spec("openlineage") and find_spec("openlineage.client")
    return bool(is_installed) and time.monotonic() >= _pause_ends


def send(make_event: Callable[[], Any], before: Sending | None = None) -> Sending:
    """Begin to make and send an event in the background."""
    sending = Sending(make_event, before)
    sending.start()
    return sending


def wait(sending: Sending, what: str) -> None:
    """Wait a little for an event; if it was not sent, warn, and send none for a while.

    Parameters
    ----------
    sending
        The last event.
    what
        What the events are on, for people.
    """
    global _pause_ends
    sending.join(WAIT_SECONDS)
    if not sending.succeeded:
        _pause_ends = time.monotonic() + PAUSE_SECONDS
        LOG.warning(
            "OpenLineage was not told of %s (%s), nor will it be of what begins in the next %g s: "
            "check its OPENLINEAGE_* variables or openlineage.yml, and the receiver.",
            what,
            sending.problem or f"no answer within {WAIT_SECONDS:g} s",
            PAUSE_SECONDS,
        )


_CLIENT_LOCK: Final = Lock()


@cache
def _client() -> OpenLineageClient:
    from openlineage.client import OpenLineageClient

    # Its retries would be a line each.
    logging.getLogger("urllib3.connectionpool").addFilter(_not_of_sending)
    # The working folder's repository is not that of this program, and its URL may hold a token.
    facets = {"source_code_location": {"disabled": True}}
    return OpenLineageClient(config={"facets": facets})


def _not_of_sending(record: logging.LogRecord) -> bool:
    return record.threadName != _THREAD
