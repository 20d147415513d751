"""Wait for other processes."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(
    holds: Callable[[], object], seconds: float = 60, otherwise: str = "it doesn't hold"
) -> None:
    """Wait until `holds` returns something true; after a timeout, fail with `otherwise`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{otherwise} after {seconds} s"
        time.sleep(0.02)
