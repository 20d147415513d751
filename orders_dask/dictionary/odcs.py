"""The tables as a contract of the Open Data Contract Standard, version 3.1.

See https://bitol-io.github.io/open-data-contract-standard/v3.1.0/. It has no field for a path in
the dump, or for the version that a column appeared in: these are custom properties.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from orders_dask.contract.versions import CONTRACT_VERSION
from orders_dask.dictionary.description import ColumnDescription, TableDescription
from orders_dask.dictionary.yaml_text import to_yaml

API_VERSION: Final = "v3.1.0"

LOGICAL_TYPES: Final = {
    "bigint": "integer",
    "boolean": "boolean",
    "date": "date",
    "integer": "integer",
    "numeric": "number",
    "smallint": "integer",
    "text": "string",
    "timestamptz": "timestamp",
}
"""Type of the standard by PostgreSQL's, without its precision."""


def contract(tables: Sequence[TableDescription]) -> str:
    """Return ``contract.odcs.yaml``."""
    return to_yaml(
        {
            "apiVersion": API_VERSION,
            "kind": "DataContract",
            "id": "orders-dask.orders",
            "name": "Orders",
            "version": f"{CONTRACT_VERSION}.0.0",
            "status": "active",
            "description": {
                "purpose": "Shopify's orders by the run date of the dump that had them, the "
                "current version of each order, and figures of sales.",
                "limitations": "Amounts of different currencies never add up. Columns may be "
                "added at the end of a table.",
            },
            "schema": [_object(table) for table in tables],
        }
    )


def _object(table: TableDescription) -> dict[str, Any]:
    relationships = list(_relationships(table))
    return {
        "name": table.name,
        "physicalName": table.name,
        "logicalType": "object",
        "physicalType": table.kind,
        "description": table.meaning,
        "properties": [_property(table, column) for column in table.columns],
        **({"relationships": relationships} if relationships else {}),
    }


def _property(table: TableDescription, column: ColumnDescription) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": column.name,
        "logicalType": LOGICAL_TYPES[column.type.partition("(")[0]],
        "physicalType": column.type,
        "description": column.meaning,
    }
    if column.is_required:
        found["required"] = True
    if column.name in table.key:
        found["primaryKey"] = True
        found["primaryKeyPosition"] = table.key.index(column.name) + 1
    if table.key == (column.name,):
        found["unique"] = True
    custom = {"pathsInDump": list(column.paths), "sinceContractVersion": column.since}
    given = [{"property": name, "value": value} for name, value in custom.items() if value]
    return found | ({"customProperties": given} if given else {})


def _relationships(table: TableDescription) -> Iterator[dict[str, Any]]:
    for reference in table.references:
        yield {
            "type": "foreignKey",
            "from": _properties(table.name, reference.columns),
            "to": _properties(reference.table, reference.key),
        }


def _properties(table: str, columns: Sequence[str]) -> str | list[str]:
    """Return one property by its name, or several."""
    names = [f"{table}.{name}" for name in columns]
    return names if len(names) > 1 else names[0]
