"""Columns of somebody's own, from the file that ``ORDERS_DASK_COLUMNS`` names.

The file is read once, where the tables are declared, and its columns are appended to the tables of
facts. From there on they are columns like any other. See docs/columns.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import Column, Table
from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS

from orders_dask.contract.columns import (
    KINDS,
    METADATA,
    TEXT,
    SqlType,
    custom_column,
    kind_name,
    path_within_order,
    source_paths,
)
from orders_dask.contract.columns_file import CustomColumn, joined, read_columns, shown
from orders_dask.contract.envelopes import CONTAINER_KEYS, DELETION_KEYS
from orders_dask.errors import SettingsError

VARIABLE: Final = "ORDERS_DASK_COLUMNS"

COLUMNS_FILE: Final = os.environ.get(VARIABLE) or None
"""The file of this process, read once; None for none."""

_TAKEN: Final = frozenset(
    [
        "order_row",  # in every staged table
        *("version_number", "is_current"),  # in order_history, beside all columns of an order
        *("ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"),  # PostgreSQL's own
    ]
)


class Tables(NamedTuple):
    """The tables that columns are read into.

    Attributes
    ----------
    facts
        The facts that there are, the order first.
    off
        By the name of each fact that is off, its group.
    dimensions
        The dimensions, which get no columns.
    """

    facts: Sequence[Table]
    off: Mapping[str, str]
    dimensions: Sequence[Table]


def append_custom_columns(
    facts: Sequence[Table], details: Iterable[Table], dimensions: Sequence[Table]
) -> None:
    """Append the columns of this process's file to its tables.

    Parameters
    ----------
    facts
        The facts that there are, the order first.
    details
        The facts of optional groups, on or off.
    dimensions
        The dimensions.

    Raises
    ------
    SettingsError
        The file can't be read, or a column can't be as it is declared.
    """
    if COLUMNS_FILE is None:
        return
    off = {table.name: table.info["group"] for table in details if table not in facts}
    try:
        for column in read_columns(Path(COLUMNS_FILE)):
            table, made = column_for(column, Tables(facts, off, dimensions))
            table.append_column(made)
    except ValueError as error:
        METADATA.clear()  # else a second import would fail over tables that are there already
        raise SettingsError(f"{VARIABLE}: {COLUMNS_FILE} {error}.") from None


def column_for(column: CustomColumn, tables: Tables) -> tuple[Table, Column[Any]]:
    """Return the table of a column, and the column to append to it.

    Raises
    ------
    ValueError
        It can't be read beside all others; the message is the rest of a sentence that begins with
        the file.
    """
    where = f"has {shown(column.table)}.{column.name}"
    if column.table in tables.off:
        raise ValueError(
            f"{where}, and the group {tables.off[column.table]} is off: add it to ORDERS_DASK_FACTS"
        )
    table = next((fact for fact in tables.facts if fact.name == column.table), None)
    if table is None:
        names = joined(fact.name for fact in tables.facts)
        raise ValueError(f"{where}, and there is no such fact: those that can be are {names}")
    if use := use_of_name(table, column.name, tables.facts):
        raise ValueError(f"{where}, a name that {use} has: use that one, or another name for this")
    if column.kind == "money" and not has_currency(table):
        raise ValueError(
            f"{where} of the type money, and {table.name} has no currency: it could not be "
            "reconciled, so use the type rate"
        )
    records = table.info["records"]
    if records and f"{column.source.path}.".startswith(f"{records}."):
        raise ValueError(
            f"{where} from {column.source.text}: a path begins in a record of {table.name}, so "
            f"leave out {records}"
        )
    kind = KINDS[column.kind]
    read_as = TEXT if column.source.is_selected else kind  # names and values are texts
    made = custom_column(column.name, kind, column.comment, column.source, read_as)
    _check_paths(where, made, table, tables)
    return table, made


def has_currency(table: Table) -> bool:
    """Return whether a fact has the currency that its amounts are added up by."""
    return "currency" in table.c


def use_of_name(table: Table, name: str, facts: Iterable[Table]) -> str | None:
    """Return what has a name that a column of a fact might have; None if it is free.

    A column that a child's fact computes, or copies from its parent, would be copied from a
    parent's column of the same name.
    """
    if name in table.c:
        return f"{table.name} itself"
    if name in _TAKEN or name in RESERVED_WORDS:
        return "orders_dask or PostgreSQL"
    children = (fact for fact in facts if _parent(fact) == table.info["records"] and fact != table)
    return next((child.name for child in children if _computes(child, name)), None)


def _check_paths(
    where: str,
    column: Column[Any],
    table: Table,
    tables: Tables,
) -> None:
    """Raise if a column's keys are never stored, or are read as something else too."""
    found: dict[str, tuple[str, str]] = {}
    for each in (*tables.facts, *tables.dimensions):
        for other in each.c:
            for path, other_kind in _all_paths(other, each):
                for step, what in _steps(path_within_order(each, path), other_kind):
                    found.setdefault(step, (f"{each.name}.{other.name}", what))
    drafts = tables.facts[0].c.order_number.info["reads"]
    for path, kind in source_paths(column):
        whole = path_within_order(table, path)
        key = whole.partition(".")[0].removesuffix("[]")
        if key in (*CONTAINER_KEYS, *DELETION_KEYS, *drafts):
            raise ValueError(
                f"{where} from {key}, which says that this is no order: it is not read"
            )
        for step, what in _steps(whole, kind):
            owner, needed = found.get(step, ("", what))
            if needed != what:
                raise ValueError(
                    f"{where}, which reads {step} as {what}, and {owner} needs {needed} there: a "
                    "key is read as one type"
                )


def _all_paths(column: Column[Any], table: Table) -> Iterator[tuple[str, SqlType | None]]:
    """Yield each path that a column needs, with its type; None where decode adds a column."""
    yield from source_paths(column)
    is_added = not table.info["records"] and _computes(table, column.name)
    if column.info["local_date_of"] or is_added:
        yield column.name, None


def _steps(path: str, kind: SqlType | None) -> Iterator[tuple[str, str]]:
    """Yield each object, array and value on a path, and what it is."""
    keys = path.split(".")
    for number, key in enumerate(keys, 1):
        at = ".".join(keys[:number])
        if key.endswith("[]"):
            yield at.removesuffix("[]"), "an array"
        yield at, "an object" if number < len(keys) else _read_as(kind)


def _read_as(kind: SqlType | None) -> str:
    name = kind_name(kind) if kind is not None else None
    return f"the type {name}" if name else "something else"


def _parent(fact: Table) -> str:
    records: str = fact.info["records"]
    return records.rpartition(".")[0]


def _computes(fact: Table, name: str) -> bool:
    """Return whether a fact has a column that is computed, or copied from its parent."""
    return name in fact.c and not fact.c[name].info["source"] and not fact.c[name].info["custom"]
