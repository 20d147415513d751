"""Columns that several facts have: those of what their rows belong to."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column

from orders_dask.contract.columns import COUNT, ID, TEXT, TIMESTAMP, computed_column


def order_id() -> Column[Any]:
    """Return the column of the order."""
    return computed_column("order_id", ID, "The order", nullable=False)


def line_id() -> Column[Any]:
    """Return the column of the line."""
    return computed_column("line_id", ID, "The line", nullable=False)


def refund_id() -> Column[Any]:
    """Return the column of the refund."""
    return computed_column("refund_id", ID, "The refund", nullable=False)


def refunded_at() -> Column[Any]:
    """Return the column of the refund's time."""
    return computed_column("refunded_at", TIMESTAMP, "When the refund was made")


def currency() -> Column[Any]:
    """Return the column of the order's currency."""
    return computed_column("currency", TEXT, "The order's currency")


def index_in(name: str, parent: str) -> Column[Any]:
    """Return the column of the row's index in an array of its parent."""
    return computed_column(name, COUNT, f"Its place in the {parent}, from 1", nullable=False)
