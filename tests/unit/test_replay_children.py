"""Orders with bad children that are corrected and replayed equal those of a corrected dump."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orders_dask.contract.arrow import FILE, ORDER_ROW, POSITION, staged_schemas
from orders_dask.contract.ledger_tables import counter_column
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.rejects import StoredReject
from orders_dask.extract.decode.replay import replay_records
from orders_dask.pipeline.staged_rows import normalise_replayed
from orders_dask.stage.layout import REJECTED, REPLAYED
from orders_dask.stage.record import Part, merge_files
from orders_dask.stage.tables import read_table
from orders_dask.stage.write import write_part
from tests.support.parts import numbered, resolved, staged

pytestmark = pytest.mark.groups

Json = Any

ZONE = ZoneInfo("UTC")

ids = st.sampled_from([1, 2, 3, None, "x"])
taxes = st.lists(st.sampled_from([{"price": "1"}, {}, None]), max_size=2)
child = st.fixed_dictionaries(
    {"id": ids}, optional={"price": st.sampled_from(["1.5", "x"]), "tax_lines": taxes}
)
refund = st.fixed_dictionaries(
    {"id": ids},
    optional={
        "refund_line_items": st.lists(st.fixed_dictionaries({"id": ids}), max_size=2),
        "order_adjustments": st.lists(st.fixed_dictionaries({"id": ids}), max_size=2),
        "transactions": st.lists(st.fixed_dictionaries({"id": ids}), max_size=2),
    },
)
order = st.fixed_dictionaries(
    {
        "id": st.integers(1, 4),
        "total_price": st.sampled_from(["1", "2.5"]),
        "line_items": st.lists(child, max_size=3),
    },
    optional={
        "refunds": st.lists(refund, max_size=2),
        "updated_at": st.sampled_from(["2026-10-01T10:00:00Z", "2026-10-01T11:00:00Z"]),
        "customer": st.sampled_from([{"id": 5, "email": "a@b"}, {"id": 5, "email": "c@d"}]),
    },
)


def staged_dump(folder: Path, name: str, orders: list[list[Json]], block_size: int) -> list[Part]:
    """Stage a dump of some files."""
    (folder / name).mkdir()
    for number, texts in enumerate(orders):
        lines = "".join(f"{json.dumps(text)}\n" for text in texts)
        (folder / name / f"{number}.ndjson").write_text(lines)
    return staged(f"{folder}/{name}/", f"{folder}/stage/{name}-", block_size)


def published(parts: list[Part]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the rows of facts and dimensions, and the rejections; check that all is reconciled."""
    files = merge_files(parts)
    tables: dict[str, list[str]] = {name: [] for name in staged_schemas()}
    superseded = Counter[str]()
    for name, rows, others in resolved(parts):
        superseded[name] += others
        tables[name] += map(repr, rows)
    for fact in FACTS:
        read = sum(file.read[fact.name] for file in files.values())
        rejected = sum(file.rejected[fact.name] for file in files.values())
        assert read == len(tables[fact.name]) + superseded[fact.name] + rejected, fact.name
    rejected_rows = rejections(parts)
    lines = sum(file.lines_rejected for file in files.values())
    assert lines == sum(row["path"].startswith("line_items[") for row in rejected_rows)
    return {name: sorted(rows) for name, rows in tables.items()}, sorted(map(repr, rejected_rows))


def rejections(parts: list[Part]) -> list[dict[str, Any]]:
    """Return the rejections in the ledger: of replayed orders, those of the last replay."""
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for one in reversed(numbered(parts)):
        for row in read_table(one.part, REPLAYED).to_pylist():
            if row[ORDER_ROW] is not None:
                found.pop((row["file_id"], row["position"]), None)
        for row in one.with_ledger_ids(read_table(one.part, REJECTED)).to_pylist():
            found.setdefault((row[FILE], row[POSITION]), []).append(row)
    return [row for rows in found.values() for row in rows]


def replay(
    folder: str, parts: list[Part], better: dict[tuple[int, int], str], *, corrected: bool
) -> list[Part]:
    """Replay the orders of rejected children, as they are stored or with better texts.

    `corrected`: people wrote the better texts. Otherwise they stand for the stored texts as a later
    decoder version reads them.
    """
    names = [*merge_files(parts)]

    def at(row: dict[str, Any]) -> tuple[int, int]:
        return row[FILE], row[POSITION]

    records = []
    for where, group in groupby(sorted(rejections(parts), key=at), at):
        rows = [*group]
        counts = {
            fact.name: sum(r[counter_column(fact, "rejected")] for r in rows) for fact in FACTS
        }
        [text] = filter(None, (row["order_raw"] for row in rows))
        text = better.get(where, text)
        paths = tuple(row["path"] for row in rows)
        of_file = where[0], names[where[0]], 1, ""
        code = rows[0]["code"]
        by_people = corrected and where in better
        records.append(StoredReject(*of_file, where[1], code, text, counts, paths, by_people))
    part = write_part(folder, normalise_replayed(replay_records(records, ZONE)))
    return [part, *parts] if part.orders else parts


def repaired(order: Json, is_given: Callable[[], bool]) -> Json:
    """Return an order with new ids for some children, or all."""
    order = deepcopy(order)
    numbers = iter(range(100, 200))
    for one in [order, *order.get("refunds", [])]:
        for key in ("line_items", "refunds", "refund_line_items", "order_adjustments"):
            for child in one.get(key, []):
                if is_given():
                    child["id"] = next(numbers)
    return order


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.lists(order, min_size=1, max_size=4), min_size=1, max_size=2),
    st.sampled_from([100, 1 << 20]),
    st.data(),
)
def test_orders_corrected_after_their_load_equal_those_of_a_corrected_dump(
    dump: list[list[Json]], block_size: int, data: st.DataObject
) -> None:
    with TemporaryDirectory() as made:
        folder = Path(made)
        parts = staged_dump(folder, "dump", dump, block_size)
        assert published(parts)
        assert replay(f"{folder}/stage/as-stored", parts, {}, corrected=False) == parts
        for attempt in range(2):
            by_people = data.draw(st.booleans())
            better = {}
            for number, position in sorted({(r[FILE], r[POSITION]) for r in rejections(parts)}):
                if data.draw(st.booleans()):
                    # Without a correction, only a child that is good now makes an order be replayed.
                    text = repaired(
                        dump[number][position - 1],
                        (lambda: data.draw(st.booleans())) if by_people else (lambda: True),
                    )
                    dump[number][position - 1] = text
                    better[number, position] = json.dumps(text)
            parts = replay(f"{folder}/stage/{attempt}", parts, better, corrected=by_people)
            assert published(parts) == published(
                staged_dump(folder, f"corrected-{attempt}", dump, 1 << 20)
            )
