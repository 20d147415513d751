"""A sequence of JSON documents becomes records: orders bare, in arrays, in pages and in wrappers.

What a document may be stands in the contract under *Input documents*. A document of any size is
read record by record, in the memory of the largest record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orders_dask.extract.framing.json_cursor import JsonCursor, is_json
from orders_dask.extract.records import KEPT_RAW_BYTES, Records, Unreadable, coalesce


def documents(chunks: Iterable[bytes]) -> Iterator[Records]:
    """Give the records of a sequence of JSON documents.

    Records are found by brackets and strings alone. Whether one is JSON inside, the decoder says:
    they are `strict`.

    Parameters
    ----------
    chunks
        The text, cut anywhere, without a byte-order mark.

    Raises
    ------
    Unreadable
        What is between the records is not JSON, or a record is too large. All records before it
        were given.
    """
    return coalesce(_read_documents(JsonCursor(chunks)))


def unwrap(text: bytes) -> list[Records]:
    """Give the records inside of lines that are pages, wrappers or arrays.

    Parameters
    ----------
    text
        One or more such lines, known to be JSON.

    Returns
    -------
    list of Records
        In document order; none for an empty page.
    """
    return list(documents([text]))


def _read_documents(window: JsonCursor) -> Iterator[Records]:
    while first := window.peek():
        if first == b"[":
            yield from _read_array(window, enveloped=False)
        else:
            yield from _read_element(window, enveloped=False)


def _read_array(window: JsonCursor, enveloped: bool) -> Iterator[Records]:
    window.enter()
    if window.peek() != b"]":
        yield from _read_element(window, enveloped)
        while window.comma():
            yield from _read_element(window, enveloped)
    window.leave(b"]")


def _read_element(window: JsonCursor, enveloped: bool) -> Iterator[Records]:
    """Give what is here: a run of plain records, one record, or an envelope's."""
    if window.peek() == b"{":
        if run := window.run(bare=not enveloped):
            yield Records(run, enveloped, strict=True, number=run.count(b"\n"))
            return
        envelope = "" if enveloped else window.envelope()
        if envelope:
            yield from _read_container(window, envelope)
            return
    yield Records(window.value() + b"\n", enveloped, strict=True)


def _read_container(window: JsonCursor, wanted: str) -> Iterator[Records]:
    """Give the records of a page (`wanted` is ``orders``: each of them) or a wrapper (``order``: the last of them)."""
    order, repeated = b"", -1
    window.enter()
    while True:
        key = window.key()
        if key != wanted:
            window.skip()
        elif wanted == "order":
            if order and not is_json(order):  # the decoder sees the last one only
                raise Unreadable("a value is not JSON", order[:KEPT_RAW_BYTES])
            order, repeated = window.value() + b"\n", repeated + 1
        else:
            yield from _read_orders(window)
        if not window.comma():
            break
    window.leave(b"}")
    if order == b"null\n":
        order = b""
    if order or repeated > 0:
        yield Records(order, in_page=True, strict=True, overwritten=max(repeated, 0))


def _read_orders(window: JsonCursor) -> Iterator[Records]:
    if window.peek() == b"[":
        yield from _read_array(window, enveloped=True)
    elif (value := window.value()) != b"null":
        yield Records(b'{"orders": %b}\n' % value, in_page=False, strict=True)
