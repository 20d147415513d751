"""The greatest version of an order wins, and the children of the others go with them."""

from __future__ import annotations

from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given, settings
from hypothesis import strategies as st

from orders_dask.contract.arrow import (
    FILE,
    ORDER_ROW,
    POSITION,
    staged_schemas,
)
from orders_dask.transform.resolve import PART, drop_superseded, superseded
from tests.support.keys import IDS, KEYS, POSITIONS, VERSIONS, Json, keys, version_key


@settings(deadline=None)  # the machine may be busy
@given(keys(), st.randoms())
def test_all_but_the_greatest_version_are_superseded_in_whatever_order_the_keys_come(
    records: list[Json], random: Random
) -> None:
    best: dict[int, Json] = {}
    for record in sorted(records, key=version_key):
        best[record["order_id"]] = record
    expected = {(r[PART], r[ORDER_ROW]) for r in records if r is not best[r["order_id"]]}
    random.shuffle(records)
    table = pa.Table.from_pylist(records, schema=KEYS)
    halves = pa.concat_tables([table.slice(0, 3), table.slice(3)])
    found_rows = superseded(halves)
    assert found_rows.schema == pa.schema([KEYS.field(PART), KEYS.field(ORDER_ROW)])
    found = [(row[PART], row[ORDER_ROW]) for row in found_rows.to_pylist()]
    assert len(found) == len(set(found))
    assert set(found) == expected


@settings(deadline=None)
@given(
    keys(),
    st.lists(st.lists(st.tuples(POSITIONS, IDS, VERSIONS), unique_by=lambda r: r[0])),
    st.randoms(),
)
def test_a_replayed_order_replaces_its_former_self_whatever_their_versions(
    records: list[Json], replays: list[list[Any]], random: Random
) -> None:
    replayed = [
        {
            "order_id": order_id,
            "version_at": version,
            FILE: position[0],
            POSITION: position[1],
            PART: part,
            ORDER_ROW: row,
        }
        for part, read in enumerate(replays)
        for row, (position, order_id, version) in enumerate(read)
    ]
    records = [*replayed, *({**record, PART: record[PART] + len(replays)} for record in records)]
    at_position: dict[tuple[int, int], Json] = {}
    for record in sorted(records, key=lambda record: -record[PART]):
        at_position[record[FILE], record[POSITION]] = record
    best: dict[int, Json] = {}
    for record in sorted(at_position.values(), key=version_key):
        best[record["order_id"]] = record
    expected = {(r[PART], r[ORDER_ROW]) for r in records if r is not best.get(r["order_id"])}
    random.shuffle(records)
    table = pa.Table.from_pylist(records, schema=KEYS)
    found_rows = superseded(table, pa.Table.from_pylist(replayed, schema=KEYS)).to_pylist()
    found = [(row[PART], row[ORDER_ROW]) for row in found_rows]
    assert len(found) == len(set(found))
    assert set(found) == expected
    # A task sees the orders of its own ids alone, and all that were replayed.
    alone = [
        superseded(part, pa.Table.from_pylist(replayed, schema=KEYS))
        for part in (table.filter(pc.equal(table["order_id"], n)) for n in (1, 2, 2**63 - 1))
    ]
    assert {(r[PART], r[ORDER_ROW]) for one in alone for r in one.to_pylist()} == expected


def test_children_of_a_superseded_order_go_with_it() -> None:
    schema = staged_schemas()["fact_order_line"]
    lines = [{ORDER_ROW: row, "order_id": 1, "line_id": n} for n, row in enumerate([0, 0, 1, 2])]
    table = pa.Table.from_pylist(lines, schema=schema)
    assert drop_superseded(table, pa.array([0, 2]))["line_id"].to_pylist() == [2]
    assert drop_superseded(table, pa.array([], pa.int64())).equals(table)
