"""Lines of text to cells, in one pass that Numba compiles to machine code: the JSON reader's inner loop.

A line is taken only where every value that the contract reads is as it should be, and no key of
those stands twice; any other is left to the record-level rules. So it need not be known what is
wrong with a line, and none costs those around it. The grammar is that of
https://www.rfc-editor.org/rfc/rfc8259, read strictly. The functions that pass tokens begin at a
place in a text and give the place behind what they read, or -1 where there is no such thing. A text
ends in LF, which stands in no token: so none is read beyond it, and no function asks for the text's
length.

One file, as Numba compiles again what it kept of a file only when that file has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
_U: Final = np.uint64
"""Indices are unsigned: of a signed one Numba asks each time whether it counts from the end, at 2 times the cost."""

Bytes = Any
"""``uint8``, a text."""

Word = Any
"""``int64`` or ``uint64``: 64 bits of what a cell gets."""

_QUOTE, _SLASH, _COMMA, _COLON = b'"\\,:'
_BEGIN_OBJECT, _END_OBJECT, _BEGIN_ARRAY, _END_ARRAY = b"{}[]"
_LETTER_N, _LETTER_T, _LETTER_U, _E, _LARGE_E = b"ntueE"
_MINUS, _ZERO, _NINE, _PLUS, _POINT, _SPACE, _TAB, _CR, _LF = b"-09+. \t\r\n"

_WORDS: Final = np.frombuffer(b"true false null ", np.uint8)
_LITERALS: Final = np.array(
    [b"true false null".find(b"%c" % c) if c in b"tfn" else -1 for c in range(256)]
)
"""Where the literal stands in the words that begins with a byte, or -1."""

_UNESCAPED: Final = np.array([c >= 0x20 and c not in b'"\\' for c in range(256)])
"""Bytes that stand for themselves in a string."""

_ESCAPES: Final = dict(zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True))
_ESCAPED: Final = np.array([_ESCAPES.get(c, 0) for c in range(256)], np.uint8)
"""What the byte behind a backslash stands for, or 0."""

_NO_DIGIT: Final = 16
_HEX: Final = np.array(
    [int(chr(c), 16) if c in b"0123456789abcdefABCDEF" else _NO_DIGIT for c in range(256)]
)

_WHOLE_DIGITS: Final = 18
"""Digits of an amount's integer part, as many as are stored."""

_INT64_DIGITS: Final = 19

_F = TypeVar("_F", bound=Callable[..., Any])


OBJECT, ARRAY, INTEGER, AMOUNT, FLAG, TEXT, FORBIDDEN, SCALAR = range(8)
"""What is at a node of the schema. A line that has a key whose node is forbidden is not taken."""

ABSENT, PRESENT, NULL = range(3)
"""What a cell says."""

KIND, LEVEL, ELEMENT = range(3)
PARENT, BEGIN, END, CHILD = range(4)
_UNKNOWN: Final = -1
"""The node of what the contract doesn't read."""

SLOTS: Final = 1 << 12
"""Places for keys, of which there are some 200: nearly each has its own."""


class Plan(NamedTuple):
    """What is read of a record.

    Attributes
    ----------
    nodes
        A row a node, the record itself being the first: its :data:`KIND`, the :data:`LEVEL` of its
        cells (0: a row a record; others: a row an element of an array), and of an array the node of
        its :data:`ELEMENT` s. Without any, a record is whatever is JSON.
    keys
        Slots of keys: the node of their :data:`PARENT`, where they :data:`BEGIN` and :data:`END` in
        `names`, and the node of the :data:`CHILD`. Of an empty slot the holder is below 0.
    names
        The keys' text.
    decimals, noise
        Of an amount that is stored; and how many decimals after those the greatest change by
        rounding has that is noise: a one in the last.
    """

    nodes: Ints
    keys: Ints
    names: NDArray[np.uint8]
    decimals: int
    noise: int


class Cells(NamedTuple):
    """What was read: of each node a column of cells.

    Attributes
    ----------
    base
        For each node, where its column begins.
    capacity, rows, rows_before
        For each level, how many rows there can be, how many there are, and how many there were
        before the last line.
    stack
        For each level of nesting that is followed the node, the kind and the row of the object or
        array that is open. The rules know deeper ones.
    state
        For each cell :data:`ABSENT`, :data:`PRESENT` or :data:`NULL`.
    first, second
        Of each cell: an integer or truth value; how many elements an array has; of an amount the
        low and the high word; of a text where it begins in the lines (below 0: it has escapes, and
        begins at -1 minus that), and its bytes.
    lines
        For each row of level 0, the number of its line.
    """

    base: Ints
    capacity: Ints
    rows: Ints
    rows_before: Ints
    stack: Ints
    state: Bytes
    first: Ints
    second: Ints
    lines: Ints


def _compiled(function: _F) -> _F:
    """Compile a function when it is first called, and keep that for other processes and runs."""
    # Nothing is allocated in these functions, so Numba need not count who holds an array: to do so
    # at each call took as long as the reading (29 and 15 us an order).
    options: dict[str, Any] = {"nogil": True, "_nrt": False}
    try:
        made: _F = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # there is no folder that Numba may write to: each process compiles
        made = numba.njit(**options)(function)
    return made


@_compiled
def _skip_whitespace(text: Bytes, at: int) -> int:
    """Pass white space."""
    while text[_U(at)] == _SPACE or text[_U(at)] == _TAB or text[_U(at)] == _CR:
        at += 1
    return at


@_compiled
def _literal(text: Bytes, at: int) -> int:
    """Pass ``true``, ``false`` or ``null``."""
    begin = _LITERALS[text[_U(at)]]
    if begin < 0:
        return -1
    while _WORDS[_U(begin)] != _SPACE:
        if text[_U(at)] != _WORDS[_U(begin)]:
            return -1
        begin += 1
        at += 1
    return at


@_compiled
def _digits(text: Bytes, at: int) -> int:
    """Pass digits, or none."""
    while _ZERO <= text[_U(at)] <= _NINE:
        at += 1
    return at


@_compiled
def _number(text: Bytes, at: int) -> int:
    """Pass a number."""
    begin = at + (text[_U(at)] == _MINUS)
    at = _digits(text, begin)
    if at == begin or (text[_U(begin)] == _ZERO and at > begin + 1):
        return -1
    if text[_U(at)] == _POINT:
        begin = at + 1
        at = _digits(text, begin)
        if at == begin:
            return -1
    if text[_U(at)] == _E or text[_U(at)] == _LARGE_E:
        at += 1
        begin = at + (text[_U(at)] == _PLUS or text[_U(at)] == _MINUS)
        at = _digits(text, begin)
        if at == begin:
            return -1
    return at


@_compiled
def _string(text: Bytes, at: int) -> tuple[int, bool]:
    """Pass a string from behind its first quote to its last; tell also whether it has escapes."""
    escapes = False
    while True:
        while _UNESCAPED[text[_U(at)]]:
            at += 1
        if text[_U(at)] == _QUOTE:
            return at, escapes
        if text[_U(at)] != _SLASH:
            return -1, False
        escapes = True
        at += 1
        if text[_U(at)] == _LETTER_U:
            for _ in range(4):
                at += 1
                if _HEX[text[_U(at)]] == _NO_DIGIT:
                    return -1, False
        elif not _ESCAPED[text[_U(at)]]:
            return -1, False
        at += 1


@_compiled
def _unescaped(text: Bytes, at: int, end: int, out: Bytes, begin: int, write: bool) -> int:
    """Measure what a string with escapes says, and if asked to write it to `out` from `begin` on.

    Returns
    -------
    int
        Its bytes in UTF-8; -1 where it holds NUL or one half of a surrogate pair.
    """
    to = begin
    while at < end:
        code: Word = np.int64(text[_U(at)])
        size = 1
        at += 1
        if code == _SLASH:
            code = np.int64(_ESCAPED[text[_U(at)]])
            at += 1
            if code == 0:
                code = _code(text, at)
                at += 4
                if (
                    0xD800 <= code < 0xDC00
                    and text[_U(at)] == _SLASH
                    and text[_U(at + 1)] == _LETTER_U
                ):
                    low = _code(text, at + 2)
                    if 0xDC00 <= low < 0xE000:
                        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
                        at += 6
                if code == 0 or 0xD800 <= code < 0xE000:
                    return -1
                size = 1 + (code >= 0x80) + (code >= 0x800) + (code >= 0x10000)
        if write:
            for place in range(size - 1, 0, -1):
                out[_U(to + place)] = 0x80 | code & 0x3F
                code >>= 6
            # The first byte of UTF-8 begins with as many ones as there are bytes: of one, with
            # none.
            out[_U(to)] = code if size == 1 else (0xF00 >> size) & 0xFF | code
        to += size
    return to - begin


@_compiled
def _code(text: Bytes, at: int) -> int:
    """Read the four digits of an escape."""
    code = 0
    for place in range(at, at + 4):
        code = code << 4 | _HEX[text[_U(place)]]
    return code


@_compiled
def _integer(text: Bytes, at: int) -> tuple[int, Word]:
    """Read an int64 that is written as one: without a fraction or an exponent. Give the place behind it, and it."""
    negative = text[_U(at)] == _MINUS
    begin = at + negative
    at = _digits(text, begin)
    size = at - begin
    if size == 0 or size > _INT64_DIGITS or (text[_U(begin)] == _ZERO and size > 1):
        return -1, 0
    if text[_U(at)] == _POINT or text[_U(at)] == _E or text[_U(at)] == _LARGE_E:
        return -1, 0
    value = _U(0)  # nineteen digits are no more than it holds
    for place in range(begin, at):
        value = value * _U(10) + _U(text[_U(place)] - _ZERO)
    if value > _U(2**63 - 1) + _U(negative):
        return -1, 0
    return at, -np.int64(value) if negative else np.int64(value)


@_compiled
def _amount(text: Bytes, at: int, decimals: int, noise: int) -> tuple[int, Word, Word]:
    """Read an amount: digits with a sign or a fraction or none, as a number or in quotes.

    Returns
    -------
    tuple
        The place behind it, and the low and the high word of it in units of the last decimal. One
        that rounding changes by more than noise is none.
    """
    quoted = text[_U(at)] == _QUOTE
    at += quoted
    negative = text[_U(at)] == _MINUS
    at += negative or (quoted and text[_U(at)] == _PLUS)
    begin = at
    at = _digits(text, at)
    if at == begin or (not quoted and text[_U(begin)] == _ZERO and at > begin + 1):
        return -1, 0, 0
    while text[_U(begin)] == _ZERO:
        begin += 1
    if at - begin > _WHOLE_DIGITS:
        return -1, 0, 0
    whole: Word = _U(0)
    for place in range(begin, at):
        whole = whole * _U(10) + _U(text[_U(place)] - _ZERO)
    begin = at
    if text[_U(at)] == _POINT:
        begin = at + 1
        at = _digits(text, begin)
        if at == begin:
            return -1, 0, 0
    fraction, unit = 0, 1
    for place in range(begin, begin + decimals):
        fraction = fraction * 10 + (text[_U(place)] - _ZERO if place < at else 0)
        unit *= 10
    if at > begin + decimals:
        rest, most = 0, 0
        for place in range(begin + decimals, begin + decimals + noise):
            rest = rest * 10 + (text[_U(place)] - _ZERO if place < at else 0)
            most = most * 10 + 9
        for place in range(begin + decimals + noise, at):
            rest += rest == 1 and text[_U(place)] != _ZERO
        if rest == most:
            fraction += 1
        elif rest > 1:
            return -1, 0, 0
        if fraction == unit and whole == _U(10**_WHOLE_DIGITS - 1):
            return -1, 0, 0
    high, low = _product(whole, unit, fraction)
    if negative:
        low = ~low + _U(1)
        high = ~high + _U(low == 0)
    if quoted:
        at = at + 1 if text[_U(at)] == _QUOTE else -1
    elif text[_U(at)] == _E or text[_U(at)] == _LARGE_E:
        at = -1
    return at, np.int64(low), np.int64(high)


@_compiled
def _product(word: Word, factor: int, more: int) -> tuple[Word, Word]:
    """Multiply a word by a number below 2**31, and add one up to that; in two words."""
    mask, half = _U(0xFFFFFFFF), _U(32)
    first = (word & mask) * _U(factor) + _U(more)
    second = (word >> half) * _U(factor) + (first >> half)
    return second >> half, (second << half) | (first & mask)


@_compiled
def slot(text: Bytes, begin: int, end: int, parent: int) -> int:
    """Give the slot where the search for a key of an object begins; from there on until one is empty."""
    size = end - begin
    mixed = size + 1031 * parent
    if size:
        mixed += 31 * text[_U(begin)] + 67 * text[_U(end - 1)]
        mixed += 131 * text[_U(begin + size // 2)] + 257 * text[_U(begin + size // 4)]
    return mixed & (SLOTS - 1)


@_compiled
def _child(text: Bytes, begin: int, end: int, parent: int, keys: Ints, names: Bytes) -> int:
    """Find the node of a key of an object."""
    at = slot(text, begin, end, parent)
    while keys[at, PARENT] >= 0:
        name = keys[at, BEGIN]
        if keys[at, PARENT] == parent and keys[at, END] - name == end - begin:
            place = begin
            while place < end and text[_U(place)] == names[_U(name + place - begin)]:
                place += 1
            if place == end:
                return int(keys[at, CHILD])
        at = (at + 1) & (SLOTS - 1)
    return _UNKNOWN


@_compiled
def _scalar(text: Bytes, at: int) -> int:
    """Pass a string, a number or a literal."""
    c = text[_U(at)]
    if c == _QUOTE:
        end, _ = _string(text, at + 1)
        return end + 1 if end >= 0 else -1
    if c == _MINUS or _ZERO <= c <= _NINE:
        return _number(text, at)
    return _literal(text, at)


@_compiled
def _value(
    text: Bytes, at: int, kind: int, decimals: int, noise: int, out: Bytes
) -> tuple[int, Word, Word]:
    """Read a value; give the place behind it and what its cell gets, -1 where it is of another kind."""
    if kind == TEXT:
        begin = at + 1
        if text[_U(at)] != _QUOTE:
            return -1, 0, 0
        end, escapes = _string(text, begin)
        if end < 0:
            return -1, 0, 0
        if not escapes:
            return end + 1, begin, end - begin
        size = _unescaped(text, begin, end, out, 0, False)
        return (end + 1 if size >= 0 else -1), -1 - begin, size
    if kind == INTEGER:
        end, value = _integer(text, at)
        return end, value, 0
    if kind == AMOUNT:
        return _amount(text, at, decimals, noise)
    return _literal(text, at), np.int64(text[_U(at)] == _LETTER_T), 0


@_compiled
def scan(
    text: Bytes,
    bounds: Ints,
    begin: int,
    nodes: Ints,
    keys: Ints,
    names: Bytes,
    decimals: int,
    noise: int,
    base: Ints,
    capacity: Ints,
    rows: Ints,
    rows_before: Ints,
    stack: Ints,
    state: Bytes,
    first: Ints,
    second: Ints,
    lines: Ints,
) -> tuple[int, int]:
    """Read lines from the number `begin` on, each to a row of level 0 or to none.

    Parameters
    ----------
    text, bounds
        Lines, also the last of which ends in LF, and where each begins.
    nodes, keys, names, decimals, noise
        A :class:`Plan`.
    base, capacity, rows, rows_before, stack, state, first, second, lines
        :class:`Cells`.

    Returns
    -------
    tuple
        The number of the line that the room was too small for, and the level that needs more; the
        number of lines, and -1, where all are read.
    """
    for line in range(begin, len(bounds) - 1):
        for level in range(len(rows)):
            rows_before[level] = rows[level]
        row = rows[0]
        rows[0] += 1
        node, depth = (0 if len(base) else _UNKNOWN), 0
        at = _skip_whitespace(text, bounds[line])
        begins = True  # a value of `node`, in `row`; otherwise one has ended
        good = node == _UNKNOWN or text[_U(at)] == _BEGIN_OBJECT
        while good:
            good = False
            if begins:
                kind, cell = SCALAR, 0
                if node != _UNKNOWN:
                    cell = base[_U(node)] + row
                    kind = nodes[_U(node), KIND]
                    if state[_U(cell)] != ABSENT or kind == FORBIDDEN:
                        break
                    state[_U(cell)] = PRESENT
                    if text[_U(at)] == _LETTER_N:
                        state[_U(cell)] = NULL
                        kind = SCALAR
                elif text[_U(at)] == _BEGIN_OBJECT:
                    kind = OBJECT
                elif text[_U(at)] == _BEGIN_ARRAY:
                    kind = ARRAY
                if kind == SCALAR:
                    at = _scalar(text, at)
                    begins = False
                    good = at >= 0
                    continue
                if kind != OBJECT and kind != ARRAY:
                    # (`state` only stands where a text would be written, which none is.)
                    at, first[_U(cell)], second[_U(cell)] = _value(
                        text, at, kind, decimals, noise, state
                    )
                    begins = False
                    good = at >= 0
                    continue
                if text[_U(at)] != (_BEGIN_OBJECT if kind == OBJECT else _BEGIN_ARRAY):
                    break
                if depth == len(stack):
                    break
                stack[_U(depth), 0] = node
                stack[_U(depth), 1] = kind
                stack[_U(depth), 2] = row
                depth += 1
                if node != _UNKNOWN:
                    first[_U(cell)] = 0
                at = _skip_whitespace(text, at + 1)
                if text[_U(at)] == (_END_OBJECT if kind == OBJECT else _END_ARRAY):
                    begins = False
                    good = True
                    continue
            else:
                at = _skip_whitespace(text, at)
                if depth == 0:
                    good = at == bounds[line + 1] - 1
                    break
                node = stack[_U(depth - 1), 0]
                kind = stack[_U(depth - 1), 1]
                row = stack[_U(depth - 1), 2]
                if text[_U(at)] == (_END_OBJECT if kind == OBJECT else _END_ARRAY):
                    depth -= 1
                    at += 1
                    good = True
                    continue
                if text[_U(at)] != _COMMA:
                    break
                at = _skip_whitespace(text, at + 1)
            # What the object or array holds next.
            if kind == OBJECT:
                if text[_U(at)] != _QUOTE:
                    break
                name = at + 1
                end, escapes = _string(text, name)
                # A key with escapes may be one that is read.
                if end < 0 or (escapes and node != _UNKNOWN):
                    break
                if node != _UNKNOWN:
                    node = _child(text, name, end, node, keys, names)
                at = _skip_whitespace(text, end + 1)
                if text[_U(at)] != _COLON:
                    break
                at = _skip_whitespace(text, at + 1)
            elif node != _UNKNOWN:
                first[_U(base[_U(node)] + row)] += 1
                node = nodes[_U(node), ELEMENT]
                level = nodes[_U(node), LEVEL]
                row = rows[_U(level)]
                if row == capacity[_U(level)]:
                    _discard_line(rows_before, nodes, base, rows, state)
                    return line, level
                rows[_U(level)] += 1
            begins = True
            good = True
        if good:
            lines[_U(rows_before[0])] = line
        else:
            _discard_line(rows_before, nodes, base, rows, state)
    return len(bounds) - 1, -1


@_compiled
def line_ends(text: Bytes, ends: Ints) -> int:
    """Find the LFs of a text, as many as there is room for in `ends`; tell how many there are."""
    number = 0
    # Whether there is one in 64 bytes takes the processor a few steps: 1.0 us an order, with NumPy
    # 2.7.
    whole = len(text) - len(text) % 64
    for begin in range(0, whole, 64):
        some = np.uint8(0)
        for at in range(begin, begin + 64):
            some |= np.uint8(text[_U(at)] == _LF)
        if some:
            number = _ends_within(text, begin, begin + 64, ends, number)
    return _ends_within(text, whole, len(text), ends, number)


@_compiled
def _ends_within(text: Bytes, begin: int, end: int, ends: Ints, number: int) -> int:
    for at in range(begin, end):
        if text[_U(at)] == _LF:
            if number < len(ends):
                ends[_U(number)] = at
            number += 1
    return number


@_compiled
def _discard_line(rows_before: Ints, nodes: Ints, base: Ints, rows: Ints, state: Bytes) -> None:
    """Take back the rows of a line."""
    for node in range(len(base)):
        level = nodes[node, LEVEL]
        for row in range(rows_before[level], rows[level]):
            state[base[node] + row] = ABSENT
    for level in range(len(rows)):
        rows[level] = rows_before[level]


@_compiled
def copy_texts(text: Bytes, begins: Ints, offsets: NDArray[np.int32], out: Bytes) -> None:
    """Copy texts, without their escapes, to where they begin in a column; one that takes no bytes may be anything."""
    for row in range(len(begins)):
        begin, to = begins[row], int(offsets[row])
        size = offsets[row + 1] - to
        if size and begin < 0:
            begin = -1 - begin
            end, _ = _string(text, begin)
            _unescaped(text, begin, end, out, to, True)
        else:
            for place in range(size):
                out[_U(to + place)] = text[_U(begin + place)]
