"""When a text is read without the compiled scanner, because it is little.

To import Numba and to load the machine code takes half a second, and to compile it 10 s and more.
Python reads a hundred orders meanwhile.
"""

from __future__ import annotations

import sys
from typing import Final

MAX_LITTLE_BYTES: Final = 1 << 20
"""Bytes of text that a process reads without the scanner: 150 orders, which take 0.1 s."""

MAX_LITTLE_LINES: Final = 500
"""Lines of such a text: an order takes 0.6 ms, and however short it is nearly as long."""

_bytes_read = 0
"""Bytes of text that this process has read without the scanner."""


def has_scanner() -> bool:
    """Return whether this process has loaded the scanner."""
    return "orders_dask.extract.json_scanner" in sys.modules


def is_little(*texts: bytes) -> bool:
    """Return whether texts are not worth loading the scanner for. A process that has it uses it."""
    if has_scanner() or sum(map(len, texts)) > MAX_LITTLE_BYTES:
        return False
    return sum(text.count(b"\n") for text in texts) <= MAX_LITTLE_LINES


def reads_in_python(text: bytes) -> bool:
    """Return whether this process is to read a text in Python: all it has read so is little."""
    global _bytes_read
    if not is_little(text) or _bytes_read + len(text) > MAX_LITTLE_BYTES:
        return False
    _bytes_read += len(text)
    return True
