"""Dumps of two run dates that share orders and dimension keys; the first in two versions."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

from tests.support import builders
from tests.support.builders import lines

DAY: Final = builders.DAY
"""The run date that is loaded while a fault is injected."""
OTHER: Final = date(2026, 10, 2)
"""A published run date that shares orders with it."""
BLOCK_SIZE: Final = "50kB"
"""Small enough that each step has several tasks."""


def order(number: int, *, price: int, updated: str, label: str) -> dict[str, Any]:
    """Return an order of two lines, some with a refund; `label` marks customer and products."""
    text = f"{price}.{number % 100:02}"
    made = builders.order(
        number,
        text,
        name=f"#{number}",
        currency="EUR" if number % 3 else "USD",
        created_at="2026-09-30T09:00:00Z",
        updated_at=updated,
        customer={"id": number % 50 + 1, "tags": label, "email": f"{label}-{number}@example.org"},
        location_id=number % 7 + 1,
        line_items=[
            {
                "id": number * 10 + line,
                "quantity": line + 1,
                "price": text,
                # Each label has a product of its own.
                "product_id": sum(map(ord, label)) * 10 + line,
                "variant_id": number % 20 + 1,
                "title": label,
            }
            for line in range(2)
        ],
    )
    if number % 5 == 0:
        sent = {"id": number, "kind": "refund", "status": "success", "amount": "1.25"}
        item = {"id": number, "line_item_id": number * 10, "quantity": 1, "subtotal": "1.25"}
        made["refunds"] = [
            {
                "id": number,
                "created_at": updated,
                "transactions": [sent],
                "refund_line_items": [item],
            }
        ]
    return made


def old() -> dict[str, bytes]:
    """Return the files of both run dates as first published, by their names below the dump."""
    first = [order(n, price=10, updated="2026-10-01T10:00:00Z", label="old") for n in range(1, 301)]
    # Every other order of both dates is older here than on the first date.
    second = [
        order(n, price=30, updated=f"2026-{'10-02' if n % 2 else '09-30'}T10:00:00Z", label="other")
        for n in range(250, 500)
    ]
    return {f"run_date={DAY}/a.ndjson": lines(*first), f"run_date={OTHER}/a.ndjson": lines(*second)}


def new() -> dict[str, bytes]:
    """Return later files of the first run date: changed, superseded and rejected orders."""
    orders = [
        order(n, price=20, updated="2026-10-01T11:00:00Z", label="new") for n in range(50, 451)
    ]
    older = [
        order(n, price=99, updated="2026-10-01T10:30:00Z", label="lost") for n in range(100, 130)
    ]
    return {
        f"run_date={DAY}/a.ndjson": lines(*orders[:150]) + b"oops\n",
        f"run_date={DAY}/b.ndjson": lines(*orders[150:]),
        f"run_date={DAY}/c.ndjson": lines(*older) + b'{"id": "no number"}\n',
    }


MANY: Final = [date(2026, 11, day) for day in range(1, 7)]
"""Run dates that share orders, customers and locations, in opposite order."""


def many() -> dict[str, bytes]:
    """Return the files of :data:`MANY`."""
    return {
        f"run_date={day}/a.ndjson": lines(
            *[
                order(n, price=day.day, updated=f"{day}T{n % 20:02}:00:00Z", label=f"on {day}")
                for n in range(1, 61)
            ][:: 1 if day.day % 2 else -1]
        )
        for day in MANY
    }
