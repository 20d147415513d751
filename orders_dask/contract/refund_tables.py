"""The declaration of refunds, their lines and their adjustments."""

from __future__ import annotations

from sqlalchemy import Index

from orders_dask.contract.columns import (
    COUNT,
    ID,
    MONEY,
    TEXT,
    TIMESTAMP,
    brin_index,
    computed_column,
    fact_table,
    local_date_column,
    source_column,
)
from orders_dask.contract.shared_columns import currency, order_id, refund_id, refunded_at

fact_refund = fact_table(
    "fact_refund",
    "refunds[]",
    "One row a refund of an order and run date",
    ("order_id", "refund_id"),
    order_id(),
    source_column("refund_id", ID, "The refund's id", "id", nullable=False),
    source_column("refunded_at", TIMESTAMP, "When the refund was made", "created_at"),
    source_column("processed_at", TIMESTAMP, "When the refund was processed"),
    source_column("note", TEXT, "Why it was refunded"),
    source_column("user_id", ID, "The member of staff who refunded"),
    computed_column(
        "refunded_amount",
        MONEY,
        "Sum of its successful refund transactions; null where one has no amount or another "
        "currency",
        {
            "transactions[].amount": MONEY,
            "transactions[].kind": TEXT,
            "transactions[].status": TEXT,
            "transactions[].currency": TEXT,
        },
    ),
    currency(),
    local_date_column(
        "refunded_local_date",
        "The shop's day of processed_at, else of created_at, by the offset as written",
        "processed_at",
        "created_at",
    ),
    computed_column(
        "refunded_value",
        MONEY,
        "Value of what was refunded, in currency: lines with taxes, shipping, less adjustments; "
        "null where one has no amount",
    ),
    computed_column(
        "refunded_shipping",
        MONEY,
        "Shipping refunded before taxes, in currency; null where a part has no amount",
        {"refund_shipping_lines[].subtotal_amount_set.shop_money.amount": MONEY},
    ),
)


fact_refund_line = fact_table(
    "fact_refund_line",
    "refunds[].refund_line_items[]",
    "One row a refunded line of a refund and run date",
    ("order_id", "refund_id", "refund_line_id"),
    order_id(),
    refund_id(),
    source_column("refund_line_id", ID, "The refunded line's own id", "id", nullable=False),
    source_column("line_id", ID, "The order's line that was refunded", "line_item_id"),
    source_column("quantity", COUNT, "Units refunded"),
    source_column(
        "subtotal",
        MONEY,
        "Refunded after discounts, in currency; taxes are in it where the order's prices include "
        "them",
        "subtotal_set.shop_money.amount",
        fallback="subtotal",
    ),
    source_column(
        "total_tax",
        MONEY,
        "Taxes refunded, in currency",
        "total_tax_set.shop_money.amount",
        fallback="total_tax",
    ),
    source_column("restock_type", TEXT, "What became of the units"),
    refunded_at(),
    currency(),
)


fact_refund_adjustment = fact_table(
    "fact_refund_adjustment",
    "refunds[].order_adjustments[]",
    "One row an adjustment of a refund and run date",
    ("order_id", "refund_id", "adjustment_id"),
    order_id(),
    refund_id(),
    source_column("adjustment_id", ID, "The adjustment's id", "id", nullable=False),
    source_column(
        "amount",
        MONEY,
        "The adjustment as the shop sees it, in currency: less than 0 was given away",
        "amount_set.shop_money.amount",
        fallback="amount",
    ),
    source_column(
        "tax_amount",
        MONEY,
        "Taxes beside the amount, in currency",
        "tax_amount_set.shop_money.amount",
        fallback="tax_amount",
    ),
    source_column("kind", TEXT, "What kind of adjustment"),
    source_column("reason", TEXT, "Why it was adjusted"),
    refunded_at(),
    currency(),
)

Index("fact_refund_order_id", fact_refund.c.order_id)
brin_index("fact_refund_days", fact_refund.c.refunded_local_date)
