"""The events of the sales of orders, as ``sql/sale_events.sql`` has them: Arrow in, Arrow out.

docs/sales.md says what an event is, and a test holds both to the same. Every source of events, such
as lines or refunded lines, gives rows of :data:`_ROWS`. What an amount counts as is worked out of
all of them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orders_dask.contract.arrow import DAY_TYPE, ORDER_ROW
from orders_dask.contract.mart_tables import FIRST_OF_ORDER
from orders_dask.contract.order_tables import fact_order, fact_order_line, fact_shipping_line
from orders_dask.contract.refund_tables import fact_refund, fact_refund_adjustment, fact_refund_line

READ_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    fact_order.name: (
        *(ORDER_ROW, "order_id", "customer_id", "user_id", "location_id", "device_id"),
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

_AMOUNT: Final = pa.decimal256(60, 4)
"""A product of quantity and price has 42 digits, and each addition needs one more."""

_UNITS: Final = pa.decimal256(24, 0)
"""Sums of int64 would wrap around: this has room for those of 10^5 refunds of a line."""

_NOTHING: Final = pa.scalar(Decimal(0), _AMOUNT)

_ROWS: Final = pa.schema(
    [
        (ORDER_ROW, pa.int64()),
        ("cause", pa.string()),
        ("line_type", pa.string()),
        ("quantity", _UNITS),
        ("amount", _AMOUNT),
        ("is_net", pa.bool_()),
        ("discount", _AMOUNT),
        ("tax", _AMOUNT),
        ("duty", _AMOUNT),
        ("fee", _AMOUNT),
        ("refunded_local_date", DAY_TYPE),
    ]
)
"""What a source says of an event. ``is_net``: the amount has no taxes in it, whatever the order."""

_DEFAULTS: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("amount", "discount", "tax", "duty", "fee"), _NOTHING),
    "is_net": pa.scalar(False),
}


def sale_events(facts: Mapping[str, pa.Table]) -> pa.Table:
    """Return the events of orders, in no order.

    Parameters
    ----------
    facts
        By name, the rows of each fact of :data:`READ_COLUMNS` for the same orders, with at least
        these columns.

    Returns
    -------
    pa.Table
        The columns of :data:`~orders_dask.contract.mart_tables.EVENT_COLUMNS` and
        :data:`~orders_dask.contract.mart_tables.FIRST_OF_ORDER`. Amounts are ``decimal256(60, 4)``
        in the order's currency, quantities ``decimal256(24, 0)``.
    """
    orders, lines, shipping_lines, refunds, refund_lines, adjustments = (
        _with_units(facts[name].combine_chunks()) for name in READ_COLUMNS
    )
    lines = lines.append_column("line_type", _line_types(lines))
    rows = pa.concat_tables(
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
    return _events(*_with_orders(rows, orders))


def _rows(source: pa.Table, cause: str, line_type: Any, **columns: Any) -> pa.Table:
    """Return rows of :data:`_ROWS` from columns, constants and defaults."""
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

    return pa.table([column(field) for field in _ROWS], schema=_ROWS)


def _with_units(rows: pa.Table) -> pa.Table:
    """Return rows of a fact whose numbers of units are :data:`_UNITS`."""
    for number, name in enumerate(rows.column_names):
        if name in ("quantity", "current_quantity"):
            units = rows[name].cast(pa.decimal128(19, 0)).cast(_UNITS)
            rows = rows.set_column(number, name, units)
    return rows


def _line_types(lines: pa.Table) -> pa.Array:
    is_tip, is_gift_card = (lines[name].fill_null(False) for name in ("is_tip", "gift_card"))
    return pc.if_else(is_tip, "tip", pc.if_else(is_gift_card, "gift_card", "product"))


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
    tax = _minus(orders["total_tax"], known.fill_null(0))
    duty, fee = (
        orders[name].cast(_AMOUNT).fill_null(0)
        for name in ("original_total_duties", "original_total_fees")
    )
    amounts = [tax, duty, fee]
    has_no_lines = pc.equal(orders["line_count"], 0)
    counts = has_no_lines
    for amount in amounts:
        counts = pc.or_kleene(counts, pc.not_equal(amount, _NOTHING))
    rows = _rows(orders, "sale", pa.scalar("adjustment"), tax=tax, duty=duty, fee=fee)
    return rows.filter(counts)


def _of_edits(lines: pa.Table, refund_lines: pa.Table) -> pa.Table:
    """Return the units that an edit took away: what is missing and was not refunded."""
    lines = lines.filter(pc.less(lines["current_quantity"], lines["quantity"]))
    key = [ORDER_ROW, "line_id"]
    refunded = _sums(refund_lines, key, "quantity")
    refunded_units = _joined(lines, refunded, key, "quantity").cast(_UNITS).fill_null(0)
    missing = pc.subtract(lines["quantity"], lines["current_quantity"])
    edited = pc.subtract(missing, refunded_units).cast(_UNITS)
    lines = lines.append_column("edited", edited)
    lines = lines.filter(pc.greater(edited, pa.scalar(Decimal(0), _UNITS)))
    return _rows(
        lines,
        "edit",
        lines["line_type"],
        quantity=lines["edited"],
        amount=_times(lines["price"], lines["edited"]),
        discount=_share(lines["line_discount"], lines),
        tax=_share(lines["line_tax"], lines),
    )


def _share(amount: pa.Array, lines: pa.Table) -> pa.Array:
    """Return the part of a line's amount for its edited units, rounded half away from 0.

    The quotient is cut off behind 24 decimals, which rounds to the same as the exact one.
    """
    quantity = lines["quantity"]
    divisor = pc.if_else(
        pc.equal(quantity, pa.scalar(Decimal(0), _UNITS)), pa.scalar(None, _UNITS), quantity
    )
    quotient = pc.divide(_times(amount, lines["edited"]), divisor)
    return pc.round(quotient, 4, "half_towards_infinity")


def _of_refund_lines(refund_lines: pa.Table, lines: pa.Table, refunds: pa.Table) -> pa.Table:
    key = [ORDER_ROW, "line_id"]
    line_type = _joined(refund_lines, lines, key, "line_type").fill_null("product")
    return _rows(
        refund_lines,
        "refund",
        line_type,
        quantity=refund_lines["quantity"],
        amount=refund_lines["subtotal"],
        tax=refund_lines["total_tax"],
        refunded_local_date=_refund_days(refund_lines, refunds),
    )


def _refund_days(children: pa.Table, refunds: pa.Table) -> pa.Array:
    return _joined(children, refunds, [ORDER_ROW, "refund_id"], "refunded_local_date")


def _is_of_shipping(adjustments: pa.Table) -> pa.Array:
    return pc.equal(adjustments["kind"], "shipping_refund").fill_null(False)


def _of_adjustments(adjustments: pa.Table, refunds: pa.Table) -> pa.Table:
    adjustments = adjustments.filter(pc.invert(_is_of_shipping(adjustments)))
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
    taxes = _sums(adjustments.filter(_is_of_shipping(adjustments)), key, "tax_amount")
    tax = _joined(refunds, taxes, key, "tax_amount").cast(_AMOUNT).fill_null(0)
    amount = refunds["refunded_shipping"]
    is_known_as_nothing = pc.equal(amount, pa.scalar(Decimal(0), amount.type)).fill_null(False)
    counts = pc.or_(pc.invert(is_known_as_nothing), pc.not_equal(tax, _NOTHING))
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


def _times(amount: pa.Array, units: pa.Array) -> pa.Array:
    return pc.multiply(amount.cast(pa.decimal256(22, 4)), units)


def _minus(left: pa.Array, right: pa.Array) -> pa.Array:
    return pc.subtract(left.cast(_AMOUNT), right.cast(_AMOUNT)).cast(_AMOUNT)


def _sums(rows: pa.Table, key: list[str], name: str) -> pa.Table:
    """Return the sum of a column by key; null where it is null in all rows."""
    sums = rows.group_by(key, use_threads=False).aggregate([(name, "sum")])
    return sums.rename_columns({f"{name}_sum": name})


def _joined(rows: pa.Table, other: pa.Table, key: list[str], name: str) -> pa.Array:
    """Return a column of the row of another table with the same key; null where there is none."""
    numbered = rows.select(key).append_column("row", pa.array(np.arange(rows.num_rows)))
    joined = numbered.join(
        other.select([*key, name]), key, join_type="left outer", use_threads=False
    )
    return joined.take(pc.sort_indices(joined["row"]))[name].combine_chunks()


def _with_orders(rows: pa.Table, orders: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return rows of events, and the order of each: those of test orders left out, voids added.

    An order that was cancelled before it was paid gives back all that was sold.
    """
    orders = orders.filter(pc.invert(orders["test"].fill_null(False)))
    is_voided = pc.and_kleene(
        pc.and_kleene(orders["cancelled_at"].is_valid(), pc.equal(orders["refund_count"], 0)),
        pc.equal(orders["financial_status"], "voided"),
    ).fill_null(False)
    at = pc.index_in(rows[ORDER_ROW], orders[ORDER_ROW].combine_chunks())
    is_sale, is_edit = (pc.equal(rows["cause"], cause) for cause in ("sale", "edit"))
    of_voided = is_voided.take(at).fill_null(False)
    counts = pc.and_(at.is_valid(), pc.invert(pc.and_(of_voided, is_edit)))
    gives_back = pc.and_(of_voided, is_sale)
    voids = rows.filter(gives_back)
    cause = pa.repeat(pa.scalar("void"), voids.num_rows)
    voids = voids.set_column(rows.column_names.index("cause"), "cause", cause)
    both = pa.concat_tables([rows.filter(counts), voids]).combine_chunks()
    at = pa.concat_arrays(
        [pc.filter(at, counts).combine_chunks(), pc.filter(at, gives_back).combine_chunks()]
    )
    return both, orders.take(at)


def _events(rows: pa.Table, order: pa.Table) -> pa.Table:
    """Work out what the amounts of rows count as."""
    cause, line_type = rows["cause"], rows["line_type"]
    is_sale, is_void, is_refund = (pc.equal(cause, each) for each in ("sale", "void", "refund"))
    is_goods = pc.is_in(line_type, pa.array(["product", "adjustment"]))
    is_shipping, is_gift_card, is_tip = (
        pc.equal(line_type, each) for each in ("shipping", "gift_card", "tip")
    )

    def where(condition: Any, amount: Any) -> Any:
        return pc.if_else(condition, amount, _NOTHING)

    def signed(amount: Any) -> Any:
        return pc.if_else(is_sale, amount, pc.negate(amount))

    has_taxes = pc.and_(order["taxes_included"].fill_null(False), pc.invert(rows["is_net"]))
    goods = _minus(rows["amount"], where(has_taxes, rows["tax"]))
    paid = _minus(goods, rows["discount"])
    gross_sales, discounts = (
        where(pc.and_(is_goods, is_sale), amount) for amount in (goods, rows["discount"])
    )
    returns = where(pc.and_(is_goods, pc.invert(is_sale)), paid)
    net_sales = _minus(_minus(gross_sales, discounts), returns)
    shipping = where(is_shipping, signed(goods))
    taxes, duties, fees = (signed(rows[name]) for name in ("tax", "duty", "fee"))
    total_sales = net_sales
    for amount in (shipping, taxes, duties, fees):
        total_sales = pc.add(total_sales, amount).cast(_AMOUNT)
    offset = pc.multiply(order["created_utc_offset_min"].cast(pa.int64()), 60_000_000)
    voided_at = pc.add(order["cancelled_at"], offset.cast(pa.duration("us")))
    day = pc.if_else(
        is_refund,
        rows["refunded_local_date"],
        pc.if_else(is_void, voided_at.cast(DAY_TYPE), order["processed_local_date"]),
    )
    return pa.table(
        {
            "event_local_date": day,
            **{
                name: order[name]
                for name in (
                    *("currency", "source_name", "location_id", "user_id", "device_id"),
                    *("order_id", "customer_id"),
                )
            },
            "order_local_date": order["processed_local_date"],
            "order_at": pc.coalesce(order["processed_at"], order["created_at"]),
            "kind": pc.if_else(is_sale, "sale", "reversal"),
            "line_type": line_type,
            "quantity": pc.if_else(is_sale, rows["quantity"], pc.negate(rows["quantity"])),
            "gross_sales": gross_sales,
            "discounts": discounts,
            "returns": returns,
            "net_sales": net_sales,
            "shipping": shipping,
            "taxes": taxes,
            "total_sales": total_sales,
            "gift_card_sales": where(pc.and_(is_gift_card, is_sale), paid),
            "gift_card_returns": where(pc.and_(is_gift_card, pc.invert(is_sale)), paid),
            "tips": where(is_tip, signed(paid)),
            "duties": duties,
            "fees": fees,
            FIRST_OF_ORDER: _is_first(rows[ORDER_ROW], cause),
        }
    )


def _is_first(order_row: pa.ChunkedArray, cause: pa.ChunkedArray) -> pa.Array:
    """Mark the first event of each order and cause."""
    groups = (
        pa.table({ORDER_ROW: order_row, "cause": cause, "row": pa.array(np.arange(len(cause)))})
        .group_by([ORDER_ROW, "cause"], use_threads=False)
        .aggregate([("row", "min")])
    )
    is_first = np.zeros(len(cause), bool)
    is_first[groups["row_min"].to_numpy()] = True
    return pa.array(is_first)
