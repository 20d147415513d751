"""The tables as sources of dbt, with the tests that follow from the contract.

See https://docs.getdbt.com/reference/source-properties and, for the tests,
https://docs.getdbt.com/reference/resource-properties/data-tests, whose ``arguments`` dbt has from
1.10.5 on. dbt itself has no test of a key of several columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from orders_dask.contract.columns import PUBLIC
from orders_dask.contract.versions import CONTRACT_VERSION
from orders_dask.dictionary.description import ColumnDescription, Reference, TableDescription
from orders_dask.dictionary.promises import RUN_DATE
from orders_dask.dictionary.yaml_text import to_yaml


def sources(tables: Sequence[TableDescription]) -> str:
    """Return ``sources.yml``."""
    return to_yaml(
        {
            "version": 2,
            "sources": [
                {
                    "name": PUBLIC,
                    "schema": PUBLIC,
                    "description": "Orders as orders-dask has published them, at contract version "
                    f"{CONTRACT_VERSION}.",
                    "tables": [_table(table) for table in tables],
                }
            ],
        }
    )


def _table(table: TableDescription) -> dict[str, Any]:
    return {
        "name": table.name,
        "description": _without_jinja(table.meaning),
        "columns": [
            {
                "name": column.name,
                "description": _without_jinja(column.meaning),
                "data_type": column.type,
            }
            | ({"data_tests": tests} if (tests := list(_tests(table, column))) else {})
            for column in table.columns
        ],
    }


def _tests(table: TableDescription, column: ColumnDescription) -> Iterator[str | dict[str, Any]]:
    if column.is_required:
        yield "not_null"
    if table.key == (column.name,):
        yield "unique"
    for reference in table.references:
        if field := _referred(reference, column.name):
            to = f"source('{PUBLIC}', '{reference.table}')"
            yield {"relationships": {"arguments": {"to": to, "field": field}}}


def _referred(reference: Reference, name: str) -> str | None:
    """Return the column that one of a reference refers to by itself.

    A part of an optional key may refer to nothing because another part is null. A run date needs no
    test: what else the key has fails, too.
    """
    if name not in reference.columns or name == RUN_DATE:
        return None
    if reference.is_optional and len(reference.columns) > 1:
        return None
    return reference.key[reference.columns.index(name)]


def _without_jinja(text: str) -> str:
    """Return a comment that dbt doesn't take for a template."""
    return re.sub(r"\{(?=[{%#])", "{ ", text)
