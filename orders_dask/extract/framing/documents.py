"""Find the records of a sequence of JSON documents: bare, in arrays, in pages and in wrappers.

See docs/contract.md#input-documents. A document of any size is read record by record, in the memory
of its largest record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orders_dask.contract.json_parser import MAX_RAW_BYTES
from orders_dask.contract.rejects import Issue
from orders_dask.extract.framing.json_cursor import JsonCursor, is_json
from orders_dask.extract.records import BOM, Records, Unreadable, coalesce


def documents(chunks: Iterable[bytes]) -> Iterator[Records]:
    """Yield the records of a sequence of JSON documents.

    Records are found by brackets and strings alone. The decoder checks later whether each one is
    JSON, so they are `strict`.

    Parameters
    ----------
    chunks
        The text, cut anywhere, without a byte-order mark.

    Yields
    ------
    Records
        In document order.

    Raises
    ------
    Unreadable
        The text between records is not JSON, or a record is too large. All records before it have
        been yielded.
    """
    return coalesce(_read_documents(JsonCursor(chunks)))


def unwrap(text: bytes) -> list[Records]:
    """Return the records in lines that are pages, wrappers or arrays.

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
        if first == BOM[:1] and cursor.skip_text(BOM):
            mark = Issue("", "byte_order_mark", 1, ())
            yield Records(b"", in_page=False, strict=True, number=0, issues=(mark,))
        elif first == b"[":
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
    """Yield a run of plain records, one record, or the records of a container."""
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
    """Yield the orders of a page, or the last order of a wrapper.

    Parameters
    ----------
    cursor
        Is at the container's opening bracket.
    wanted
        The key of a page (``orders``) or of a wrapper (``order``).
    """
    order, overwritten = b"", -1
    cursor.enter()
    while True:
        key = cursor.key()
        if key != wanted:
            cursor.skip()
        elif wanted == "order":
            if order and not is_json(order):  # the decoder checks only the last one
                raise Unreadable("a value is not JSON", order[:MAX_RAW_BYTES])
            order, overwritten = cursor.value() + b"\n", overwritten + 1
        else:
            yield from _read_orders(cursor)
        if not cursor.comma():
            break
    cursor.leave(b"}")
    if order == b"null\n":
        order = b""
    if order or overwritten > 0:
        yield Records(order, in_page=True, strict=True, overwritten=max(overwritten, 0))


def _read_orders(cursor: JsonCursor) -> Iterator[Records]:
    if cursor.peek() == b"[":
        yield from _read_array(cursor, in_page=True)
    elif (value := cursor.value()) != b"null":
        yield Records(b'{"orders": %b}\n' % value, in_page=False, strict=True)
