"""Control totals: row counts and exact sums of money by currency, to reconcile loads.

A load is reconciled if the totals of what was decoded equal those of what is stored. Amounts of
different currencies are never added up, and a null currency is a group of its own. No amount and a
sum of 0 are the same. See docs/contract.md#reconciliation.
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
"""Python's default of 28 digits would round a sum of 10^10 of the greatest amounts."""

SumKey = tuple[str | None, str]
"""A currency and the name of a money column."""


@dataclass(frozen=True)
class ControlTotals:
    """Row count and sums of money of a fact.

    Attributes
    ----------
    rows
        Number of rows.
    sums
        Exact sum of each money column by currency, those that are 0 left out. Use :meth:`of` for
        sums that may be 0 or null.
    """

    rows: int = 0
    sums: Mapping[SumKey, Decimal] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: int, sums: Iterable[tuple[str | None, str, Decimal | None]]) -> ControlTotals:
        """Add up ``(currency, column, sum)`` by currency and column; None counts as 0."""
        totals: dict[SumKey, Decimal] = {}
        for currency, column, total in sums:
            if total:
                key = currency, column
                totals[key] = _EXACT.add(totals.get(key, Decimal(0)), total)
        return cls(rows, {key: total for key, total in totals.items() if total})

    def __add__(self, other: ControlTotals) -> ControlTotals:
        """Return the totals of both together."""
        sums = chain(self.sums.items(), other.sums.items())
        return ControlTotals.of(self.rows + other.rows, ((*key, total) for key, total in sums))

    def __sub__(self, other: ControlTotals) -> ControlTotals:
        """Return the difference, which is empty if both are equal."""
        negated = {key: _EXACT.minus(total) for key, total in other.sums.items()}
        return self + ControlTotals(-other.rows, negated)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value: the rows, and ``[currency, column, "12.3400"]`` for each sum.

        The sums are sorted by currency and column, the null currency first.
        """

        def null_first(item: tuple[SumKey, Decimal]) -> tuple[bool, str, str]:
            (currency, column), _ = item
            return currency is not None, currency or "", column

        sums = sorted(self.sums.items(), key=null_first)
        return {
            "rows": self.rows,
            "sums": [[currency, column, f"{total:.4f}"] for (currency, column), total in sums],
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> ControlTotals:
        """Parse the result of :meth:`to_json`."""
        sums = ((currency, column, Decimal(total)) for currency, column, total in record["sums"])
        return cls.of(record["rows"], sums)


def money_columns(name: str) -> list[str]:
    """Return the names of a fact's money columns."""
    return [field.name for field in staged_schemas()[name] if field.type == MONEY_TYPE]


def totals_of(name: str, table: pa.Table) -> ControlTotals:
    """Count the rows of a fact and add up its money by currency.

    Parameters
    ----------
    name
        Name of the fact.
    table
        Its rows, with ``currency`` and the money columns at least, if it has any.
    """
    money = money_columns(name)
    if not money:
        return ControlTotals(table.num_rows)
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
