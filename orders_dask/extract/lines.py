"""Text with one record a line."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from orders_dask.extract.records import (
    Rows,
)

_SHORT_LINE_BYTES: Final = 512
"""Bytes below which hardly a line is: a text with more lines is looked through twice."""


def line_ends(text: bytes) -> Rows:
    """Find the LFs."""
    # Here, since who only looks for work need not wait for Numba.
    from orders_dask.extract import json_scanner as scan

    codes = np.frombuffer(text, np.uint8)
    ends = np.empty(len(codes) // _SHORT_LINE_BYTES, np.int64)
    if (number := scan.line_ends(codes, ends)) > len(ends):
        ends = np.empty(number, np.int64)
        scan.line_ends(codes, ends)
    return ends[:number]


@dataclass(frozen=True)
class Lines:
    """Text with one record a line; the last line may lack its LF."""

    text: bytes

    @cached_property
    def bounds(self) -> Rows:
        """Where each line begins, and at the end the length of the text."""
        ends = line_ends(self.text) + 1
        whole = not self.text or self.text.endswith(b"\n")
        return np.concatenate(([0], ends, [] if whole else [len(self.text)])).astype(np.int64)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, line: int) -> bytes:
        return self.text[self.bounds[line] : self.bounds[line + 1]]
