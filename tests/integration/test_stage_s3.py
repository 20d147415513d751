"""Staged parts on a real S3 server."""

from __future__ import annotations

from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import s3fs

from orders_dask.contract.arrow import staged_schemas
from orders_dask.extract.decode.decode import decode
from orders_dask.extract.discover import discover
from orders_dask.extract.records import MIB
from orders_dask.pipeline.staged_rows import normalise_blocks
from orders_dask.stage import tables
from orders_dask.stage.layout import KEYS
from orders_dask.stage.parts import find_part
from orders_dask.stage.record import Part
from orders_dask.stage.tables import prefetch_small, read_table
from orders_dask.stage.write import write_part
from orders_dask.synthetic import generate

DAY = date(2024, 2, 3)


@pytest.fixture
def part(environment: dict[str, str], source: str) -> Part:
    """Return a part of 300 orders."""
    generate(source, start=DAY, days=1, orders=300)
    [split] = discover(f"{source}run_date={{run_date}}/", DAY, 64 * MIB)
    url = f"{source}part"
    written = write_part(url, normalise_blocks(decode(split, ZoneInfo("UTC"))))
    found = find_part(url)
    assert found == written, "the record has the size of each table"
    return written


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of all requests to S3, by their method."""
    requests: list[str] = []
    call = s3fs.S3FileSystem._call_s3

    async def counted(self: s3fs.S3FileSystem, method: str, *args: Any, **kwargs: Any) -> Any:
        requests.append(method)
        return await call(self, method, *args, **kwargs)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counted)
    return requests


def test_small_tables_of_a_large_part_take_one_request_each(
    part: Part, requests: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the part had many orders: some of its tables are larger than one request reads.
    middle = sorted(part.bytes.values())[len(part.bytes) // 2]
    monkeypatch.setattr(tables, "BUFFER_BYTES", middle)
    assert sum(part.bytes.values()) > middle
    for name in staged_schemas():
        requests.clear()
        assert read_table(part, name).num_rows == part.rows.get(name, 0), name
        if part.bytes.get(name, 0) <= middle:
            one = ["get_object"] if name in part.bytes else []
            assert requests == one, f"{name}, of {part.bytes.get(name)} bytes"
        else:
            assert "get_object" in requests, f"{name} is larger, and read in pieces"


def test_the_smallest_tables_are_prefetched_and_not_requested_twice(
    part: Part, requests: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [KEYS, *staged_schemas()]
    alone = {name: read_table(part, name) for name in names}
    requests.clear()
    fetched = prefetch_small(part, names)
    assert fetched.keys() == part.bytes.keys() & {*names}, "all of this part is small"
    assert requests == ["get_object"], "they are in one zip"
    requests.clear()
    for name in names:
        assert read_table(part, name, prefetched=fetched).equals(alone[name]), name
    assert not requests

    half = sum(part.bytes.values()) // 2
    monkeypatch.setattr(tables, "BUFFER_BYTES", half)
    smallest = prefetch_small(part, names)
    assert 0 < sum(map(len, smallest.values())) <= half, "bounded for any part"
    assert "fact_order" not in smallest, "the largest is not prefetched"
