"""Scan lines of JSON into cells, in one pass: the inner loop of the JSON reader.

Numba compiles it to machine code. A line is taken only if every value that the contract reads is as
it should be, and no key of these occurs twice. Any other line is left to the record-level rules. So
the scanner needn't know what is wrong with a line, and a bad line costs its neighbours nothing.

The grammar is that of https://www.rfc-editor.org/rfc/rfc8259, read strictly. A function that skips
or parses a token starts at an index of the text. It returns the index behind the token, or -1 if
there is no such token. Each line ends in LF, and no token contains LF, so no function reads beyond
its line, and none checks the length of the text.

All is in one file, because Numba's cache only notices changes of the file that a function is in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
_U64: Final = np.uint64
"""Type of indices. Numba checks signed ones for counting from the end, at 2 times the cost."""

Bytes = Any
"""Array of ``uint8``: a text."""

Word = Any
"""``int64`` or ``uint64``: 64 bits of a cell's value."""

_QUOTE, _SLASH, _COMMA, _COLON = b'"\\,:'
_BEGIN_OBJECT, _END_OBJECT, _BEGIN_ARRAY, _END_ARRAY = b"{}[]"
_LETTER_N, _LETTER_T, _LARGE_T, _LETTER_U, _E, _LARGE_E = b"ntTueE"
_MINUS, _ZERO, _NINE, _PLUS, _POINT, _SPACE, _TAB, _CR, _LF = b"-09+. \t\r\n"

_WORDS: Final = np.frombuffer(b"true false null ", np.uint8)
_LITERALS: Final = np.array(
    [b"true false null".find(b"%c" % c) if c in b"tfn" else -1 for c in range(256)]
)
"""For each first byte, the index of its literal in :data:`_WORDS`, or -1."""

_UNESCAPED: Final = np.array([c >= 0x20 and c not in b'"\\' for c in range(256)])
"""Whether a byte means itself in a string."""

_ESCAPES: Final = dict(zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True))
_ESCAPED: Final = np.array([_ESCAPES.get(c, 0) for c in range(256)], np.uint8)
"""The character that a byte behind a backslash means, or 0."""

_NO_DIGIT: Final = 16
_HEX: Final = np.array(
    [int(chr(c), 16) if c in b"0123456789abcdefABCDEF" else _NO_DIGIT for c in range(256)]
)

_INT64_DIGITS: Final = 19

_Function = TypeVar("_Function", bound=Callable[..., Any])


OBJECT, ARRAY, INTEGER, DECIMAL, BOOLEAN, TEXT, PRESENCE, FORBIDDEN, SCALAR = range(9)
"""Kinds of nodes.

A line that has a key whose node is :data:`FORBIDDEN` is not taken. The value of one whose node is
:data:`PRESENCE` is skipped, whatever it is.
"""

ABSENT, PRESENT, NULL = range(3)
"""States of a cell."""

KIND, LEVEL, ELEMENT, WHOLE_DIGITS, DECIMALS = range(5)
"""Columns of :attr:`Plan.nodes`."""

PARENT, BEGIN, END, CHILD = range(4)
"""Columns of :attr:`Plan.keys`."""

UNKNOWN: Final = -1
"""The node of values that nobody looks at.

Nodes below are those of objects, and arrays of objects, of which only the keys are looked at.
"""

_NEW: Final = 1 << 40
"""In place of a node: the key is none of those that are known."""

LINE, OBJECT_OF_KEY, NAME = range(3)
"""Columns of :attr:`Cells.unknown_keys`: numbers of line and node, and index of the key's text."""

NULL_VALUE, TEXT_VALUE, DECIMAL_TEXT, DATE_TEXT, TIMESTAMP_TEXT = range(5)
INTEGER_VALUE, DECIMAL_VALUE, BOOLEAN_VALUE, OBJECT_VALUE, ARRAY_VALUE = range(5, 10)
"""Kinds of values of unknown keys, in the order of :data:`orders_dask.contract.schema_drift.KINDS`.
"""

_MAX_SHORT_TEXT: Final = 40
_MAX_ESCAPED: Final = 6 * _MAX_SHORT_TEXT

SLOTS: Final = 1 << 12
"""Slots of the hash table of keys. There are about 600 keys, so they rarely collide."""


class Plan(NamedTuple):
    """Which values of a record are read, and into which columns.

    Attributes
    ----------
    nodes
        One row a node, shape (nodes, 5); the first is the record itself. :data:`KIND`;
        :data:`LEVEL` of its cells (0: one row a record; others: one row an element of an array);
        :data:`ELEMENT`: of an array, the node of its elements; of a decimal, the most digits before
        its point (:data:`WHOLE_DIGITS`), and how many are stored behind it (:data:`DECIMALS`).
        Without any node, every line that is JSON is taken.
    keys
        Hash table of keys, shape (:data:`SLOTS`, 4): the node of the :data:`PARENT`
        (:data:`UNKNOWN`: the slot is empty), :data:`BEGIN` and :data:`END` of the key in `names`,
        and the node of the :data:`CHILD`.
    names
        The keys' text.
    noise
        A number of decimals, more than are stored. If rounding changes a decimal by no more than
        one unit of the last of these, that is not an issue.
    """

    nodes: Ints
    keys: Ints
    names: NDArray[np.uint8]
    noise: int


class Cells(NamedTuple):
    """The values that were read: a column of cells for each node.

    Attributes
    ----------
    base
        For each node, the index of its first cell.
    capacity, rows, rows_before
        For each level: how many rows there can be, how many there are, and how many there were
        before the current line. The last level is that of `unknown_keys`.
    stack
        For each level of nesting, the node, the kind and the row of the object or array that is
        open. Deeper lines are left to the rules.
    state
        For each cell :data:`ABSENT`, :data:`PRESENT` or :data:`NULL`.
    first, second
        For each cell, its value. Integer, boolean or presence: `first`. Array: `first` is the
        number of its elements. Decimal: the low and the high word. Text: `first` is the index of
        its first byte in the lines, or -1 minus that index if it has escapes; `second` is its size
        in bytes.
    lines
        For each row of level 0, the number of its line.
    unknown_keys
        Every key that is not known, of the lines that were taken: :data:`LINE`,
        :data:`OBJECT_OF_KEY` and :data:`NAME`.
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
    unknown_keys: NDArray[np.int32]


def _compiled(function: _Function) -> _Function:
    """Compile a function at its first call, and cache the machine code for other processes."""
    # Nothing is allocated in these functions, so they need no reference counts, which took 29 us an
    # order.
    options: dict[str, Any] = {"nogil": True, "_nrt": False}
    try:
        compiled: _Function = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to write the cache to: each process compiles
        compiled = numba.njit(**options)(function)
    return compiled


@_compiled
def _skip_whitespace(text: Bytes, at: int) -> int:
    """Skip white space."""
    while text[_U64(at)] == _SPACE or text[_U64(at)] == _TAB or text[_U64(at)] == _CR:
        at += 1
    return at


@_compiled
def _skip_literal(text: Bytes, at: int) -> int:
    """Skip ``true``, ``false`` or ``null``."""
    begin = _LITERALS[text[_U64(at)]]
    if begin < 0:
        return -1
    while _WORDS[_U64(begin)] != _SPACE:
        if text[_U64(at)] != _WORDS[_U64(begin)]:
            return -1
        begin += 1
        at += 1
    return at


@_compiled
def _skip_digits(text: Bytes, at: int) -> int:
    """Skip any number of digits."""
    while _ZERO <= text[_U64(at)] <= _NINE:
        at += 1
    return at


@_compiled
def _skip_number(text: Bytes, at: int) -> int:
    """Skip a number."""
    begin = at + (text[_U64(at)] == _MINUS)
    at = _skip_digits(text, begin)
    if at == begin or (text[_U64(begin)] == _ZERO and at > begin + 1):
        return -1
    if text[_U64(at)] == _POINT:
        begin = at + 1
        at = _skip_digits(text, begin)
        if at == begin:
            return -1
    if text[_U64(at)] == _E or text[_U64(at)] == _LARGE_E:
        at += 1
        begin = at + (text[_U64(at)] == _PLUS or text[_U64(at)] == _MINUS)
        at = _skip_digits(text, begin)
        if at == begin:
            return -1
    return at


@_compiled
def _skip_string(text: Bytes, at: int) -> tuple[int, bool]:
    """Skip a string from behind its opening quote; return the index of its closing quote.

    Also return whether it has escapes.
    """
    escapes = False
    while True:
        while _UNESCAPED[text[_U64(at)]]:
            at += 1
        if text[_U64(at)] == _QUOTE:
            return at, escapes
        if text[_U64(at)] != _SLASH:
            return -1, False
        escapes = True
        at += 1
        if text[_U64(at)] == _LETTER_U:
            for _ in range(4):
                at += 1
                if _HEX[text[_U64(at)]] == _NO_DIGIT:
                    return -1, False
        elif not _ESCAPED[text[_U64(at)]]:
            return -1, False
        at += 1


@_compiled
def _unescape(text: Bytes, at: int, end: int, out: Bytes, begin: int, write: bool) -> int:
    """Unescape a string, and write it to `out` from `begin` on if `write` is set.

    Returns
    -------
    int
        Its bytes in UTF-8, or -1 if it contains NUL or an unpaired surrogate.
    """
    to = begin
    while at < end:
        code: Word = np.int64(text[_U64(at)])
        size = 1
        at += 1
        if code == _SLASH:
            code = np.int64(_ESCAPED[text[_U64(at)]])
            at += 1
            if code == 0:
                code = _read_code_unit(text, at)
                at += 4
                if (
                    0xD800 <= code < 0xDC00
                    and text[_U64(at)] == _SLASH
                    and text[_U64(at + 1)] == _LETTER_U
                ):
                    low = _read_code_unit(text, at + 2)
                    if 0xDC00 <= low < 0xE000:
                        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
                        at += 6
                if code == 0 or 0xD800 <= code < 0xE000:
                    return -1
                size = 1 + (code >= 0x80) + (code >= 0x800) + (code >= 0x10000)
        if write:
            for index in range(size - 1, 0, -1):
                out[_U64(to + index)] = 0x80 | code & 0x3F
                code >>= 6
            # The first byte of several begins with as many ones as there are bytes.
            out[_U64(to)] = code if size == 1 else (0xF00 >> size) & 0xFF | code
        to += size
    return to - begin


@_compiled
def _read_code_unit(text: Bytes, at: int) -> int:
    """Return the UTF-16 code unit that four hexadecimal digits mean."""
    code = 0
    for index in range(at, at + 4):
        code = code << 4 | _HEX[text[_U64(index)]]
    return code


@_compiled
def _parse_integer(text: Bytes, at: int) -> tuple[int, Word]:
    """Parse an int64 without fraction or exponent; return the index behind it, and its value."""
    negative = text[_U64(at)] == _MINUS
    begin = at + negative
    at = _skip_digits(text, begin)
    size = at - begin
    if size == 0 or size > _INT64_DIGITS or (text[_U64(begin)] == _ZERO and size > 1):
        return -1, 0
    if text[_U64(at)] == _POINT or text[_U64(at)] == _E or text[_U64(at)] == _LARGE_E:
        return -1, 0
    value = _U64(0)  # holds any number of 19 digits
    for index in range(begin, at):
        value = value * _U64(10) + _U64(text[_U64(index)] - _ZERO)
    if value > _U64(2**63 - 1) + _U64(negative):
        return -1, 0
    return at, -np.int64(value) if negative else np.int64(value)


@_compiled
def _parse_decimal(
    text: Bytes, at: int, whole_digits: int, decimals: int, noise: int
) -> tuple[int, Word, Word]:
    """Parse a decimal: a number without an exponent, or its text with an optional sign.

    Returns
    -------
    tuple
        The index behind it, and the low and the high word of its value in units of the last stored
        decimal. The index is -1 if there is no such number, or if rounding changes it by more than
        noise.
    """
    quoted = text[_U64(at)] == _QUOTE
    at += quoted
    negative = text[_U64(at)] == _MINUS
    at += negative or (quoted and text[_U64(at)] == _PLUS)
    begin = at
    at = _skip_digits(text, at)
    if at == begin or (not quoted and text[_U64(begin)] == _ZERO and at > begin + 1):
        return -1, 0, 0
    while text[_U64(begin)] == _ZERO:
        begin += 1
    if at - begin > whole_digits:
        return -1, 0, 0
    whole: Word = _U64(0)
    for index in range(begin, at):
        whole = whole * _U64(10) + _U64(text[_U64(index)] - _ZERO)
    begin = at
    if text[_U64(at)] == _POINT:
        begin = at + 1
        at = _skip_digits(text, begin)
        if at == begin:
            return -1, 0, 0
    fraction, unit = 0, 1
    for index in range(begin, begin + decimals):
        fraction = fraction * 10 + (text[_U64(index)] - _ZERO if index < at else 0)
        unit *= 10
    if at > begin + decimals:
        rest, all_nines = 0, 0
        for index in range(begin + decimals, begin + noise):
            rest = rest * 10 + (text[_U64(index)] - _ZERO if index < at else 0)
            all_nines = all_nines * 10 + 9
        for index in range(begin + noise, at):
            rest += rest == 1 and text[_U64(index)] != _ZERO
        if rest == all_nines:
            fraction += 1
        elif rest > 1:
            return -1, 0, 0
        if fraction == unit and whole == _U64(10**whole_digits - 1):
            return -1, 0, 0
    high, low = _multiply_add(whole, unit, fraction)
    if negative:
        low = ~low + _U64(1)
        high = ~high + _U64(low == 0)
    if quoted:
        at = at + 1 if text[_U64(at)] == _QUOTE else -1
    elif text[_U64(at)] == _E or text[_U64(at)] == _LARGE_E:
        at = -1
    return at, np.int64(low), np.int64(high)


@_compiled
def _multiply_add(word: Word, factor: int, more: int) -> tuple[Word, Word]:
    """Return ``word * factor + more`` as a high and a low word; ``more <= factor < 2**31``."""
    mask, half = _U64(0xFFFFFFFF), _U64(32)
    first = (word & mask) * _U64(factor) + _U64(more)
    second = (word >> half) * _U64(factor) + (first >> half)
    return second >> half, (second << half) | (first & mask)


@_compiled
def slot(text: Bytes, begin: int, end: int, parent: int) -> int:
    """Return the slot where the search for a key begins; keys that collide are in the next ones."""
    size = end - begin
    hashed = size + 1031 * parent
    if size:
        hashed += 31 * text[_U64(begin)] + 67 * text[_U64(end - 1)]
        hashed += 131 * text[_U64(begin + size // 2)] + 257 * text[_U64(begin + size // 4)]
    return hashed & (SLOTS - 1)


@_compiled
def _find_child(text: Bytes, begin: int, end: int, parent: int, keys: Ints, names: Bytes) -> int:
    """Return the node of a key of an object, :data:`_NEW` for a key that is not known."""
    at = slot(text, begin, end, parent)
    while keys[at, PARENT] != UNKNOWN:
        name = keys[at, BEGIN]
        if keys[at, PARENT] == parent and keys[at, END] - name == end - begin:
            index = begin
            while index < end and text[_U64(index)] == names[_U64(name + index - begin)]:
                index += 1
            if index == end:
                return int(keys[at, CHILD])
        at = (at + 1) & (SLOTS - 1)
    return _NEW


@_compiled
def _skip_scalar(text: Bytes, at: int) -> int:
    """Skip a string, a number or a literal."""
    c = text[_U64(at)]
    if c == _QUOTE:
        end, _ = _skip_string(text, at + 1)
        return end + 1 if end >= 0 else -1
    if c == _MINUS or _ZERO <= c <= _NINE:
        return _skip_number(text, at)
    return _skip_literal(text, at)


@_compiled
def _parse_value(
    text: Bytes, at: int, kind: int, node: int, nodes: Ints, noise: int, out: Bytes
) -> tuple[int, Word, Word]:
    """Parse a value of a node; return the index behind it (or -1), and the words of its cell."""
    if kind == TEXT:
        begin = at + 1
        if text[_U64(at)] != _QUOTE:
            return -1, 0, 0
        end, escapes = _skip_string(text, begin)
        if end < 0:
            return -1, 0, 0
        if not escapes:
            return end + 1, begin, end - begin
        size = _unescape(text, begin, end, out, 0, False)
        return (end + 1 if size >= 0 else -1), -1 - begin, size
    if kind == INTEGER:
        end, value = _parse_integer(text, at)
        return end, value, 0
    if kind == DECIMAL:
        return _parse_decimal(
            text, at, nodes[_U64(node), WHOLE_DIGITS], nodes[_U64(node), DECIMALS], noise
        )
    return _skip_literal(text, at), np.int64(text[_U64(at)] == _LETTER_T), 0


@_compiled
def scan(
    text: Bytes,
    bounds: Ints,
    begin: int,
    nodes: Ints,
    keys: Ints,
    names: Bytes,
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
    unknown_keys: NDArray[np.int32],
) -> tuple[int, int]:
    """Scan lines from the number `begin` on, each into a row of level 0 or into none.

    Each line goes through these states (`at_value` is set in VALUE, and not in ENDED)::

              begin of the line
                      │
                      ▼
        ┌──────────► VALUE ── scalar, or { or [ of an empty one: push ──┐
        │             │                                                 ▼
        │     { or [: push      ┌──────────────── , ───────────────── ENDED ── LF and depth 0
        │             ▼         ▼                                      │ ▲        │
        │           MEMBER ◄────┘                          } or ]: pop │ │        ▼
        └─────────────┘                                                └─┘      taken
          key and colon,
          or next row of the array

        from any state:  any other byte ──► not taken: the rows of the line are discarded
        from MEMBER:     no row is left at the level ──► return, so that the caller grows it

    VALUE reads a value of `node` into `row`; without cells for the node, it skips the value. MEMBER
    is before the next key of an object, or the next element of an array: it sets `node` and `row`.
    ENDED restores those of the object or array that is open from the stack.

    Parameters
    ----------
    text, bounds
        Lines, all of which end in LF, and the index where each begins; also the end of the last.
    begin
        Number of the first line to scan.
    nodes, keys, names, noise
        A :class:`Plan`.
    base, capacity, rows, rows_before, stack, state, first, second, lines, unknown_keys
        :class:`Cells`.

    Returns
    -------
    tuple
        The number of the line that doesn't fit, and the level that needs more rows; the number of
        lines and -1 once all are scanned.
    """
    for line in range(begin, len(bounds) - 1):
        for level in range(len(rows)):
            rows_before[level] = rows[level]
        row = rows[0]
        rows[0] += 1
        node, depth = (0 if len(base) else UNKNOWN), 0
        at = _skip_whitespace(text, bounds[line])
        at_value = True
        good = node == UNKNOWN or text[_U64(at)] == _BEGIN_OBJECT
        while good:
            good = False
            if at_value:
                kind, cell = SCALAR, 0
                if node >= 0:
                    cell = base[_U64(node)] + row
                    kind = nodes[_U64(node), KIND]
                    if state[_U64(cell)] != ABSENT or kind == FORBIDDEN:
                        break
                    state[_U64(cell)] = PRESENT
                    if kind == PRESENCE:
                        first[_U64(cell)] = 1
                        node, kind = UNKNOWN, SCALAR
                    elif text[_U64(at)] == _LETTER_N:
                        state[_U64(cell)] = NULL
                        kind = SCALAR
                if node < 0:
                    if text[_U64(at)] == _BEGIN_OBJECT:
                        kind = OBJECT
                    elif text[_U64(at)] == _BEGIN_ARRAY:
                        kind = ARRAY
                if kind == SCALAR:
                    at = _skip_scalar(text, at)
                    at_value = False
                    good = at >= 0
                    continue
                if kind != OBJECT and kind != ARRAY:
                    # (`state` stands in for the output, to which nothing is written here.)
                    at, first[_U64(cell)], second[_U64(cell)] = _parse_value(
                        text, at, kind, node, nodes, noise, state
                    )
                    at_value = False
                    good = at >= 0
                    continue
                if text[_U64(at)] != (_BEGIN_OBJECT if kind == OBJECT else _BEGIN_ARRAY):
                    break
                if depth == len(stack):
                    break
                stack[_U64(depth), 0] = node
                stack[_U64(depth), 1] = kind
                stack[_U64(depth), 2] = row
                depth += 1
                if node >= 0:
                    first[_U64(cell)] = 0
                at = _skip_whitespace(text, at + 1)
                if text[_U64(at)] == (_END_OBJECT if kind == OBJECT else _END_ARRAY):
                    at_value = False
                    good = True
                    continue
            else:
                at = _skip_whitespace(text, at)
                if depth == 0:
                    good = at == bounds[line + 1] - 1
                    break
                node = stack[_U64(depth - 1), 0]
                kind = stack[_U64(depth - 1), 1]
                row = stack[_U64(depth - 1), 2]
                if text[_U64(at)] == (_END_OBJECT if kind == OBJECT else _END_ARRAY):
                    depth -= 1
                    at += 1
                    good = True
                    continue
                if text[_U64(at)] != _COMMA:
                    break
                at = _skip_whitespace(text, at + 1)
            # MEMBER: the next key of the object, or the next element of the array.
            if kind == OBJECT:
                if text[_U64(at)] != _QUOTE:
                    break
                name = at + 1
                end, escapes = _skip_string(text, name)
                # Unescaped, it might be a key that the contract reads.
                if end < 0 or (escapes and node != UNKNOWN):
                    break
                if node != UNKNOWN:
                    node = _find_child(text, name, end, node, keys, names)
                    if node == _NEW:
                        level = len(rows) - 1
                        row_of_key = rows[level]
                        if row_of_key == capacity[level]:
                            _discard_line(rows_before, nodes, base, rows, state)
                            return line, level
                        unknown_keys[row_of_key, LINE] = line
                        unknown_keys[row_of_key, OBJECT_OF_KEY] = stack[_U64(depth - 1), 0]
                        unknown_keys[row_of_key, NAME] = name
                        rows[level] += 1
                        node = UNKNOWN
                at = _skip_whitespace(text, end + 1)
                if text[_U64(at)] != _COLON:
                    break
                at = _skip_whitespace(text, at + 1)
            elif node >= 0:
                first[_U64(base[_U64(node)] + row)] += 1
                node = nodes[_U64(node), ELEMENT]
                level = nodes[_U64(node), LEVEL]
                row = rows[_U64(level)]
                if row == capacity[_U64(level)]:
                    _discard_line(rows_before, nodes, base, rows, state)
                    return line, level
                rows[_U64(level)] += 1
            at_value = True
            good = True
        if good:
            lines[_U64(rows_before[0])] = line
        else:
            _discard_line(rows_before, nodes, base, rows, state)
    return len(bounds) - 1, -1


@_compiled
def line_ends(text: Bytes, ends: Ints) -> int:
    """Write the indices of LFs to `ends`, as many as fit; return how many LFs there are."""
    number = 0
    # Checking 64 bytes at once takes a few vector instructions: 1.0 us an order, with NumPy 2.7.
    whole = len(text) - len(text) % 64
    for begin in range(0, whole, 64):
        any_end = np.uint8(0)
        for at in range(begin, begin + 64):
            any_end |= np.uint8(text[_U64(at)] == _LF)
        if any_end:
            number = _line_ends_between(text, begin, begin + 64, ends, number)
    return _line_ends_between(text, whole, len(text), ends, number)


@_compiled
def _line_ends_between(text: Bytes, begin: int, end: int, ends: Ints, number: int) -> int:
    for at in range(begin, end):
        if text[_U64(at)] == _LF:
            if number < len(ends):
                ends[_U64(number)] = at
            number += 1
    return number


@_compiled
def _discard_line(rows_before: Ints, nodes: Ints, base: Ints, rows: Ints, state: Bytes) -> None:
    """Discard the rows of the current line."""
    for node in range(len(base)):
        level = nodes[node, LEVEL]
        for row in range(rows_before[level], rows[level]):
            state[base[node] + row] = ABSENT
    for level in range(len(rows)):
        rows[level] = rows_before[level]


@_compiled
def copy_texts(text: Bytes, begins: Ints, offsets: NDArray[np.int32], out: Bytes) -> None:
    """Copy texts, unescaped, to their offsets in a column; texts of no bytes are skipped."""
    for row in range(len(begins)):
        begin, to = begins[row], int(offsets[row])
        size = offsets[row + 1] - to
        if size and begin < 0:
            begin = -1 - begin
            end, _ = _skip_string(text, begin)
            _unescape(text, begin, end, out, to, True)
        else:
            for index in range(size):
                out[_U64(to + index)] = text[_U64(begin + index)]


def hash_unknown_keys(text: Bytes, unknown_keys: NDArray[np.int32]) -> NDArray[np.uint64]:
    """Return a hash of the path of each unknown key."""
    hashes = np.empty(len(unknown_keys), np.uint64)
    _hash_unknown_keys(text, unknown_keys, hashes)
    return hashes


@_compiled
def _hash_unknown_keys(
    text: Bytes, unknown_keys: NDArray[np.int32], hashes: NDArray[np.uint64]
) -> None:
    """Write FNV-1a of the node of each key's object and its text."""
    for row in range(len(unknown_keys)):
        hashed = _U64(0xCBF29CE484222325) ^ _U64(unknown_keys[row, OBJECT_OF_KEY])
        at = np.int64(unknown_keys[row, NAME])
        while text[_U64(at)] != _QUOTE:  # there are no escapes in it
            hashed = (hashed * _U64(0x100000001B3)) ^ _U64(text[_U64(at)])
            at += 1
        hashes[row] = hashed * _U64(0x100000001B3)


def count_unknown_keys(
    text: Bytes,
    unknown_keys: NDArray[np.int32],
    paths: Ints,
    last_lines: Ints,
    records: Ints,
    kinds: Ints,
    samples: Ints,
) -> None:
    """Count the lines that have each unknown key, and look at its values.

    Parameters
    ----------
    text, unknown_keys
        The text, and :attr:`Cells.unknown_keys`, by line.
    paths
        For each of these the number of its path, below 0 to leave it out.
    last_lines
        For each path the last line that has it, -1 before.
    records, kinds
        For each path the lines that have it, and a bit for each kind of its values; 0 before.
    samples
        For each path the first row whose value is neither null nor empty; -1 before.
    """
    scratch = np.empty(_MAX_ESCAPED + 1, np.uint8)
    _count_unknown_keys(text, unknown_keys, paths, last_lines, records, kinds, samples, scratch)


@_compiled
def _count_unknown_keys(
    text: Bytes,
    unknown_keys: NDArray[np.int32],
    paths: Ints,
    last_lines: Ints,
    records: Ints,
    kinds: Ints,
    samples: Ints,
    scratch: Bytes,
) -> None:
    for row in range(len(unknown_keys)):
        path = paths[row]
        if path < 0:
            continue
        if last_lines[path] != unknown_keys[row, LINE]:
            last_lines[path] = unknown_keys[row, LINE]
            records[path] += 1
        at = _begin_of_value(text, unknown_keys[row, NAME])
        kind = _kind_of_value(text, at, scratch)
        kinds[path] |= 1 << kind
        is_empty = text[_U64(at)] == _QUOTE and text[_U64(at + 1)] == _QUOTE
        if text[_U64(at)] == _BEGIN_ARRAY:
            is_empty = text[_U64(_skip_whitespace(text, at + 1))] == _END_ARRAY
        if samples[path] < 0 and kind != NULL_VALUE and not is_empty:
            samples[path] = row


@_compiled
def value_of_key(text: Bytes, name: Word) -> tuple[int, int]:
    """Return the indices of the value of a key without escapes: its first byte, and behind it."""
    begin = _begin_of_value(text, name)
    at, depth = begin, 0
    while True:
        c = text[_U64(at)]
        if c in (_BEGIN_OBJECT, _BEGIN_ARRAY):
            depth += 1
            at += 1
        elif c in (_END_OBJECT, _END_ARRAY):
            depth -= 1
            at += 1
        elif depth and c in (_COMMA, _COLON):
            at += 1
        else:
            at = _skip_scalar(text, at)
        if depth == 0:
            return begin, at
        at = _skip_whitespace(text, at)


@_compiled
def _begin_of_value(text: Bytes, name: Word) -> int:
    at: Word = np.int64(name)
    while text[_U64(at)] != _QUOTE:
        at += 1
    return int(_skip_whitespace(text, _skip_whitespace(text, at + 1) + 1))


@_compiled
def _kind_of_value(text: Bytes, at: int, scratch: Bytes) -> int:
    c = text[_U64(at)]
    if c == _QUOTE:
        return _kind_of_text(text, at + 1, scratch)
    if c == _MINUS or _ZERO <= c <= _NINE:
        end = _skip_digits(text, at + (c == _MINUS))
        c = text[_U64(end)]
        return DECIMAL_VALUE if c in (_POINT, _E, _LARGE_E) else INTEGER_VALUE
    if c == _BEGIN_OBJECT:
        return OBJECT_VALUE
    if c == _BEGIN_ARRAY:
        return ARRAY_VALUE
    return NULL_VALUE if c == _LETTER_N else BOOLEAN_VALUE


@_compiled
def _kind_of_text(text: Bytes, begin: int, scratch: Bytes) -> int:
    end, escapes = _skip_string(text, begin)
    if escapes:
        if end - begin > _MAX_ESCAPED:
            return TEXT_VALUE
        size = _unescape(text, begin, end, scratch, 0, True)
        if size < 0:
            return TEXT_VALUE
        scratch[size] = _QUOTE
        text, begin, end = scratch, 0, size
    if not 0 < end - begin <= _MAX_SHORT_TEXT:
        return TEXT_VALUE
    first = _skip_digits(text, begin + (text[_U64(begin)] == _MINUS))
    if text[_U64(first)] == _POINT and _ZERO <= text[_U64(first - 1)] <= _NINE:
        at = _skip_digits(text, first + 1)
        return DECIMAL_TEXT if at == end and at > first + 1 else TEXT_VALUE
    if not _has_form(text, begin, end, _DATE_FORM):
        return TEXT_VALUE
    if end == begin + len(_DATE_FORM):
        return DATE_TEXT
    if not _has_form(text, begin, end, _TIMESTAMP_FORM):
        return TEXT_VALUE
    for at in range(begin + len(_TIMESTAMP_FORM), end):
        if not _IN_TIMESTAMP[text[_U64(at)]]:
            return TEXT_VALUE
    return TIMESTAMP_TEXT


_DATE_FORM: Final = np.frombuffer(b"0000-00-00", np.uint8)
_TIMESTAMP_FORM: Final = np.frombuffer(b"0000-00-00T00:00", np.uint8)
_IN_TIMESTAMP: Final = np.array([c in b"0123456789:.+Z-" for c in range(256)])


@_compiled
def _has_form(text: Bytes, begin: int, end: int, form: Bytes) -> bool:
    """Return whether a text begins as a form does, in which 0 stands for any digit."""
    if end - begin < len(form):
        return False
    for index in range(len(form)):
        c = text[_U64(begin + index)]
        if form[_U64(index)] == _ZERO:
            if not _ZERO <= c <= _NINE:
                return False
        elif c != form[_U64(index)] and not (c == _SPACE and form[_U64(index)] == _LARGE_T):
            return False
    return True
