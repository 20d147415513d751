"""The declaration of orders, lines and shipping lines, and the list of all facts.

Arrow schemas, the JSON reader's schema, Dask metadata, DDL and COPY column lists are derived from
these tables (:mod:`orders_dask.contract.arrow`, :mod:`orders_dask.load`). A new column is one line
here, or in :mod:`orders_dask.contract.refund_tables`, :mod:`orders_dask.contract.detail_tables` or
:mod:`orders_dask.contract.dimension_tables`; CONTRIBUTING.md lists what else it takes.
docs/contract.md#facts describes the tables.

Names of fields are those of the Admin REST Order resource:
https://shopify.dev/docs/api/admin-rest/latest/resources/order
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Column, Index, Table

from orders_dask.contract.columns import (
    BOOLEAN,
    COUNT,
    ID,
    MINUTES,
    MONEY,
    PRESENCE,
    TEXT,
    TIMESTAMP,
    brin_index,
    computed_column,
    fact_table,
    local_date_column,
    source_column,
)
from orders_dask.contract.custom_columns import append_custom_columns
from orders_dask.contract.detail_tables import DETAILS
from orders_dask.contract.dimension_tables import DIMENSIONS
from orders_dask.contract.envelopes import DELETION_KEYS
from orders_dask.contract.refund_tables import fact_refund, fact_refund_adjustment, fact_refund_line
from orders_dask.contract.shared_columns import currency, order_id
from orders_dask.contract.table_groups import ACTIVE_GROUPS

fact_order = fact_table(
    "fact_order",
    "",
    "One row an order and run date: what that day's dump said of the order",
    ("order_id",),
    source_column(
        "order_id",
        ID,
        "The order's id",
        "id",
        {"admin_graphql_api_id": TEXT, **dict.fromkeys(DELETION_KEYS, TEXT)},
        nullable=False,
    ),
    source_column("customer_id", ID, "The buyer (dim_customer)", "customer.id"),
    source_column(
        "user_id", ID, "The member of staff who took the order (dim_user); the buyer is customer_id"
    ),
    source_column("location_id", ID, "Where the order was taken (dim_location)"),
    source_column("device_id", ID, "The point-of-sale device (dim_device)"),
    source_column("app_id", ID, "The app that made the order (dim_app)"),
    source_column("checkout_id", ID, "The checkout that the order came from"),
    source_column(
        "order_number",
        COUNT,
        "The number that the customer sees",
        reads={"invoice_url": TEXT, "abandoned_checkout_url": TEXT},
    ),
    source_column("number", COUNT, "The shop's running number"),
    source_column("name", TEXT, "The order's display name, such as #1001"),
    source_column("confirmation_number", TEXT, "The confirmation code that the customer got"),
    source_column("token", TEXT, "The order's token"),
    source_column("cart_token", TEXT, "The cart's token"),
    source_column("checkout_token", TEXT, "The checkout's token"),
    source_column("reference", TEXT, "The reference given by the app"),
    source_column("source_identifier", TEXT, "The order's identifier in the system it came from"),
    source_column("created_at", TIMESTAMP, "When the order was made"),
    source_column(
        "updated_at", TIMESTAMP, "When the order was last changed; decides which version wins"
    ),
    source_column("processed_at", TIMESTAMP, "When the order was processed"),
    source_column("closed_at", TIMESTAMP, "When the order was closed"),
    source_column("cancelled_at", TIMESTAMP, "When the order was cancelled"),
    local_date_column(
        "created_local_date", "The shop's day of created_at, by the offset as written", "created_at"
    ),
    computed_column(
        "created_utc_offset_min", MINUTES, "Minutes that created_at's local time is ahead of UTC"
    ),
    source_column("total_price", MONEY, "Total with taxes, shipping and discounts, in currency"),
    source_column("subtotal_price", MONEY, "Lines after discounts, before shipping, in currency"),
    source_column("total_tax", MONEY, "Taxes, in currency"),
    source_column("total_discounts", MONEY, "Discounts, in currency"),
    source_column("total_line_items_price", MONEY, "Lines before discounts, in currency"),
    source_column("total_price_usd", MONEY, "Total in US dollars, as the dump says"),
    source_column("current_total_price", MONEY, "Total after edits and refunds, in currency"),
    source_column("total_tip_received", MONEY, "Tips, in currency"),
    source_column("total_outstanding", MONEY, "What is still to be paid, in currency"),
    source_column(
        "total_shipping_price",
        MONEY,
        "Shipping, in the shop's currency",
        "total_shipping_price_set.shop_money.amount",
    ),
    source_column(
        "currency", TEXT, "ISO 4217 code as written; amounts of different currencies never add up"
    ),
    source_column("presentment_currency", TEXT, "Currency that the customer saw"),
    source_column("total_weight", COUNT, "Weight of all lines in grams"),
    source_column("test", BOOLEAN, "A test order"),
    source_column("confirmed", BOOLEAN, "The order is confirmed"),
    source_column("taxes_included", BOOLEAN, "Prices include taxes"),
    source_column("buyer_accepts_marketing", BOOLEAN, "The buyer takes marketing mail"),
    source_column("tax_exempt", BOOLEAN, "No taxes are due"),
    source_column("financial_status", TEXT, "State of the payment"),
    source_column("fulfillment_status", TEXT, "State of the delivery"),
    source_column("cancel_reason", TEXT, "Why the order was cancelled"),
    source_column("gateway", TEXT, "The payment gateway (old dumps)"),
    source_column(
        "payment_gateway_names",
        TEXT,
        "The payment gateways, joined by ', '",
        "payment_gateway_names[]",
    ),
    source_column("processing_method", TEXT, "How the payment was processed"),
    source_column(
        "discount_codes", TEXT, "The discount codes, joined by ', '", "discount_codes[].code"
    ),
    source_column("source_name", TEXT, "The channel: web, pos, ..."),
    source_column("source_url", TEXT, "The order's page in the system it came from"),
    source_column("referring_site", TEXT, "The site that sent the buyer"),
    source_column("landing_site", TEXT, "The page that the buyer landed on"),
    source_column("landing_site_ref", TEXT, "The reference in the landing page's address"),
    source_column("note", TEXT, "A note on the order"),
    source_column("tags", TEXT, "Tags, as written"),
    source_column("email", TEXT, "The buyer's address for mail"),
    source_column("contact_email", TEXT, "The address used for this order"),
    source_column("phone", TEXT, "The buyer's telephone"),
    source_column("customer_locale", TEXT, "The buyer's language"),
    source_column("browser_ip", TEXT, "The buyer's network address"),
    source_column("order_status_url", TEXT, "The order's status page"),
    source_column(
        "shipping_country_code", TEXT, "Country shipped to", "shipping_address.country_code"
    ),
    source_column(
        "shipping_province_code", TEXT, "Province shipped to", "shipping_address.province_code"
    ),
    source_column("shipping_city", TEXT, "City shipped to", "shipping_address.city"),
    source_column("shipping_zip", TEXT, "Postal code shipped to", "shipping_address.zip"),
    computed_column("line_count", COUNT, "Number of loaded lines"),
    computed_column("unit_count", COUNT, "Sum of the lines' quantity; null where a line has none"),
    computed_column(
        "gross_line_amount", MONEY, "Sum of quantity times price; null where a line lacks one"
    ),
    computed_column("discount_code_count", COUNT, "Number of discount codes"),
    computed_column("refund_count", COUNT, "Number of loaded refunds"),
    computed_column(
        "source_file_id", ID, "The file it stood in (orders_ops.load_file)", nullable=False
    ),
    computed_column(
        "source_position", ID, "Number of the record in that file, from 1", nullable=False
    ),
    # A view may only append columns: younger ones stand last.
    local_date_column(
        "processed_local_date",
        "The shop's day of processed_at, else of created_at, by the offset as written",
        "processed_at",
        "created_at",
    ),
    source_column(
        "current_subtotal_price", MONEY, "subtotal_price after edits and refunds, in currency"
    ),
    source_column("current_total_tax", MONEY, "Taxes after edits and refunds, in currency"),
    source_column("current_total_discounts", MONEY, "Discounts after edits and refunds"),
    source_column(
        "current_total_duties",
        MONEY,
        "Duties after edits and refunds, in the shop's currency",
        "current_total_duties_set.shop_money.amount",
    ),
    source_column(
        "current_total_fees",
        MONEY,
        "Additional fees after edits and refunds, in the shop's currency",
        "current_total_additional_fees_set.shop_money.amount",
    ),
    source_column(
        "original_total_duties",
        MONEY,
        "Duties when the order was made, in the shop's currency",
        "original_total_duties_set.shop_money.amount",
    ),
    source_column(
        "original_total_fees",
        MONEY,
        "Additional fees when the order was made, in the shop's currency",
        "original_total_additional_fees_set.shop_money.amount",
    ),
    source_column(
        "presentment_total_price",
        MONEY,
        "total_price, in presentment_currency",
        "total_price_set.presentment_money.amount",
    ),
    source_column(
        "presentment_subtotal_price",
        MONEY,
        "subtotal_price, in presentment_currency",
        "subtotal_price_set.presentment_money.amount",
    ),
    source_column(
        "presentment_total_tax",
        MONEY,
        "total_tax, in presentment_currency",
        "total_tax_set.presentment_money.amount",
    ),
    source_column(
        "presentment_total_discounts",
        MONEY,
        "total_discounts, in presentment_currency",
        "total_discounts_set.presentment_money.amount",
    ),
    source_column(
        "presentment_shipping_price",
        MONEY,
        "total_shipping_price, in presentment_currency",
        "total_shipping_price_set.presentment_money.amount",
    ),
    source_column(
        "billing_country_code", TEXT, "Country that is billed", "billing_address.country_code"
    ),
    source_column(
        "billing_province_code", TEXT, "Province that is billed", "billing_address.province_code"
    ),
    source_column("billing_city", TEXT, "City that is billed", "billing_address.city"),
    source_column("billing_zip", TEXT, "Postal code that is billed", "billing_address.zip"),
    source_column("company_id", ID, "The company that buys, in B2B", "company.id"),
    source_column(
        "company_location_id", ID, "The company's location that buys", "company.location_id"
    ),
    source_column("po_number", TEXT, "The buyer's number of the purchase order"),
    source_column(
        "payment_terms_name",
        TEXT,
        "When the payment is due, such as Net 30",
        "payment_terms.payment_terms_name",
    ),
    source_column(
        "payment_due_at",
        TIMESTAMP,
        "When the last payment is due",
        "payment_terms.payment_schedules[].due_at",
    ),
    source_column("user_agent", TEXT, "The buyer's browser", "client_details.user_agent"),
    source_column(
        "accept_language",
        TEXT,
        "Languages of the buyer's browser",
        "client_details.accept_language",
    ),
)


fact_order_line = fact_table(
    "fact_order_line",
    "line_items[]",
    "One row a line of an order and run date",
    ("order_id", "line_id"),
    order_id(),
    source_column("line_id", ID, "The line's id", "id", nullable=False),
    computed_column("line_number", COUNT, "The line's place in the order, from 1"),
    source_column("variant_id", ID, "The product's variant (dim_product_variant)"),
    source_column("product_id", ID, "The product (dim_product_variant)"),
    source_column("quantity", COUNT, "Units ordered"),
    source_column("current_quantity", COUNT, "Units after edits and refunds"),
    source_column("price", MONEY, "Price of one unit before discounts, in currency"),
    source_column("total_discount", MONEY, "Discount on the line, in currency"),
    source_column("sku", TEXT, "Stock keeping unit"),
    source_column("title", TEXT, "The product's title at the time"),
    source_column("variant_title", TEXT, "The variant's title at the time"),
    source_column("vendor", TEXT, "The product's vendor at the time"),
    source_column("gift_card", BOOLEAN, "The line is a gift card"),
    source_column("taxable", BOOLEAN, "The line is taxed"),
    source_column("requires_shipping", BOOLEAN, "The line is shipped"),
    source_column("grams", COUNT, "Weight of one unit in grams"),
    source_column("fulfillment_status", TEXT, "State of the line's delivery"),
    source_column(
        "line_tax",
        MONEY,
        "Sum of the line's taxes, each rounded first; 0 with none, null where one has no price",
        "tax_lines[].price",
    ),
    currency(),
    computed_column("created_at", TIMESTAMP, "When the order was made"),
    source_column(
        "line_discount",
        MONEY,
        "Sum of the discounts allocated to the line, those on the order included, in currency; 0 "
        "with none, null where one has no amount",
        "discount_allocations[].amount",
    ),
    computed_column("is_tip", BOOLEAN, "The line is a tip", {"tip_payment_gateway": PRESENCE}),
    source_column(
        "presentment_price",
        MONEY,
        "Price of one unit before discounts, in the order's presentment_currency",
        "price_set.presentment_money.amount",
    ),
)


fact_shipping_line = fact_table(
    "fact_shipping_line",
    "shipping_lines[]",
    "One row a charge for shipping of an order and run date",
    ("order_id", "shipping_line_number"),
    order_id(),
    computed_column(
        "shipping_line_number", COUNT, "Its place in the order, from 1", nullable=False
    ),
    source_column("shipping_line_id", ID, "The shipping line's id; dumps of 2013 have none", "id"),
    source_column("title", TEXT, "The shipping method's title at the time"),
    source_column("code", TEXT, "The shipping method's code"),
    source_column("source", TEXT, "Where the rate came from"),
    source_column("carrier_identifier", TEXT, "The carrier service that gave the rate"),
    source_column("price", MONEY, "Charge before discounts, in currency"),
    source_column("discounted_price", MONEY, "Charge after discounts, in currency"),
    source_column(
        "shipping_discount",
        MONEY,
        "Sum of the discounts allocated to it, in currency; 0 with none, null where one has no "
        "amount",
        "discount_allocations[].amount",
    ),
    source_column(
        "shipping_tax",
        MONEY,
        "Sum of its taxes, in currency; 0 with none, null where one has no price",
        "tax_lines[].price",
    ),
    source_column("is_removed", BOOLEAN, "An edit of the order took it away"),
    currency(),
)


FACTS: Final[tuple[Table, ...]] = (
    fact_order,
    fact_order_line,
    fact_refund,
    fact_refund_line,
    fact_refund_adjustment,
    fact_shipping_line,
    *(fact for fact in DETAILS if fact.info["group"] in ACTIVE_GROUPS),
)


LOCAL_DATES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    fact.info["records"]: {
        c.name: c.info["local_date_of"] for c in fact.c if c.info["local_date_of"]
    }
    for fact in FACTS
}
"""By path of the records of a fact: its columns of local days, and the timestamps of each."""


Index("fact_order_order_id", fact_order.c.order_id)
# The whole key of the storage: a partition without statistics would be read load by load else.
Index(
    "fact_order_customer_id",
    *(fact_order.c[name] for name in ("customer_id", "run_date", "load_id")),
)
brin_index(
    "fact_order_days",
    fact_order.c.created_local_date,
    fact_order.c.processed_local_date,
    fact_order.c.cancelled_at,
)


append_custom_columns(FACTS, DETAILS, DIMENSIONS)


SELECTED: Final[Mapping[str, Sequence[Column[Any]]]] = {
    fact.info["records"]: columns
    for fact in FACTS
    if (columns := [c for c in fact.c if c.info["custom"] and c.info["custom"].is_selected])
}
"""By path of the records of a fact: its columns that are selected by a name, of which few are."""


def public_columns(table: Table) -> list[Column[Any]]:
    """Return the columns of a fact or dimension that people see."""
    return [column for column in table.c if column.name != fact_order.c.load_id.name]
