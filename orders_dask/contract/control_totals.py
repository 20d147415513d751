"""The books: rows and exact sums of money by currency, to compare what was decoded with what is stored.

Amounts of different currencies are never added up, and a null currency is a group of its own. A sum
of 0 and no sum at all are the same: a column of nothing but nulls counts as 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal, Inexact
from itertools import chain
from typing import Any, Final

import pyarrow as pa

from orders_dask.contract.arrow import MONEY_TYPE, staged_schemas
from orders_dask.contract.order_tables import fact_order

CURRENCY: Final = fact_order.c.currency.name

_EXACT: Final = Context(prec=60, traps=[Inexact])
"""Python's default of 28 digits would round a sum of 10^10 of the greatest amounts; 60 are enough for any."""

SumKey = tuple[str | None, str]
"""A currency and the name of a money column."""


@dataclass(frozen=True)
class ControlTotals:
    """Rows, and sums of money, of a fact.

    Attributes
    ----------
    rows
        Number of rows.
    sums
        Exact sum of each money column by currency; only those that are not 0. Make books from sums
        that may be 0 or null with :meth:`of`.
    """

    rows: int = 0
    sums: Mapping[SumKey, Decimal] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: int, sums: Iterable[tuple[str | None, str, Decimal | None]]) -> ControlTotals:
        """Make books from ``(currency, column, sum)``; sums of the same pair are added up, None counts as 0."""
        totals: dict[SumKey, Decimal] = {}
        for currency, column, total in sums:
            if total:
                entry = currency, column
                totals[entry] = _EXACT.add(totals.get(entry, Decimal(0)), total)
        return cls(rows, {entry: total for entry, total in totals.items() if total})

    def __add__(self, other: ControlTotals) -> ControlTotals:
        """Give the books of both together."""
        sums = chain(self.sums.items(), other.sums.items())
        return ControlTotals.of(self.rows + other.rows, ((*entry, total) for entry, total in sums))

    def __sub__(self, other: ControlTotals) -> ControlTotals:
        """Give the books of what is left when `other` is taken out: empty where both are equal."""
        return self + ControlTotals(
            -other.rows, {e: _EXACT.minus(s) for e, s in other.sums.items()}
        )

    def to_json(self) -> dict[str, Any]:
        """Give what JSON can hold: the rows, and ``[currency, column, "12.3400"]`` sorted, the null currency first."""
        entries = sorted(
            self.sums.items(), key=lambda e: (e[0][0] is not None, e[0][0] or "", e[0][1])
        )
        return {
            "rows": self.rows,
            "sums": [[currency, column, f"{total:.4f}"] for (currency, column), total in entries],
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> ControlTotals:
        """Read what :meth:`to_json` gave."""
        sums = ((currency, column, Decimal(total)) for currency, column, total in record["sums"])
        return cls.of(record["rows"], sums)


def money_columns(name: str) -> list[str]:
    """Name the columns of a fact that hold money."""
    return [field.name for field in staged_schemas()[name] if field.type == MONEY_TYPE]


def totals_of(name: str, table: pa.Table) -> ControlTotals:
    """Count the rows of a fact and add up its money by currency.

    Parameters
    ----------
    name
        The fact.
    table
        Its rows, with at least ``currency`` and the money columns.
    """
    money = money_columns(name)
    # Sums of decimal128 come as decimal128(38, 4): room for 10^16 rows of the greatest amounts.
    groups = (
        table.select([CURRENCY, *money])
        .group_by(CURRENCY, use_threads=False)
        .aggregate([(column, "sum") for column in money])
    )
    currencies = groups[CURRENCY].to_pylist()
    return ControlTotals.of(
        table.num_rows,
        (
            (currency, column, total)
            for column in money
            for currency, total in zip(currencies, groups[f"{column}_sum"].to_pylist(), strict=True)
        ),
    )
