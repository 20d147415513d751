"""Compute what each refund gave back: as money, as value, and for shipping.

See docs/contract.md#fact_refund. Sums are wider than their columns.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from orders_dask.contract.arrow import MONEY_TYPE
from orders_dask.transform.nested import (
    Columns,
    Rows,
    count_by_row,
    explode,
    null_where_missing,
    struct_field,
    sum_by_row,
)

_NOTHING: Final = pa.scalar(Decimal(0), MONEY_TYPE)

_SUM_TYPE: Final = pa.decimal256(38, 4)
"""Type in which sums are added up: decimal128 has no room for the result."""


def refunded_amount(refunds: pa.StructArray, refund: Columns) -> pa.Array:
    """Add up the successful refund transactions of each refund.

    The sum is null if one of them has no amount or another currency than the order, and if a
    transaction could not be read.
    """
    lists = struct_field(refunds, "transactions")
    transactions = explode(lists)
    succeeded = pc.and_(
        pc.equal(struct_field(transactions.values, "kind"), "refund"),
        pc.equal(struct_field(transactions.values, "status"), "success"),
    )
    unknown = transactions.values.is_null()
    transactions = transactions.where(pc.or_(succeeded.fill_null(False), unknown))
    currency = struct_field(transactions.values, "currency")
    expected = refund["currency"].take(pa.array(transactions.lists))
    matches = pc.or_(currency.is_null(), pc.equal(currency, expected).fill_null(False))
    amounts = pc.if_else(matches, struct_field(transactions.values, "amount"), None)
    return null_where_missing(sum_by_row(amounts, transactions.lists, len(lists)), lists)


def refunded_shipping(refunds: pa.StructArray, adjustment: Columns, rows: Rows) -> pa.Array:
    """Return the shipping that each refund gave back, before taxes.

    Dumps since version 2024-10 of the API have it twice: as adjustments, which count where there
    are any, and as refunded shipping lines.

    Parameters
    ----------
    refunds
        Records of refunds.
    adjustment, rows
        Columns of their adjustments, and the row of each one's refund.
    """
    of_shipping = is_of_shipping(adjustment["kind"])
    chosen = of_shipping.to_numpy(zero_copy_only=False)
    adjusted = sum_by_row(adjustment["amount"].filter(of_shipping), rows[chosen], len(refunds))
    lines = explode(struct_field(refunds, "refund_shipping_lines"))
    amounts = struct_field(lines.values, "subtotal_amount_set.shop_money.amount")
    is_adjusted = pa.array(count_by_row(rows[chosen], len(refunds)) > 0)
    return pc.if_else(
        is_adjusted, pc.negate(adjusted), sum_by_row(amounts, lines.lists, len(refunds))
    )


def refunded_value(
    shipping: pa.Array,
    line: Columns,
    line_rows: Rows,
    taxes_included: pa.BooleanArray,
    adjustment: Columns,
    adjustment_rows: Rows,
) -> pa.Array:
    """Return the value of what each refund gave back: lines and shipping, less adjustments.

    Parameters
    ----------
    shipping
        The shipping that each refund gave back.
    line, line_rows
        Columns of the refunded lines, and the row of each one's refund.
    taxes_included
        For each refunded line, whether taxes are in its subtotal.
    adjustment, adjustment_rows
        Columns of the adjustments, and the row of each one's refund.
    """
    taxes = pc.if_else(taxes_included.fill_null(False), _NOTHING, line["total_tax"])
    lines = sum_by_row(pc.add(line["subtotal"], taxes), line_rows, len(shipping))
    others = pc.if_else(is_of_shipping(adjustment["kind"]), _NOTHING, adjustment["amount"])
    adjusted = sum_by_row(pc.add(others, adjustment["tax_amount"]), adjustment_rows, len(shipping))
    lines, adjusted, shipping = (each.cast(_SUM_TYPE) for each in (lines, adjusted, shipping))
    return pc.add(pc.subtract(lines, adjusted), shipping)


def is_of_shipping(kind: Any) -> Any:
    """Return whether each adjustment, by its kind, is shipping that was given back."""
    return pc.equal(kind, "shipping_refund").fill_null(False)
