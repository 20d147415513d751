"""What the fixtures of whole runs give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Put = Callable[[str, bytes], None]
Query = Callable[..., list[tuple[Any, ...]]]
