"""Index the brackets and keys of JSON text with NumPy, a piece of text at a time.

Unescaped quotes delimit strings, and the brackets outside of them give the depth. Only positions
near the top level are stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]

MAX_LEVELS: Final = 4
"""Levels that are indexed: document, array element, ``orders`` of a page in it, one order."""

_MARKED: Final = bytes(c in b"{}[]\r\n" for c in range(256))
_STEP_BYTES: Final = np.array([(c in b"{[") - (c in b"}]") for c in range(256)], np.int8)
_QUOTE, _SLASH, _O, _S, _LF, _CR, _SPACE = b'"\\os\n\r '
_NO_JSON: Final = 0x1F
"""Replaces a line end in a string: a control character too, so not JSON, but it ends no line."""


@dataclass(frozen=True)
class StructuralIndex:
    """A piece of text, and the positions of its structure by level.

    Attributes
    ----------
    text
        The piece. Line ends outside of strings are replaced by blanks.
    brackets
        For each level, the brackets that open the next level or close it.
    keys
        For each level, the strings directly in its objects and arrays that may be the key ``order``
        or ``orders``: they look like one, contain escapes, or may be cut by the end of the piece.
    """

    text: bytes
    brackets: list[Positions]
    keys: list[Positions]


class StructuralScanner:
    """Scans a text piece by piece, and remembers the state at the end of each piece."""

    def __init__(self) -> None:
        self._quoted = False
        self._escaped = False
        self._depth = 0

    def scan(self, piece: bytes) -> StructuralIndex:
        """Return the index of the next piece; takes at most 30 times its size (all brackets)."""
        text = np.frombuffer(piece, np.uint8)
        is_quote = text == _QUOTE
        is_quote[self._escapes(text)] = False
        quotes = np.flatnonzero(is_quote)
        opening = quotes[int(self._quoted) :: 2]
        marks = np.flatnonzero(np.frombuffer(piece.translate(_MARKED), np.bool_))
        inside = (quotes.searchsorted(marks) + self._quoted) % 2 == 1
        self._quoted = (len(quotes) + self._quoted) % 2 == 1

        kind = text[marks]
        step = _STEP_BYTES[kind]
        step[inside] = 0
        depth = np.cumsum(np.append(np.int32(self._depth), step), dtype=np.int32)
        self._depth = int(depth[-1])
        level = np.where(step, np.minimum(depth[:-1], depth[1:]), -1)
        strings = _likely_structural(text, opening)
        parent_level = depth[marks.searchsorted(strings)] - 1

        line_end = (kind == _LF) | (kind == _CR)
        if line_end.any():
            text = text.copy()
            text[marks[line_end]] = np.where(inside[line_end], _NO_JSON, _SPACE)
            piece = text.tobytes()
        return StructuralIndex(
            piece,
            brackets=[marks[level == wanted] for wanted in range(MAX_LEVELS)],
            keys=[strings[parent_level == wanted] for wanted in range(MAX_LEVELS)],
        )

    def _escapes(self, text: npt.NDArray[np.uint8]) -> Positions:
        """Return the positions of bytes that an odd number of backslashes precedes."""
        slash = np.flatnonzero(text == _SLASH)
        if self._escaped:
            slash = np.concatenate(([-1], slash))
        if not slash.size:
            return slash
        last = np.append(np.diff(slash) != 1, True)
        first = np.append(True, last[:-1])
        behind = slash[last] + 1
        escaped: Positions = behind[(behind - slash[first]) % 2 == 1]
        self._escaped = bool(escaped.size) and int(escaped[-1]) == len(text)
        return escaped[: len(escaped) - self._escaped]


def _likely_structural(text: npt.NDArray[np.uint8], strings: Positions) -> Positions:
    """Return the strings that may be ``order`` or ``orders``, judging by their first bytes."""
    last = len(text) - 1
    first = text[np.minimum(strings + 1, last)]
    strings = strings[(first == _O) | (first == _SLASH) | (strings + 6 > last)]
    head = text[np.minimum(strings[:, None] + np.arange(1, 7), last)]
    plain = (head[:, 5] == _QUOTE) | (head[:, 5] == _S)
    likely: Positions = strings[plain | (head == _SLASH).any(axis=1) | (strings + 6 > last)]
    return likely
