"""The declaration of dimensions. docs/contract.md#dimensions describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Column, PrimaryKeyConstraint, Table

from orders_dask.contract.columns import (
    BOOLEAN,
    DATE,
    ID,
    METADATA,
    PUBLIC,
    TEXT,
    TIMESTAMP,
    computed_column,
    named_column,
    source_column,
)


def dimension_table(
    name: str,
    records: str,
    comment: str,
    key: tuple[str, ...],
    *columns: Column[Any],
    names: Sequence[Column[Any]] = (),
    lists: Mapping[str, str] | None = None,
) -> Table:
    """Return the table of a dimension: key, attributes, and the run dates that had the key.

    `names` are columns whose values no order has. `lists` are the keys of the Admin API's lists
    that have them, each with the resource that a GraphQL id in it names.
    """
    return Table(
        name,
        METADATA,
        *columns,
        computed_column("attributes_run_date", DATE, "The run date whose dump gave the attributes"),
        computed_column(
            "first_seen", DATE, "Least run date that ever carried the key", nullable=False
        ),
        computed_column(
            "last_seen", DATE, "Greatest run date that ever carried the key", nullable=False
        ),
        *names,
        PrimaryKeyConstraint(*key),
        schema=PUBLIC,
        comment=comment,
        info={"records": records, "key": key, "names": tuple(names), "lists": lists or {}},
    )


dim_customer = dimension_table(
    "dim_customer",
    "",
    "Buyers, as the latest run date that said anything of them has them",
    ("customer_id",),
    source_column("customer_id", ID, "The buyer's id", "customer.id", nullable=False),
    source_column("email", TEXT, "Address for mail", "customer.email"),
    source_column("phone", TEXT, "Telephone", "customer.phone"),
    source_column("currency", TEXT, "The buyer's currency", "customer.currency"),
    source_column("state", TEXT, "State of the buyer's account", "customer.state"),
    source_column("verified_email", BOOLEAN, "The address is verified", "customer.verified_email"),
    source_column("tags", TEXT, "Tags, as written", "customer.tags"),
    source_column("created_at", TIMESTAMP, "When the account was made", "customer.created_at"),
    source_column(
        "updated_at", TIMESTAMP, "When the account was last changed", "customer.updated_at"
    ),
    source_column("customer_locale", TEXT, "The buyer's language on the order"),
)


dim_user = dimension_table(
    "dim_user",
    "",
    "Members of staff who took orders; for the buyer see dim_customer",
    ("user_id",),
    source_column(
        "user_id", ID, "The member of staff, not the buyer: that is dim_customer", nullable=False
    ),
    source_column(
        "last_order_email", TEXT, "Buyer's mail on the last order taken; see dim_customer", "email"
    ),
    source_column(
        "last_order_phone", TEXT, "Buyer's phone on the last order taken; see dim_customer", "phone"
    ),
    source_column(
        "last_order_locale",
        TEXT,
        "Buyer's language on the last order taken; see dim_customer",
        "customer_locale",
    ),
    names=[named_column("name", "The member of staff's name", "name", "first_name last_name")],
    lists={"users": "User", "staffMembers": "StaffMember"},
)


dim_location = dimension_table(
    "dim_location",
    "",
    "Places where orders are taken",
    ("location_id",),
    source_column("location_id", ID, "The place", nullable=False),
    names=[
        named_column("name", "The place's name", "name"),
        named_column("city", "The place's city", "city", "address.city"),
        named_column("country_code", "The place's country", "country_code", "address.countryCode"),
    ],
    lists={"locations": "Location"},
)


dim_device = dimension_table(
    "dim_device",
    "",
    "Point-of-sale devices",
    ("device_id",),
    source_column("device_id", ID, "The device", nullable=False),
    source_column(
        "last_location_id", ID, "Where its last order was taken (dim_location)", "location_id"
    ),
)


dim_app = dimension_table(
    "dim_app",
    "",
    "Apps that make orders",
    ("app_id",),
    source_column("app_id", ID, "The app", nullable=False),
    source_column("source_name", TEXT, "The channel of its last order"),
    names=[named_column("name", "The app's name", "title", "name")],
    lists={"apps": "App", "appInstallations": "App"},  # an installation has its app in it
)


dim_product_variant = dimension_table(
    "dim_product_variant",
    "line_items[]",
    "Product variants that were ordered",
    ("product_id", "variant_id"),
    source_column("product_id", ID, "The product", nullable=False),
    source_column("variant_id", ID, "The variant", nullable=False),
    source_column("sku", TEXT, "Stock keeping unit"),
    source_column("title", TEXT, "The product's title"),
    source_column("variant_title", TEXT, "The variant's title"),
    source_column("vendor", TEXT, "The product's vendor"),
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
    """Return the columns of a dimension that are read from the dump, without its key."""
    return [c for c in dimension.c if c.info["source"] and c.name not in dimension.info["key"]]
