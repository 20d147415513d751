"""Waiting for what other processes do."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(
    holds: Callable[[], object], seconds: float = 60, otherwise: str = "it doesn't hold"
) -> None:
    """Wait until something holds; `otherwise` says what it means that it never does."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{otherwise} after {seconds} s"
        time.sleep(0.02)
