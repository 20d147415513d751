"""Whole dumps that are files, and what stands in them: counted with Python's json and decimal alone.

Nothing of the product is used here: what it publishes is compared with this.
"""

from __future__ import annotations

import json
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, Final

from tests.support import REPOSITORY

COMMITTED: Final = REPOSITORY / "tests" / "data" / "orders_2025.zip"
"""Three run dates of 25 records: see ``tests/data/README.md``."""
REAL: Final = REPOSITORY.parent / "shared" / "data" / "orders_2017.zip"
"""Sixty run dates of a real shop, which may not be passed on: tests use them where they are."""

Order = dict[str, Any]


@dataclass(frozen=True)
class Figures:
    """What some records come to; the sums of `total_price` and of refunds are by currency."""

    records: int
    rejected: int
    superseded: int
    orders: int
    lines: int
    units: int
    refunds: int
    total_price: Mapping[str, Decimal]
    refunded: Mapping[str, Decimal]


def days_of(dump: Path) -> dict[date, list[Order]]:
    """Read the records of each run date, numbers with a fraction as they are written."""
    with zipfile.ZipFile(dump) as archive:
        return {
            date.fromisoformat(Path(name).stem): json.loads(
                archive.read(name), parse_float=Decimal
            )["orders"]
            for name in sorted(archive.namelist())
        }


def current(records: Iterable[Order]) -> dict[int, Order]:
    """Give by id the version of each order that is changed last, of equal ones the later."""
    best: dict[int, Order] = {}
    for order in filter(has_id, records):
        other = best.get(order["id"])
        if other is None or changed_at(order) >= changed_at(other):
            best[order["id"]] = order
    return best


def counted(records: Sequence[Order]) -> Figures:
    """Count some records of which the last version of each order is to stand."""
    orders = current(records).values()
    rejected = sum(not has_id(record) for record in records)
    lines = [line for order in orders for line in order["line_items"]]
    total_price: defaultdict[str, Decimal] = defaultdict(Decimal)
    refunded: defaultdict[str, Decimal] = defaultdict(Decimal)
    for order in orders:
        total_price[order["currency"]] += money(order["total_price"])
        refunded[order["currency"]] += sum(map(paid_back, order["refunds"]))
    return Figures(
        records=len(records),
        rejected=rejected,
        superseded=len(records) - rejected - len(orders),
        orders=len(orders),
        lines=len(lines),
        units=sum(line["quantity"] for line in lines),
        refunds=sum(len(order["refunds"]) for order in orders),
        total_price=dict(total_price),
        refunded=dict(refunded),
    )


def made_at(records: Iterable[Order]) -> dict[int, tuple[datetime, date, int]]:
    """Give by id when each order was made: the instant, the shop's own day, and its offset in minutes."""
    made = {}
    for order in filter(has_id, records):
        written = datetime.fromisoformat(order["created_at"])
        offset = written.utcoffset()
        assert offset is not None, f"{order['created_at']} of order {order['id']} has no offset"
        made[order["id"]] = (written, written.date(), int(offset.total_seconds() // 60))
    return made


def has_id(order: Order) -> bool:
    """Tell whether a record has an order's id, without which it is rejected."""
    return isinstance(order["id"], int) and order["id"] > 0


def changed_at(order: Order) -> datetime:
    """Give what the versions of an order are ordered by."""
    return datetime.fromisoformat(order["updated_at"])


def money(written: str | int | Decimal) -> Decimal:
    """Read an amount as it is written, to four decimals."""
    return Decimal(str(written)).quantize(Decimal("0.0001"), ROUND_HALF_UP)


def paid_back(refund: Order) -> Decimal:
    """Add up what a refund's transactions gave back."""
    paid = ("refund", "success")
    amounts = (t["amount"] for t in refund["transactions"] if (t["kind"], t["status"]) == paid)
    return sum(map(money, amounts), Decimal())
