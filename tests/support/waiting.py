"""Wait for other processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(
    holds: Callable[[], T],
    seconds: float = 60,
    otherwise: str = "it doesn't hold",
    *,
    pause: float = 0.02,
) -> T:
    """Wait until `holds` returns something true, and return it; fail with `otherwise` if not."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"{otherwise} after {seconds} s"
        time.sleep(pause)
    return found
