"""Suggest columns for unknown keys, as lines of the file that ``ORDERS_DASK_COLUMNS`` names."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from itertools import count
from typing import Final

from sqlalchemy import Table

from orders_dask.contract.columns_file import MAX_NAME, CustomColumn, parse_column
from orders_dask.contract.custom_columns import Tables, column_for, has_currency, use_of_name
from orders_dask.contract.detail_tables import DETAILS
from orders_dask.contract.dimension_tables import DIMENSIONS
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.schema_drift import OTHER

_KIND_OF: Final = {
    "decimal": "money",
    "date": "day",
    "timestamp": "timestamp",
    "integer": "count",
    "boolean": "boolean",
}
"""The type of a column by that of an unknown key; text for all others."""

_OFF: Final = {fact.name: fact.info["group"] for fact in DETAILS if fact not in FACTS}
_TABLES: Final = Tables(FACTS, _OFF, DIMENSIONS)


def suggest_column(
    path: str, kind: str | None, sample: str, taken: Collection[tuple[str, str]]
) -> CustomColumn:
    """Return a column for an unknown key.

    Parameters
    ----------
    path
        The key's dotted path within the order.
    kind
        The type of its values (:attr:`~orders_dask.contract.schema_drift.UnknownKey.type`); None
        if it is not known.
    sample
        A value of it, masked.
    taken
        Table and name of the columns that are suggested already.

    Raises
    ------
    ValueError
        There can be none; the message is the rest of a sentence that begins with the path.
    """
    table = max((fact for fact in (*FACTS, *DETAILS) if _is_within(path, fact)), key=_depth)
    records = table.info["records"]
    source = path.removeprefix(f"{records}.") if records else path
    if table.name in _OFF:
        raise ValueError(f"is of {table.name}: add {_OFF[table.name]} to ORDERS_DASK_FACTS")
    if OTHER in source:
        raise ValueError("can't be named")
    if kind == "object" or sample.startswith(("{", "[{", "[[")):
        within = re.match(r"(\[?)\{([^,}]*[^.,}…])[,}]", sample)
        array, key = within.groups() if within else (sample[:1], "KEY")
        inner = f"{source}[]" if array == "[" else source
        raise ValueError(f"has objects: read a key of them, such as {inner}.{key}")
    if kind == "array" and not sample:
        raise ValueError("was always empty: nobody knows yet what it has")
    if kind == "array":
        source += "[]"
    found = _KIND_OF.get(str(kind), "text")
    if found == "money" and not has_currency(table):
        found = "rate"
    if found == "count" and re.search("(^|_)id$", source):
        found = "id"
    if "[]" in source and found != "money":
        found = "text"
    name = next(
        name
        for name in _names(source)
        if (table.name, name) not in taken and not use_of_name(table, name, FACTS)
    )
    given = {"type": found, "source": source, "comment": f"As in {path}"}
    column = parse_column(table.name, name, given)
    column_for(column, _TABLES)
    return column


def toml_lines(column: CustomColumn) -> str:
    """Return the lines of a column in the file."""
    values = {"type": column.kind, "source": column.source.text, "comment": column.comment}
    # A string of JSON is one of TOML.
    lines = (f"{key} = {json.dumps(text, ensure_ascii=False)}" for key, text in values.items())
    return "\n".join((f"[{column.table}.{column.name}]", *lines))


def _is_within(path: str, fact: Table) -> bool:
    records = fact.info["records"]
    return not records or path.startswith(f"{records}.")


def _depth(fact: Table) -> int:
    return len(fact.info["records"])


def _names(source: str) -> Iterator[str]:
    """Yield names for the column of a source: its last key, all its keys, and then by number."""
    *_, last = keys = [_as_name(key) for key in source.split(".")]
    whole = "_".join(keys)[: MAX_NAME - 4]
    yield last[:MAX_NAME]
    yield whole
    yield from (f"{whole}_{number}" for number in count(2))


def _as_name(key: str) -> str:
    spaced = re.sub("(?<=[a-z0-9])(?=[A-Z])", "_", key).lower()
    name = re.sub("[^a-z0-9]+", "_", spaced).strip("_")
    return f"_{name}" if name[:1].isdigit() else name or "key"
