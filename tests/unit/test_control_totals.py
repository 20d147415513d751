"""Control totals add up exactly, by currency, whatever pieces they are made of."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orders_dask.contract.arrow import MONEY_TYPE, ORDER_ROW, staged_schemas
from orders_dask.contract.control_totals import ControlTotals, money_columns, totals_of
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.refund_tables import fact_refund_adjustment

ADJUSTMENT = fact_refund_adjustment.name
GREATEST = Decimal("999999999999999999.9999")
AMOUNTS = (
    st.none() | st.decimals(-GREATEST, GREATEST, places=4) | st.sampled_from([GREATEST, -GREATEST])
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            ORDER_ROW: st.just(0),
            "amount": AMOUNTS,
            "tax_amount": AMOUNTS,
            "currency": st.sampled_from([None, "", "USD", "usd"]),
        }
    ),
    max_size=8,
)


def adjustments(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=staged_schemas()[ADJUSTMENT])


@settings(deadline=None)  # the machine may be busy
@given(ROWS, st.integers(0, 8))
def test_control_totals_of_a_table_are_the_sum_of_those_of_its_pieces(
    rows: list[dict[str, Any]], cut: int
) -> None:
    whole = adjustments(rows)
    exact: dict[tuple[str | None, str], Fraction] = {}
    for row in rows:
        for column in ("amount", "tax_amount"):
            entry = row["currency"], column
            exact[entry] = exact.get(entry, Fraction(0)) + Fraction(row[column] or 0)
    found = totals_of(ADJUSTMENT, whole)
    assert found == ControlTotals(len(rows), {entry: s for entry, s in found.sums.items() if s})
    assert {e: Fraction(s) for e, s in found.sums.items()} == {e: s for e, s in exact.items() if s}

    pieces = [totals_of(ADJUSTMENT, whole.slice(0, cut)), totals_of(ADJUSTMENT, whole.slice(cut))]
    assert sum(pieces, ControlTotals()) == found
    assert found - pieces[0] == pieces[1]
    assert found - found == ControlTotals()
    assert ControlTotals.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_sums_of_many_of_the_greatest_amounts_are_exact() -> None:
    rows = 10**6
    amounts = pa.repeat(pa.scalar(GREATEST, MONEY_TYPE), rows)
    table = pa.table(
        {"currency": pa.nulls(rows, pa.string()), "amount": amounts, "tax_amount": amounts}
    )
    found = totals_of(ADJUSTMENT, table)
    total = Fraction(GREATEST) * rows
    assert Fraction(found.sums[None, "amount"]) == total
    for _ in range(30):  # 2^30 times as much: 34 digits, where Python's default is 28
        found += found
    assert Fraction(found.sums[None, "amount"]) == total * 2**30
    assert ControlTotals.from_json(found.to_json()) == found


def test_a_sum_of_nothing_is_the_same_as_a_sum_of_0() -> None:
    assert ControlTotals.of(
        2, [("USD", "amount", None), ("USD", "tax_amount", Decimal(0))]
    ) == ControlTotals(2)
    assert ControlTotals(2) != ControlTotals(3)


def test_json_is_sorted_with_the_null_currency_first_and_amounts_of_four_decimals() -> None:
    sums = [
        ("USD", "b", Decimal("-5")),
        ("USD", "a", Decimal("12.34")),
        (None, "b", Decimal("1E+3")),
    ]
    expected = {
        "rows": 3,
        "sums": [[None, "b", "1000.0000"], ["USD", "a", "12.3400"], ["USD", "b", "-5.0000"]],
    }
    assert (
        ControlTotals.of(3, sums).to_json() == ControlTotals.of(3, sums[::-1]).to_json() == expected
    )


@pytest.mark.groups
@pytest.mark.parametrize("name", [fact.name for fact in FACTS])
def test_every_money_column_of_a_fact_is_in_its_control_totals(name: str) -> None:
    schema = staged_schemas()[name]
    row = {f.name: Decimal("0.0001") for f in schema if f.type == pa.decimal128(22, 4)}
    table = pa.Table.from_pylist([{ORDER_ROW: 0, "currency": "EUR", **row}], schema=schema)
    assert totals_of(name, table).rows == 1
    assert totals_of(name, table).sums == {("EUR", column): Decimal("0.0001") for column in row}
    assert money_columns(name) == list(row)
