"""Check the invariants of every fuzz input, with an oracle on Python's own JSON decoder."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder

from orders_dask.contract.arrow import POSITION, decoded_schema
from orders_dask.contract.json_parser import is_sanitised
from orders_dask.contract.order_tables import FACTS, fact_order
from orders_dask.contract.record_keys import GRAPHQL_ID, ORDER_KEYS, id_key
from orders_dask.contract.rejects import Issue, Rejected, merge_issues
from orders_dask.contract.schema_drift import NO_DRIFT, Drift, merge_drift
from orders_dask.extract import records
from orders_dask.extract.decode.decode import Decoded, decode
from orders_dask.extract.discover import discover
from orders_dask.extract.framing import files, json_cursor, ndjson
from orders_dask.extract.source import compression
from orders_dask.pipeline.staged_rows import normalise_blocks
from tests.support.builders import DAY
from tests.support.decoding import only_the_rules
from tests.support.documents import BLANKS, Number, Pairs, expected, refuse, sequence
from tests.support.fuzz_corpus import Input

ZONE = ZoneInfo("America/New_York")
WHOLE = 1 << 30
SECONDS = 20
"""CPU seconds that reading an input of some KB five times may take."""


@dataclass
class Read:
    """What was decoded from one file, however it was cut."""

    tables: list[pa.Table] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    read: int = 0
    unreadable: bool = False
    drift: Drift = NO_DRIFT

    @property
    def orders(self) -> pa.Table:
        return pa.concat_tables([decoded_schema().empty_table(), *self.tables]).combine_chunks()

    @property
    def ids(self) -> dict[int, int]:
        """Return the id of the order at each position that has one."""
        rows = self.orders
        return dict(
            zip(rows[POSITION].to_pylist(), rows[id_key(fact_order)].to_pylist(), strict=True)
        )

    def same(self, other: Read) -> None:
        assert self.orders.equals(other.orders)
        # The raw text and the message of an unreadable rest may depend on the cuts.
        assert [_comparable(one) for one in self.rejected] == [
            _comparable(one) for one in other.rejected
        ]
        mine, others = (
            {(i.field, i.code): (i.count, i.samples) for i in merge_issues(read.issues)}
            for read in (self, other)
        )
        assert mine == others
        assert (self.read, self.unreadable) == (other.read, other.unreadable)
        assert self.drift == other.drift


def _comparable(one: Rejected) -> Rejected | tuple[int, str]:
    return (one.position, one.code) if one.code == "unreadable_file" else one


def check(folder: Path, given: Input) -> None:
    """Check all invariants of an input; the empty `folder` has the file after a failure."""
    began = time.process_time()
    piece = max(200, len(given.file) // 8)
    dump = folder / "dump"
    dump.mkdir(parents=True, exist_ok=True)
    (dump / "a").write_bytes(given.file)
    whole = _read(dump, WHOLE)
    for one in whole.values():
        _reconciled(one)
    _alike(whole, _read(dump, WHOLE))
    _alike(whole, _read(dump, piece))
    with only_the_rules():
        _alike(whole, _read(dump, WHOLE))
    if not given.damaged:
        with small_pieces(piece):
            _alike(whole, _read(dump, WHOLE))
        (only,) = whole.values()
        _complete(only, given.text)
    assert time.process_time() - began < SECONDS


def _alike(whole: dict[str, Read], other: dict[str, Read]) -> None:
    assert whole.keys() == other.keys()
    for name, one in whole.items():
        one.same(other[name])


def _read(dump: Path, block_size: int) -> dict[str, Read]:
    """Decode the files at `dump`, cut for a block size; encode them for COPY if nothing is cut."""
    found: dict[str, Read] = {}
    for split in discover(f"{dump}/", DAY, block_size):
        before = {name: read.read for name, read in found.items()}
        blocks = []
        for block in decode(split, ZONE):
            _sound(block)
            blocks.append(block)
            _add(found.setdefault(block.file.name, Read()), block, before.get(block.file.name, 0))
        if block_size == WHOLE:
            for staged in normalise_blocks(blocks):
                for fact in FACTS:
                    _encoded(staged.tables[fact.name])
    return found


def _add(read: Read, block: Decoded, before: int) -> None:
    at = block.orders.schema.get_field_index(POSITION)
    moved = pa.array(block.orders[POSITION].to_numpy() + before, pa.int64())
    read.tables.append(block.orders.set_column(at, block.orders.field(at), moved))
    read.rejected += [
        replace(r, position=r.position + before, counts=dict(r.counts)) for r in block.rejected
    ]
    read.issues += [
        Issue(i.field, i.code, i.count, tuple((at + before, text) for at, text in i.samples))
        for i in block.issues
    ]
    read.read += block.read
    read.unreadable |= block.unreadable
    read.drift = merge_drift((read.drift, block.drift))


def _sound(block: Decoded) -> None:
    """Check that a block has its schema and that its texts can be stored."""
    assert block.orders.schema.equals(decoded_schema())
    block.orders.validate(full=True)
    for column in block.orders.columns:
        for texts in _texts(column.combine_chunks()):
            assert "\0" not in "".join(texts.drop_null().to_pylist())
    strings = [
        part
        for r in block.rejected
        for part in (r.path, r.code, r.message, r.raw, r.order_raw or "")
    ]
    strings += [text for issue in block.issues for _, text in issue.samples]
    assert all(map(is_sanitised, [*strings, *block.drift.paths]))


def _texts(values: pa.Array) -> Iterator[pa.StringArray]:
    if pa.types.is_struct(values.type):
        for child in values.flatten():
            yield from _texts(child)
    elif pa.types.is_list(values.type):
        yield from _texts(values.flatten())
    elif pa.types.is_string(values.type):
        yield values


def _encoded(rows: pa.Table) -> None:
    encoder = ArrowToPostgresBinaryEncoder(rows.schema)
    encoder.write_header()
    for batch in rows.to_batches():
        encoder.write_batch(batch)
    encoder.finish()


def _reconciled(read: Read) -> None:
    """Check that each position has either an order or a rejection of the whole record."""
    rejected = [one.position for one in read.rejected if not one.path]
    assert sorted([*read.ids, *rejected]) == list(range(1, read.read + 1))
    assert all(one.position in read.ids for one in read.rejected if one.path)
    assert read.unreadable == any(one.code == "unreadable_file" for one in read.rejected)


@contextmanager
def small_pieces(size: int) -> Iterator[None]:
    """Make all chunks small, so that everything that can be cut is cut."""
    with ExitStack() as stack:
        for module in (compression, ndjson, files):
            stack.enter_context(patch.object(module, "CHUNK_BYTES", size))
        stack.enter_context(patch.object(records, "BLOCK_BYTES", size))
        stack.enter_context(patch.object(records, "BLOCK_RECORDS", size // 50))
        stack.enter_context(patch.object(json_cursor, "_CHUNK_BYTES", size // 15))
        stack.enter_context(patch.object(json_cursor, "_RUN", 2))
        yield


# The oracle: the rules of docs/contract.md#input-documents on Python's JSON decoder.


class _TooDeep(Exception):
    """The text nests deeper than 200 levels, so it may be rejected."""


_DECODER = json.JSONDecoder(
    object_pairs_hook=Pairs, parse_int=Number, parse_float=Number, parse_constant=refuse
)
_LEVELS = 200
_AMOUNT = re.compile(r"[+-]?([0-9]+(\.[0-9]+)?|\.[0-9]+)([eE]([+-]?[0-9]+))?")


def _complete(read: Read, file: bytes) -> None:
    """Check that exactly the orders of a JSON text were decoded, each at its position."""
    text = file.decode("latin-1").removeprefix("\xef\xbb\xbf")
    if text.startswith(("\xff\xfe", "\xfe\xff")) or "\0" in text[:4]:
        assert (read.read, read.unreadable) == (1, True)
        return
    try:
        wanted, readable = (_of_lines if _delimited(text) else _of_documents)(text)
    except (_TooDeep, RecursionError):
        return
    assert read.unreadable == (not readable)
    if wanted is not None:
        assert read.read == len(wanted)
        assert read.ids == {at: number for at, number in enumerate(wanted, 1) if number is not None}


def _of_lines(text: str) -> tuple[list[int | None], bool]:
    """Return the order id of each record, None if rejected, and whether the file is readable."""
    wanted: list[int | None] = []
    readable = True
    *ended, last = text.split("\n")
    for line in [*(line + "\n" for line in ended), last]:
        documents = _parsed(line)
        if documents is None:
            documents = _parsed(_without_marks(line))
        if documents == []:
            continue
        several = documents is not None and all(isinstance(each, list) for each in documents)
        if documents is None or (len(documents) != 1 and not several):
            wanted.append(None)
            many = re.match(r'[ \t\r]*(\[|\{[ \t\r]*"orders")', line)
            readable &= bool(line.endswith("\n") and not many)
        else:
            wanted += _ids(documents)
    return wanted, readable


def _of_documents(text: str) -> tuple[list[int | None] | None, bool]:
    documents = _parsed(text)
    return (None, False) if documents is None else (_ids(documents), True)


def _without_marks(line: str) -> str:
    """Return a line with blanks for the byte-order marks outside of its documents."""
    found, depth, in_string, at = "", 0, False, 0
    while at < len(line):
        if line.startswith(_MARK, at) and not depth and not in_string:
            found, at = found + " ", at + len(_MARK)
            continue
        character = line[at]
        width = 2 if in_string and character == "\\" else 1
        in_string ^= character == '"'
        depth += 0 if in_string else (character in "[{") - (character in "]}")
        found, at = found + line[at : at + width], at + width
    return found


_MARK = "\xef\xbb\xbf"
"""A byte-order mark, read as Latin-1."""


def _delimited(text: str) -> bool:
    lines = [line.strip(BLANKS) for line in text.split("\n")]
    first, second = [*(line for line in lines if line), "", ""][:2]
    return _container(first) or (not first.endswith(("[", "{", ",", ":")) and _container(second))


def _container(line: str) -> bool:
    documents = _parsed(line)
    return documents is not None and len(documents) == 1 and isinstance(documents[0], list)


def _parsed(text: str) -> list[Any] | None:
    """Return a sequence of documents, or None if the text is not JSON."""
    found = []
    try:
        for document in sequence(text, _DECODER):
            _shallow(document, 1)
            found.append(document)
    except ValueError:
        return None
    return found


def _shallow(value: Any, level: int) -> None:
    if level > _LEVELS:
        raise _TooDeep
    for each in value if isinstance(value, list) else ():
        _shallow(each[1] if isinstance(value, Pairs) else each, level + 1)


def _ids(documents: list[Any]) -> list[int | None]:
    return [
        _order_id(record, in_page)
        for document in documents
        for record, in_page in expected(document)
    ]


def _order_id(record: Any, in_page: bool) -> int | None:
    """Return the id of an order, or None if it is rejected."""
    if not isinstance(record, Pairs):
        return None
    order = dict(record)
    if not in_page and (order.keys().isdisjoint(ORDER_KEYS) or "orders" in order):
        return None
    number = _positive(order.get("id"))
    graphql_id = order.get(GRAPHQL_ID)
    if isinstance(graphql_id, str) and not isinstance(graphql_id, Number):
        match = re.fullmatch(r"gid://.*/Order/([0-9]+)", graphql_id, re.DOTALL)
        if match and match[1] != str(number):
            return None
    return number


def _positive(value: Any) -> int | None:
    match = _AMOUNT.fullmatch(value.strip(BLANKS)) if isinstance(value, str) else None
    if not match or len(match[4] or "") > 6:
        return None
    amount = Decimal(match[0])
    if amount.adjusted() > 20 or amount != amount.to_integral_value():
        return None
    return int(amount) if 0 < amount < 2**63 else None
