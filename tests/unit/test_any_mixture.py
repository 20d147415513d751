"""Any mixture of records, however it is cut, gives the same tables and loses no record."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orders_dask.contract.arrow import FILE, POSITION, staged_schemas
from orders_dask.contract.order_tables import FACTS, fact_order
from orders_dask.stage import write as stage_write
from orders_dask.stage.layout import REJECTED
from orders_dask.stage.record import merge_files
from orders_dask.stage.tables import read_table
from tests.support.parts import numbered, resolved, staged

pytestmark = pytest.mark.groups

money = st.sampled_from(["1.10", "0.00005", 7, "-3", "1,5", None, "1e3", True])
timestamp = st.sampled_from(
    ["2026-10-01T10:00:00+02:00", "2026-10-01T10:00:00.5Z", "2026-10-01 10:00", "noon", None, 5]
)
ids = st.integers(1, 6)
any_id = st.one_of(ids, st.sampled_from([None, 0, "4", "x", 2.0, 10**20]))
text = st.sampled_from(["EUR", "USD", "", None, 5, "ü😀", {"a": 1}])
tax = st.one_of(st.fixed_dictionaries({}, optional={"price": money, "rate": money}), money)
named = st.one_of(st.fixed_dictionaries({"name": text}, optional={"value": text}), text)
line: st.SearchStrategy[Any] = st.one_of(
    st.fixed_dictionaries(
        {"id": any_id},
        optional={
            "quantity": any_id,
            "price": money,
            "tax_lines": st.lists(tax, max_size=2),
            "properties": st.lists(named, max_size=2),
        },
    ),
    st.sampled_from([None, 7]),
)
refund = st.fixed_dictionaries(
    {"id": any_id},
    optional={
        "transactions": st.lists(
            st.fixed_dictionaries(
                {"id": any_id, "kind": st.just("refund"), "status": st.just("success")}
            ),
            max_size=2,
        ),
        "refund_line_items": st.lists(st.fixed_dictionaries({"id": any_id}), max_size=2),
        "order_adjustments": st.lists(st.fixed_dictionaries({"id": any_id}), max_size=2),
    },
)
fulfilment = st.fixed_dictionaries(
    {"id": any_id},
    optional={"line_items": st.lists(st.fixed_dictionaries({"id": any_id}), max_size=2)},
)
order = st.fixed_dictionaries(
    {"id": any_id, "total_price": money},
    optional={
        "updated_at": timestamp,
        "created_at": timestamp,
        "currency": text,
        "test": st.sampled_from([True, "false", "maybe"]),
        "line_items": st.lists(line, max_size=3),
        "refunds": st.lists(refund, max_size=2),
        "fulfillments": st.lists(fulfilment, max_size=2),
        "note_attributes": st.lists(named, max_size=2),
        "discount_codes": st.lists(named, max_size=2),
        "customer": st.sampled_from([None, {"id": 5, "email": "a@b"}, []]),
        "colour": st.just("red"),
    },
)
page = st.fixed_dictionaries({"orders": st.lists(order, max_size=3)})
good_text = st.one_of(order, page).map(json.dumps)
any_text = st.one_of(
    good_text, st.sampled_from(["oops", "5", '{"a": 1}', "[]", '{"id": 1', "{}", " "])
)


def loaded(folder: Path, block_size: int) -> tuple[dict[str, Any], Counter[str], Counter[str]]:
    """Run all steps before the database on the dump in `folder`.

    Returns the tables as Python values, and the records read and accounted for, by fact.
    """
    parts = staged(f"{folder}/dump/", f"{folder}/stage-{block_size}/", block_size)
    files = merge_files(parts)
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in staged_schemas()}
    accounted = Counter[str]()
    for name, rows, others in resolved(parts):
        accounted[name] += len(rows) + others
        tables[name] += rows
    read = Counter[str]()
    for file in files.values():
        read.update(file.read)
        accounted.update(file.rejected)
    rejected = [
        row
        for one in numbered(parts)
        for row in one.with_ledger_ids(read_table(one.part, REJECTED)).to_pylist()
    ]
    issues = {
        (name, issue.field, issue.code): (issue.count, issue.samples)
        for name, file in files.items()
        for issue in file.issues
    }
    unordered = {name: sorted(rows, key=repr) for name, rows in tables.items()}
    return {**unordered, "rejected": sorted(rejected, key=repr), "issues": issues}, read, accounted


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(any_text, max_size=8), min_size=1, max_size=3),
    st.integers(20, 400),
    st.sampled_from([1, 5_000, 1 << 26]),
)
def test_any_mixture_of_records_in_any_split_gives_the_same_tables_and_loses_none(
    files: list[list[str]], block_size: int, flush: int
) -> None:
    with TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "dump").mkdir()
        for number, texts in enumerate(files):
            lines = ['{"id": 99, "total_price": "1"}', *texts]  # certainly newline-delimited
            (folder / "dump" / f"{number}.ndjson").write_text("".join(f"{t}\n" for t in lines))
        whole, read, accounted = loaded(folder, 1 << 20)
        with patch.object(stage_write, "ROW_GROUP_BYTES", flush):
            cut, cut_read, cut_accounted = loaded(folder, block_size)
    assert cut == whole
    for fact in FACTS:
        assert read[fact.name] == accounted[fact.name], fact.name
        assert cut_read[fact.name] == cut_accounted[fact.name], fact.name
    positions = [(row[FILE], row[POSITION]) for row in whole[fact_order.name]]
    assert len(set(positions)) == len(positions)
    order_ids = [row["order_id"] for row in whole[fact_order.name]]
    assert len(set(order_ids)) == len(order_ids)
