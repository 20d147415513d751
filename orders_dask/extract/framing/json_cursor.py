"""A window that moves over JSON text of any size and knows where its brackets are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Final, NoReturn

import numpy as np
import numpy.typing as npt

from orders_dask.extract.framing.structural_index import MAX_LEVELS, Positions, StructuralScanner
from orders_dask.extract.records import KEPT_RAW_BYTES, MAX_RECORD_BYTES, MIB, Unreadable

_CHUNK_BYTES: Final = MIB
"""Bytes that are scanned at once."""

_RUN: Final = 512
"""Objects that are looked ahead for at once, so that a run that breaks off early costs little."""

_CHECKED: Final = MIB
"""Bytes up to which a value that nobody wants is checked to be JSON; of a larger one only the brackets are."""

_STRING: Final = rb'"(?:[^"\\]++|\\.)*+"'
_NUMBER: Final = rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_BLANK = re.compile(rb"[ \t\r\n]*+")
_KEY = re.compile(rb"(%b)[ \t\r\n]*+:" % _STRING, re.DOTALL)
_SCALAR = re.compile(
    rb"%b|(?:%b|true|false|null)(?![^ \t\r\n,\]}])" % (_STRING, _NUMBER), re.DOTALL
)
# A key is what it is after unescaping; the only escape that a letter has is its number.
_ENVELOPE = re.compile(
    rb'"(?:o|\\u006[fF])(?:r|\\u0072)(?:d|\\u0064)(?:e|\\u0065)(?:r|\\u0072)(s|\\u0073)?"[ \t\r\n]*+:'
)

_IS_BLANK: Final = np.array([c in b" \t\r\n" for c in range(256)])
_COMMA, _OBJECT, _LF = b",{\n"


def is_json(text: bytes) -> bool:
    """Tell whether `text` is one complete JSON value (RFC 8259, but strings may hold bytes that are not UTF-8).

    Of what is parsed no object and no number is kept, so a page takes little more memory than its
    text.
    """
    try:
        json.loads(
            text.decode("latin-1"),
            object_pairs_hook=lambda pairs: None,
            parse_int=len,
            parse_float=len,
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError):
        return False
    return True


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class JsonCursor:
    """What is in memory of a JSON text, and the place in it that reading has come to.

    Every method works at the place, and moves it behind what it took. Line ends outside of strings
    are blanks here, so whatever is taken stands on one line.

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
        # Positions in the window, by level: of brackets, and of strings that may be the key of a
        # page or wrapper.
        self._brackets = [np.empty(0, np.int64) for _ in range(MAX_LEVELS)]
        self._keys = [np.empty(0, np.int64) for _ in range(MAX_LEVELS)]

    def peek(self) -> bytes:
        """Pass blanks; give the byte that follows, or nothing at the end of the text."""
        while True:
            self._at = _end(_BLANK.match(self._text, self._at))
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def enter(self) -> None:
        """Pass the opening bracket here."""
        self._at += 1
        self._level += 1

    def leave(self, bracket: bytes) -> None:
        """Pass the closing bracket that belongs here."""
        if self.peek() != bracket:
            self._refuse(f"a comma or {bracket.decode()} belongs here")
        self._at += 1
        self._level -= 1

    def comma(self) -> bool:
        """Pass a comma, if one is here."""
        found = self.peek() == b","
        self._at += found
        return found

    def key(self) -> str:
        """Take a key and its colon; give the key unescaped."""
        if self.peek() != b'"':
            self._refuse("a key belongs here")
        while not (match := _KEY.match(self._text, self._at)):
            if not self._more():
                self._refuse("a key and a colon belong here")
        try:
            key: str = json.loads(match[1].decode("latin-1"))
        except ValueError:
            self._refuse("a key is no JSON string")
        self._at = match.end()
        return key

    def value(self) -> bytes:
        """Take a value of any kind; brackets and strings are checked, not what is between them."""
        if self.peek() in (b"{", b"["):
            while (end := self._close()) is None:
                if not self._more():
                    self._refuse("the text ends in the middle of a record")
        else:
            end = self._scalar()
        if end - self._at > MAX_RECORD_BYTES:
            self._refuse_large()
        value = self._text[self._at : end]
        self._at = end
        return value

    def skip(self) -> None:
        """Pass a value that nobody wants, of any size."""
        if self.peek() not in (b"{", b"["):
            behind = self._scalar()
            if not is_json(self._text[self._at : behind]):  # its escapes, say
                self._refuse("a value is not JSON")
            self._at = behind
            return
        while (end := self._close()) is None and len(self._text) - self._at <= _CHECKED:
            if not self._more():
                self._refuse("the text ends in the middle of a value")
        if end is not None:
            if not is_json(self._text[self._at : end]):
                self._refuse("a value is not JSON")
            self._at = end
            return
        self._at += 1
        while not (closing := self._ahead(self._brackets[self._level])).size:
            self._at = len(self._text)
            if not self._more():
                self._refuse("the text ends in the middle of a value")
        self._at = int(closing[0]) + 1

    def container(self) -> str:
        """Tell which key makes the object here a container: ``orders``, else ``order``, else none.

        The whole object is in the window afterwards, unless it has ``orders``.
        """
        while True:
            end = self._close()
            keys = self._ahead(self._keys[self._level])
            found = list(self._containers(keys if end is None else keys[: keys.searchsorted(end)]))
            if any(plural for _, plural in found):
                return "orders"
            if end is not None:
                return "order" if found else ""
            if not self._more():
                self._refuse("the text ends in the middle of a record")

    def run(self, bare: bool) -> bytes:
        """Take the objects from here on that stand one after another, as many as are in the window, a line each.

        Parameters
        ----------
        bare
            Stop before an object that is a container.

        Returns
        -------
        bytes
            Empty where there is no such object, or it doesn't end in the window.
        """
        marks = self._ahead(self._brackets[self._level])[: 2 * _RUN]
        if self._level:
            outer = self._ahead(self._brackets[self._level - 1])[:1]
            marks = marks[: marks.searchsorted(outer[0])] if outer.size else marks
        starts, ends = marks[: len(marks) & ~1 : 2], marks[1::2] + 1
        # One that is too large is refused by its size alone, wherever the text was cut.
        count = _leading((self._bytes[starts] == _OBJECT) & (ends - starts <= MAX_RECORD_BYTES))
        if bare and count:
            keys = self._ahead(self._keys[self._level])
            for key, _ in self._containers(keys[: keys.searchsorted(ends[count - 1])]):
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
        """Check what is between objects: blanks between documents, one comma between elements.

        Returns
        -------
        int
            Number of gaps that are good before the first that is not.
        Positions
            A byte in each good gap that a line may end at.
        """
        width = starts - ends
        gap = np.repeat(np.arange(len(width)), width)
        place = np.arange(len(gap)) + np.repeat(ends - (np.cumsum(width) - width), width)
        glue = self._bytes[place]
        odd = np.bincount(gap[~_IS_BLANK[glue]], minlength=len(width))
        if not self._level:
            good = _leading((odd == 0) & (width > 0))
            return good, ends[:good]
        commas = glue == _COMMA
        good = _leading((odd == 1) & (np.bincount(gap[commas], minlength=len(width)) == 1))
        return good, place[commas][:good]

    def _containers(self, keys: Positions) -> Iterator[tuple[int, bool]]:
        """Find the keys that make a container: where, and whether it is ``orders``."""
        for at in keys:
            if match := _ENVELOPE.match(self._text, at):
                yield int(at), match[1] is not None

    def _ahead(self, positions: Positions) -> Positions:
        return positions[positions.searchsorted(self._at) :]

    def _close(self) -> int | None:
        """Find the end of the object or array here, if it is in the window."""
        brackets = self._ahead(self._brackets[self._level])
        return int(brackets[1]) + 1 if len(brackets) > 1 else None

    def _scalar(self) -> int:
        """Find the end of the string, number, true, false or null here."""
        while True:
            match = _SCALAR.match(self._text, self._at)
            if match and match.end() < len(self._text):
                return match.end()
            if self.peek() not in b'"-0123456789tfn' or not self._more():
                return match.end() if match else self._refuse("a value belongs here")

    def _refuse(self, message: str) -> NoReturn:
        raise Unreadable(message, self._text[self._at : self._at + KEPT_RAW_BYTES])

    def _refuse_large(self) -> NoReturn:
        self._refuse(f"a record is larger than {MAX_RECORD_BYTES // MIB} MiB")

    def _more(self) -> bool:
        """Drop what was read from the window and add the next piece of the text, if there is one."""
        if len(self._text) - self._at > MAX_RECORD_BYTES:
            self._refuse_large()
        piece = next(self._pieces, None)
        if piece is None:
            return False
        kept = self._text[self._at :]
        new = self._scanner.scan(piece)
        for mine, added in ((self._brackets, new.brackets), (self._keys, new.keys)):
            for level in range(MAX_LEVELS):
                ahead = self._ahead(mine[level]) - self._at
                mine[level] = np.concatenate((ahead, added[level] + len(kept)))
        self._text = kept + new.text
        self._bytes = np.frombuffer(self._text, np.uint8)
        self._at = 0
        return True


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        for start in range(0, len(chunk), _CHUNK_BYTES):
            yield chunk[start : start + _CHUNK_BYTES]


def _leading(flags: npt.NDArray[np.bool_]) -> int:
    """Count the flags that are set before the first that is not."""
    return len(flags) if flags.all() else int(np.argmin(flags))


def _end(match: re.Match[bytes] | None) -> int:
    """Give the end of a match that can't fail."""
    assert match is not None
    return match.end()
