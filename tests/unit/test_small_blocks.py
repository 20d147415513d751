"""Small blocks are normalised together, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

from orders_dask.contract.arrow import decoded_schema
from orders_dask.contract.rejects import reject_record
from orders_dask.contract.schema_drift import NO_DRIFT
from orders_dask.extract.decode.decode import Decoded
from orders_dask.extract.records import SourceFile
from orders_dask.pipeline.staged_rows import TOGETHER_RECORDS, normalise_blocks

FILE = SourceFile("a", "a", None, 1, "e")


def block(rejects: int, first: int) -> Decoded:
    """Return a block of which every record is rejected."""
    rejected = tuple(
        reject_record(b"oops", first + number, "invalid_json", "It is not JSON.")
        for number in range(rejects)
    )
    orders = decoded_schema().empty_table()
    return Decoded(FILE, orders, rejected, (), rejects, False, NO_DRIFT)


def test_blocks_without_an_order_are_not_collected_without_end() -> None:
    size, consumed = 500, 0

    def blocks() -> Iterator[Decoded]:
        nonlocal consumed
        for number in range(40):
            consumed += 1
            yield block(size, 1 + number * size)

    staged = normalise_blocks(blocks())
    first = next(staged)
    assert consumed * size <= TOGETHER_RECORDS + size, "they were all held at once"
    read = [first, *staged]
    assert sum(file.positions for each in read for file in each.files) == 40 * size
    assert sum(each.tables["rejected"].num_rows for each in read) == 40 * size
