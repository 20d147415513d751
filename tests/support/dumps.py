"""Count the content of dump files with Python's json and decimal alone.

No code of the product is used, since what it publishes is compared with these counts.
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
"""Sixty run dates of a real shop, which can't be shared. Tests use the file where it exists."""

Order = dict[str, Any]


@dataclass(frozen=True)
class Figures:
    """Counts of some records, and the sums of `total_price` and of refunds by currency."""

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
    """Return the records of each run date, with decimal numbers as Decimal."""
    with zipfile.ZipFile(dump) as archive:
        return {
            date.fromisoformat(Path(name).stem): json.loads(
                archive.read(name), parse_float=Decimal
            )["orders"]
            for name in sorted(archive.namelist())
        }


def current(records: Iterable[Order]) -> dict[int, Order]:
    """Return the current version of each order by id: the latest one, of equal ones the last."""
    best: dict[int, Order] = {}
    for order in filter(has_id, records):
        other = best.get(order["id"])
        if other is None or changed_at(order) >= changed_at(other):
            best[order["id"]] = order
    return best


def counted(records: Sequence[Order]) -> Figures:
    """Count some records, of which the current version of each order is loaded."""
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
    """Return by id the creation timestamp of each order, its local day and offset in minutes."""
    made = {}
    for order in filter(has_id, records):
        written = datetime.fromisoformat(order["created_at"])
        offset = written.utcoffset()
        assert offset is not None, f"{order['created_at']} of order {order['id']} has no offset"
        made[order["id"]] = (written, written.date(), int(offset.total_seconds() // 60))
    return made


def has_id(order: Order) -> bool:
    """Return whether a record has an order's id, without which it is rejected."""
    return isinstance(order["id"], int) and order["id"] > 0


def changed_at(order: Order) -> datetime:
    """Return the timestamp that the versions of an order are ordered by."""
    return datetime.fromisoformat(order["updated_at"])


def money(written: str | int | Decimal) -> Decimal:
    """Parse an amount and round it to four decimals."""
    return Decimal(str(written)).quantize(Decimal("0.0001"), ROUND_HALF_UP)


def paid_back(refund: Order) -> Decimal:
    """Return the sum of a refund's successful transactions."""
    paid = ("refund", "success")
    amounts = (t["amount"] for t in refund["transactions"] if (t["kind"], t["status"]) == paid)
    return sum(map(money, amounts), Decimal())
