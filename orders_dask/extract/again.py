"""Rejected records, from the texts that the ledger kept of them, back through the same decoder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import pyarrow as pa

from orders_dask.contract.arrow import POSITION, decoded_schema
from orders_dask.contract.findings import Issue, Kept, Rejected
from orders_dask.contract.jsontext import Json, NotJson, parse
from orders_dask.contract.rules import ENVELOPES, id_key, merged
from orders_dask.contract.tables import fact_order
from orders_dask.extract.block import decode_records
from orders_dask.extract.decode import Decoded
from orders_dask.extract.records import BLOCK, LINES, Records, SourceFile

BARE: Final = ("invalid_json", "not_an_order")
"""Codes of records that nobody knows to be orders: their texts are read as lines of their own. The others were orders,
wherever they stood, and stay such."""


class Verdict(NamedTuple):
    """What became of a record that was read again: the order that it is, or what is wrong with it still."""

    file_id: int
    position: int
    order_id: int | None
    code: str | None
    message: str | None


@dataclass(frozen=True)
class ReadAgain:
    """Some records of one file that were read again.

    Attributes
    ----------
    decoded
        The orders that they are now, a position each, and the children that were refused of these.
    before
        What the records that are orders now were refused with.
    verdicts
        What became of each record; those that are orders come first, in the order of `decoded`.
    """

    decoded: Decoded
    before: Mapping[str, int]
    verdicts: tuple[Verdict, ...]


def read_again(records: Iterable[Kept], zone: ZoneInfo) -> Iterator[ReadAgain]:
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
            yield _read_again(some, zone)


def _batches(records: Iterable[Kept]) -> Iterator[list[Kept]]:
    """Gather records up to the size of a block: the decoder costs more by call than by record."""
    held: list[Kept] = []
    size = 0
    for record in records:
        held.append(record)
        size += len(record.text)
        if size >= BLOCK or len(held) == LINES:
            yield held
            held, size = [], 0
    if held:
        yield held


@dataclass
class _Found:
    """What is found in a batch of records."""

    orders: list[pa.Table] = field(default_factory=list)
    children: list[Rejected] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    good: list[Verdict] = field(default_factory=list)
    bad: list[Verdict] = field(default_factory=list)

    def refuse(self, record: Kept, code: str, message: str) -> None:
        self.bad.append(Verdict(record.file_id, record.position, None, code, message))

    def decode(self, records: Sequence[Kept], how: Records, zone: ZoneInfo) -> None:
        """Decode records whose lines are the text of `how`."""
        block = decode_records(how, zone)
        if block.read != len(records):
            # Only of a line that was opened; it comes alone.
            message = f"The text holds {block.read} records, and it stands for one."
            self.refuse(records[0], "not_an_order", message)
            return
        places = [record.position for record in records]
        numbers = block.orders[POSITION].to_pylist()
        at = block.orders.column_names.index(POSITION)
        positions = pa.array([places[n - 1] for n in numbers], pa.int64())
        self.orders.append(block.orders.set_column(at, decoded_schema().field(at), positions))
        ids = block.orders[id_key(fact_order)].to_pylist()
        for number, order_id in zip(numbers, ids, strict=True):
            record = records[number - 1]
            self.good.append(Verdict(record.file_id, record.position, order_id, None, None))
        for found in block.rejected:
            if found.path:
                self.children.append(replace(found, position=places[found.position - 1]))
            else:
                self.refuse(records[found.position - 1], found.code, found.message)
        self.issues += (
            replace(i, samples=tuple((places[n - 1], text) for n, text in i.samples))
            for i in block.issues
        )


def _read_again(records: Sequence[Kept], zone: ZoneInfo) -> ReadAgain:
    found = _Found()
    together: dict[bool, list[tuple[Kept, bytes]]] = {True: [], False: []}
    for record in records:
        text = record.text.encode()
        try:
            value = parse(text)
        except NotJson as error:
            found.refuse(record, "invalid_json", f"The text is not JSON: {error}.")
            continue
        # In JSON no string holds a line end, so these stand where blanks may.
        line = text.translate(_ONE_LINE) + b"\n"
        known = record.code not in BARE
        if not known and _opens(value):
            found.decode([record], Records(line, enveloped=False, strict=False), zone)
        else:
            together[known].append((record, line))
    for known, some in together.items():
        if some:
            # Strict: nothing is opened, so each line is one record.
            text = b"".join(line for _, line in some)
            how = Records(text, enveloped=known, strict=True)
            found.decode([record for record, _ in some], how, zone)

    orders = pa.concat_tables([decoded_schema().empty_table(), *found.orders])
    good = {verdict.position for verdict in found.good}
    before = Counter[str]()
    for record in records:
        if record.position in good:
            before.update(record.counts)
    first = records[0]
    decoded = Decoded(
        SourceFile(first.name, first.name, None, first.size, first.etag),
        orders,
        tuple(found.children),
        merged(found.issues),
        read=orders.num_rows,
        unreadable=False,
        drift=(),
    )
    return ReadAgain(decoded, before, (*found.good, *found.bad))


_ONE_LINE: Final = bytes.maketrans(b"\r\n", b"  ")


def _opens(value: Json) -> bool:
    """Tell whether a line of newline-delimited text would be opened: an array, a page or a wrapper."""
    return isinstance(value, list) or (
        isinstance(value, dict) and not value.keys().isdisjoint(ENVELOPES)
    )
