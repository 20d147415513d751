"""The table of tests/data/README.md is what Python's json and decimal count in the dump."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal

from tests.support.dumps import COMMITTED, Figures, counted, days_of

DAYS = days_of(COMMITTED)
RECORDS = [record for day in DAYS.values() for record in day]


def documented() -> dict[str, list[str]]:
    """Return the table of the README: the cells of each row by the first one."""
    text = COMMITTED.with_name("README.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in text.splitlines()]
    return {row[0]: row[1:] for row in rows if len(row) == 12}


def cells(figures: Figures) -> list[str]:
    counts = (figures.records, figures.rejected, figures.superseded, figures.orders)
    parts = (figures.lines, figures.units, figures.refunds)
    amounts = [figures.total_price.get(c, Decimal()) for c in ("CAD", "EUR", "GBP", "USD")]
    return [*map(str, (*counts, *parts)), *(f"{amount:.2f}" for amount in amounts)]


def test_the_readme_has_the_counts_of_the_dump() -> None:
    table = documented()
    for day, records in DAYS.items():
        assert table[str(day)] == cells(counted(records)), day
    assert table["all as one"] == cells(counted(RECORDS))


def test_the_lines_are_the_records_of_the_zip() -> None:
    text = gzip.decompress(COMMITTED.with_suffix(".ndjson.gz").read_bytes()).decode()
    assert [json.loads(line, parse_float=Decimal) for line in text.splitlines()] == RECORDS


def test_the_dump_has_what_is_hard() -> None:
    text = json.dumps(RECORDS, default=str)
    for noise in ("320.10999999999996", "14.880000000000001", "151.60999999999999"):
        assert noise in text
    offsets = {record["created_at"][19:] for record in RECORDS}
    assert len(offsets) > 1
    by_day = [counted(records) for records in DAYS.values()]
    assert all(figures.superseded for figures in by_day), "an order twice on a run date"
    assert sum(figures.orders for figures in by_day) > counted(RECORDS).orders, "edited later"
    assert any(figures.rejected for figures in by_day)
    assert any(figures.refunds for figures in by_day)
    assert any(record["test"] for record in RECORDS)
