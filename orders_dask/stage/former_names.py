"""Names that earlier stage formats gave to keys and columns: what is staged is read for years."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

NAME_OF: Final[Mapping[str, str]] = {
    # Before format 7.
    "version": "version_at",
    "of_order": "order_raw",
    "books": "totals",
    "installation": "database_id",
    "losers": "superseded",
}
"""Today's name by the former one: of a column, or of a key of a part record or manifest."""

FORMER_NAME_OF: Final[Mapping[str, str]] = {name: former for former, name in NAME_OF.items()}


def renamed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with today's names of its keys."""
    return {NAME_OF.get(key, key): value for key, value in record.items()}
