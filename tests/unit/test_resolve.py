"""The greatest version of an order wins, and takes its children and what it says of dimensions with it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Table

from orders_dask.contract.arrow import (
    FILE,
    INSTANT_TYPE,
    ORDER_ROW,
    POSITION,
    flat_schemas,
    key_schema,
    staged_schemas,
)
from orders_dask.contract.tables import SAID, dim_device, dim_product_variant
from orders_dask.transform.dimensions import ranked, said
from orders_dask.transform.resolve import PART, keep, losers

Json = dict[str, Any]

NOON = datetime(2017, 11, 4, 12, tzinfo=UTC)
KEYS = pa.schema([*key_schema(), pa.field(PART, pa.int64()), pa.field(ORDER_ROW, pa.int64())])

# Few ids, versions, files and positions, so that orders tie in all of them but the last.
VERSIONS = st.sampled_from(
    [None, NOON, NOON + timedelta(microseconds=1), datetime.min.replace(tzinfo=UTC)]
)
PLACES = st.tuples(st.integers(0, 3), st.integers(1, 9))
IDS = st.sampled_from([1, 2, 2**63 - 1])


def standing(record: Json) -> tuple[bool, datetime, int, int]:
    """What decides, as the contract words it: (version, file, position), a null version before every other."""
    version = record["version"]
    return (version is not None, version or NOON, record[FILE], record[POSITION])


@st.composite
def keys(draw: st.DrawFn) -> list[Json]:
    places = draw(st.lists(PLACES, unique=True, max_size=12))
    return [
        {
            "order_id": draw(IDS),
            "version": draw(VERSIONS),
            FILE: file,
            POSITION: position,
            PART: number % 3,
            ORDER_ROW: number // 3,
        }
        for number, (file, position) in enumerate(places)
    ]


@settings(deadline=None)  # the machine may be busy
@given(keys(), st.randoms())
def test_all_but_the_greatest_version_lose_in_whatever_order_the_keys_come(
    records: list[Json], random: Random
) -> None:
    best: dict[int, Json] = {}
    for record in sorted(records, key=standing):
        best[record["order_id"]] = record
    expected = {(r[PART], r[ORDER_ROW]) for r in records if r is not best[r["order_id"]]}
    random.shuffle(records)
    table = pa.Table.from_pylist(records, schema=KEYS)
    halves = pa.concat_tables([table.slice(0, 3), table.slice(3)])
    lost = losers(halves)
    assert lost.schema == pa.schema([KEYS.field(PART), KEYS.field(ORDER_ROW)])
    found = [(row[PART], row[ORDER_ROW]) for row in lost.to_pylist()]
    assert len(found) == len(set(found))
    assert set(found) == expected


@settings(deadline=None)
@given(
    keys(),
    st.lists(st.lists(st.tuples(PLACES, IDS, VERSIONS), unique_by=lambda r: r[0])),
    st.randoms(),
)
def test_an_order_that_was_read_again_takes_the_place_of_its_former_self_whatever_their_versions(
    records: list[Json], replays: list[list[Any]], random: Random
) -> None:
    again = [
        {
            "order_id": order_id,
            "version": version,
            FILE: place[0],
            POSITION: place[1],
            PART: part,
            ORDER_ROW: row,
        }
        for part, read in enumerate(replays)
        for row, (place, order_id, version) in enumerate(read)
    ]
    records = [*again, *({**record, PART: record[PART] + len(replays)} for record in records)]
    at_place: dict[tuple[int, int], Json] = {}
    for record in sorted(records, key=lambda record: -record[PART]):
        at_place[record[FILE], record[POSITION]] = record
    best: dict[int, Json] = {}
    for record in sorted(at_place.values(), key=standing):
        best[record["order_id"]] = record
    expected = {(r[PART], r[ORDER_ROW]) for r in records if r is not best.get(r["order_id"])}
    random.shuffle(records)
    table = pa.Table.from_pylist(records, schema=KEYS)
    lost = losers(table, pa.Table.from_pylist(again, schema=KEYS)).to_pylist()
    found = [(row[PART], row[ORDER_ROW]) for row in lost]
    assert len(found) == len(set(found))
    assert set(found) == expected
    # A task sees the orders of its own ids alone, and all that were read again.
    alone = [
        losers(part, pa.Table.from_pylist(again, schema=KEYS))
        for part in (table.filter(pc.equal(table["order_id"], n)) for n in (1, 2, 2**63 - 1))
    ]
    assert {(r[PART], r[ORDER_ROW]) for one in alone for r in one.to_pylist()} == expected


def test_children_of_an_order_that_lost_go_with_it() -> None:
    schema = staged_schemas()["fact_order_line"]
    lines = [{ORDER_ROW: row, "order_id": 1, "line_id": n} for n, row in enumerate([0, 0, 1, 2])]
    table = pa.Table.from_pylist(lines, schema=schema)
    assert keep(table, pa.array([0, 2]))["line_id"].to_pylist() == [2]
    assert keep(table, pa.array([], pa.int64())).equals(table)


ORDERS = pa.schema([KEYS.field(name) for name in (ORDER_ROW, "version", FILE, POSITION)])


def said_of(dimension: Table) -> Table:
    return next(table for table in SAID if table.name == dimension.name)


@st.composite
def sayings(draw: st.DrawFn) -> tuple[list[Json], list[Json]]:
    """Orders, and what their lines say of product variants: each line something else."""
    orders = [{k: r[k] for k in ORDERS.names} | {ORDER_ROW: n} for n, r in enumerate(draw(keys()))]
    lines: list[Json] = []
    for order in orders:
        for _ in range(draw(st.integers(0, 3))):
            product_id, variant_id = draw(st.tuples(IDS, IDS))
            sku = draw(st.sampled_from([None, f"sku {len(lines)}"]))
            line = {"product_id": product_id, "variant_id": variant_id, "sku": sku}
            lines.append({ORDER_ROW: order[ORDER_ROW], "title": f"line {len(lines)}", **line})
    return orders, lines


@settings(deadline=None)
@given(sayings(), st.randoms(), st.sets(st.integers(0, 11)))
def test_a_dimensions_row_comes_whole_from_the_greatest_order_and_its_last_line(
    saying: tuple[list[Json], list[Json]], random: Random, lost: set[int]
) -> None:
    orders, lines = saying
    orders = [order for order in orders if order[ORDER_ROW] not in lost]
    by_row = {order[ORDER_ROW]: order for order in orders}
    expected: dict[tuple[int, int], Json] = {}
    heard = [line for line in lines if line[ORDER_ROW] in by_row]
    for line in sorted(heard, key=lambda line: standing(by_row[line[ORDER_ROW]])):
        order = by_row[line[ORDER_ROW]]
        whole = {"variant_title": None, "vendor": None, **line, **order}
        del whole[ORDER_ROW]
        expected[line["product_id"], line["variant_id"]] = whole

    random.shuffle(orders)
    dimension = said_of(dim_product_variant)
    rows = pa.Table.from_pylist(lines, schema=flat_schemas()[dimension.name])
    made = said(dimension, rows, ranked(pa.Table.from_pylist(orders, schema=ORDERS)))
    found = {(row["product_id"], row["variant_id"]): row for row in made.to_pylist()}
    assert len(found) == made.num_rows
    assert found == expected


def test_what_is_said_has_the_columns_of_its_storage_table() -> None:
    row = {ORDER_ROW: 0, "device_id": 7, "last_location_id": None}
    order = {ORDER_ROW: 0, "version": None, FILE: 3, POSITION: 1}
    dimension = said_of(dim_device)
    rows = pa.Table.from_pylist([row], schema=flat_schemas()[dimension.name])
    for taken in (rows, rows.slice(1)):
        made = said(dimension, taken, ranked(pa.Table.from_pylist([order], schema=ORDERS)))
        assert made.schema == pa.schema(
            [
                pa.field("device_id", pa.int64(), nullable=False),
                pa.field("last_location_id", pa.int64()),
                pa.field("version", INSTANT_TYPE),
                pa.field(FILE, pa.int64(), nullable=False),
                pa.field(POSITION, pa.int64(), nullable=False),
            ]
        )
        assert made.num_rows == taken.num_rows
