"""What is described: tables and columns, and what the contract promises of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ColumnDescription:
    """A column that people read.

    Attributes
    ----------
    name, type, meaning
        As the catalogue of the database has them.
    paths
        Where its values stand in an order of the dump, such as ``line_items[].price``; several
        where it has a second source or is computed. Empty for what a view computes.
    since
        The contract version that it first appeared in; None for a column of somebody's own.
    is_required
        It is never null.
    """

    name: str
    type: str
    meaning: str
    paths: tuple[str, ...]
    since: int | None
    is_required: bool


@dataclass(frozen=True)
class Reference:
    """A promise that the values of some columns are a key of another table.

    Attributes
    ----------
    columns, table, key
        The columns, the other table, and its columns in the same order.
    is_optional
        Rows need not have the values: one that is null refers to nothing.
    is_own_key
        The other table has one row for each, so that values are not repeated.
    """

    columns: tuple[str, ...]
    table: str
    key: tuple[str, ...]
    is_optional: bool = False
    is_own_key: bool = False


@dataclass(frozen=True)
class TableDescription:
    """A view or dimension that people read.

    Attributes
    ----------
    name, kind, meaning
        As the catalogue of the database has them.
    records
        Path of the records in an order of which each gives a row, such as ``line_items[]``, empty
        for the order itself; None for what a view computes.
    key
        The columns that no two rows have the same values in, none of them null; empty if the
        contract promises none.
    columns
        All columns, in their order.
    references
        What rows refer to.
    """

    name: str
    kind: Literal["view", "table"]
    meaning: str
    records: str | None
    key: tuple[str, ...]
    columns: tuple[ColumnDescription, ...]
    references: tuple[Reference, ...] = ()
