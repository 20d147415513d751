"""Parts that were staged with other columns: used where they have enough, never misread."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest

from orders_dask.contract.storage_tables import STORED_COLUMNS
from orders_dask.extract.decode.decode import decode
from orders_dask.extract.discover import discover
from orders_dask.extract.records import Split
from orders_dask.pipeline.staged_rows import normalise_blocks
from orders_dask.stage import layout, record, write
from orders_dask.stage.layout import REJECTED, content_of, part_url
from orders_dask.stage.parts import TOUCH_AFTER, find_part, staged_names, use_part, write_record
from orders_dask.stage.record import Part
from orders_dask.stage.tables import read_table
from orders_dask.stage.write import write_part
from tests.support.builders import DAY, lines, order

NOTE = "fact_order.note"


def declare(monkeypatch: pytest.MonkeyPatch, columns: tuple[str, ...]) -> None:
    """Let the stage believe that these columns are declared."""
    for module in (layout, record, write):
        monkeypatch.setattr(module, "STORED_COLUMNS", columns)


@pytest.fixture
def split(tmp_path: Path) -> Split:
    dump = tmp_path / "a.json"
    dump.write_bytes(lines(order(1, note="fragile"), order(2)) + b"oops\n")
    [split] = discover(dump.as_uri(), DAY, 1 << 20)
    return split


@pytest.fixture
def stage(tmp_path: Path) -> str:
    return (tmp_path / "stage").as_uri()


def names_of_others(stage: str, url: str) -> list[str]:
    return list(staged_names(stage, DAY).get(content_of(url.rpartition("/")[2]), ()))


def staged_at(split: Split, stage: str) -> str:
    """Stage the split under its name, and return its URL."""
    url = part_url(stage, DAY, split, "UTC")
    write_part(url, normalise_blocks(decode(split, ZoneInfo("UTC"))))
    return url


def unpacked(url: str) -> Part:
    """Write the tables of a small part as larger ones have them, a file each, and return it."""
    part = find_part(url)
    assert part
    assert part.packed
    for table in part.packed:
        path = f"{url}/{part.attempt}/{table}.parquet".removeprefix("file://")
        pq.write_table(read_table(part, table), path)
    write_record(replace(part, packed={}))
    found = find_part(url)
    assert found
    return found


def test_a_part_with_more_columns_is_used_whatever_its_name(
    split: Split, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = staged_at(split, stage)
    declare(monkeypatch, tuple(name for name in STORED_COLUMNS if name != NOTE))
    fewer = part_url(stage, DAY, split, "UTC")
    assert fewer != url
    assert use_part(fewer) is None
    used = use_part(fewer, names_of_others(stage, fewer))
    assert used is not None
    assert used.url == url


def test_a_part_that_lacks_a_column_is_staged_anew(
    split: Split, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged_at(split, stage)
    declare(monkeypatch, (*STORED_COLUMNS, "fact_order.younger"))
    more = part_url(stage, DAY, split, "UTC")
    assert names_of_others(stage, more)
    assert use_part(more, names_of_others(stage, more)) is None


def test_a_part_of_another_split_is_never_used(split: Split, stage: str) -> None:
    url = staged_at(split, stage)
    other = part_url(stage, DAY, split, "Asia/Tokyo")
    assert use_part(other, [url.rpartition("/")[2]]) is None


def test_columns_that_a_part_lacks_are_null_and_counters_0(split: Split, stage: str) -> None:
    found = unpacked(staged_at(split, stage))
    for table, lacking in (("fact_order", "note"), (REJECTED, "order_line_rejected")):
        path = f"{found.url}/{found.attempt}/{table}.parquet".removeprefix("file://")
        pq.write_table(pq.read_table(path).drop_columns([lacking]), path)
    orders = read_table(found, "fact_order")
    assert orders.schema == layout.empty_table("fact_order").schema
    assert orders["note"].to_pylist() == [None, None]
    assert orders["order_id"].to_pylist() == [1, 2]
    assert read_table(found, REJECTED)["order_line_rejected"].to_pylist() == [0]
    assert read_table(found, "fact_order", ["note", "order_id"]).column_names == [
        "note",
        "order_id",
    ]


def test_a_column_that_is_not_declared_any_more_is_left_out(split: Split, stage: str) -> None:
    found = unpacked(staged_at(split, stage))
    path = f"{found.url}/{found.attempt}/fact_order.parquet".removeprefix("file://")
    stored = pq.read_table(path)
    pq.write_table(stored.append_column("gone", stored["note"]), path)
    assert read_table(found, "fact_order").column_names == stored.column_names


def test_a_part_that_is_used_after_hours_loses_nothing_that_others_have_staged(
    split: Split, stage: str
) -> None:
    url = staged_at(split, stage)
    path = Path(f"{url}/part.json".removeprefix("file://"))
    staged = json.loads(path.read_text())
    staged["totals"]["fact_of_a_group"] = {"rows": 7, "sums": []}
    staged["totals"]["fact_order"]["sums"].append(["EUR", "column_of_somebody", "7.0000"])
    staged["columns"].append("fact_order.column_of_somebody 0123abcd")
    path.write_text(json.dumps(staged))
    hours_ago = path.stat().st_mtime - 2 * TOUCH_AFTER.total_seconds()
    os.utime(path, (hours_ago, hours_ago))
    used = use_part(url)
    assert used
    assert path.stat().st_mtime > hours_ago
    assert json.loads(path.read_text()) == staged
    assert ("EUR", "column_of_somebody") not in used.totals_of("fact_order").sums
