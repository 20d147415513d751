"""The keys by which orders and their children are recognised, in Python and in Arrow.

The rules look at them in one record, the fast decoder in the columns of a block.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeGuard

from sqlalchemy import Table

from orders_dask.contract.envelopes import CONTAINER_KEYS
from orders_dask.contract.json_parser import Json
from orders_dask.contract.order_tables import FACTS, fact_order

ORDER_KEYS: Final = (
    "line_items",
    "total_price",
    "subtotal_price",
    "total_line_items_price",
    "order_number",
    "financial_status",
)
"""Outside of containers, an object with one of these keys is an order.

See docs/contract.md#input-documents.
"""


def has_ids(fact: Table) -> bool:
    """Return whether the records of a fact have ids; others are told apart by their place."""
    return fact.c[fact.info["key"][-1]].info["source"] is not None


CHILDREN: Final[dict[str, Table]] = {
    fact.info["records"]: fact for fact in FACTS if fact.info["records"] and has_ids(fact)
}
"""The facts of an order's children with ids by path, such as ``refunds[].refund_line_items[]``."""

MAX_ELEMENTS: Final = 100_000
"""Elements that an order may have at one path of objects without ids.

A hostile record of 16 MiB could have 5 million, ``{},{},…``, of which each takes 100 bytes and more
in memory. See docs/contract.md#limits.
"""

GRAPHQL_ID: Final[str] = next(iter(fact_order.c.order_id.info["reads"]))
DRAFT_KEYS: Final[tuple[str, ...]] = tuple(fact_order.c.order_number.info["reads"])
"""An object with one of these keys and without an order number is a draft or a checkout.

https://shopify.dev/docs/api/admin-rest/latest/resources/draftorder
"""

GRAPHQL_ORDER: Final = r"^gid://(?s:.*)/Order/(?P<digits>[0-9]+)$"
"""An ``admin_graphql_api_id`` of this form must end in the order's id (code ``id_mismatch``).

RE2 and Python understand the pattern alike, except for Python's ``$``.
"""


def is_page_or_wrapper(value: Json) -> TypeGuard[dict[str, Json]]:
    """Return whether a value that is not in a container is a page or a wrapper."""
    return isinstance(value, dict) and any(key in value for key in CONTAINER_KEYS)


def has_order_key(value: Mapping[str, Json]) -> bool:
    """Return whether an object has one of :data:`ORDER_KEYS`."""
    return any(key in value for key in ORDER_KEYS)


def id_key(fact: Table) -> str:
    """Return the JSON key of a fact's ids, which is the source of its last key column."""
    source: str = fact.c[fact.info["key"][-1]].info["source"]
    return source


def positive_id(record: Json, fact: Table) -> int | None:
    """Return the id of a record of `fact`, or None if it is not a positive integer."""
    value = record.get(id_key(fact)) if isinstance(record, dict) else None
    from orders_dask.contract.values import integer  # late: it imports Arrow, and few need it

    number = integer(value)[0] if value is not None else None
    return number if number is not None and number > 0 else None
