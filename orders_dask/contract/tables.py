"""The one declaration: every table, its columns, their types, comments and where each value comes from.

Arrow schemas, the JSON reader's schema, Dask metadata, DDL and COPY column lists are derived from here
(:mod:`orders_dask.contract.arrow`, :mod:`orders_dask.load`). A new column is one line here, plus a migration.

Where a value comes from stands in ``Column.info``:

``source``
    The path of the value, from the table's own records: ``customer.id``,
    ``total_shipping_price_set.shop_money.amount``.
    The table's records stand at ``Table.info["records"]``, from the order: ``refunds[].refund_line_items[]``.
``reads``
    Further paths that the column is checked or computed with, each with the type it is read as.

Names of fields are those of the Admin REST Order resource:
https://shopify.dev/docs/api/admin-rest/latest/resources/order
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Float,
    Identity,
    Index,
    Integer,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    false,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import TypeEngine

CONTRACT: Final = 5
"""Version of this contract: part of every stage part's identity. Raise it when a stored value or a table changes."""

STORE: Final = "orders_store"
PUBLIC: Final = "orders"
OPS: Final = "orders_ops"

ID = BigInteger()
COUNT = BigInteger()
MONEY = Numeric(22, 4)
INSTANT = DateTime(timezone=True)
DAY = Date()
MINUTES = Integer()
FLAG = Boolean()
TEXT = Text()

METADATA: Final = MetaData()

type_ = TypeEngine[Any]


def _read(
    name: str,
    kind: type_,
    comment: str,
    source: str = "",
    reads: Mapping[str, type_] | None = None,
    **options: Any,
) -> Column[Any]:
    """Declare a column that holds the value at `source` (default: the key of the column's own name)."""
    info = {"source": source or name, "reads": dict(reads or {})}
    return Column(name, kind, comment=comment, info=info, **options)


def _made(
    name: str, kind: type_, comment: str, reads: Mapping[str, type_] | None = None, **options: Any
) -> Column[Any]:
    """Declare a column that the pipeline computes, from `reads` if it needs more than the other columns."""
    info = {"source": None, "reads": dict(reads or {})}
    return Column(name, kind, comment=comment, info=info, **options)


def _fact(
    name: str, records: str, comment: str, key: tuple[str, ...], *columns: Column[Any]
) -> Table:
    """Declare the storage of a fact: partitioned by run date, its key led by run date and load."""
    return Table(
        name,
        METADATA,
        _made("run_date", DAY, "Date of the dump that said this", nullable=False),
        _made("load_id", ID, "The load that brought the row (orders_ops.load_run)", nullable=False),
        *columns,
        PrimaryKeyConstraint("run_date", "load_id", *key),
        schema=STORE,
        comment=comment,
        info={"records": records, "key": key},
        postgresql_partition_by="RANGE (run_date)",
    )


fact_order = _fact(
    "fact_order",
    "",
    "One row an order and run date: what that day's dump said of the order",
    ("order_id",),
    _read(
        "order_id",
        ID,
        "The order's id",
        "id",
        {"admin_graphql_api_id": TEXT},
        nullable=False,
    ),
    _read("customer_id", ID, "The buyer (dim_customer)", "customer.id"),
    _read(
        "user_id", ID, "The member of staff who took the order (dim_user); the buyer is customer_id"
    ),
    _read("location_id", ID, "Where the order was taken (dim_location)"),
    _read("device_id", ID, "The point-of-sale device (dim_device)"),
    _read("app_id", ID, "The app that made the order (dim_app)"),
    _read("checkout_id", ID, "The checkout that the order came from"),
    _read("order_number", COUNT, "The number that the customer sees"),
    _read("number", COUNT, "The shop's running number"),
    _read("name", TEXT, "The order's display name, such as #1001"),
    _read("confirmation_number", TEXT, "The confirmation code that the customer got"),
    _read("token", TEXT, "The order's token"),
    _read("cart_token", TEXT, "The cart's token"),
    _read("checkout_token", TEXT, "The checkout's token"),
    _read("reference", TEXT, "The reference given by the app"),
    _read("source_identifier", TEXT, "The order's identifier in the system it came from"),
    _read("created_at", INSTANT, "When the order was made"),
    _read("updated_at", INSTANT, "When the order was last changed; decides which version wins"),
    _read("processed_at", INSTANT, "When the order was processed"),
    _read("closed_at", INSTANT, "When the order was closed"),
    _read("cancelled_at", INSTANT, "When the order was cancelled"),
    _made("created_local_date", DAY, "The shop's day of created_at, by the offset as written"),
    _made(
        "created_utc_offset_min", MINUTES, "Minutes that created_at's local time is ahead of UTC"
    ),
    _read("total_price", MONEY, "Total with taxes, shipping and discounts, in currency"),
    _read("subtotal_price", MONEY, "Lines after discounts, before shipping, in currency"),
    _read("total_tax", MONEY, "Taxes, in currency"),
    _read("total_discounts", MONEY, "Discounts, in currency"),
    _read("total_line_items_price", MONEY, "Lines before discounts, in currency"),
    _read("total_price_usd", MONEY, "Total in US dollars, as the dump says"),
    _read("current_total_price", MONEY, "Total after edits and refunds, in currency"),
    _read("total_tip_received", MONEY, "Tips, in currency"),
    _read("total_outstanding", MONEY, "What is still to be paid, in currency"),
    _read(
        "total_shipping_price",
        MONEY,
        "Shipping, in the shop's currency",
        "total_shipping_price_set.shop_money.amount",
    ),
    _read(
        "currency", TEXT, "ISO 4217 code as written; amounts of different currencies never add up"
    ),
    _read("presentment_currency", TEXT, "Currency that the customer saw"),
    _read("total_weight", COUNT, "Weight of all lines in grams"),
    _read("test", FLAG, "A test order"),
    _read("confirmed", FLAG, "The order is confirmed"),
    _read("taxes_included", FLAG, "Prices include taxes"),
    _read("buyer_accepts_marketing", FLAG, "The buyer takes marketing mail"),
    _read("tax_exempt", FLAG, "No taxes are due"),
    _read("financial_status", TEXT, "State of the payment"),
    _read("fulfillment_status", TEXT, "State of the delivery"),
    _read("cancel_reason", TEXT, "Why the order was cancelled"),
    _read("gateway", TEXT, "The payment gateway (old dumps)"),
    _read(
        "payment_gateway_names",
        TEXT,
        "The payment gateways, joined by ', '",
        "payment_gateway_names[]",
    ),
    _read("processing_method", TEXT, "How the payment was processed"),
    _read("discount_codes", TEXT, "The discount codes, joined by ', '", "discount_codes[].code"),
    _read("source_name", TEXT, "The channel: web, pos, ..."),
    _read("source_url", TEXT, "The order's page in the system it came from"),
    _read("referring_site", TEXT, "The site that sent the buyer"),
    _read("landing_site", TEXT, "The page that the buyer landed on"),
    _read("landing_site_ref", TEXT, "The reference in the landing page's address"),
    _read("note", TEXT, "A note on the order"),
    _read("tags", TEXT, "Tags, as written"),
    _read("email", TEXT, "The buyer's address for mail"),
    _read("contact_email", TEXT, "The address used for this order"),
    _read("phone", TEXT, "The buyer's telephone"),
    _read("customer_locale", TEXT, "The buyer's language"),
    _read("browser_ip", TEXT, "The buyer's network address"),
    _read("order_status_url", TEXT, "The order's status page"),
    _read("shipping_country_code", TEXT, "Country shipped to", "shipping_address.country_code"),
    _read("shipping_province_code", TEXT, "Province shipped to", "shipping_address.province_code"),
    _read("shipping_city", TEXT, "City shipped to", "shipping_address.city"),
    _read("shipping_zip", TEXT, "Postal code shipped to", "shipping_address.zip"),
    _made("line_count", COUNT, "Number of loaded lines"),
    _made("unit_count", COUNT, "Sum of the lines' quantity; null where a line has none"),
    _made("gross_line_amount", MONEY, "Sum of quantity times price; null where a line lacks one"),
    _made("discount_code_count", COUNT, "Number of discount codes"),
    _made("refund_count", COUNT, "Number of loaded refunds"),
    _made("source_file_id", ID, "The file it stood in (orders_ops.load_file)", nullable=False),
    _made("source_position", ID, "Number of the record in that file, from 1", nullable=False),
)

fact_order_line = _fact(
    "fact_order_line",
    "line_items[]",
    "One row a line of an order and run date",
    ("order_id", "line_id"),
    _made("order_id", ID, "The order", nullable=False),
    _read("line_id", ID, "The line's id", "id", nullable=False),
    _made("line_number", COUNT, "The line's place in the order, from 1"),
    _read("variant_id", ID, "The product's variant (dim_product_variant)"),
    _read("product_id", ID, "The product (dim_product_variant)"),
    _read("quantity", COUNT, "Units ordered"),
    _read("current_quantity", COUNT, "Units after edits and refunds"),
    _read("price", MONEY, "Price of one unit before discounts, in currency"),
    _read("total_discount", MONEY, "Discount on the line, in currency"),
    _read("sku", TEXT, "Stock keeping unit"),
    _read("title", TEXT, "The product's title at the time"),
    _read("variant_title", TEXT, "The variant's title at the time"),
    _read("vendor", TEXT, "The product's vendor at the time"),
    _read("gift_card", FLAG, "The line is a gift card"),
    _read("taxable", FLAG, "The line is taxed"),
    _read("requires_shipping", FLAG, "The line is shipped"),
    _read("grams", COUNT, "Weight of one unit in grams"),
    _read("fulfillment_status", TEXT, "State of the line's delivery"),
    _read(
        "line_tax",
        MONEY,
        "Sum of the line's taxes, each rounded first; 0 with none, null where one has no price",
        "tax_lines[].price",
    ),
    _made("currency", TEXT, "The order's currency"),
    _made("created_at", INSTANT, "When the order was made"),
)

fact_refund = _fact(
    "fact_refund",
    "refunds[]",
    "One row a refund of an order and run date",
    ("order_id", "refund_id"),
    _made("order_id", ID, "The order", nullable=False),
    _read("refund_id", ID, "The refund's id", "id", nullable=False),
    _read("refunded_at", INSTANT, "When the refund was made", "created_at"),
    _read("processed_at", INSTANT, "When the refund was processed"),
    _read("note", TEXT, "Why it was refunded"),
    _read("user_id", ID, "The member of staff who refunded"),
    _made(
        "refunded_amount",
        MONEY,
        "Sum of its successful refund transactions; null where one has no amount or another currency",
        {
            "transactions[].amount": MONEY,
            "transactions[].kind": TEXT,
            "transactions[].status": TEXT,
            "transactions[].currency": TEXT,
        },
    ),
    _made("currency", TEXT, "The order's currency"),
)

fact_refund_line = _fact(
    "fact_refund_line",
    "refunds[].refund_line_items[]",
    "One row a refunded line of a refund and run date",
    ("order_id", "refund_id", "refund_line_id"),
    _made("order_id", ID, "The order", nullable=False),
    _made("refund_id", ID, "The refund", nullable=False),
    _read("refund_line_id", ID, "The refunded line's own id", "id", nullable=False),
    _read("line_id", ID, "The order's line that was refunded", "line_item_id"),
    _read("quantity", COUNT, "Units refunded"),
    _read("subtotal", MONEY, "Refunded before taxes, in currency"),
    _read("total_tax", MONEY, "Taxes refunded, in currency"),
    _read("restock_type", TEXT, "What became of the units"),
    _made("refunded_at", INSTANT, "When the refund was made"),
    _made("currency", TEXT, "The order's currency"),
)

fact_refund_adjustment = _fact(
    "fact_refund_adjustment",
    "refunds[].order_adjustments[]",
    "One row an adjustment of a refund and run date",
    ("order_id", "refund_id", "adjustment_id"),
    _made("order_id", ID, "The order", nullable=False),
    _made("refund_id", ID, "The refund", nullable=False),
    _read("adjustment_id", ID, "The adjustment's id", "id", nullable=False),
    _read("amount", MONEY, "The adjustment, in currency"),
    _read("tax_amount", MONEY, "The adjustment's taxes, in currency"),
    _read("kind", TEXT, "What kind of adjustment"),
    _read("reason", TEXT, "Why it was adjusted"),
    _made("refunded_at", INSTANT, "When the refund was made"),
    _made("currency", TEXT, "The order's currency"),
)

FACTS: Final[tuple[Table, ...]] = (
    fact_order,
    fact_order_line,
    fact_refund,
    fact_refund_line,
    fact_refund_adjustment,
)

Index("fact_order_order_id", fact_order.c.order_id)
Index("fact_refund_order_id", fact_refund.c.order_id)

# Which versions of an order there are, and which of the published ones are not current.

order_version = Table(
    "order_version",
    METADATA,
    _made("order_id", ID, "The order", nullable=False),
    _made("run_date", DAY, "Date of the dump", nullable=False),
    _made("load_id", ID, "The load", nullable=False),
    _made(
        "version", INSTANT, "updated_at, else created_at, else null, which sorts before every other"
    ),
    PrimaryKeyConstraint("order_id", "run_date", "load_id"),
    Index("order_version_load_id", "load_id"),
    schema=STORE,
    comment="Every version of every order that a load brought",
)

order_superseded = Table(
    "order_superseded",
    METADATA,
    _made("order_id", ID, "The order", nullable=False),
    _made("run_date", DAY, "The published run date whose version is not current", nullable=False),
    PrimaryKeyConstraint("order_id", "run_date"),
    schema=STORE,
    comment="The published versions that are not current: few",
)

published = Table(
    "published",
    METADATA,
    Column("run_date", DAY, primary_key=True, comment="The run date"),
    Column("load_id", ID, nullable=False, comment="The load that readers see for it"),
    UniqueConstraint("load_id"),
    schema=STORE,
    comment="The gate: which load readers see for each run date",
)

# Dimensions. What people see is orders.dim_*; what each load said stands in orders_store.dim_* until it is pruned.


def _dimension(
    name: str, records: str, comment: str, key: tuple[str, ...], *columns: Column[Any]
) -> Table:
    """Declare a dimension: its key, its attributes, and the run dates that carried it."""
    return Table(
        name,
        METADATA,
        *columns,
        _made("attributes_run_date", DAY, "The run date whose dump gave the attributes"),
        _made("first_seen", DAY, "Least run date that ever carried the key", nullable=False),
        _made("last_seen", DAY, "Greatest run date that ever carried the key", nullable=False),
        PrimaryKeyConstraint(*key),
        schema=PUBLIC,
        comment=comment,
        info={"records": records, "key": key},
    )


dim_customer = _dimension(
    "dim_customer",
    "",
    "Buyers, as the latest run date that said anything of them has them",
    ("customer_id",),
    _read("customer_id", ID, "The buyer's id", "customer.id", nullable=False),
    _read("email", TEXT, "Address for mail", "customer.email"),
    _read("phone", TEXT, "Telephone", "customer.phone"),
    _read("currency", TEXT, "The buyer's currency", "customer.currency"),
    _read("state", TEXT, "State of the buyer's account", "customer.state"),
    _read("verified_email", FLAG, "The address is verified", "customer.verified_email"),
    _read("tags", TEXT, "Tags, as written", "customer.tags"),
    _read("created_at", INSTANT, "When the account was made", "customer.created_at"),
    _read("updated_at", INSTANT, "When the account was last changed", "customer.updated_at"),
    _read("customer_locale", TEXT, "The buyer's language on the order"),
)

dim_user = _dimension(
    "dim_user",
    "",
    "Members of staff who took orders; for the buyer see dim_customer",
    ("user_id",),
    _read(
        "user_id", ID, "The member of staff, not the buyer: that is dim_customer", nullable=False
    ),
    _read(
        "last_order_email", TEXT, "Buyer's mail on the last order taken; see dim_customer", "email"
    ),
    _read(
        "last_order_phone", TEXT, "Buyer's phone on the last order taken; see dim_customer", "phone"
    ),
    _read(
        "last_order_locale",
        TEXT,
        "Buyer's language on the last order taken; see dim_customer",
        "customer_locale",
    ),
)

dim_location = _dimension(
    "dim_location",
    "",
    "Places where orders are taken",
    ("location_id",),
    _read("location_id", ID, "The place", nullable=False),
)

dim_device = _dimension(
    "dim_device",
    "",
    "Point-of-sale devices",
    ("device_id",),
    _read("device_id", ID, "The device", nullable=False),
    _read("last_location_id", ID, "Where its last order was taken (dim_location)", "location_id"),
)

dim_app = _dimension(
    "dim_app",
    "",
    "Apps that make orders",
    ("app_id",),
    _read("app_id", ID, "The app", nullable=False),
    _read("source_name", TEXT, "The channel of its last order"),
)

dim_product_variant = _dimension(
    "dim_product_variant",
    "line_items[]",
    "Product variants that were ordered",
    ("product_id", "variant_id"),
    _read("product_id", ID, "The product", nullable=False),
    _read("variant_id", ID, "The variant", nullable=False),
    _read("sku", TEXT, "Stock keeping unit"),
    _read("title", TEXT, "The product's title"),
    _read("variant_title", TEXT, "The variant's title"),
    _read("vendor", TEXT, "The product's vendor"),
)

DIMENSIONS: Final[tuple[Table, ...]] = (
    dim_customer,
    dim_user,
    dim_location,
    dim_device,
    dim_app,
    dim_product_variant,
)


def attributes(dimension: Table) -> list[Column[Any]]:
    """List the columns of a dimension that its records give beside its key."""
    return [c for c in dimension.c if c.info["source"] and c.name not in dimension.info["key"]]


def _said(dimension: Table) -> Table:
    """Declare what each load said of a dimension: a row a key and part, with the version that said it."""
    return Table(
        dimension.name,
        METADATA,
        _made("load_id", ID, "The load", nullable=False),
        *(
            Column(c.name, c.type, comment=c.comment, info=c.info, nullable=c.nullable)
            for c in dimension.c
            if c.info["source"]
        ),
        _made("version", INSTANT, "Version of the order that said it"),
        _made("source_file_id", ID, "The file it stood in", nullable=False),
        _made("source_position", ID, "Number of the record in that file", nullable=False),
        Index(f"{dimension.name}_load_id", "load_id"),
        schema=STORE,
        comment=f"What each load said of {PUBLIC}.{dimension.name}",
        info=dimension.info,
    )


SAID: Final[tuple[Table, ...]] = tuple(_said(dimension) for dimension in DIMENSIONS)


class Carrier(NamedTuple):
    """What is staged and says a dimension.

    Attributes
    ----------
    table
        The staged table: a fact, or what is said of the dimension itself.
    columns
        By column that the dimension's records give, the column of the staged table that holds it.
    """

    table: Table
    columns: Mapping[str, str]


def _carrier(said: Table) -> Carrier:
    """Find a fact of the same records that has all values of a dimension; without one, it is staged itself."""
    sources = {c.name: c.info["source"] for c in said.c if c.info["source"]}
    for fact in FACTS:
        held = {c.info["source"]: c.name for c in fact.c if c.info["source"]}
        if fact.info["records"] == said.info["records"] and held.keys() >= {*sources.values()}:
            return Carrier(fact, {name: held[source] for name, source in sources.items()})
    return Carrier(said, {name: name for name in sources})


CARRIERS: Final[Mapping[str, Carrier]] = {said.name: _carrier(said) for said in SAID}
"""What is staged and says a dimension, by the dimension's name."""

STAGED: Final[tuple[Table, ...]] = (
    *FACTS,
    *(said for said in SAID if CARRIERS[said.name].table is said),
)
"""The tables that are staged: facts, and what is said of dimensions where no fact carries it."""


def _before(dimension: Table) -> Table:
    """Declare what publishes overwrote of a dimension: each row as it stood, for a rollback to put back."""
    key = dimension.info["key"]
    return Table(
        f"{dimension.name}_before",
        METADATA,
        Column(
            "turn", ID, Identity(), primary_key=True, comment="Order in which rows were written"
        ),
        Column("load_id", ID, nullable=False, comment="The load whose publish overwrote the row"),
        *(
            Column(c.name, c.type, comment=c.comment, nullable=c.name not in key)
            for c in dimension.c
        ),
        Index(f"{dimension.name}_before_load_id", "load_id"),
        Index(f"{dimension.name}_before_key", *key),
        schema=STORE,
        comment=f"What publishes overwrote of {PUBLIC}.{dimension.name}, kept for rollback; a row that was not there "
        "before has no first_seen",
        info={"key": key},
    )


BEFORE: Final[tuple[Table, ...]] = tuple(_before(dimension) for dimension in DIMENSIONS)

LOADED: Final[tuple[Table, ...]] = (*FACTS, order_version, *SAID)
"""The tables that a part is copied into, in one transaction."""

# The ledger.

installed = Table(
    "installed",
    METADATA,
    Column("contract", Integer, primary_key=True, comment="Version of the contract"),
    Column("leaf", TEXT, nullable=False, comment="What a leaf of the storage holds: month or day"),
    Column("views", TEXT, nullable=False, comment="Hash of the definitions of the public views"),
    Column(
        "installation",
        TEXT,
        nullable=False,
        server_default=func.gen_random_uuid().cast(TEXT),
        comment="Tells this database's loads from those of others that share its stage",
    ),
    schema=OPS,
    comment="What `orders-dask init` made, in one row",
)

storage_leaf = Table(
    "storage_leaf",
    METADATA,
    Column("first_date", DAY, primary_key=True, comment="First run date that it holds"),
    Column("end_date", DAY, nullable=False, comment="First run date after it"),
    Column(
        "watch",
        ARRAY(TEXT),
        comment="Transactions that began before it was attached: they may not see it, so a publish into it "
        "waits for them; null while nobody has looked",
    ),
    Column(
        "leaving",
        ARRAY(TEXT),
        comment="Transactions that may still see what was published in it: it is freed when they have ended; null "
        "while it is kept",
    ),
    schema=OPS,
    comment="The leaves of the fact storage: a row commits with the leaf in all five tables",
)

STATUSES: Final = (
    "loading",  # parts may still commit
    "sealed",  # no part can commit any more
    "verified",  # the books balance
    "published",  # readers see it
    "replaced",  # was published until a later load of its date was
    "withdrawn",  # was published until its date was rolled back or dropped
    "refused",  # its data was refused
    "failed",  # it ended with an error
    "abandoned",  # its run died; a later one sealed it off
    "compared",  # it was loaded only to be compared with what is published
)

load_run = Table(
    "load_run",
    METADATA,
    Column("load_id", ID, Identity(), primary_key=True, comment="Never used again"),
    Column("run_date", DAY, nullable=False, comment="The run date"),
    Column("status", TEXT, nullable=False, comment="loading, sealed, verified, published, ..."),
    Column("source", TEXT, nullable=False, comment="The source URL as configured"),
    Column(
        "fingerprint", TEXT, nullable=False, comment="Hash of files, ETags, contract and settings"
    ),
    Column("holder", TEXT, nullable=False, comment="Who runs it: process and host"),
    Column("started_at", INSTANT, nullable=False, server_default=func.now(), comment="Begin"),
    Column(
        "read_at",
        INSTANT,
        nullable=False,
        server_default=func.now(),
        comment="What the age of its texts counts from: its begin; of a replay, that of the load before",
    ),
    Column("finished_at", INSTANT, comment="End, whatever it was"),
    Column("published_at", INSTANT, comment="When it was last published"),
    Column("replaces", ID, comment="The load that readers saw before, where there was one"),
    Column(
        "reversible",
        FLAG,
        nullable=False,
        server_default=false(),
        comment="Whether its publish can be rolled back: what it replaced and overwrote is kept",
    ),
    Column("left_at", INSTANT, comment="When readers stopped seeing it: replaced or withdrawn"),
    Column("pruned_at", INSTANT, comment="When its rows were removed from the storage"),
    Column("message", TEXT, comment="Why it was refused or failed"),
    Column("seconds", JSONB, comment="Wall seconds of each step"),
    Column("costs", JSONB, comment="Seconds, CPU seconds and bytes of all tasks, by step"),
    Column("schema_drift", JSONB, comment="Dotted paths of keys that the contract doesn't know"),
    CheckConstraint("status in ({})".format(", ".join(f"'{s}'" for s in STATUSES)), name="status"),
    Index("load_run_run_date", "run_date"),
    Index(
        "load_run_one_active",
        "run_date",
        unique=True,
        postgresql_where="status in ('loading', 'sealed', 'verified')",
    ),
    schema=OPS,
    comment="Every load: a run of one run date",
)


def book_column(fact: Table, entry: str) -> str:
    """Name the ledger's column for an entry of a fact's books, such as ``order_line_rejected``."""
    return f"{fact.name.removeprefix('fact_')}_{entry}"


ENTRIES: Final = ("read", "loaded", "superseded", "rejected")
"""Entries of the books: read = loaded + superseded + rejected."""

load_file = Table(
    "load_file",
    METADATA,
    Column(
        "file_id", ID, Identity(), primary_key=True, comment="Named by fact_order.source_file_id"
    ),
    Column("load_id", ID, nullable=False, comment="The load"),
    Column("name", TEXT, nullable=False, comment="Full name; zip://MEMBER::ZIP for a zip's member"),
    Column("etag", TEXT, comment="ETag, or what stands for it, of the object"),
    Column("bytes", ID, comment="Size of the file as stored"),
    Column("unreadable", FLAG, nullable=False, comment="Not read to its end"),
    *(
        Column(
            book_column(fact, entry),
            COUNT,
            nullable=False,
            server_default="0",
            comment=f"{fact.name}: {entry}",
        )
        for fact in FACTS
        for entry in ENTRIES
    ),
    UniqueConstraint("load_id", "name"),
    schema=OPS,
    comment="Every file of every load, with its books",
)

load_part = Table(
    "load_part",
    METADATA,
    Column("load_id", ID, primary_key=True, comment="The load"),
    Column("part", TEXT, primary_key=True, comment="The stage part"),
    Column("loaded_at", INSTANT, nullable=False, server_default=func.now(), comment="When it was"),
    Column("seconds", Float, comment="Wall seconds it took"),
    Column("rows", JSONB, nullable=False, comment="Rows copied, by table"),
    Column(
        "superseded",
        JSONB,
        nullable=False,
        comment="What lost to another version, by fact: books (rows, and sums of money by currency), rows by file",
    ),
    schema=OPS,
    comment="The parts that are loaded: the row commits with the part's own rows",
)

rejected_record = Table(
    "rejected_record",
    METADATA,
    Column("load_id", ID, nullable=False, comment="The load"),
    Column("file_id", ID, nullable=False, comment="The file"),
    Column("position", ID, nullable=False, comment="Number of the record in that file, from 1"),
    Column(
        "path", TEXT, nullable=False, comment="Empty for the record, else a child: line_items[3]"
    ),
    Column("code", TEXT, nullable=False, comment="The contract's code of what is wrong"),
    Column("message", TEXT, nullable=False, comment="What is wrong, for people"),
    *(
        Column(
            book_column(fact, "rejected"),
            COUNT,
            nullable=False,
            comment=f"{fact.name} records refused with it, itself included",
        )
        for fact in FACTS
    ),
    Column("raw", TEXT, comment="The text as it stood, cut at 64 KiB; personal data"),
    Column(
        "of_order",
        TEXT,
        comment="The text of the order that a rejected child belongs to, cut at 64 KiB; on the first of its rejected "
        "children; personal data",
    ),
    Column(
        "mended",
        TEXT,
        comment="The text as people mended it, for a child that of its whole order: a replay reads it instead of raw "
        "or of_order",
    ),
    Column("replayed_in", ID, comment="The load that last read it again"),
    Column("replay_result", TEXT, comment="What became of it there"),
    Index("rejected_record_load_id", "load_id"),
    schema=OPS,
    comment="What was refused, why, and where it stands",
)

data_issue = Table(
    "data_issue",
    METADATA,
    Column("load_id", ID, primary_key=True, comment="The load"),
    Column("file_id", ID, primary_key=True, comment="The file"),
    Column(
        "field",
        TEXT,
        primary_key=True,
        comment="Dotted path of the value, such as line_items[].price",
    ),
    Column(
        "code", TEXT, primary_key=True, comment="The contract's code of what was repaired or nulled"
    ),
    Column("values", COUNT, nullable=False, comment="How many values"),
    Column("samples", JSONB, nullable=False, comment="A few of them: position and text"),
    schema=OPS,
    comment="What was repaired or nulled, counted",
)
