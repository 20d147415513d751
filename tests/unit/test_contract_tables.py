"""The declared tables, columns and types are those of the contract, each with a comment."""

from __future__ import annotations

import pyarrow as pa
import pytest
from sqlalchemy import Table, make_url
from sqlalchemy.schema import CreateTable

from orders_dask.contract.arrow import (
    ORDER_ROW,
    arrow_schema,
    decoded_schema,
    flat_schemas,
    paths,
    raw_schema,
    typed_schema,
)
from orders_dask.contract.columns import METADATA
from orders_dask.contract.detail_tables import DETAILS
from orders_dask.contract.dimension_tables import DIMENSIONS, attributes
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.storage_tables import DIMENSION_ROWS
from orders_dask.contract.table_groups import ACTIVE_GROUPS, GROUPS

pytestmark = pytest.mark.groups

# The contract's list of facts and dimensions: the key beside run date and load, and the columns by
# type.
SALES: dict[str, dict[str, str]] = {
    "fact_order": {
        "key": "order_id",
        "bigint": """order_id customer_id user_id location_id device_id app_id checkout_id order_number number
            total_weight line_count unit_count discount_code_count refund_count source_file_id source_position
            company_id company_location_id""",
        "timestamp with time zone": "created_at updated_at processed_at closed_at cancelled_at payment_due_at",
        "date": "created_local_date processed_local_date",
        "integer": "created_utc_offset_min",
        "numeric(22, 4)": """total_price subtotal_price total_tax total_discounts total_line_items_price
            total_price_usd current_total_price total_tip_received total_outstanding total_shipping_price
            gross_line_amount current_subtotal_price current_total_tax current_total_discounts current_total_duties
            current_total_fees original_total_duties original_total_fees presentment_total_price
            presentment_subtotal_price presentment_total_tax presentment_total_discounts
            presentment_shipping_price""",
        "boolean": "test confirmed taxes_included buyer_accepts_marketing tax_exempt",
        "text": """name confirmation_number token cart_token checkout_token reference source_identifier currency
            presentment_currency financial_status fulfillment_status cancel_reason gateway payment_gateway_names
            processing_method discount_codes source_name source_url referring_site landing_site landing_site_ref note
            tags email contact_email phone customer_locale browser_ip order_status_url shipping_country_code
            shipping_province_code shipping_city shipping_zip billing_country_code billing_province_code billing_city
            billing_zip po_number payment_terms_name user_agent accept_language""",
    },
    "fact_order_line": {
        "key": "order_id line_id",
        "bigint": "order_id line_id line_number variant_id product_id quantity current_quantity grams",
        "timestamp with time zone": "created_at",
        "numeric(22, 4)": "price total_discount line_tax line_discount presentment_price",
        "boolean": "gift_card taxable requires_shipping is_tip",
        "text": "sku title variant_title vendor fulfillment_status currency",
    },
    "fact_refund": {
        "key": "order_id refund_id",
        "bigint": "order_id refund_id user_id",
        "timestamp with time zone": "refunded_at processed_at",
        "date": "refunded_local_date",
        "numeric(22, 4)": "refunded_amount refunded_value refunded_shipping",
        "text": "note currency",
    },
    "fact_refund_line": {
        "key": "order_id refund_id refund_line_id",
        "bigint": "order_id refund_id refund_line_id line_id quantity",
        "timestamp with time zone": "refunded_at",
        "numeric(22, 4)": "subtotal total_tax",
        "text": "restock_type currency",
    },
    "fact_refund_adjustment": {
        "key": "order_id refund_id adjustment_id",
        "bigint": "order_id refund_id adjustment_id",
        "timestamp with time zone": "refunded_at",
        "numeric(22, 4)": "amount tax_amount",
        "text": "kind reason currency",
    },
    "fact_shipping_line": {
        "key": "order_id shipping_line_number",
        "bigint": "order_id shipping_line_number shipping_line_id",
        "numeric(22, 4)": "price discounted_price shipping_discount shipping_tax",
        "boolean": "is_removed",
        "text": "title code source carrier_identifier currency",
    },
}

DETAILS_BY_GROUP: dict[str, dict[str, dict[str, str]]] = {
    "discounts": {
        "fact_discount": {
            "key": "order_id discount_number",
            "bigint": "order_id discount_number",
            "numeric(22, 4)": "value",
            "text": """type code title value_type allocation_method target_selection target_type
                currency""",
        },
        "fact_discount_code": {
            "key": "order_id code_number",
            "bigint": "order_id code_number",
            "numeric(22, 4)": "amount",
            "text": "code type currency",
        },
        "fact_line_discount": {
            "key": "order_id line_id allocation_number",
            "bigint": "order_id line_id allocation_number discount_number",
            "numeric(22, 4)": "amount",
            "text": "currency",
        },
    },
    "fulfilments": {
        "fact_fulfillment": {
            "key": "order_id fulfillment_id",
            "bigint": "order_id fulfillment_id location_id",
            "timestamp with time zone": "created_at updated_at",
            "text": "status shipment_status service name tracking_company tracking_number",
        },
        "fact_fulfillment_line": {
            "key": "order_id fulfillment_id line_id",
            "bigint": "order_id fulfillment_id line_id quantity",
        },
    },
    "payments": {
        "fact_refund_transaction": {
            "key": "order_id refund_id transaction_number",
            "bigint": "order_id refund_id transaction_number transaction_id parent_id",
            "timestamp with time zone": "processed_at refunded_at",
            "numeric(22, 4)": "amount",
            "boolean": "test",
            "text": "kind status gateway error_code currency",
        },
        "fact_refund_shipping": {
            "key": "order_id refund_id refund_shipping_number",
            "bigint": "order_id refund_id refund_shipping_number refund_shipping_id shipping_line_id",
            "timestamp with time zone": "refunded_at",
            "numeric(22, 4)": "amount tax_amount",
            "text": "currency",
        },
    },
    "taxes": {
        "fact_line_tax": {
            "key": "order_id line_id tax_number",
            "bigint": "order_id line_id tax_number",
            "numeric(22, 4)": "price",
            "numeric(18, 8)": "rate",
            "boolean": "channel_liable",
            "text": "title currency",
        },
        "fact_shipping_tax": {
            "key": "order_id shipping_line_number tax_number",
            "bigint": "order_id shipping_line_number shipping_line_id tax_number",
            "numeric(22, 4)": "price",
            "numeric(18, 8)": "rate",
            "boolean": "channel_liable",
            "text": "title currency",
        },
    },
    "attributes": {
        "fact_order_attribute": {
            "key": "order_id attribute_number",
            "bigint": "order_id attribute_number",
            "text": "name value",
        },
        "fact_line_property": {
            "key": "order_id line_id property_number",
            "bigint": "order_id line_id property_number",
            "text": "name value",
        },
        "fact_line_staff": {
            "key": "order_id line_id staff_number",
            "bigint": "order_id line_id staff_number quantity",
            "text": "staff_id",
        },
    },
}

DIMENSIONS_OF_CONTRACT: dict[str, dict[str, str]] = {
    "dim_customer": {
        "key": "customer_id",
        "bigint": "customer_id",
        "timestamp with time zone": "created_at updated_at",
        "boolean": "verified_email",
        "text": "email phone currency state tags customer_locale",
    },
    "dim_user": {
        "key": "user_id",
        "bigint": "user_id",
        "text": "last_order_email last_order_phone last_order_locale",
        "names": "name",
    },
    "dim_location": {
        "key": "location_id",
        "bigint": "location_id",
        "names": "name city country_code",
    },
    "dim_device": {"key": "device_id", "bigint": "device_id last_location_id"},
    "dim_app": {"key": "app_id", "bigint": "app_id", "text": "source_name", "names": "name"},
    "dim_product_variant": {
        "key": "product_id variant_id",
        "bigint": "product_id variant_id",
        "text": "sku title variant_title vendor",
    },
}

DETAILS_OF_CONTRACT = {
    name: table
    for group, tables in DETAILS_BY_GROUP.items()
    if group in ACTIVE_GROUPS
    for name, table in tables.items()
}
CONTRACT = SALES | DETAILS_OF_CONTRACT | DIMENSIONS_OF_CONTRACT

ARROW: dict[str, pa.DataType] = {
    "bigint": pa.int64(),
    "integer": pa.int32(),
    "numeric(22, 4)": pa.decimal128(22, 4),
    "numeric(18, 8)": pa.decimal128(18, 8),
    "timestamp with time zone": pa.timestamp("us", tz="UTC"),
    "date": pa.date32(),
    "boolean": pa.bool_(),
    "text": pa.string(),
}

POSTGRESQL = make_url("postgresql+psycopg2://").get_dialect()()
LOAD = {"run_date", "load_id"}
SEEN = {"attributes_run_date": "date", "first_seen": "date", "last_seen": "date"}
BY_NAME: dict[str, Table] = {table.name: table for table in (*FACTS, *DIMENSIONS)}
names = pytest.mark.parametrize("name", CONTRACT)


def columns(name: str) -> dict[str, str]:
    """Return the contract's columns of a table, and the type of each."""
    listed = CONTRACT[name]
    return {
        c: kind for kind in listed if kind not in ("key", "names") for c in listed[kind].split()
    }


def named(name: str) -> dict[str, str]:
    """Return the contract's columns of a dimension that no order has, and the type of each."""
    return dict.fromkeys(CONTRACT[name].get("names", "").split(), "text")


def test_facts_and_dimensions_are_those_of_the_contract() -> None:
    assert list(BY_NAME) == list(CONTRACT)


def test_the_tables_of_groups_that_are_off_are_in_no_schema() -> None:
    declared = {name for tables in DETAILS_BY_GROUP.values() for name in tables}
    assert {fact.name for fact in DETAILS} == declared
    assert ("sales", *DETAILS_BY_GROUP) == GROUPS
    off = declared - DETAILS_OF_CONTRACT.keys()
    made = [table.name for table in METADATA.tables.values()]
    assert not off.intersection(made)
    counters = METADATA.tables["orders_ops.load_file"].c.keys()
    assert not [c for c in counters for name in off if c.startswith(name.removeprefix("fact_"))]


@names
def test_columns_and_their_kinds_are_those_of_the_contract(name: str) -> None:
    table = BY_NAME[name]
    expected = columns(name)
    if table in FACTS:
        expected |= {"run_date": "date", "load_id": "bigint"}
    else:
        expected |= SEEN | named(name)
    declared = {c.name: c.type.compile(POSTGRESQL).lower() for c in table.c}
    assert declared == expected


@names
def test_only_keys_and_what_a_run_knows_may_not_be_null(name: str) -> None:
    table = BY_NAME[name]
    key = CONTRACT[name]["key"].split()
    assert list(table.info["key"]) == key
    led = ["run_date", "load_id", *key] if table in FACTS else key
    assert [c.name for c in table.primary_key] == led
    source = {"source_file_id", "source_position"} & set(table.c.keys())
    seen = set() if table in FACTS else {"first_seen", "last_seen"}
    assert {c.name for c in table.c if not c.nullable} == {*led, *source, *seen}


@names
def test_arrow_types_are_those_of_the_contracts_types(name: str) -> None:
    schema = arrow_schema(BY_NAME[name])
    expected = {c: ARROW[kind] for c, kind in columns(name).items()}
    assert {c: schema.field(c).type for c in expected} == expected
    flat = flat_schemas()[name]
    added = LOAD | SEEN.keys() | named(name).keys()
    assert flat.names == [ORDER_ROW, *(c for c in schema.names if c not in added)]


def test_every_table_and_column_has_a_comment() -> None:
    bare = [t.fullname for t in METADATA.tables.values() if not t.comment]
    bare += [
        f"{t.fullname}.{c.name}" for t in METADATA.tables.values() for c in t.c if not c.comment
    ]
    assert not bare


def test_tables_are_in_the_schema_of_their_readers() -> None:
    found: dict[str, set[str]] = {}
    for table in METADATA.tables.values():
        found.setdefault(table.schema or "", set()).add(table.name)
    facts = {name for name in CONTRACT if name.startswith("fact_")}
    dimensions = CONTRACT.keys() - facts
    ledger = {"load_run", "load_file", "load_part", "rejected_record", "data_issue"}
    assert found.keys() == {"orders_store", "orders", "orders_ops"}
    assert found["orders"] == dimensions
    assert found["orders_store"] >= {
        *facts,
        *dimensions,
        "order_version",
        "order_superseded",
        "published",
    }
    assert found["orders_ops"] >= ledger


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.name)
def test_facts_are_partitioned_by_run_date(fact: Table) -> None:
    ddl = str(CreateTable(fact).compile(dialect=POSTGRESQL))
    assert "PARTITION BY RANGE (run_date)" in ddl


@pytest.mark.parametrize("dimension", DIMENSIONS, ids=lambda dimension: dimension.name)
def test_the_rows_of_a_dimension_in_a_load_are_its_key_and_attributes(dimension: Table) -> None:
    rows = next(table for table in DIMENSION_ROWS if table.name == dimension.name)
    listed = list(columns(dimension.name))
    of_order = ["version_at", "source_file_id", "source_position"]
    assert sorted(rows.c.keys()) == sorted(["load_id", *listed, *of_order])
    key = CONTRACT[dimension.name]["key"].split()
    assert {c.name for c in attributes(dimension)} == set(listed) - set(key)


def test_every_path_is_of_one_type() -> None:
    kinds: dict[str, set[str]] = {}
    for path, kind in paths():
        kinds.setdefault(path, set()).add(str(kind))
    assert not {path: kind for path, kind in kinds.items() if len(kind) > 1}


def test_raw_typed_and_decoded_orders_have_the_same_fields() -> None:
    typed = typed_schema().names
    assert raw_schema().names == typed
    made = [
        "created_local_date",
        "processed_local_date",
        "created_utc_offset_min",
        "source_position",
    ]
    assert decoded_schema().names == [*typed, *made]
    refund = typed_schema().field("refunds").type.value_type
    decoded = decoded_schema().field("refunds").type.value_type
    assert [each.name for each in decoded] == [
        *(each.name for each in refund),
        "refunded_local_date",
    ]


def test_younger_columns_and_facts_stand_last_since_views_may_only_append() -> None:
    younger_facts = ["fact_shipping_line", *DETAILS_OF_CONTRACT]
    assert [fact.name for fact in FACTS][5:] == younger_facts
    order = BY_NAME["fact_order"].c.keys()
    assert order[order.index("source_position") + 1] == "processed_local_date"
    for name, last in {"fact_order_line": "created_at", "fact_refund": "currency"}.items():
        younger = BY_NAME[name].c.keys()
        assert younger[younger.index(last) + 1] in {"line_discount", "refunded_local_date"}


def test_amounts_are_read_as_such_and_timestamps_as_text() -> None:
    raw = raw_schema()
    assert raw.field("total_price").type == pa.decimal128(22, 4)
    assert raw.field("created_at").type == pa.string()
    line = raw.field("line_items").type.value_type
    assert line.field("price").type == pa.decimal128(22, 4)
