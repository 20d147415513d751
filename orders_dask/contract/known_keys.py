"""Keys that an order is known to have, whether the contract reads them or not.

They tell a new key from one that is merely not read (docs/contract.md#schema-drift). Known are the
keys of the Admin REST Order resource of 2026-07 and of what it contains, the older keys that
Shopify has since withdrawn, and all that the contract reads:
https://shopify.dev/docs/api/admin-rest/latest/resources/order
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from orders_dask.contract.columns import path_within_order, source_paths
from orders_dask.contract.dimension_tables import DIMENSIONS
from orders_dask.contract.order_tables import FACTS

_ADDRESS: Final = """
    address1 address2 city company country country_code country_name first_name id last_name
    latitude longitude name phone province province_code zip
"""
_LINE: Final = """
    admin_graphql_api_id applied_discounts attributed_staffs components current_quantity
    destination_location discount_allocations duties fulfillable_quantity fulfillment_service
    fulfillment_status gift_card grams id key line_item_group line_price name origin_location
    parent_line_item_id pre_tax_price pre_tax_price_set price price_set product_exists
    product_id properties quantity requires_shipping sales_line_item_group_id sku tax_code
    tax_lines taxable tip_payment_gateway tip_payment_method title total_discount
    total_discount_set variant_id variant_inventory_management variant_title vendor
"""
_TAX_LINE: Final = "channel_liable price price_set rate source tax_registration_id title"
_ALLOCATION: Final = "amount amount_set application_type discount_application_index"
_NAMED: Final = "name value"
_MONEY_SET: Final = ("shop_money", "presentment_money")
_MONEY: Final = ("amount", "currency_code")

_KEYS: Final[Mapping[str, str]] = {
    "": """
        additional_fees admin_graphql_api_id app_id billing_address browser_ip
        buyer_accepts_marketing cancel_reason cancelled_at cart_token checkout_id checkout_token
        client_details closed_at company confirmation_number confirmed contact_email created_at
        currency current_shipping_price_set current_subtotal_price current_subtotal_price_set
        current_total_additional_fees_set current_total_discounts current_total_discounts_set
        current_total_duties_set current_total_price current_total_price_set current_total_tax
        current_total_tax_set customer customer_locale device_id discount_applications
        discount_codes duties_included email estimated_taxes financial_status fulfillment_status
        fulfillments gateway id landing_site landing_site_ref line_item_groups line_items
        location_id merchant_business_entity_id merchant_of_record_app_id metafields name note
        note_attributes number order_number order_status_url original_total_additional_fees_set
        original_total_duties_set payment_details payment_gateway_names payment_terms phone
        po_number presentment_currency processed_at processing_method reference referring_site
        refunds returns send_fulfillment_receipt send_receipt shipping_address shipping_lines
        source source_identifier source_name source_url subtotal_price subtotal_price_set tags
        tax_exempt tax_lines taxes_included test token
        total_cash_rounding_payment_adjustment_set total_cash_rounding_refund_adjustment_set
        total_discount total_discounts total_discounts_set total_line_items_price
        total_line_items_price_set
        total_outstanding total_price total_price_set total_price_usd total_shipping_price_set
        total_tax total_tax_set total_tip_received total_tip_received_set total_weight
        transactions updated_at user_id
    """,
    "billing_address": _ADDRESS,
    "shipping_address": _ADDRESS,
    "client_details": """
        accept_language browser_height browser_ip browser_width session_hash user_agent
    """,
    "company": "id location_id",
    "customer": """
        accepts_marketing accepts_marketing_updated_at addresses admin_graphql_api_id created_at
        currency default_address email email_marketing_consent first_name id last_name
        last_order_id last_order_name locale marketing_opt_in_level metafield multipass_identifier
        note orders_count phone sms_marketing_consent state tags tax_exempt tax_exemptions
        total_spent updated_at verified_email
    """,
    "customer.default_address": f"{_ADDRESS} customer_id default",
    "discount_applications[]": """
        allocation_method code description target_selection target_type title type value value_type
    """,
    "discount_codes[]": "amount code type",
    "fulfillments[]": """
        admin_graphql_api_id created_at id line_items location_id name notify_customer order_id
        origin_address receipt service shipment_status status tracking_company tracking_info
        tracking_number tracking_numbers tracking_url tracking_urls updated_at
        variant_inventory_management
    """,
    "line_items[]": _LINE,
    "line_items[].attributed_staffs[]": "id quantity",
    "line_items[].discount_allocations[]": _ALLOCATION,
    "line_items[].tax_lines[]": _TAX_LINE,
    "payment_details": """
        avs_result_code buyer_action_info credit_card_bin credit_card_company
        credit_card_expiration_month credit_card_expiration_year credit_card_name
        credit_card_number credit_card_wallet cvv_result_code payment_method_name
    """,
    "payment_terms": """
        admin_graphql_api_id amount created_at currency due_in_days id payment_schedules
        payment_terms_name payment_terms_type updated_at
    """,
    "refunds[]": """
        additional_fees admin_graphql_api_id created_at duties id note order_adjustments order_id
        processed_at refund_line_items refund_shipping_lines restock return
        total_additional_fees_set total_duties_set transactions user_id
    """,
    "refunds[].order_adjustments[]": """
        admin_graphql_api_id amount amount_set id kind order_id reason refund_id tax_amount
        tax_amount_set
    """,
    "refunds[].refund_line_items[]": """
        admin_graphql_api_id id line_item line_item_id location_id quantity restock_type subtotal
        subtotal_set total_tax total_tax_set
    """,
    "refunds[].refund_shipping_lines[]": """
        admin_graphql_api_id id shipping_line shipping_line_id subtotal_amount subtotal_amount_set
        tax_amount tax_amount_set
    """,
    "refunds[].transactions[]": """
        adjustments admin_graphql_api_id amount amount_rounding authorization
        authorization_expires_at created_at currency currency_exchange_adjustment device_id
        error_code extended_authorization_attributes gateway id kind location_id
        manual_payment_gateway maximum_refundable message order_id parent_id payment_details
        payment_id payments_refund_attributes processed_at receipt source_name status test
        total_unsettled_set user_id
    """,
    "shipping_lines[]": """
        carrier_identifier code current_discounted_price_set delivery_category
        discount_allocations discounted_price discounted_price_set id is_removed phone price
        price_set requested_fulfillment_service_id source tax_lines title
        validation_context
    """,
    "shipping_lines[].discount_allocations[]": _ALLOCATION,
    "shipping_lines[].tax_lines[]": _TAX_LINE,
    "tax_lines[]": _TAX_LINE,
}
"""The keys of each object of an order, by its path.

What a key without an entry of its own contains is not looked at: free content, such as a gateway's
receipt, and what says nothing of its own.
"""

_KEYS_IF_READ: Final[Mapping[str, str]] = {
    "customer.addresses[]": f"{_ADDRESS} customer_id default",
    "fulfillments[].line_items[]": _LINE,
    "line_items[].properties[]": _NAMED,
    "note_attributes[]": _NAMED,
    "payment_terms.payment_schedules[]": """
        admin_graphql_api_id amount completed_at created_at currency due_at
        expected_payment_method id issued_at payment_terms_id updated_at
    """,
    "refunds[].refund_line_items[].line_item": _LINE,
}
"""The keys of further objects, which are looked at where the contract reads one of them."""


@dataclass
class KnownObject:
    """The known keys of an object of an order.

    Attributes
    ----------
    prefix
        What the paths of its keys begin with, such as ``line_items[].``.
    keys
        The object, or array of objects, at each key; None if nothing in it is looked at.
    is_free
        Whether it has free content of which a custom column reads a key: no key of it is unknown.
    """

    prefix: str = ""
    keys: dict[str, KnownObject | None] = field(default_factory=dict)
    is_free: bool = False

    def add(self, path: str, *, is_custom: bool = False) -> None:
        """Add the keys on a dotted path."""
        segment, _, rest = path.partition(".")
        key = segment.removesuffix("[]")
        if not rest:
            self.keys.setdefault(key, None)
            return
        is_free = self.is_free or (is_custom and self.keys.get(key, self) is None)
        inner = self.keys.get(key) or KnownObject(f"{self.prefix}{segment}.", is_free=is_free)
        self.keys[key] = inner
        inner.add(rest, is_custom=is_custom)


@cache
def known_keys() -> KnownObject:
    """Return the known keys of an order. It is shared: don't change it."""
    order = KnownObject()
    for path in _paths():
        order.add(path)
    for path in _paths_of_columns(are_custom=True):
        order.add(path, is_custom=True)
    return order


def _paths_of_columns(are_custom: bool | None = None) -> Iterator[str]:
    for table in (*FACTS, *DIMENSIONS):
        for column in table.c:
            if are_custom in (None, bool(column.info["custom"])):
                yield from (path_within_order(table, path) for path, _ in source_paths(column))


def _paths() -> Iterator[str]:
    yield from _paths_of_columns(are_custom=False)
    read = list(_paths_of_columns())
    for path in read:
        yield from _money_beside(path)
    for parent, keys in _KEYS.items():
        yield from (f"{parent}.{key}" if parent else key for key in keys.split())
    for parent, keys in _KEYS_IF_READ.items():
        if any(path.startswith(f"{parent}.") for path in read):
            yield from (f"{parent}.{key}" for key in keys.split())


def _money_beside(path: str) -> Iterator[str]:
    """Yield all that stands in a ``price_set`` of which the contract reads an amount."""
    above, _, rest = path.partition("_set.")
    if rest:
        yield from (f"{above}_set.{money}.{key}" for money in _MONEY_SET for key in _MONEY)
