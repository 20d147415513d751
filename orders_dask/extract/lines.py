"""Text with one record a line."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from orders_dask.extract.little_text import has_scanner
from orders_dask.extract.records import Rows

_SHORT_LINE_BYTES: Final = 512
"""Bytes of a line that is unusually short. Text with shorter lines is scanned twice for its LFs."""


def line_ends(text: bytes) -> Rows:
    """Return the indices of all LFs."""
    codes = np.frombuffer(text, np.uint8)
    if not has_scanner():  # who only finds lines doesn't wait for it: 2.7 us an order, not 1.0
        return np.flatnonzero(codes == ord("\n"))
    from orders_dask.extract import json_scanner

    ends = np.empty(len(codes) // _SHORT_LINE_BYTES, np.int64)
    if (number := json_scanner.line_ends(codes, ends)) > len(ends):
        ends = np.empty(number, np.int64)
        json_scanner.line_ends(codes, ends)
    return ends[:number]


@dataclass(frozen=True)
class Lines:
    """Text with one record a line; the last line may lack its LF.

    Attributes
    ----------
    text
        The lines, LF included.
    """

    text: bytes

    @cached_property
    def bounds(self) -> Rows:
        """The index where each line begins, and the length of the text."""
        ends = line_ends(self.text) + 1
        complete = not self.text or self.text.endswith(b"\n")
        return np.concatenate(([0], ends, [] if complete else [len(self.text)])).astype(np.int64)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, line: int) -> bytes:
        return self.text[self.bounds[line] : self.bounds[line + 1]]
