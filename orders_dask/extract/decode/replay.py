"""Replay: decode rejected records once more, from the texts in the ledger, by the same decoder."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, count, groupby
from typing import Final, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

import pyarrow as pa

from orders_dask.contract.arrow import POSITION, decoded_schema
from orders_dask.contract.envelopes import CONTAINER_KEYS, Closed, Envelope, Message, open_envelope
from orders_dask.contract.issue_codes import RejectedCode
from orders_dask.contract.json_parser import Json, NotJson, parse
from orders_dask.contract.order_tables import fact_order, fact_order_line
from orders_dask.contract.record_keys import id_key
from orders_dask.contract.rejects import Issue, Rejected, StoredReject, merge_issues
from orders_dask.contract.schema_drift import NO_DRIFT
from orders_dask.extract.decode.block import Block, decode_records
from orders_dask.extract.decode.decode import Decoded
from orders_dask.extract.records import BLOCK_BYTES, BLOCK_RECORDS, Records, SourceFile, Unreadable

NOT_KNOWN_AS_ORDERS: Final = ("invalid_json", "not_an_order")
"""Codes of records that may not be orders: their texts are read as lines of their own.

Records with any other code were orders already, and are read as orders.
"""


class ReplayOutcome(NamedTuple):
    """The outcome of replaying a record, or a rejected child of it.

    Attributes
    ----------
    file_id, position, path
        Identify it. The path is empty for a record.
    order_id
        The order that it is or belongs to; None if it was not read.
    code, message
        Why it is still rejected; None if it is good now.
    row
        The row of the order in the batch's `decoded.orders`; None if it isn't there. For a child
        also None if its order stays as it was.
    """

    file_id: int
    position: int
    path: str
    order_id: int | None
    code: str | None
    message: str | None
    row: int | None


@dataclass(frozen=True)
class ReplayedBatch:
    """Some replayed records of one file.

    Attributes
    ----------
    decoded
        The orders to load, one a position, and their children that are rejected.
    rejected_before
        Records of these orders that were rejected before, by the name of their fact table.
    lines_rejected_before
        How many of those were lines rejected by themselves.
    outcomes
        The outcome of each record.
    """

    decoded: Decoded
    rejected_before: Mapping[str, int]
    lines_rejected_before: int
    outcomes: tuple[ReplayOutcome, ...]


def replay_records(
    records: Iterable[StoredReject], zone: ZoneInfo, envelope: Envelope | None = None
) -> Iterator[ReplayedBatch]:
    """Decode rejected records once more, some of a file at a time.

    The text of each must contain exactly one order. A corrected text may have its envelope or not.

    Parameters
    ----------
    records
        Sorted by file.
    zone
        The shop's time zone.
    envelope
        What stands around the order in each record; None for nothing.
    """
    for _, records_of_file in groupby(records, lambda record: record.file_id):
        for batch in _batches(records_of_file):
            bare = [_is_bare(record, envelope) for record in batch]
            for around, is_bare in ((envelope, False), (None, True)):
                if some := [r for r, each in zip(batch, bare, strict=True) if each is is_bare]:
                    yield _replay_batch(some, zone, around)


def _is_bare(record: StoredReject, envelope: Envelope | None) -> bool:
    """Return whether somebody corrected a text to the order alone, without its envelope."""
    if envelope is None or not record.corrected:
        return False
    try:
        opened = open_envelope(envelope, parse(record.text.encode()))
    except NotJson:
        return False
    return isinstance(opened, Closed) and opened.code == "not_an_order"


def _batches(records: Iterable[StoredReject]) -> Iterator[list[StoredReject]]:
    """Batch records up to the size of a block: the decoder costs more per call than per record."""
    batch: list[StoredReject] = []
    size = number = 0
    for record in records:
        batch.append(record)
        size += len(record.text)
        number += 1 + len(record.children)
        if size >= BLOCK_BYTES or number >= BLOCK_RECORDS:
            yield batch
            batch, size, number = [], 0, 0
    if batch:
        yield batch


_Line: TypeAlias = tuple[StoredReject, bytes]
"""A record, and its text as one line."""


@dataclass
class _Batch:
    """Collects the results of a batch of records."""

    orders: list[pa.Table] = field(default_factory=list)
    children: list[Rejected] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    outcomes: list[ReplayOutcome] = field(default_factory=list)
    rejected_before: Counter[str] = field(default_factory=Counter)
    lines_rejected_before: int = 0
    rows: int = 0

    def reject(self, record: StoredReject, code: RejectedCode, message: str) -> None:
        rejected = Rejected(record.position, "", code, message, "", {})
        self.outcomes += _outcomes(record, {"": rejected})

    def select_changed(
        self, lines: Sequence[_Line], zone: ZoneInfo, envelope: Envelope | None
    ) -> list[_Line]:
        """Return the loaded orders of which a rejected child is good now; the others stay as is."""
        changed = []
        for piece, block in _decode_in_pieces(lines, zone, envelope, in_page=True):
            rejects = _rejects_by_line(block)
            for number, (record, line) in enumerate(piece, 1):
                outcomes = [*_outcomes(record, rejects[number])]
                if any(outcome.code is None for outcome in outcomes):
                    changed.append((record, line))
                else:
                    self.outcomes += outcomes
        return changed

    def add_container(
        self, record: StoredReject, line: bytes, zone: ZoneInfo, envelope: Envelope | None
    ) -> None:
        """Decode an array, a page or a wrapper, which must contain one record."""
        try:
            records = Records(line, in_page=False, strict=False)
            block = decode_records(records, zone, envelope=envelope)
        except Unreadable as error:
            self.reject(record, "not_an_order", f"The text can't be read: {error.message}.")
            return
        if block.read == 1:
            self.add_block([record], block)
        else:
            message = f"The text holds {block.read} records, and it stands for one."
            self.reject(record, "not_an_order", message)

    def add_block(self, records: Sequence[StoredReject], block: Block) -> None:
        """Add the result of decoding records, a line each."""
        positions = [record.position for record in records]
        numbers = block.orders[POSITION].to_pylist()
        at = block.orders.column_names.index(POSITION)
        column = pa.array([positions[n - 1] for n in numbers], pa.int64())
        self.orders.append(block.orders.set_column(at, decoded_schema().field(at), column))
        ids = block.orders[id_key(fact_order)].to_pylist()
        orders = dict(zip(numbers, zip(ids, count(self.rows)), strict=False))
        self.rows += len(orders)
        rejects = _rejects_by_line(block)
        for number, record in enumerate(records, 1):
            self.outcomes += _outcomes(record, rejects[number], *orders.get(number, ()))
            if number in orders:
                self.rejected_before.update(record.counts)
                if record.children:
                    self.lines_rejected_before += record.counts[fact_order_line.name]
        self.children += (
            replace(reject, position=positions[reject.position - 1])
            for reject in block.rejected
            if reject.path
        )
        self.issues += (
            replace(issue, samples=tuple((positions[n - 1], text) for n, text in issue.samples))
            for issue in block.issues
        )


def _decode_in_pieces(
    lines: Sequence[_Line], zone: ZoneInfo, envelope: Envelope | None, *, in_page: bool
) -> Iterator[tuple[Sequence[_Line], Block]]:
    """Decode lines together, or in pieces if too much is rejected.

    Parameters
    ----------
    lines
        One record each.
    zone, envelope
        The shop's time zone, and what stands around the order in each record.
    in_page
        Every object is an order.

    Yields
    ------
    sequence of _Line
        Consecutive lines.
    Block
        Their result.
    """
    if not lines:
        return
    text = b"".join(line for _, line in lines)
    try:
        # Strict: nothing is unwrapped, so each line is one record. A single one is never too much.
        records = Records(text, in_page=in_page, strict=True)
        block = decode_records(records, zone, envelope=envelope)
    except Unreadable:
        half = len(lines) // 2
        yield from _decode_in_pieces(lines[:half], zone, envelope, in_page=in_page)
        yield from _decode_in_pieces(lines[half:], zone, envelope, in_page=in_page)
    else:
        yield lines, block


def _rejects_by_line(block: Block) -> Mapping[int, Mapping[str, Rejected]]:
    """Return the rejections of a block by line number, then by path."""
    by_line: defaultdict[int, dict[str, Rejected]] = defaultdict(dict)
    for reject in block.rejected:
        by_line[reject.position][reject.path] = reject
    return by_line


def _outcomes(
    record: StoredReject,
    rejects: Mapping[str, Rejected],
    order_id: int | None = None,
    row: int | None = None,
) -> Iterator[ReplayOutcome]:
    """Yield an outcome for the record, or for each child of it that was rejected before.

    It is still rejected if it is rejected itself, or an ancestor is.
    """
    for path in record.children or ("",):
        ancestors = ("", *accumulate(path.split("."), "{}.{}".format))
        reject = next((rejects[above] for above in ancestors if above in rejects), None)
        code, message = (reject.code, reject.message) if reject else (None, None)
        yield ReplayOutcome(record.file_id, record.position, path, order_id, code, message, row)


def _replay_batch(
    records: Sequence[StoredReject], zone: ZoneInfo, envelope: Envelope | None
) -> ReplayedBatch:
    batch = _Batch()
    orders: list[_Line] = []
    with_children: list[_Line] = []
    unknown: list[_Line] = []
    for record in records:
        text = record.text.encode()
        try:
            value = parse(text)
        except NotJson as error:
            batch.reject(record, "invalid_json", f"The text is not JSON: {error}.")
            continue
        # No string of JSON contains a line end, so all line ends can be replaced by blanks.
        line = text.translate(_LINE_ENDS_TO_BLANKS) + b"\n"
        if envelope is not None and isinstance(open_envelope(envelope, value), Message):
            batch.reject(record, "not_an_order", "The text is a message without an order.")
        elif record.children and not record.corrected:
            with_children.append((record, line))
        elif record.code not in NOT_KNOWN_AS_ORDERS:
            orders.append((record, line))
        elif _is_container(value):
            batch.add_container(record, line, zone, envelope)
        else:
            unknown.append((record, line))
    orders += batch.select_changed(with_children, zone, envelope)
    for lines, in_page in ((orders, True), (unknown, False)):
        for piece, block in _decode_in_pieces(lines, zone, envelope, in_page=in_page):
            batch.add_block([record for record, _ in piece], block)

    table = pa.concat_tables([decoded_schema().empty_table(), *batch.orders])
    first = records[0]
    decoded = Decoded(
        SourceFile(first.name, first.name, None, first.size, first.etag),
        table,
        tuple(batch.children),
        merge_issues(batch.issues),
        read=table.num_rows,
        unreadable=False,
        drift=NO_DRIFT,  # the load that rejected the records counted their keys
    )
    return ReplayedBatch(
        decoded, batch.rejected_before, batch.lines_rejected_before, tuple(batch.outcomes)
    )


_LINE_ENDS_TO_BLANKS: Final = bytes.maketrans(b"\r\n", b"  ")


def _is_container(value: Json) -> bool:
    """Return whether a line of newline-delimited text would be unwrapped."""
    return isinstance(value, list) or (
        isinstance(value, dict) and not value.keys().isdisjoint(CONTAINER_KEYS)
    )
