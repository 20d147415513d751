"""Orders as a dump has them, and the texts of its files."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

DAY = date(2026, 10, 1)


def order(order_id: int, price: str = "10.00", **more: Any) -> dict[str, Any]:
    return {
        "id": order_id,
        "total_price": price,
        "currency": "EUR",
        "updated_at": "2026-10-01T10:00:00+02:00",
        "created_at": "2026-10-01T09:00:00+02:00",
        "line_items": [{"id": order_id * 10, "quantity": 2, "price": price}],
    } | more


def lines(*orders: dict[str, Any] | str) -> bytes:
    texts = (o if isinstance(o, str) else json.dumps(o) for o in orders)
    return "".join(f"{text}\n" for text in texts).encode()
