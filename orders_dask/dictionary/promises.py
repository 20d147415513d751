"""What the contract promises of keys and references, from the declarations of the tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from sqlalchemy import Table

from orders_dask.contract.detail_tables import DETAILS
from orders_dask.contract.dimension_tables import (
    DIMENSIONS,
    dim_customer,
    dim_device,
    dim_location,
    dim_user,
)
from orders_dask.contract.order_tables import FACTS, fact_order
from orders_dask.dictionary.description import Reference
from orders_dask.load.views import ORDER_VIEW_FILES

RUN_DATE: Final = "run_date"
ORDER: Final = ("order_id",)
CURRENT: Final = "order_current"

DECLARED: Final[Mapping[str, Table]] = {
    table.name: table for table in (*FACTS, *DETAILS, *DIMENSIONS)
} | dict.fromkeys(ORDER_VIEW_FILES, fact_order)
"""The declaration behind each view or dimension that has one, also of groups that are off."""

_FACT_BY_RECORDS: Final = {fact.info["records"]: fact for fact in (*FACTS, *DETAILS)}

VIEW_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    CURRENT: ORDER,
    "order_history": (*ORDER, RUN_DATE),
    "order_tag": (*ORDER, "tag_number"),
    "order_url_parameter": (*ORDER, "parameter_number"),
    "order_summary": ORDER,
    "order_line_summary": (*ORDER, "line_id"),
    "refund_summary": (*ORDER, "refund_id"),
}
"""Keys of the views of ``sql/views/``. Those that group have none: their currency may be null."""

_SELLING: Final = (dim_location, dim_user, dim_device)

VIEW_DIMENSIONS: Final[Mapping[str, tuple[Table, ...]]] = {
    "order_summary": (*_SELLING, dim_customer),
    "sale": _SELLING,
    "sales_by_day_and_channel": _SELLING,
    "customer_summary": (dim_customer,),
}
"""Dimensions whose keys the views of ``sql/views/`` have from ``order_current``."""

VIEWS_OF_ORDERS: Final = ("order_history", "sale", *VIEW_KEYS)
"""Views whose rows each belong to an order."""


def key_of(name: str) -> tuple[str, ...]:
    """Return the key of a view or dimension; empty if none is promised."""
    if name in VIEW_KEYS or name not in DECLARED:
        return VIEW_KEYS.get(name, ())
    table = DECLARED[name]
    key: tuple[str, ...] = table.info["key"]
    return key if table in DIMENSIONS else (RUN_DATE, *key)


def required_columns(name: str) -> set[str]:
    """Return the columns of a view or dimension that are never null."""
    declared = DECLARED[name].c if name in DECLARED else ()
    own = {"version_number", "is_current"} if name == "order_history" else set()
    return {*key_of(name), *(each.name for each in declared if not each.nullable), *own}


def references_of(name: str) -> list[Reference]:
    """Return what the rows of a view or dimension refer to."""
    table = DECLARED.get(name)
    found: list[Reference] = []
    if table is not None and table not in DIMENSIONS:
        found += _parents(table)
        found += [_to_dimension(*columns) for columns in _dimension_keys(table)]
    found += [
        _to_dimension(each, tuple(each.info["key"])) for each in VIEW_DIMENSIONS.get(name, ())
    ]
    if name == fact_order.name or (name in VIEWS_OF_ORDERS and name != CURRENT):
        found.append(Reference(ORDER, CURRENT, ORDER, is_own_key=key_of(name) == ORDER))
    return found


def _parents(fact: Table) -> Iterator[Reference]:
    """Yield the reference of a fact to that of the records in which its own stand."""
    records = fact.info["records"]
    if records:
        parent = _FACT_BY_RECORDS[records.rpartition(".")[0]]
        key = key_of(parent.name)
        yield Reference(key, parent.name, key)


def _dimension_keys(fact: Table) -> Iterator[tuple[Table, tuple[str, ...]]]:
    """Yield the dimensions that are read from a fact's records, with the columns of their keys."""
    names = {each.info["source"]: each.name for each in fact.c if each.info["source"]}
    for dimension in DIMENSIONS:
        sources = [dimension.c[each].info["source"] for each in dimension.info["key"]]
        if dimension.info["records"] == fact.info["records"] and names.keys() >= {*sources}:
            yield dimension, tuple(names[source] for source in sources)


def _to_dimension(dimension: Table, columns: tuple[str, ...]) -> Reference:
    return Reference(columns, dimension.name, dimension.info["key"], is_optional=True)
