"""Documents that describe tables: what each has of a small description, and what it promises."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from orders_dask.contract.columns import KINDS
from orders_dask.contract.detail_tables import DETAILS
from orders_dask.contract.dimension_tables import DIMENSIONS
from orders_dask.contract.order_tables import FACTS, public_columns
from orders_dask.contract.versions import CONTRACT_VERSION
from orders_dask.dictionary import since
from orders_dask.dictionary.catalogue import NAMES
from orders_dask.dictionary.dbt import sources
from orders_dask.dictionary.description import ColumnDescription, Reference, TableDescription
from orders_dask.dictionary.markdown import diagram, dictionary
from orders_dask.dictionary.odcs import LOGICAL_TYPES, contract
from orders_dask.dictionary.promises import DECLARED, references_of
from orders_dask.load.views import VIEWS
from orders_dask.monitoring.column_sources import sql_type


def column(name: str, type: str = "bigint", **more: Any) -> ColumnDescription:
    given: dict[str, Any] = {
        "meaning": f"The {name}",
        "paths": (),
        "since": 5,
        "is_required": False,
    }
    return ColumnDescription(name, type, **(given | more))


BUYERS = TableDescription(
    "dim_customer", "table", "Buyers", "", ("customer_id",),
    (column("customer_id", is_required=True, paths=("customer.id",)),),
)  # fmt: skip
ORDERS = TableDescription(
    "order_current", "view", "Orders", "", ("order_id",),
    (
        column("order_id", is_required=True, paths=("id",)),
        column("customer_id", paths=("customer.id",)),
        column("engraving", "numeric(22,4)", meaning="{{ a | b }}\n<i>", since=None, paths=("x[`|`].y",)),
    ),
    (Reference(("customer_id",), "dim_customer", ("customer_id",), is_optional=True),),
)  # fmt: skip
LINES = TableDescription(
    "fact_order_line", "view", "Lines", "line_items[]", ("run_date", "order_id", "line_id"),
    (
        *(column(name, is_required=True) for name in ("run_date", "order_id", "line_id")),
        *(column("product_id"), column("variant_id")),
    ),
    (
        Reference(("run_date", "order_id"), "order_current", ("run_date", "order_id")),
        Reference(("product_id", "variant_id"), "dim_product_variant", ("product_id", "variant_id"), is_optional=True),
    ),
)  # fmt: skip
ALL = [ORDERS, LINES, BUYERS]


def cells(page: str) -> list[list[str]]:
    """Return the cells of all rows of a page's tables, as they are shown."""
    rows: list[list[str]] = []
    tokens = MarkdownIt("commonmark").enable("table").parse(page)
    for token, content in pairwise(tokens):
        if token.type == "tr_open":
            rows.append([])
        if token.type in ("td_open", "th_open"):
            rows[-1].append("".join(part.content for part in content.children or ()))
    return rows


def test_the_dictionary_has_a_line_a_column() -> None:
    shown = cells(dictionary([ORDERS]))
    assert shown[0] == ["column", "type", "meaning", "path in the dump", "since"]
    assert shown[1] == ["order_id", "bigint", "The order_id", "id", "5"]


def test_markup_in_a_comment_or_path_is_shown_as_it_is_written() -> None:
    assert cells(dictionary([ORDERS]))[-1] == [
        *("engraving", "numeric(22,4)", "{{ a | b }} <i>", "x[`|`].y", "own")
    ]


def test_the_diagram_has_keys_references_and_own_columns_of_what_is_there() -> None:
    lines = [line.strip() for line in diagram(ALL).splitlines()]
    assert "bigint order_id PK" in lines
    assert "numeric_22_4 engraving" in lines
    assert 'dim_customer |o--o{ order_current : "customer_id"' in lines
    assert 'order_current ||--o{ fact_order_line : "run_date, order_id"' in lines
    assert not any("dim_product_variant" in line for line in lines), "it is not described"


def test_dbt_tests_what_the_contract_promises() -> None:
    [source] = yaml.safe_load(sources(ALL))["sources"]
    tests = {
        (table["name"], each["name"]): each.get("data_tests", [])
        for table in source["tables"] for each in table["columns"]
    }  # fmt: skip
    to_orders = {"to": "source('orders', 'order_current')", "field": "order_id"}
    assert tests["dim_customer", "customer_id"] == ["not_null", "unique"]
    assert tests["fact_order_line", "run_date"] == ["not_null"]
    assert tests["fact_order_line", "order_id"] == [
        "not_null",
        {"relationships": {"arguments": to_orders}},
    ]
    assert tests["fact_order_line", "product_id"] == [], "a line without a variant has no product"


def test_dbt_takes_no_comment_for_a_template() -> None:
    assert not re.search(r"\{[{%#]", sources(ALL))


def test_the_contract_has_keys_paths_and_relations() -> None:
    document = yaml.safe_load(contract(ALL))
    assert document["version"] == f"{CONTRACT_VERSION}.0.0"
    orders, lines, _ = document["schema"]
    order_id, _, own = orders["properties"]
    assert (order_id["required"], order_id["unique"], order_id["primaryKey"]) == (True, True, True)
    assert own["logicalType"] == "number"
    assert own["customProperties"] == [{"property": "pathsInDump", "value": ["x[`|`].y"]}]
    assert orders["relationships"] == [
        {
            "type": "foreignKey",
            "from": "order_current.customer_id",
            "to": "dim_customer.customer_id",
        }
    ]
    assert lines["relationships"][0]["from"] == [
        "fact_order_line.run_date",
        "fact_order_line.order_id",
    ]


def test_every_type_of_a_column_has_a_logical_type() -> None:
    names = {
        sql_type(each).partition("(")[0].lower() for table in DECLARED.values() for each in table.c
    }
    assert {
        name.replace("timestamp with time zone", "timestamptz") for name in names
    } <= LOGICAL_TYPES.keys()
    assert KINDS


@pytest.mark.parametrize("name", NAMES)
def test_references_name_declared_columns(name: str) -> None:
    for reference in references_of(name):
        assert {*reference.key} <= {each.name for each in DECLARED[reference.table].c}
        if name in DECLARED:
            assert {*reference.columns} <= {each.name for each in DECLARED[name].c}


def test_all_views_and_dimensions_are_described() -> None:
    assert {*NAMES} == VIEWS | {each.name for each in (*DETAILS, *DIMENSIONS)}


def test_every_declared_column_has_a_version() -> None:
    declared = {
        (table.name, each.name)
        for table in (*FACTS, *DETAILS, *DIMENSIONS) for each in public_columns(table)
        if not each.info["custom"]
    }  # fmt: skip
    known = since.read_since()
    assert declared <= known.keys(), "run `python docs/generate_dictionary.py`"
    assert {*known.values()} <= {*range(5, CONTRACT_VERSION + 1)}


def test_versions_are_read_as_they_are_written() -> None:
    known = since.read_since()
    assert since.to_text(known) == since.FILE.read_text()


def test_a_new_name_gets_the_version_of_now_and_a_former_one_is_dropped() -> None:
    assert since.with_new({("a", "b"): 5, ("a", "c"): 5}, [("a", "b"), ("a", "d")], 12) == {
        ("a", "b"): 5,
        ("a", "d"): 12,
    }
