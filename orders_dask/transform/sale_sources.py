"""What orders, lines and refunds say of sales: rows of which events are made. Arrow in, Arrow out.

Each source is a query of ``sql/sale_events.sql`` in Arrow: change both, which a test compares. Each
gives rows of :data:`ROWS`, whatever its facts are like.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orders_dask.contract.arrow import DAY_TYPE, ORDER_ROW
from orders_dask.contract.columns import MONEY
from orders_dask.contract.order_tables import fact_order, fact_order_line, fact_shipping_line
from orders_dask.contract.refund_tables import fact_refund, fact_refund_adjustment, fact_refund_line
from orders_dask.transform.refunds import is_of_shipping

READ_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    fact_order.name: (
        *(ORDER_ROW, "customer_id", "user_id", "location_id", "device_id"),
        *("created_at", "processed_at", "cancelled_at", "processed_local_date"),
        *("created_utc_offset_min", "currency", "source_name", "test", "taxes_included"),
        *("financial_status", "refund_count", "line_count"),
        *("total_tax", "original_total_duties", "original_total_fees"),
    ),
    fact_order_line.name: (
        *(ORDER_ROW, "line_id", "is_tip", "gift_card", "quantity", "current_quantity"),
        *("price", "line_discount", "line_tax"),
    ),
    fact_shipping_line.name: (
        *(ORDER_ROW, "is_removed", "price", "discounted_price"),
        *("shipping_discount", "shipping_tax"),
    ),
    fact_refund.name: (ORDER_ROW, "refund_id", "refunded_local_date", "refunded_shipping"),
    fact_refund_line.name: (
        *(ORDER_ROW, "refund_id", "line_id", "quantity", "subtotal", "total_tax"),
    ),
    fact_refund_adjustment.name: (ORDER_ROW, "refund_id", "kind", "amount", "tax_amount"),
}
"""The columns of facts that events are made of."""

AMOUNT: Final = pa.decimal256(60, MONEY.scale)
"""A product of quantity and price has 42 digits, and each addition needs one more."""

UNITS: Final = pa.decimal256(24, 0)
"""Sums of int64 would wrap around: this has room for those of 10^5 refunds of a line."""

NOTHING: Final = pa.scalar(Decimal(0), AMOUNT)

_NO_UNITS: Final = pa.scalar(Decimal(0), UNITS)

ROWS: Final = pa.schema(
    [
        (ORDER_ROW, pa.int64()),
        ("cause", pa.string()),
        ("line_type", pa.string()),
        ("quantity", UNITS),
        ("amount", AMOUNT),
        ("is_net", pa.bool_()),
        ("discount", AMOUNT),
        ("tax", AMOUNT),
        ("duty", AMOUNT),
        ("fee", AMOUNT),
        ("refunded_local_date", DAY_TYPE),
    ]
)
"""What a source says of an event. ``is_net``: the amount has no taxes in it, whatever the order."""

_DEFAULTS: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("amount", "discount", "tax", "duty", "fee"), NOTHING),
    "is_net": pa.scalar(False),
}


def sale_sources(facts: Mapping[str, pa.Table]) -> pa.Table:
    """Return what all sources say of orders: :data:`ROWS`, in no order.

    Parameters
    ----------
    facts
        By name, the rows of each fact of :data:`READ_COLUMNS` for the same orders, with at least
        these columns.
    """
    orders, lines, shipping_lines, refunds, refund_lines, adjustments = (
        _with_units(facts[name].combine_chunks()) for name in READ_COLUMNS
    )
    lines = lines.append_column("line_type", _line_types(lines))
    return pa.concat_tables(
        [
            _of_lines(lines),
            _of_shipping_lines(shipping_lines),
            _of_orders(orders, lines, shipping_lines),
            _of_edits(lines, refund_lines),
            _of_refund_lines(refund_lines, lines, refunds),
            _of_adjustments(adjustments, refunds),
            _of_refunded_shipping(refunds, adjustments),
        ]
    ).combine_chunks()


def _with_units(rows: pa.Table) -> pa.Table:
    """Return rows of a fact whose numbers of units are :data:`UNITS`."""
    for number, name in enumerate(rows.column_names):
        if name in ("quantity", "current_quantity"):
            rows = rows.set_column(number, name, rows[name].cast(UNITS))
    return rows


def _line_types(lines: pa.Table) -> pa.ChunkedArray:
    is_tip, is_gift_card = (lines[name].fill_null(False) for name in ("is_tip", "gift_card"))
    return pc.if_else(is_tip, "tip", pc.if_else(is_gift_card, "gift_card", "product"))


def _rows(source: pa.Table, cause: str, line_type: Any, **columns: Any) -> pa.Table:
    """Return rows of :data:`ROWS` from columns, constants and defaults."""
    known = {
        **_DEFAULTS,
        **columns,
        ORDER_ROW: source[ORDER_ROW],
        "cause": pa.scalar(cause),
        "line_type": line_type,
    }

    def column(field: pa.Field) -> Any:
        value = known.get(field.name, pa.scalar(None, field.type))
        if isinstance(value, pa.Scalar):
            value = pa.repeat(value, source.num_rows)
        return value.cast(field.type)

    return pa.table([column(field) for field in ROWS], schema=ROWS)


def _of_lines(lines: pa.Table) -> pa.Table:
    return _rows(
        lines,
        "sale",
        lines["line_type"],
        quantity=lines["quantity"],
        amount=_times(lines["price"], lines["quantity"]),
        discount=lines["line_discount"],
        tax=lines["line_tax"],
    )


def _charged(shipping_lines: pa.Table) -> pa.Table:
    return shipping_lines.filter(pc.invert(shipping_lines["is_removed"].fill_null(False)))


def _of_shipping_lines(shipping_lines: pa.Table) -> pa.Table:
    lines = _charged(shipping_lines)
    discounted = pc.subtract(lines["price"], lines["shipping_discount"])
    amount = pc.coalesce(lines["discounted_price"].cast(discounted.type), discounted)
    return _rows(lines, "sale", pa.scalar("shipping"), amount=amount, tax=lines["shipping_tax"])


def _of_orders(orders: pa.Table, lines: pa.Table, shipping_lines: pa.Table) -> pa.Table:
    """Return what orders have beyond their lines and shipping: other taxes, duties, fees."""
    charged = _charged(shipping_lines)
    taxes = pa.concat_tables(
        [
            pa.table({ORDER_ROW: lines[ORDER_ROW], "tax": lines["line_tax"]}),
            pa.table({ORDER_ROW: charged[ORDER_ROW], "tax": charged["shipping_tax"]}),
        ]
    )
    known = _joined(orders, _sums(taxes, [ORDER_ROW], "tax"), [ORDER_ROW], "tax")
    tax = pc.subtract(orders["total_tax"].cast(AMOUNT), known.cast(AMOUNT).fill_null(0))
    duty, fee = (
        orders[name].cast(AMOUNT).fill_null(0)
        for name in ("original_total_duties", "original_total_fees")
    )
    counts = pc.equal(orders["line_count"], 0)
    for amount in (tax, duty, fee):
        counts = pc.or_kleene(counts, pc.not_equal(amount, NOTHING))
    rows = _rows(orders, "sale", pa.scalar("adjustment"), tax=tax, duty=duty, fee=fee)
    return rows.filter(counts)


def _of_edits(lines: pa.Table, refund_lines: pa.Table) -> pa.Table:
    """Return the units that an edit took away: what is missing and was not refunded."""
    lines = lines.filter(pc.less(lines["current_quantity"], lines["quantity"]))
    key = [ORDER_ROW, "line_id"]
    refunded = _joined(lines, _sums(refund_lines, key, "quantity"), key, "quantity")
    missing = pc.subtract(lines["quantity"], lines["current_quantity"])
    edited = pc.subtract(missing, refunded.cast(UNITS).fill_null(0)).cast(UNITS)
    lines = lines.append_column("edited", edited)
    lines = lines.filter(pc.greater(edited, _NO_UNITS))
    return _rows(
        lines,
        "edit",
        lines["line_type"],
        quantity=lines["edited"],
        amount=_times(lines["price"], lines["edited"]),
        discount=_share(lines["line_discount"], lines),
        tax=_share(lines["line_tax"], lines),
    )


def _share(amount: pa.ChunkedArray, lines: pa.Table) -> pa.ChunkedArray:
    """Return the part of a line's amount for its edited units, rounded half away from 0.

    The quotient is cut off behind 29 decimals, which rounds to the same as the exact one.
    """
    units = lines["quantity"]
    divisor = pc.if_else(pc.equal(units, _NO_UNITS), pa.scalar(None, UNITS), units)
    quotient = pc.divide(_times(amount, lines["edited"]), divisor)
    return pc.round(quotient, MONEY.scale, "half_towards_infinity")


def _of_refund_lines(refund_lines: pa.Table, lines: pa.Table, refunds: pa.Table) -> pa.Table:
    line_type = _joined(refund_lines, lines, [ORDER_ROW, "line_id"], "line_type")
    return _rows(
        refund_lines,
        "refund",
        line_type.fill_null("product"),
        quantity=refund_lines["quantity"],
        amount=refund_lines["subtotal"],
        tax=refund_lines["total_tax"],
        refunded_local_date=_refund_days(refund_lines, refunds),
    )


def _refund_days(children: pa.Table, refunds: pa.Table) -> pa.ChunkedArray:
    return _joined(children, refunds, [ORDER_ROW, "refund_id"], "refunded_local_date")


def _of_adjustments(adjustments: pa.Table, refunds: pa.Table) -> pa.Table:
    adjustments = adjustments.filter(pc.invert(is_of_shipping(adjustments["kind"])))
    return _rows(
        adjustments,
        "refund",
        pa.scalar("adjustment"),
        amount=pc.negate(adjustments["amount"]),
        is_net=pa.scalar(True),
        tax=pc.negate(adjustments["tax_amount"]),
        refunded_local_date=_refund_days(adjustments, refunds),
    )


def _of_refunded_shipping(refunds: pa.Table, adjustments: pa.Table) -> pa.Table:
    key = [ORDER_ROW, "refund_id"]
    of_shipping = adjustments.filter(is_of_shipping(adjustments["kind"]))
    taxes = _sums(of_shipping, key, "tax_amount")
    tax = _joined(refunds, taxes, key, "tax_amount").cast(AMOUNT).fill_null(0)
    amount = refunds["refunded_shipping"].cast(AMOUNT)
    is_known_as_nothing = pc.equal(amount, NOTHING).fill_null(False)
    counts = pc.or_(pc.invert(is_known_as_nothing), pc.not_equal(tax, NOTHING))
    rows = _rows(
        refunds,
        "refund",
        pa.scalar("shipping"),
        amount=amount,
        is_net=pa.scalar(True),
        tax=pc.negate(tax),
        refunded_local_date=refunds["refunded_local_date"],
    )
    return rows.filter(counts)


def _times(amount: pa.ChunkedArray, units: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.multiply(amount.cast(pa.decimal256(MONEY.precision, MONEY.scale)), units)


def _sums(rows: pa.Table, key: list[str], name: str) -> pa.Table:
    """Return the sum of a column by key; null where it is null in all rows."""
    # A worker runs as many tasks as it has threads already.
    sums = rows.group_by(key, use_threads=False).aggregate([(name, "sum")])
    return sums.rename_columns({f"{name}_sum": name})


def _joined(rows: pa.Table, other: pa.Table, key: list[str], name: str) -> pa.ChunkedArray:
    """Return a column of the row of another table with the same key; null where there is none."""
    numbered = rows.select(key).append_column("row", pa.array(np.arange(rows.num_rows)))
    joined = numbered.join(
        other.select([*key, name]), key, join_type="left outer", use_threads=False
    )
    return joined.sort_by("row")[name]
