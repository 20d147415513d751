"""Frame the documents of a dump with Python's own JSON decoder, as an oracle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NoReturn


class Pairs(list[tuple[str, Any]]):
    """A JSON object with its keys as written: in order, with duplicates."""


class Number(str):
    """A number as it was written."""

    __slots__ = ()


def refuse(name: str) -> NoReturn:
    raise ValueError(name)


BLANKS = " \t\r\n"
DECODER = json.JSONDecoder(object_pairs_hook=Pairs, parse_constant=refuse)


def sequence(text: str, decoder: json.JSONDecoder = DECODER) -> Iterator[Any]:
    """Yield the documents of a text in turn; raise ValueError where it is not JSON.

    A number or a word must end at a blank.
    """
    at = 0
    while at < len(text):
        if text[at] in BLANKS:
            at += 1
            continue
        document, at = decoder.raw_decode(text, at)
        word = document is None or isinstance(document, bool | int | float | Number)
        if word and text[at : at + 1].strip(BLANKS):
            raise ValueError(text[at])
        yield document


def expected(value: Any, *, within_array: bool = False) -> Iterator[tuple[Any, bool]]:
    """Yield the records of a document, each with whether it is in a page or wrapper.

    See docs/contract.md#input-documents.
    """
    keys = [key for key, _ in value] if isinstance(value, Pairs) else []
    if "orders" in keys:
        for key, orders in value:
            if key == "orders" and isinstance(orders, list) and not isinstance(orders, Pairs):
                yield from ((order, True) for order in orders)
            elif key == "orders" and orders is not None:
                yield Pairs([("orders", orders)]), False
    elif "order" in keys:
        order = [order for key, order in value if key == "order"][-1]
        if order is not None:
            yield order, True
    elif isinstance(value, list) and not isinstance(value, Pairs) and not within_array:
        for element in value:
            yield from expected(element, within_array=True)
    else:
        yield value, False
