"""The events of the sales of orders: Arrow in, Arrow out.

``sql/sale_events.sql`` says the same in SQL: change both, which a test compares. docs/sales.md says
what an event is.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orders_dask.contract.arrow import DAY_TYPE, ORDER_ROW, PART_NUMBER
from orders_dask.contract.mart_tables import FIRST_OF_ORDER, LONGEST_TEXT, MOST_UNITS
from orders_dask.transform.sale_sources import UNITS

_MOST_UNITS: Final = pa.scalar(Decimal(MOST_UNITS), UNITS)

_TEXTS: Final = ("currency", "source_name")
_IDS: Final = ("location_id", "user_id", "device_id", "customer_id")

_FIRST_DAY, _LAST_DAY = (pa.scalar(day, DAY_TYPE) for day in (date.min, date.max))


def sale_events(orders: pa.Table, sources: pa.Table) -> pa.Table:
    """Return the events of orders, in no order: none of test orders.

    Parameters
    ----------
    orders
        Rows of ``fact_order``.
    sources
        What their sources say of them (:func:`~orders_dask.transform.sale_sources.sale_sources`).

    Returns
    -------
    pa.Table
        What the marts need of :data:`~orders_dask.contract.mart_tables.EVENT_COLUMNS`, and
        :data:`~orders_dask.contract.mart_tables.FIRST_OF_ORDER`. Amounts are ``decimal256`` with 4
        decimals, in the order's currency; quantities ``decimal256`` without any.
    """
    orders = orders.filter(pc.invert(orders["test"].fill_null(False))).combine_chunks()
    rows = _with_voids(sources, orders)
    of_rows = orders.take(_order_of(rows, orders))
    cause, line_type = rows["cause"], rows["line_type"]
    is_sale, is_void, is_refund = (pc.equal(cause, each) for each in ("sale", "void", "refund"))
    is_goods = pc.is_in(line_type, pa.array(["product", "adjustment"]))
    is_shipping, is_gift_card, is_tip = (
        pc.equal(line_type, each) for each in ("shipping", "gift_card", "tip")
    )

    def where(condition: Any, amount: Any) -> Any:
        return pc.if_else(condition, amount, pa.scalar(Decimal(0), amount.type))

    def signed(amount: Any) -> Any:
        return pc.if_else(is_sale, amount, pc.negate(amount))

    has_taxes = pc.and_(of_rows["taxes_included"].fill_null(False), pc.invert(rows["is_net"]))
    goods = pc.subtract(rows["amount"], where(has_taxes, rows["tax"]))
    paid = pc.subtract(goods, rows["discount"])
    gross_sales, discounts = (
        where(pc.and_(is_goods, is_sale), amount) for amount in (goods, rows["discount"])
    )
    returns = where(pc.and_(is_goods, pc.invert(is_sale)), paid)
    net_sales = pc.subtract(pc.subtract(gross_sales, discounts), returns)
    shipping = where(is_shipping, signed(goods))
    taxes, duties, fees = (signed(rows[name]) for name in ("tax", "duty", "fee"))
    total_sales = net_sales
    for amount in (shipping, taxes, duties, fees):
        total_sales = pc.add(total_sales, amount)
    day = pc.if_else(
        is_refund,
        rows["refunded_local_date"],
        pc.if_else(is_void, _cancelled_local_date(of_rows), of_rows["processed_local_date"]),
    )
    of_parts = {PART_NUMBER: of_rows[PART_NUMBER]} if PART_NUMBER in orders.column_names else {}
    return pa.table(
        {
            **of_parts,
            "event_local_date": day,
            **{name: pc.utf8_slice_codeunits(of_rows[name], 0, LONGEST_TEXT) for name in _TEXTS},
            **{name: of_rows[name] for name in _IDS},
            "order_local_date": of_rows["processed_local_date"],
            "order_at": pc.coalesce(of_rows["processed_at"], of_rows["created_at"]),
            "kind": pc.if_else(is_sale, "sale", "reversal"),
            "line_type": line_type,
            "quantity": signed(_known_units(rows["quantity"])),
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
            FIRST_OF_ORDER: _is_first(rows[ORDER_ROW], is_sale),
        }
    )


def _order_of(rows: pa.Table, orders: pa.Table) -> pa.ChunkedArray:
    """Return the number of each row's order among orders; null where it is none of them."""
    return pc.index_in(rows[ORDER_ROW], orders[ORDER_ROW].combine_chunks())


def _with_voids(rows: pa.Table, orders: pa.Table) -> pa.Table:
    """Return the rows of orders, with what those give back that were cancelled before payment."""
    is_voided = pc.and_kleene(
        pc.and_kleene(orders["cancelled_at"].is_valid(), pc.equal(orders["refund_count"], 0)),
        pc.equal(orders["financial_status"], "voided"),
    )
    at = _order_of(rows, orders)
    of_voided = is_voided.take(at).fill_null(False)
    is_sale, is_edit = (pc.equal(rows["cause"], cause) for cause in ("sale", "edit"))
    counts = pc.and_(at.is_valid(), pc.invert(pc.and_(of_voided, is_edit)))
    voids = rows.filter(pc.and_(of_voided, is_sale))
    number = rows.column_names.index("cause")
    voids = voids.set_column(number, rows.field(number), pa.repeat("void", voids.num_rows))
    return pa.concat_tables([rows.filter(counts), voids]).combine_chunks()


def _cancelled_local_date(orders: pa.Table) -> pa.ChunkedArray:
    offset = pc.multiply(orders["created_utc_offset_min"].cast(pa.int64()), 60_000_000)
    day = pc.add(orders["cancelled_at"], offset.cast(pa.duration("us"))).cast(DAY_TYPE)
    is_known = pc.and_(pc.greater_equal(day, _FIRST_DAY), pc.less_equal(day, _LAST_DAY))
    return pc.if_else(is_known, day, pa.scalar(None, DAY_TYPE))


def _known_units(quantity: pa.ChunkedArray) -> pa.ChunkedArray:
    is_known = pc.less_equal(pc.abs(quantity), _MOST_UNITS)
    return pc.if_else(is_known, quantity, pa.scalar(None, quantity.type))


def _is_first(order_row: pa.ChunkedArray, is_sale: pa.ChunkedArray) -> pa.Array:
    """Mark one sale of each order."""
    sales = np.flatnonzero(is_sale.to_numpy())
    _, firsts = np.unique(order_row.to_numpy()[sales], return_index=True)
    is_first = np.zeros(len(is_sale), bool)
    is_first[sales[firsts]] = True
    return pa.array(is_first)
