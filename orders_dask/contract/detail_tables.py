"""The declaration of the facts of optional groups: discounts, fulfilments, payments and so on.

:mod:`orders_dask.contract.table_groups` says which of these groups are on. Where a child has no id
in the dump, the last column of its fact's key is its place in the array, from 1. So it is for
payments of refunds, whose ids are there: a bad one would reject the payment, and the refund's
amount (:mod:`orders_dask.transform.refunds`) would depend on the groups that are on.
docs/contract.md describes the tables.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Column, Table

from orders_dask.contract.columns import (
    BOOLEAN,
    COUNT,
    ID,
    MONEY,
    RATE,
    TEXT,
    TIMESTAMP,
    computed_column,
    fact_table,
    source_column,
)
from orders_dask.contract.shared_columns import (
    currency,
    index_in,
    line_id,
    order_id,
    refund_id,
    refunded_at,
)


def _tax_columns() -> tuple[Column[Any], ...]:
    return (
        source_column("title", TEXT, "The tax's name"),
        source_column("rate", RATE, "The share that is taken, such as 0.19"),
        source_column("price", MONEY, "The tax, in currency"),
        source_column("channel_liable", BOOLEAN, "The channel remits it, not the shop"),
        currency(),
    )


fact_discount = fact_table(
    "fact_discount",
    "discount_applications[]",
    "One row a discount of an order and run date: a code, an automatic or a manual one",
    ("order_id", "discount_number"),
    order_id(),
    index_in("discount_number", "order"),
    source_column("type", TEXT, "discount_code, automatic, manual or script"),
    source_column("code", TEXT, "The code, of a discount_code"),
    source_column("title", TEXT, "The title that the customer saw"),
    source_column("value_type", TEXT, "fixed_amount or percentage: what value is"),
    source_column("allocation_method", TEXT, "each, across or one: how lines share it"),
    source_column("target_selection", TEXT, "all, entitled or explicit: which lines share it"),
    source_column("target_type", TEXT, "line_item or shipping_line: what it makes cheaper"),
    source_column("value", MONEY, "An amount in currency, or a percentage: see value_type"),
    currency(),
    group="discounts",
)


fact_discount_code = fact_table(
    "fact_discount_code",
    "discount_codes[]",
    "One row a discount code of an order and run date",
    ("order_id", "code_number"),
    order_id(),
    index_in("code_number", "order"),
    source_column("code", TEXT, "The code"),
    source_column("type", TEXT, "fixed_amount, percentage or shipping"),
    source_column("amount", MONEY, "What it took off the order, in currency"),
    currency(),
    group="discounts",
)


fact_line_discount = fact_table(
    "fact_line_discount",
    "line_items[].discount_allocations[]",
    "One row a share of a discount that a line has, and run date",
    ("order_id", "line_id", "allocation_number"),
    order_id(),
    line_id(),
    index_in("allocation_number", "line"),
    computed_column(
        "discount_number",
        COUNT,
        "The discount (fact_discount)",
        {"discount_application_index": COUNT},
    ),
    source_column("amount", MONEY, "What the discount takes off the line, in currency"),
    currency(),
    group="discounts",
)


fact_fulfillment = fact_table(
    "fact_fulfillment",
    "fulfillments[]",
    "One row a fulfilment of an order and run date",
    ("order_id", "fulfillment_id"),
    order_id(),
    source_column("fulfillment_id", ID, "The fulfilment's id", "id", nullable=False),
    source_column("created_at", TIMESTAMP, "When the fulfilment was made"),
    source_column("updated_at", TIMESTAMP, "When the fulfilment was last changed"),
    source_column("status", TEXT, "pending, open, success, cancelled, error or failure"),
    source_column("shipment_status", TEXT, "Where the parcel is, as the carrier says"),
    source_column("service", TEXT, "Who fulfils it: manual, or a service's name"),
    source_column("location_id", ID, "Where it is sent from (dim_location)"),
    source_column("name", TEXT, "The fulfilment's display name, such as #1001.1"),
    source_column("tracking_company", TEXT, "The carrier"),
    source_column("tracking_number", TEXT, "The carrier's number of the parcel"),
    group="fulfilments",
)


fact_fulfillment_line = fact_table(
    "fact_fulfillment_line",
    "fulfillments[].line_items[]",
    "One row a line of a fulfilment and run date",
    ("order_id", "fulfillment_id", "line_id"),
    order_id(),
    computed_column("fulfillment_id", ID, "The fulfilment", nullable=False),
    source_column("line_id", ID, "The order's line that is sent", "id", nullable=False),
    source_column("quantity", COUNT, "Units sent"),
    group="fulfilments",
)


fact_refund_transaction = fact_table(
    "fact_refund_transaction",
    "refunds[].transactions[]",
    "One row a payment of a refund and run date, failed ones included",
    ("order_id", "refund_id", "transaction_number"),
    order_id(),
    refund_id(),
    index_in("transaction_number", "refund"),
    source_column("transaction_id", ID, "The transaction's id", "id"),
    source_column("parent_id", ID, "The transaction that it gives back"),
    source_column("kind", TEXT, "refund, void, ..."),
    source_column("status", TEXT, "success, pending, failure or error"),
    source_column("gateway", TEXT, "The payment gateway"),
    source_column("error_code", TEXT, "Why it failed"),
    source_column("amount", MONEY, "The amount, in the transaction's own currency"),
    source_column("currency", TEXT, "Its currency, which need not be the order's"),
    source_column("processed_at", TIMESTAMP, "When it was processed"),
    source_column("test", BOOLEAN, "A test transaction"),
    refunded_at(),
    group="payments",
)


fact_refund_shipping = fact_table(
    "fact_refund_shipping",
    "refunds[].refund_shipping_lines[]",
    "One row a refunded shipping line of a refund and run date",
    ("order_id", "refund_id", "refund_shipping_number"),
    order_id(),
    refund_id(),
    index_in("refund_shipping_number", "refund"),
    source_column("refund_shipping_id", ID, "The refunded shipping line's own id", "id"),
    source_column("shipping_line_id", ID, "The order's shipping line that was refunded"),
    source_column(
        "amount",
        MONEY,
        "Refunded before taxes, in currency",
        "subtotal_amount_set.shop_money.amount",
    ),
    source_column(
        "tax_amount", MONEY, "Taxes refunded, in currency", "tax_amount_set.shop_money.amount"
    ),
    refunded_at(),
    currency(),
    group="payments",
)


fact_line_tax = fact_table(
    "fact_line_tax",
    "line_items[].tax_lines[]",
    "One row a tax of a line and run date",
    ("order_id", "line_id", "tax_number"),
    order_id(),
    line_id(),
    index_in("tax_number", "line"),
    *_tax_columns(),
    group="taxes",
)


fact_shipping_tax = fact_table(
    "fact_shipping_tax",
    "shipping_lines[].tax_lines[]",
    "One row a tax of a shipping line and run date",
    ("order_id", "shipping_line_number", "tax_number"),
    order_id(),
    computed_column(
        "shipping_line_number", COUNT, "The shipping line's place in the order", nullable=False
    ),
    computed_column("shipping_line_id", ID, "The shipping line"),
    index_in("tax_number", "shipping line"),
    *_tax_columns(),
    group="taxes",
)


fact_order_attribute = fact_table(
    "fact_order_attribute",
    "note_attributes[]",
    "One row an attribute that the shop or an app gave an order, and run date",
    ("order_id", "attribute_number"),
    order_id(),
    index_in("attribute_number", "order"),
    source_column("name", TEXT, "The attribute's name"),
    source_column("value", TEXT, "Its value; personal data, as customers fill in forms"),
    group="attributes",
)


fact_line_property = fact_table(
    "fact_line_property",
    "line_items[].properties[]",
    "One row a property of a line, such as an engraving, and run date",
    ("order_id", "line_id", "property_number"),
    order_id(),
    line_id(),
    index_in("property_number", "line"),
    source_column("name", TEXT, "The property's name"),
    source_column("value", TEXT, "Its value; personal data, as customers fill in forms"),
    group="attributes",
)


fact_line_staff = fact_table(
    "fact_line_staff",
    "line_items[].attributed_staffs[]",
    "One row a member of staff whom a line is credited to, and run date",
    ("order_id", "line_id", "staff_number"),
    order_id(),
    line_id(),
    index_in("staff_number", "line"),
    source_column("staff_id", TEXT, "The member of staff, as gid://shopify/StaffMember/…", "id"),
    source_column("quantity", COUNT, "Units that are credited"),
    group="attributes",
)


DETAILS: Final[tuple[Table, ...]] = (
    fact_discount,
    fact_discount_code,
    fact_line_discount,
    fact_fulfillment,
    fact_fulfillment_line,
    fact_refund_transaction,
    fact_refund_shipping,
    fact_line_tax,
    fact_shipping_tax,
    fact_order_attribute,
    fact_line_property,
    fact_line_staff,
)
"""The facts of all optional groups, on or off; parents before their children."""
