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


def _read_documents(cursor: JsonCursor) -> Iterator[Records]:
    while first := cursor.peek():
        if first == b"[":
            yield from _read_array(cursor, in_page=False)
        else:
            yield from _read_element(cursor, in_page=False)


def _read_array(cursor: JsonCursor, in_page: bool) -> Iterator[Records]:
    cursor.enter()
    if cursor.peek() != b"]":
        yield from _read_element(cursor, in_page)
        while cursor.comma():
            yield from _read_element(cursor, in_page)
    cursor.leave(b"]")


def _read_element(cursor: JsonCursor, in_page: bool) -> Iterator[Records]:
    """Give what is here: a run of plain records, one record, or a container's."""
    if cursor.peek() == b"{":
        if run := cursor.run(bare=not in_page):
            yield Records(run, in_page, strict=True, number=run.count(b"\n"))
            return
        container = "" if in_page else cursor.container()
        if container:
            yield from _read_container(cursor, container)
            return
    yield Records(cursor.value() + b"\n", in_page, strict=True)


def _read_container(cursor: JsonCursor, wanted: str) -> Iterator[Records]:
    """Give the records of a page (`wanted` is ``orders``: each of them) or a wrapper (``order``: the last of them)."""
    order, repeated = b"", -1
    cursor.enter()
    while True:
        key = cursor.key()
        if key != wanted:
            cursor.skip()
        elif wanted == "order":
            if order and not is_json(order):  # the decoder sees the last one only
                raise Unreadable("a value is not JSON", order[:KEPT_RAW_BYTES])
            order, repeated = cursor.value() + b"\n", repeated + 1
        else:
            yield from _read_orders(cursor)
        if not cursor.comma():
            break
    cursor.leave(b"}")
    if order == b"null\n":
        order = b""
    if order or repeated > 0:
        yield Records(order, in_page=True, strict=True, overwritten=max(repeated, 0))


def _read_orders(cursor: JsonCursor) -> Iterator[Records]:
    if cursor.peek() == b"[":
        yield from _read_array(cursor, in_page=True)
    elif (value := cursor.value()) != b"null":
        yield Records(b'{"orders": %b}\n' % value, in_page=False, strict=True)
