"""A strict JSON parser that keeps numbers as written, overwritten values, and bad UTF-8.

The rules (:mod:`orders_dask.contract.rules`) need all three. JSON is read strictly, by
https://www.rfc-editor.org/rfc/rfc8259: without ``NaN``, comments, trailing commas, or control
characters in strings.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Final, NoReturn, TypeAlias

Json: TypeAlias = dict[str, "Json"] | list["Json"] | str | bool | None
"""A JSON value.

A number is a :class:`Number`; an object in which a key occurs twice is a :class:`DuplicateKeys`.
"""

MAX_RAW_BYTES: Final = 64 * 1024
"""Bytes of a rejected record's text that the ledger keeps. See docs/contract.md#limits."""

PREVIEW_CHARACTERS: Final = 200
"""Characters of a value in a sample or a message. See docs/contract.md#limits."""

_MAX_LEVELS: Final = 200
"""Levels that are parsed at once. The parser recurses; Python's recursion limit is 1,000."""


class NotJson(ValueError):
    """The text is not JSON. The message names the character and the reason."""


class Number(str):
    """A number as written: an id never becomes a float, nor a million digits an int."""

    __slots__ = ()


class DuplicateKeys(dict[str, Json]):
    """An object in which a key occurs more than once. The last value of a key wins.

    Attributes
    ----------
    overwritten
        The other keys and values, in the order of the text.
    """

    overwritten: list[tuple[str, Json]]


def parse(line: bytes) -> Json:
    """Parse one JSON value.

    Bytes that are not UTF-8 become unpaired surrogates, one for each U+FFFD that Python's
    ``errors="replace"`` gives. Escapes may be unpaired surrogates too. :func:`sanitise` replaces
    all of them.

    Raises
    ------
    NotJson
        The text is not one JSON value, with blanks around it or not.
    """
    return parse_text(line.decode("utf-8", _SURROGATE_HANDLER))


def parse_text(text: str) -> Json:
    """Parse one JSON value, given as text; otherwise like :func:`parse`."""
    if text.count("[") + text.count("{") <= _MAX_LEVELS:
        return _parse(text)
    *inner_texts, outermost = _cut_by_depth(text)
    for inner in inner_texts:
        _parse(inner)
    return _parse(outermost)


def is_sequence(line: bytes) -> bool:
    """Return whether a text is two or more objects or arrays of JSON, one after the other."""
    text = line.decode("utf-8", _SURROGATE_HANDLER)
    end, documents = 0, 0
    try:
        while begin := _NEXT_DOCUMENT.match(text, end):
            _, end = _SCANNER.raw_decode(text, begin.end() - 1)
            documents += 1
    except (ValueError, RecursionError):
        return False
    return documents > 1 and not text[end:].strip(" \t\r\n")


_NEXT_DOCUMENT: Final = re.compile(r"[ \t\r\n]*[\[{]")


def to_json(value: Json) -> str:
    """Return a parsed value as JSON text, with numbers as they were written."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{to_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(to_json, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def preview(value: Json) -> str:
    """Return a value's text for samples and messages.

    It is sanitised and cut at :data:`PREVIEW_CHARACTERS`. A string has no quotes.
    """
    return sanitise((value if isinstance(value, str) else to_json(value))[:PREVIEW_CHARACTERS])


def sanitise(text: str) -> str:
    """Replace NUL and unpaired surrogates, which PostgreSQL can't store, by U+FFFD."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def is_sanitised(text: str) -> bool:
    """Return whether :func:`sanitise` would leave `text` unchanged."""
    return (text.isascii() and "\0" not in text) or not _UNSTORABLE.search(text)


def truncate_raw(raw: bytes) -> str:
    """Return the raw text for the ledger: sanitised, and cut at 64 KiB on a character boundary."""
    # Sanitising never shortens a text, so the bytes that are cut off first would not have stayed.
    text = sanitise(raw[: MAX_RAW_BYTES + 4].decode("utf-8", "replace"))
    return text.encode()[:MAX_RAW_BYTES].decode("utf-8", "ignore")


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    unique = dict(pairs)
    if len(unique) == len(pairs):
        return unique
    last = {key: index for index, (key, _) in enumerate(pairs)}
    repeated = DuplicateKeys(unique)
    repeated.overwritten = [pair for index, pair in enumerate(pairs) if last[pair[0]] != index]
    return repeated


def _refuse_constant(constant: str) -> NoReturn:
    raise NotJson(f"{constant} is no JSON number")


_SCANNER: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse_constant)


def _as_surrogate(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\udc80", error.end


_SURROGATE_HANDLER: Final = "orders_dask_lone_surrogate"
codecs.register_error(_SURROGATE_HANDLER, _as_surrogate)

_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
_TOKEN: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[{]|[\]}]', re.DOTALL)
_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=Number, parse_float=Number, parse_constant=_refuse_constant
)


def _parse(text: str) -> Json:
    try:
        value: Json = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise NotJson(f"{error.msg.removesuffix(' at')} at character {error.pos + 1}") from None
    return value


def _cut_by_depth(text: str) -> Iterator[str]:
    """Yield texts of at most :data:`_MAX_LEVELS` levels, cut out of a text that may have more.

    ``null`` replaces a text that is cut out. The outermost text comes last.
    """
    pieces: list[list[str]] = [[]]
    depth = at = 0
    for token in _TOKEN.finditer(text):
        if token[0] in "[{":
            if depth and depth % _MAX_LEVELS == 0:
                pieces[-1] += (text[at : token.start()], "null")
                pieces.append([])
                at = token.start()
            depth += 1
        elif token[0] in "]}":
            depth -= 1
            if depth < 0:
                break
            if depth and depth % _MAX_LEVELS == 0:
                yield "".join((*pieces.pop(), text[at : token.end()]))
                at = token.end()
    if depth:
        raise NotJson("brackets that don't match")
    yield "".join((*pieces.pop(), text[at:]))
