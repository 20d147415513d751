"""A dimension row comes from the greatest version, and from the last row staged of that order."""

from __future__ import annotations

from random import Random

import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Table

from orders_dask.contract.arrow import FILE, ORDER_ROW, POSITION, TIMESTAMP_TYPE, flat_schemas
from orders_dask.contract.dimension_tables import attributes, dim_device, dim_product_variant
from orders_dask.contract.storage_tables import DIMENSION_ROWS
from orders_dask.transform.dimensions import latest_per_key, sort_by_version
from tests.support.keys import IDS, KEYS, Json, keys, version_key

ORDERS = pa.schema([KEYS.field(name) for name in (ORDER_ROW, "version_at", FILE, POSITION)])


def rows_table(dimension: Table) -> Table:
    return next(table for table in DIMENSION_ROWS if table.name == dimension.name)


@st.composite
def orders_and_lines(draw: st.DrawFn) -> tuple[list[Json], list[Json]]:
    """Draw orders and their lines, each with other attributes of a product variant."""
    orders = [{k: r[k] for k in ORDERS.names} | {ORDER_ROW: n} for n, r in enumerate(draw(keys()))]
    lines: list[Json] = []
    for order in orders:
        for _ in range(draw(st.integers(0, 3))):
            product_id, variant_id = draw(st.tuples(IDS, IDS))
            sku = draw(st.sampled_from([None, f"sku {len(lines)}"]))
            line = {"product_id": product_id, "variant_id": variant_id, "sku": sku}
            title = draw(st.sampled_from([None, f"line {len(lines)}"]))
            lines.append({ORDER_ROW: order[ORDER_ROW], "title": title, **line})
    return orders, lines


def has_attribute(row: Json) -> bool:
    return any(row.get(column.name) for column in attributes(dim_product_variant))


@settings(deadline=None)
@given(orders_and_lines(), st.randoms(), st.sets(st.integers(0, 11)))
def test_a_dimensions_row_comes_whole_from_the_greatest_order_that_has_an_attribute(
    drawn: tuple[list[Json], list[Json]], random: Random, superseded: set[int]
) -> None:
    orders, lines = drawn
    orders = [order for order in orders if order[ORDER_ROW] not in superseded]
    by_row = {order[ORDER_ROW]: order for order in orders}
    expected: dict[tuple[int, int], Json] = {}
    current_lines = [line for line in lines if line[ORDER_ROW] in by_row]
    for line in sorted(current_lines, key=lambda line: version_key(by_row[line[ORDER_ROW]])):
        order = by_row[line[ORDER_ROW]]
        whole = {"variant_title": None, "vendor": None, **line, **order}
        del whole[ORDER_ROW]
        key = line["product_id"], line["variant_id"]
        if has_attribute(line) or not has_attribute(expected.get(key, {})):
            expected[key] = whole

    random.shuffle(orders)
    dimension = rows_table(dim_product_variant)
    rows = pa.Table.from_pylist(lines, schema=flat_schemas()[dimension.name])
    rows = rows.filter(pc.is_in(rows[ORDER_ROW], pa.array([*by_row], pa.int64())))
    made = latest_per_key(
        dimension, rows, sort_by_version(pa.Table.from_pylist(orders, schema=ORDERS))
    )
    found = {(row["product_id"], row["variant_id"]): row for row in made.to_pylist()}
    assert len(found) == made.num_rows
    assert found == expected


def test_dimension_rows_have_the_columns_of_their_storage_table() -> None:
    row = {ORDER_ROW: 0, "device_id": 7, "last_location_id": None}
    order = {ORDER_ROW: 0, "version_at": None, FILE: 3, POSITION: 1}
    dimension = rows_table(dim_device)
    rows = pa.Table.from_pylist([row], schema=flat_schemas()[dimension.name])
    for taken in (rows, rows.slice(1)):
        made = latest_per_key(
            dimension, taken, sort_by_version(pa.Table.from_pylist([order], schema=ORDERS))
        )
        assert made.schema == pa.schema(
            [
                pa.field("device_id", pa.int64(), nullable=False),
                pa.field("last_location_id", pa.int64()),
                pa.field("version_at", TIMESTAMP_TYPE),
                pa.field(FILE, pa.int64(), nullable=False),
                pa.field(POSITION, pa.int64(), nullable=False),
            ]
        )
        assert made.num_rows == taken.num_rows
