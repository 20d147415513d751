"""Rejected records, from the texts that the ledger kept of them, back through the same decoder."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, count, groupby
from typing import Final, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

import pyarrow as pa

from orders_dask.contract.arrow import POSITION, decoded_schema
from orders_dask.contract.issue_codes import RejectedCode
from orders_dask.contract.json_parser import Json, NotJson, parse
from orders_dask.contract.order_tables import fact_order, fact_order_line
from orders_dask.contract.rejects import Issue, Rejected, StoredReject
from orders_dask.contract.rules import CONTAINER_KEYS, id_key, merge_issues
from orders_dask.extract.decode.block import Block, decode_records
from orders_dask.extract.decode.decode import Decoded
from orders_dask.extract.records import BLOCK_BYTES, BLOCK_RECORDS, Records, SourceFile, Unreadable

NOT_KNOWN_AS_ORDERS: Final = ("invalid_json", "not_an_order")
"""Codes of records that nobody knows to be orders: their texts are read as lines of their own. The
others were orders, wherever they stood, and stay such."""


class ReplayOutcome(NamedTuple):
    """What became of a record that was read again.

    Attributes
    ----------
    file_id, position, path
        Where it stands; the path is empty but for a child.
    order_id
        The order that it is, or that it is a child of; None where that is not read.
    code, message
        What is wrong with it still, if anything is.
    row
        The row of the order among those that were read; None where it isn't there, and for a child
        also where the order stays as it was.
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
    """Some records of one file that were read again.

    Attributes
    ----------
    decoded
        The orders that are to be loaded, a position each, and the children that were refused of
        these.
    rejected_before
        What was refused of these orders.
    lines_rejected_before
        Lines refused by themselves among that.
    outcomes
        What became of each record.
    """

    decoded: Decoded
    rejected_before: Mapping[str, int]
    lines_rejected_before: int
    outcomes: tuple[ReplayOutcome, ...]


def replay_records(records: Iterable[StoredReject], zone: ZoneInfo) -> Iterator[ReplayedBatch]:
    """Decode rejected records again, some of a file at a time; each text must give exactly one order.

    Parameters
    ----------
    records
        File by file.
    zone
        The shop's.
    """
    for _, of_file in groupby(records, lambda record: record.file_id):
        for some in _batches(of_file):
            yield _replay_batch(some, zone)


def _batches(records: Iterable[StoredReject]) -> Iterator[list[StoredReject]]:
    """Gather records up to the size of a block: the decoder costs more by call than by record."""
    held: list[StoredReject] = []
    size = number = 0
    for record in records:
        held.append(record)
        size += len(record.text)
        number += 1 + len(record.children)
        if size >= BLOCK_BYTES or number >= BLOCK_RECORDS:
            yield held
            held, size, number = [], 0, 0
    if held:
        yield held


_Line: TypeAlias = tuple[StoredReject, bytes]
"""A record, and its text on one line."""


@dataclass
class _Batch:
    """What is found in a batch of records."""

    orders: list[pa.Table] = field(default_factory=list)
    children: list[Rejected] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    outcomes: list[ReplayOutcome] = field(default_factory=list)
    rejected_before: Counter[str] = field(default_factory=Counter)
    lines_rejected_before: int = 0
    rows: int = 0

    def refuse(self, record: StoredReject, code: RejectedCode, message: str) -> None:
        refusal = Rejected(record.position, "", code, message, "", {})
        self.outcomes += _outcomes(record, {"": refusal})

    def changed(self, some: Sequence[_Line], zone: ZoneInfo) -> list[_Line]:
        """Give those of some orders that stand in which a refused child is good now; leave the others alone."""
        changed = []
        for lines, block in _decode_in_pieces(some, zone, known=True):
            refusals = _by_line(block)
            for number, (record, line) in enumerate(lines, 1):
                verdicts = [*_outcomes(record, refusals[number])]
                if any(verdict.code is None for verdict in verdicts):
                    changed.append((record, line))
                else:
                    self.outcomes += verdicts
        return changed

    def open(self, record: StoredReject, line: bytes, zone: ZoneInfo) -> None:
        """Decode an array, a page or a wrapper, which must hold one record."""
        try:
            block = decode_records(Records(line, in_page=False, strict=False), zone)
        except Unreadable as error:
            self.refuse(record, "not_an_order", f"The text can't be read: {error.message}.")
            return
        if block.read == 1:
            self.take([record], block)
        else:
            message = f"The text holds {block.read} records, and it stands for one."
            self.refuse(record, "not_an_order", message)

    def take(self, records: Sequence[StoredReject], block: Block) -> None:
        """Take what was decoded of records, a line each."""
        places = [record.position for record in records]
        numbers = block.orders[POSITION].to_pylist()
        at = block.orders.column_names.index(POSITION)
        positions = pa.array([places[n - 1] for n in numbers], pa.int64())
        self.orders.append(block.orders.set_column(at, decoded_schema().field(at), positions))
        ids = block.orders[id_key(fact_order)].to_pylist()
        orders = dict(zip(numbers, zip(ids, count(self.rows)), strict=False))
        self.rows += len(orders)
        refusals = _by_line(block)
        for number, record in enumerate(records, 1):
            self.outcomes += _outcomes(record, refusals[number], *orders.get(number, ()))
            if number in orders:
                self.rejected_before.update(record.counts)
                if record.children:
                    self.lines_rejected_before += record.counts[fact_order_line.name]
        self.children += (
            replace(each, position=places[each.position - 1])
            for each in block.rejected
            if each.path
        )
        self.issues += (
            replace(i, samples=tuple((places[n - 1], text) for n, text in i.samples))
            for i in block.issues
        )


def _decode_in_pieces(
    some: Sequence[_Line], zone: ZoneInfo, *, known: bool
) -> Iterator[tuple[Sequence[_Line], Block]]:
    """Decode lines, each of which is known to be an order or not: together, or in pieces where too much is refused."""
    if not some:
        return
    text = b"".join(line for _, line in some)
    try:
        # Strict: nothing is opened, so each line is one record, and of one alone too much is never
        # refused.
        block = decode_records(Records(text, in_page=known, strict=True), zone)
    except Unreadable:
        half = len(some) // 2
        yield from _decode_in_pieces(some[:half], zone, known=known)
        yield from _decode_in_pieces(some[half:], zone, known=known)
    else:
        yield some, block


def _by_line(block: Block) -> Mapping[int, Mapping[str, Rejected]]:
    """Give what was refused in a block by the number of its line, then by path."""
    found: defaultdict[int, dict[str, Rejected]] = defaultdict(dict)
    for refused in block.rejected:
        found[refused.position][refused.path] = refused
    return found


def _outcomes(
    record: StoredReject,
    refusals: Mapping[str, Rejected],
    order_id: int | None = None,
    row: int | None = None,
) -> Iterator[ReplayOutcome]:
    """Say of a record, or of each child that was refused of it, whether it, or what it stands in, is refused now."""
    for path in record.children or ("",):
        above = accumulate(path.split("."), "{}.{}".format)
        now = next((refusals[p] for p in ("", *above) if p in refusals), None)
        code, message = (now.code, now.message) if now else (None, None)
        yield ReplayOutcome(record.file_id, record.position, path, order_id, code, message, row)


def _replay_batch(records: Sequence[StoredReject], zone: ZoneInfo) -> ReplayedBatch:
    found = _Batch()
    known: list[_Line] = []
    standing: list[_Line] = []
    bare: list[_Line] = []
    for record in records:
        text = record.text.encode()
        try:
            value = parse(text)
        except NotJson as error:
            found.refuse(record, "invalid_json", f"The text is not JSON: {error}.")
            continue
        # In JSON no string holds a line end, so these stand where blanks may.
        line = text.translate(_ONE_LINE) + b"\n"
        if record.children and not record.corrected:
            standing.append((record, line))
        elif record.code not in NOT_KNOWN_AS_ORDERS:
            known.append((record, line))
        elif _is_container(value):
            found.open(record, line, zone)
        else:
            bare.append((record, line))
    known += found.changed(standing, zone)
    for some in (known, bare):
        for lines, block in _decode_in_pieces(some, zone, known=some is known):
            found.take([record for record, _ in lines], block)

    orders = pa.concat_tables([decoded_schema().empty_table(), *found.orders])
    first = records[0]
    decoded = Decoded(
        SourceFile(first.name, first.name, None, first.size, first.etag),
        orders,
        tuple(found.children),
        merge_issues(found.issues),
        read=orders.num_rows,
        unreadable=False,
        drift=(),
    )
    return ReplayedBatch(
        decoded, found.rejected_before, found.lines_rejected_before, tuple(found.outcomes)
    )


_ONE_LINE: Final = bytes.maketrans(b"\r\n", b"  ")


def _is_container(value: Json) -> bool:
    """Tell whether a line of newline-delimited text would be opened: an array, a page or a wrapper."""
    return isinstance(value, list) or (
        isinstance(value, dict) and not value.keys().isdisjoint(CONTAINER_KEYS)
    )
