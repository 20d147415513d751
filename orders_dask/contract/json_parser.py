"""JSON text to Python values that keep what the rules need: numbers as written, keys said twice, bad UTF-8.

The rules of JSON are those of https://www.rfc-editor.org/rfc/rfc8259, read strictly: no ``NaN``, no
comments, no trailing commas, no control characters in strings.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Final, NoReturn, TypeAlias

Json: TypeAlias = dict[str, "Json"] | list["Json"] | str | bool | None
"""A value; a number is a :class:`Number`, an object that says a key twice a :class:`DuplicateKeys`."""

MAX_RAW_BYTES: Final = 64 * 1024
"""Bytes of a refused record's text that are kept (the contract)."""

PREVIEW_CHARACTERS: Final = 200
"""Characters of a value that a sample or a message shows."""

_MAX_LEVELS: Final = 200
"""Levels that are parsed at once: the parser recurses, and Python stops it at 1,000 with the caller's own levels."""


class NotJson(ValueError):
    """The text is not JSON; the argument says where and why."""


class Number(str):
    """A number, as it is written: an id never goes through a float, nor a million digits through an int."""

    __slots__ = ()


class DuplicateKeys(dict[str, Json]):
    """An object that says a key twice: the last stands, `overwritten` holds the keys and values said before."""

    overwritten: list[tuple[str, Json]]


def parse(line: bytes) -> Json:
    """Parse one JSON value.

    Bytes that are not UTF-8 become an unpaired surrogate, one for each U+FFFD that Python's
    ``errors="replace"`` gives; so do escapes that stand for one. :func:`sanitise` replaces both.

    Raises
    ------
    NotJson
        The text is not one JSON value, blanks around it aside.
    """
    text = line.decode("utf-8", _SURROGATE_HANDLER)
    if text.count("[") + text.count("{") <= _MAX_LEVELS:
        return _parse(text)
    *cut, whole = _cut_by_depth(text)
    for inner in cut:
        _parse(inner)
    return _parse(whole)


def to_json(value: Json) -> str:
    """Write a parsed value as JSON text again, numbers as they were written."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{to_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(to_json, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def preview(value: Json) -> str:
    """Return a value's text for samples and messages.

    Sanitised, a string without its quotes, cut at :data:`PREVIEW_CHARACTERS`.
    """
    return sanitise((value if isinstance(value, str) else to_json(value))[:PREVIEW_CHARACTERS])


def sanitise(text: str) -> str:
    """Replace NUL, which PostgreSQL doesn't store, and unpaired surrogates, which no encoding has, by U+FFFD."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def is_sanitised(text: str) -> bool:
    """Tell whether :func:`sanitise` leaves `text` as it is."""
    return (text.isascii() and "\0" not in text) or not _UNSTORABLE.search(text)


def truncate_raw(raw: bytes) -> str:
    """Give the text of a refused record that is kept: clean, and cut at 64 KiB on a character boundary."""
    # No text gets shorter by cleaning, so what is cut off here could not have stayed.
    text = sanitise(raw[: MAX_RAW_BYTES + 4].decode("utf-8", "replace"))
    return text.encode()[:MAX_RAW_BYTES].decode("utf-8", "ignore")


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    last = {key: place for place, (key, _) in enumerate(pairs)}
    repeated = DuplicateKeys(made)
    repeated.overwritten = [pair for place, pair in enumerate(pairs) if last[pair[0]] != place]
    return repeated


def _refuse_constant(constant: str) -> NoReturn:
    raise NotJson(f"{constant} is no JSON number")


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
    """Cut text into texts of at most :data:`_MAX_LEVELS` levels, null for what is cut out; the outermost comes last."""
    outer: list[list[str]] = [[]]
    depth = at = 0
    for token in _TOKEN.finditer(text):
        if token[0] in "[{":
            if depth and depth % _MAX_LEVELS == 0:
                outer[-1] += (text[at : token.start()], "null")
                outer.append([])
                at = token.start()
            depth += 1
        elif token[0] in "]}":
            depth -= 1
            if depth < 0:
                break
            if depth and depth % _MAX_LEVELS == 0:
                yield "".join((*outer.pop(), text[at : token.end()]))
                at = token.end()
    if depth:
        raise NotJson("brackets that don't match")
    yield "".join((*outer.pop(), text[at:]))
