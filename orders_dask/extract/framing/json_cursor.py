"""A cursor over JSON text of any size, of which only a window with its brackets is in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Final, NoReturn

import numpy as np
import numpy.typing as npt

from orders_dask.contract.json_parser import MAX_RAW_BYTES
from orders_dask.extract.framing.structural_index import MAX_LEVELS, Positions, StructuralScanner
from orders_dask.extract.records import MAX_RECORD_BYTES, MIB, Unreadable

_CHUNK_BYTES: Final = MIB
"""Bytes that are scanned at once."""

_RUN: Final = 512
"""Maximum objects of a run that are examined at once: a run may break off early."""

_MAX_CHECKED_BYTES: Final = MIB
"""Maximum bytes of a skipped value that is parsed. In a larger one only brackets are checked."""

_STRING: Final = rb'"(?:[^"\\]++|\\.)*+"'
_NUMBER: Final = rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_BLANK = re.compile(rb"[ \t\r\n]*+")
_KEY = re.compile(rb"(%b)[ \t\r\n]*+:" % _STRING, re.DOTALL)
_SCALAR = re.compile(
    rb"%b|(?:%b|true|false|null)(?![^ \t\r\n,\]}])" % (_STRING, _NUMBER), re.DOTALL
)
# Keys match after unescaping. The only escape of a letter is its code point.
_CONTAINER_KEY = re.compile(
    rb'"(?:o|\\u006[fF])(?:r|\\u0072)(?:d|\\u0064)(?:e|\\u0065)(?:r|\\u0072)(s|\\u0073)?"'
    rb"[ \t\r\n]*+:"
)

_IS_BLANK: Final = np.array([c in b" \t\r\n" for c in range(256)])
_COMMA, _OBJECT, _LF = b",{\n"


def is_json(text: bytes) -> bool:
    """Return whether `text` is one complete JSON value.

    RFC 8259, except that strings may contain bytes that are not UTF-8. No parsed object or number
    is kept, so a page takes little more memory than its text.
    """
    try:
        json.loads(
            text.decode("latin-1"),
            object_pairs_hook=lambda pairs: None,
            parse_int=len,
            parse_float=len,
            parse_constant=_reject_constant,
        )
    except (ValueError, RecursionError):
        return False
    return True


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class JsonCursor:
    """A window of a JSON text, and the current position in it.

    Every method works at the current position and moves it behind what was read. Line ends outside
    of strings are replaced by blanks, so each value that is returned is one line.

    Parameters
    ----------
    chunks
        The text, cut anywhere.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._pieces = _pieces(chunks)
        self._scanner = StructuralScanner()
        self._text = b""
        self._bytes = np.frombuffer(b"", np.uint8)
        self._at = 0
        self._level = 0
        # Positions in the window by level: brackets, and strings that may be a container's key.
        self._brackets = [np.empty(0, np.int64) for _ in range(MAX_LEVELS)]
        self._keys = [np.empty(0, np.int64) for _ in range(MAX_LEVELS)]

    def peek(self) -> bytes:
        """Skip blanks; return the byte that follows, or ``b""`` at the end of the text."""
        while True:
            self._at = _end(_BLANK.match(self._text, self._at))
            if self._at < len(self._text) or not self._read_more():
                return self._text[self._at : self._at + 1]

    def skip_text(self, text: bytes) -> bool:
        """Skip a text at the current position, and return whether it stands there."""
        while len(self._text) - self._at < len(text) and self._read_more():
            pass
        found = self._text.startswith(text, self._at)
        self._at += len(text) if found else 0
        return found

    def enter(self) -> None:
        """Skip the opening bracket at the current position."""
        self._at += 1
        self._level += 1

    def leave(self, bracket: bytes) -> None:
        """Skip the closing bracket that must follow."""
        if self.peek() != bracket:
            self._fail(f"a comma or {bracket.decode()} belongs here")
        self._at += 1
        self._level -= 1

    def comma(self) -> bool:
        """Skip a comma, and return whether there was one."""
        is_comma = self.peek() == b","
        self._at += is_comma
        return is_comma

    def key(self) -> str:
        """Read a key and its colon; return the key, unescaped."""
        if self.peek() != b'"':
            self._fail("a key belongs here")
        while not (match := _KEY.match(self._text, self._at)):
            if not self._read_more():
                self._fail("a key and a colon belong here")
        try:
            key: str = json.loads(match[1].decode("latin-1"))
        except ValueError:
            self._fail("a key is no JSON string")
        self._at = match.end()
        return key

    def value(self) -> bytes:
        """Read a value of any kind. Only its brackets and strings are checked."""
        if self.peek() in (b"{", b"["):
            while (end := self._bracket_end()) is None:
                if not self._read_more():
                    self._fail("the text ends in the middle of a record")
        else:
            end = self._scalar_end()
        if end - self._at > MAX_RECORD_BYTES:
            self._fail_too_large()
        value = self._text[self._at : end]
        self._at = end
        return value

    def skip(self) -> None:
        """Skip a value of any size."""
        if self.peek() not in (b"{", b"["):
            end_of_scalar = self._scalar_end()
            if not is_json(self._text[self._at : end_of_scalar]):  # it may have bad escapes
                self._fail("a value is not JSON")
            self._at = end_of_scalar
            return
        while (end := self._bracket_end()) is None:
            if len(self._text) - self._at > _MAX_CHECKED_BYTES:
                break
            if not self._read_more():
                self._fail("the text ends in the middle of a value")
        if end is not None:
            if not is_json(self._text[self._at : end]):
                self._fail("a value is not JSON")
            self._at = end
            return
        self._at += 1
        while not (closing := self._from_here(self._brackets[self._level])).size:
            self._at = len(self._text)
            if not self._read_more():
                self._fail("the text ends in the middle of a value")
        self._at = int(closing[0]) + 1

    def container(self) -> str:
        """Return the key that makes the next object a container: ``orders``, ``order`` or ``""``.

        Afterwards the whole object is in the window, unless it has ``orders``.
        """
        while True:
            end = self._bracket_end()
            keys = self._from_here(self._keys[self._level])
            inside = keys if end is None else keys[: keys.searchsorted(end)]
            container_keys = list(self._container_keys(inside))
            if any(plural for _, plural in container_keys):
                return "orders"
            if end is not None:
                return "order" if container_keys else ""
            if not self._read_more():
                self._fail("the text ends in the middle of a record")

    def run(self, bare: bool) -> bytes:
        """Read consecutive objects, as many as the window has, one line each.

        Parameters
        ----------
        bare
            Stop before an object that is a container.

        Returns
        -------
        bytes
            Empty if no object is next, or if it doesn't end in the window.
        """
        marks = self._from_here(self._brackets[self._level])[: 2 * _RUN]
        if self._level:
            outer = self._from_here(self._brackets[self._level - 1])[:1]
            marks = marks[: marks.searchsorted(outer[0])] if outer.size else marks
        starts, ends = marks[: len(marks) & ~1 : 2], marks[1::2] + 1
        # An object that is too large must fail however the text was cut.
        count = _count_leading(
            (self._bytes[starts] == _OBJECT) & (ends - starts <= MAX_RECORD_BYTES)
        )
        if bare and count:
            keys = self._from_here(self._keys[self._level])
            for key, _ in self._container_keys(keys[: keys.searchsorted(ends[count - 1])]):
                count = int(starts.searchsorted(key)) - 1
                break
        if not count:
            return b""
        good, breaks = self._separators(starts[1:count], ends[: count - 1])
        end = int(ends[good])
        lines = self._bytes[self._at : end].copy()
        lines[breaks - self._at] = _LF
        self._at = end
        return lines.tobytes() + b"\n"

    def _separators(self, starts: Positions, ends: Positions) -> tuple[int, Positions]:
        """Check the gaps between objects: blanks between documents, one comma between elements.

        Returns
        -------
        int
            Number of good gaps before the first bad one.
        Positions
            For each good gap, a byte that can be replaced by a line end.
        """
        width = starts - ends
        gap = np.repeat(np.arange(len(width)), width)
        position = np.arange(len(gap)) + np.repeat(ends - (np.cumsum(width) - width), width)
        gap_bytes = self._bytes[position]
        non_blank = np.bincount(gap[~_IS_BLANK[gap_bytes]], minlength=len(width))
        if not self._level:
            good = _count_leading((non_blank == 0) & (width > 0))
            return good, ends[:good]
        commas = gap_bytes == _COMMA
        good = _count_leading(
            (non_blank == 1) & (np.bincount(gap[commas], minlength=len(width)) == 1)
        )
        return good, position[commas][:good]

    def _container_keys(self, keys: Positions) -> Iterator[tuple[int, bool]]:
        """Yield the position of each key of a container, and whether it is ``orders``."""
        for at in keys:
            if match := _CONTAINER_KEY.match(self._text, at):
                yield int(at), match[1] is not None

    def _from_here(self, positions: Positions) -> Positions:
        return positions[positions.searchsorted(self._at) :]

    def _bracket_end(self) -> int | None:
        """Return the end of the object or array at the current position, if the window has it."""
        brackets = self._from_here(self._brackets[self._level])
        return int(brackets[1]) + 1 if len(brackets) > 1 else None

    def _scalar_end(self) -> int:
        """Return the end of the string, number or literal at the current position."""
        while True:
            match = _SCALAR.match(self._text, self._at)
            if match and match.end() < len(self._text):
                return match.end()
            if self.peek() not in b'"-0123456789tfn' or not self._read_more():
                return match.end() if match else self._fail("a value belongs here")

    def _fail(self, message: str) -> NoReturn:
        raise Unreadable(message, self._text[self._at : self._at + MAX_RAW_BYTES])

    def _fail_too_large(self) -> NoReturn:
        self._fail(f"a record is larger than {MAX_RECORD_BYTES // MIB} MiB")

    def _read_more(self) -> bool:
        """Discard the text behind and append the next piece; return whether there was one."""
        if len(self._text) - self._at > MAX_RECORD_BYTES:
            self._fail_too_large()
        piece = next(self._pieces, None)
        if piece is None:
            return False
        remaining = self._text[self._at :]
        new = self._scanner.scan(piece)
        for stored, added in ((self._brackets, new.brackets), (self._keys, new.keys)):
            for level in range(MAX_LEVELS):
                ahead = self._from_here(stored[level]) - self._at
                stored[level] = np.concatenate((ahead, added[level] + len(remaining)))
        self._text = remaining + new.text
        self._bytes = np.frombuffer(self._text, np.uint8)
        self._at = 0
        return True


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        for start in range(0, len(chunk), _CHUNK_BYTES):
            yield chunk[start : start + _CHUNK_BYTES]


def _count_leading(flags: npt.NDArray[np.bool_]) -> int:
    """Return the number of flags that are set before the first one that is not."""
    return len(flags) if flags.all() else int(np.argmin(flags))


def _end(match: re.Match[bytes] | None) -> int:
    """Return the end of a match that can't fail."""
    assert match is not None
    return match.end()
