"""Types of the fixtures `put` and `query`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Put = Callable[[str, bytes], None]
Query = Callable[..., list[tuple[Any, ...]]]
