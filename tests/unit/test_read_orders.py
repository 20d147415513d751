"""`read_orders`: a lazy DataFrame of the raw dump, without a client, a database or a stage."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from orders_dask import SettingsError, SourceMissing, read_orders

DAY = date(2026, 10, 1)


@pytest.fixture
def dump(tmp_path: Path) -> str:
    for number in range(3):
        order = {
            "id": number + 1,
            "total_price": "1.10",
            "created_at": "2026-10-01T09:00:00+02:00",
            "line_items": [{"id": 10 * number + n, "quantity": n} for n in (1, 2)],
        }
        folder = tmp_path / "2026-10-01"
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.json").write_text(json.dumps({"orders": [order]}))
    return tmp_path.as_uri() + "/{run_date}/"


def test_the_frame_is_lazy_and_its_types_are_known_before_anything_is_read(dump: str) -> None:
    frame = read_orders(dump, DAY)
    assert frame.dtypes["total_price"] == pd.ArrowDtype(pa.decimal128(22, 4))
    assert frame.dtypes["created_at"] == pd.ArrowDtype(pa.timestamp("us", tz="UTC"))
    computed = frame.compute(scheduler="sync")
    assert list(computed.dtypes) == list(frame.dtypes)
    assert computed["total_price"].sum() == Decimal("3.30")
    assert sorted(computed["order_id"]) == [1, 2, 3]


def test_a_small_block_size_makes_more_partitions_of_the_same_rows(dump: str) -> None:
    one = read_orders(dump, DAY, "fact_order_line", columns=["line_id", "quantity"])
    many = read_orders(
        dump, DAY, "fact_order_line", columns=["line_id", "quantity"], block_size=160
    )
    assert (one.npartitions, many.npartitions) == (1, 3)
    for frame in (one, many):
        rows = frame.compute(scheduler="sync")
        assert list(rows.columns) == ["line_id", "quantity"]
        assert sorted(rows["line_id"]) == [1, 2, 11, 12, 21, 22]


def test_a_dimension_has_a_row_for_each_record_that_has_its_key(tmp_path: Path) -> None:
    lines = [
        {"id": 1, "product_id": 7, "variant_id": 8, "title": "Mug"},
        {"id": 2, "product_id": 7, "title": "no variant"},
    ]
    orders = [
        {"id": 1, "app_id": 5, "source_name": "web", "line_items": lines},
        {"id": 2, "app_id": None, "source_name": "pos", "customer": {"id": 3, "email": "a@b"}},
    ]
    (tmp_path / "a.json").write_text(json.dumps({"orders": orders}))

    def rows(table: str, *columns: str) -> list[tuple[object, ...]]:
        frame = read_orders(tmp_path.as_uri(), DAY, table, columns=columns)
        return [*frame.compute(scheduler="sync").itertuples(index=False, name=None)]

    assert rows("dim_app", "source_name", "app_id") == [("web", 5)]
    assert rows("dim_product_variant", "variant_id", "title") == [(8, "Mug")]
    assert rows("dim_customer", "customer_id", "email") == [(3, "a@b")]


def test_what_is_not_there_is_one_sentence(dump: str) -> None:
    with pytest.raises(SettingsError, match="no table 'fact_orders'"):
        read_orders(dump, DAY, "fact_orders")
    with pytest.raises(SettingsError, match="no column 'colour'"):
        read_orders(dump, DAY, columns=["colour"])
    with pytest.raises(SourceMissing, match="2026-10-02"):
        read_orders(dump, date(2026, 10, 2))


def test_orders_are_read_out_of_their_envelopes(tmp_path: Path) -> None:
    records = [{"_airbyte_data": {"id": n, "total_price": "1.10"}} for n in (1, 2)]
    (tmp_path / "a.json").write_text("\n".join(map(json.dumps, records)))
    frame = read_orders(tmp_path.as_uri(), DAY, record="airbyte")
    assert sorted(frame.compute(scheduler="sync")["order_id"]) == [1, 2]
    with pytest.raises(SettingsError, match="joined by dots"):
        read_orders(tmp_path.as_uri(), DAY, record="a..b")
