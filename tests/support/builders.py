"""Build orders as a dump has them, and the texts and archives of its files."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from datetime import date
from io import BytesIO
from typing import Any, Final

DAY: Final = date(2026, 10, 1)
"""The run date of the orders."""


def order(order_id: int, price: str = "10.00", **more: Any) -> dict[str, Any]:
    """Return a good order of one line; `more` adds members or replaces them."""
    return {
        "id": order_id,
        "total_price": price,
        "currency": "EUR",
        "updated_at": "2026-10-01T10:00:00+02:00",
        "created_at": "2026-10-01T09:00:00+02:00",
        "line_items": [{"id": order_id * 10, "quantity": 2, "price": price}],
    } | more


def lines(*orders: dict[str, Any] | str) -> bytes:
    """Return orders as newline-delimited text; a text is written unchanged."""
    texts = (o if isinstance(o, str) else json.dumps(o) for o in orders)
    return "".join(f"{text}\n" for text in texts).encode()


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip of members, given by name."""
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w", method) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return archive.getvalue()
