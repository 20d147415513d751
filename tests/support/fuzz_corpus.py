"""Generate fuzz inputs: every form and bad value of the contract, all layouts and packings, damage.

Everything is drawn from a ``Random``. A seeded one reproduces an input, Hypothesis's own one
shrinks it."""

from __future__ import annotations

import bz2
import gzip
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final, cast

import zstandard

from orders_dask.contract.record_keys import ORDER_KEYS
from tests.support.bad_values import GOOD, GOOD_VALUES, NULLED, REPAIRED, spliced
from tests.support.builders import zipped

_ORDER = (
    b'{"id":%d,"updated_at":"2026-10-01T10:00:00+02:00","created_at":"2026-10-01 09:00","total_price":"19.90",'
    b'"currency":"EUR","test":false,"customer":{"id":7,"email":"a@b.c"},"payment_gateway_names":["cash",null],'
    b'"discount_codes":[{"code":"TEN"}],"line_items":[{"id":11,"product_id":3,"variant_id":4,"quantity":2,"price":'
    b'"9.95","tax_lines":[{"price":0.1}]},{"id":12,"price":1e-7}],"refunds":[{"id":21,"transactions":[{"kind":"refund",'
    b'"status":"success","amount":"1.00"}],"refund_line_items":[{"id":31,"line_item_id":11}],"order_adjustments":'
    b'[{"id":41,"amount":"-1"}]}],"colour":{"red":[1]},"note":"\xc3\xbc \\u00fc \\ud83d\\ude00"}'
)
RECORDS: Final[tuple[bytes, ...]] = (
    *(_ORDER % number for number in (1, 2, 9007199254740993)),
    GOOD.encode(),
    *(b'{"id":3,"%b":null}' % marker.encode() for marker in ORDER_KEYS),
    *(spliced(path, value) for path, value, _ in GOOD_VALUES),
    *(spliced(path, cast("str | bytes", value)) for _, path, value, _ in REPAIRED),
    *(spliced(path, value) for _, path, value in NULLED),
    # Ids, and GraphQL ids that contradict them.
    *(b'{"id":%b,"line_items":[]}' % text for text in b'null,0,-1,"4",4.0,1e3,"x",1.5,[],9e18,9e19'.split(b",")),
    b'{"line_items":[]}',
    b'{"id":4,"admin_graphql_api_id":"gid://shopify/Order/4","line_items":[]}',
    b'{"id":4,"admin_graphql_api_id":"gid://shopify/Order/5","line_items":[]}',
    b'{"id":4,"admin_graphql_api_id":"gid://a\\nb/Order/05","line_items":[]}',
    b'{"id":4,"admin_graphql_api_id":5,"line_items":[]}',
    # Children: none, not objects, without an id, duplicates.
    b'{"id":5,"line_items":[{"id":1},{"id":1},{"id":"1"},{"id":0},{},null,7,[]]}',
    b'{"id":5,"refunds":[{"id":1,"refund_line_items":[{"id":2},{"id":2}]},{"id":"x","refund_line_items":[{"id":3}]}],'
    b'"line_items":null}',
    b'{"id":5,"refunds":[{"id":1,"order_adjustments":[null,{"id":8}],"transactions":[{"kind":"refund","status":'
    b'"success","currency":"USD"}]}],"order_number":1}',
    # Keys: duplicate, escaped, odd, hostile.
    b'{"id":1,"id":6,"note":"a","note":"b","line_items":[],"line_items":[{"id":1}]}',
    b'{"i\\u0064":6,"line_\\u0069tems":[],"":1,"a.b":2,"\\ud800":3,"\\u0000":4}',
    b'{"id":6,"line_items":[],"\'; drop table orders.fact_order; --":1,"../../etc/passwd":2,"%s{}":3}',
    b'{"id":6,"note":"\'; drop table orders.fact_order; -- %s {} \\\\x00 ${x}","line_items":[]}',
    # No order, or no JSON.
    *(b'5,"x",true,null,[],{},[[]],[1],{"a":1},{"data":{"orders":[]}},NaN,oops,{"id":1,}'.split(b",")),
    b'{"id":7,"line_items":[],"total_price":NaN}',
    b'{"id":7,"line_items":[],"x":-Infinity}',
    b'{"id":7,"line_items":[],"total_price":01}',
    b'{"id":7,"line_items":[]}{"id":8,"line_items":[]}',
    b'{"id":7,"line_items":[],"x":' + b"[" * 250 + b"]" * 250 + b"}",
    b'{"orders":[{"id":1}],"note":"\\x"}',
    b'{"order":"\\x","order":{"id":1}}',
    b'{"orders":null}',
    b'{"orders":[]}',
    b'{"orders":"none"}',
    b'{"order":null}',
    b'{"order":{"id":1},"order":{"id":2}}',
    b'{"order":{"id":1},"orders":[{"id":2}],"orders":[{"id":3}]}',
    b'{"\\u006frders":[{"id":2},{"orders":[]},{"id":3}]}',
    b'[{"id":1,"line_items":[]},{"orders":[{"id":2}]},{"order":{"id":3}},[],5]',
)  # fmt: skip

_STRUCTURE: Final = (
    *(bytes([byte]) for byte in b'{}[]",:\\\n\r\t 0-.eE+xN'),
    *(b"\xff", b"\0", b"\x1f", b"\xef\xbb\xbf", b"\xc3", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"/**/"),
    *(b"null", b"NaN", b"Infinity", b'"orders":[', b'"order":', b'{"orders":[', b"]}", b"\n\n", b"1e-400000000"),
    *(b"0x1", b"1.", b'"id":1,', b'"id":"1",', b'"line_items":[{"id":1}],', b"9" * 40, b"\\", b'\\"', b"\x85", b"\xa0"),
)  # fmt: skip


@dataclass(frozen=True)
class Input:
    """A file to read.

    Attributes
    ----------
    text
        The text.
    file
        The text as packed, perhaps damaged.
    damaged
        Whether the packing was damaged, so that `file` may not contain `text`.
    """

    text: bytes
    file: bytes
    damaged: bool


def made(random: Random) -> Input:
    """Return an input: records in a layout, perhaps damaged, packed, perhaps damaged once more."""
    text = _laid_out(random)
    for _ in range(random.choice((0, 0, 1, 1, 2, 4))):
        text = _mutated(random, text)
    file = random.choice(_PACKINGS)(text)
    damaged = file is not text and random.random() < 0.3
    return Input(text, _mutated(random, file) if damaged else file, damaged)


def _laid_out(random: Random) -> bytes:
    records = [random.choice(RECORDS) for _ in range(random.randrange(8))]
    return random.choice(_LAYOUTS)(random, records)


def _lines(random: Random, records: list[bytes]) -> bytes:
    end = random.choice((b"\n", b"\n", b"\r\n", b"\n \n"))
    first = [GOOD.encode()] if random.random() < 0.7 else []  # certainly newline-delimited
    return end.join((*first, *records)) + end * random.randrange(2)


def _pages(random: Random, records: list[bytes]) -> bytes:
    cut = random.randrange(len(records) + 1)
    page = b'{"orders":[%b]}\n'
    return page % b",".join(records[:cut]) + page % b",".join(records[cut:])


def _spread_page(random: Random, records: list[bytes]) -> bytes:
    return b'{\n "count": [3, {"a": "]"}],\n "orders": [\n%b\n ],\n "next": null}\n' % b",\n".join(
        records
    )


def _array(random: Random, records: list[bytes]) -> bytes:
    return b"[%b]" % random.choice((b",", b",\n", b" , ")).join(records)


def _wrappers(random: Random, records: list[bytes]) -> bytes:
    return random.choice((b"", b"\n", b" ")).join(b'{"order":%b}' % one for one in records)


def _spread(random: Random, records: list[bytes]) -> bytes:
    return b"\n".join(one.replace(b',"', b',\n  "').replace(b"{", b"{\r\n") for one in records)


_LAYOUTS: Final[tuple[Callable[[Random, list[bytes]], bytes], ...]] = (
    _lines, _lines, _lines, _pages, _spread_page, _array, _wrappers, _spread,
)  # fmt: skip


def _mutated(random: Random, data: bytes) -> bytes:
    start = random.randrange(len(data) + 1)
    end = min(len(data), start + random.choice((0, 1, 1, 3, 20, 200)))
    chunk = data[start:end]
    how = random.randrange(8)
    if how == 0:
        return data[:start]
    if how == 1:
        return data[:start] + data[end:]
    if how == 2:
        return data[:start] + chunk * random.choice((2, 3, 50)) + data[end:]
    if how == 3:
        flipped = bytes(byte ^ (1 << random.randrange(8)) for byte in chunk)
        return data[:start] + flipped + data[end:]
    if how == 4:
        other = _laid_out(random)
        return data[:start] + other[random.randrange(len(other) + 1) :]
    if how == 5:
        return data[:start] + random.choice(RECORDS) + data[end:]
    return data[:start] + random.choice(_STRUCTURE) + data[end if how == 6 else start :]


_PACKINGS: Final[tuple[Callable[[bytes], bytes], ...]] = (
    *(lambda text: text,) * 6,
    partial(gzip.compress, mtime=0),
    lambda text: gzip.compress(text[:50], mtime=0) + gzip.compress(text[50:], mtime=0) + bytes(9),
    bz2.compress,
    zstandard.compress,
    zstandard.ZstdCompressor(write_checksum=True).compress,
    lambda text: zipped({"a.json": text}),
    lambda text: zipped({"../\xfc'; drop table x;--": text}, zipfile.ZIP_DEFLATED),
    lambda text: zipped({"a.gz": gzip.compress(text, mtime=0)}),
)
