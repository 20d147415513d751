"""The shop of docs/notebook.md: eight months of synthetic orders whose figures look like a shop's.

The generator of `orders-dask demo` makes the orders. Here they get days, customers and times of
edits: more on Saturdays and in a sale, customers who return, and refunds some days later. The same
seed writes the same dump.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, timedelta
from random import Random
from typing import Final, NamedTuple
from unittest.mock import patch

import fsspec

from orders_dask.synthetic import order as synthetic
from orders_dask.synthetic.catalogue import MARKETS

OPENED: Final = date(2026, 1, 1)
CLOSED: Final = date(2026, 8, 31)
"""The last day, which ends the last cohort's month."""

EXPORTED: Final = CLOSED - timedelta(3)
"""The first dump is an export of all orders until this day. A dump of each later day follows."""

SALE: Final = (date(2026, 5, 14), date(2026, 5, 17))
"""The first and the last day of a sale."""

WEEKDAYS: Final = (0.9, 0.85, 0.9, 1.0, 1.15, 1.35, 0.85)
"""How busy each day of the week is, Monday first."""

SEED: Final = 20


class _Purchase(NamedTuple):
    """An order's day, its customer, and the second in which it was edited, if it was."""

    day: date
    customer: int
    edited: int | None


def write_dumps(folder: str) -> list[date]:
    """Write the dumps below the URL of a folder, and return their run dates."""
    dumps: defaultdict[date, list[str]] = defaultdict(list)
    number_of: defaultdict[date, int] = defaultdict(int)
    # The shop sells in one country, so in one currency.
    with patch.object(synthetic, "MARKETS", [m for m in MARKETS if m.currency == "EUR"]):
        for purchase in sorted(_purchases(Random(SEED))):
            number = number_of[purchase.day]
            number_of[purchase.day] += 1
            _write(dumps, purchase, number)
    for run_date, orders in dumps.items():
        with fsspec.open(f"{folder}run_date={run_date}/orders.ndjson", "wb") as file:
            file.write("".join(f"{order}\n" for order in orders).encode())
    return sorted(dumps)


def _purchases(draw: Random) -> Iterator[_Purchase]:
    """Yield the orders of each new customer: the first one, and those that follow it."""
    days = (CLOSED - OPENED).days + 1
    customer = 0
    for age in range(days):
        day = OPENED + timedelta(age)
        busy = WEEKDAYS[day.weekday()] * (1 + age / days) * draw.uniform(0.75, 1.25)
        busy *= 2.2 if SALE[0] <= day <= SALE[1] else 1
        for _ in range(round(9 * busy)):
            customer += 1
            at = day
            while at <= CLOSED:
                yield _Purchase(at, customer, _edited(draw, at))
                # Those who came for the sale return less often.
                if draw.random() > (0.25 if busy > 2.5 else 0.42):
                    break
                at += timedelta(3 + int(draw.expovariate(1 / 40)))


def _edited(draw: Random, day: date) -> int | None:
    """Return when an order was edited. The generator refunds two of five edited orders."""
    edited = draw.random() < 0.35
    later = day + timedelta(2 + int(draw.expovariate(1 / 8)))
    second = draw.randrange(8 * 3_600, 20 * 3_600)
    if not edited or later > CLOSED:
        return None
    return later.toordinal() * synthetic.DAY + second


def _write(dumps: defaultdict[date, list[str]], purchase: _Purchase, number: int) -> None:
    """Add the versions of an order to the dumps of the days on which they were made."""
    versions = {purchase.day: synthetic.make_order(SEED, purchase.day, number).text}
    if purchase.edited:
        day = date.fromordinal(purchase.edited // synthetic.DAY)
        versions[day] = synthetic.make_order(SEED, purchase.day, number, purchase.edited).text
    of_dump = {max(day, EXPORTED): text for day, text in sorted(versions.items())}
    for run_date, text in of_dump.items():
        dumps[run_date].append(_with_customer(text, purchase.customer))


def _with_customer(text: str, customer: int) -> str:
    """Return an order of another customer. A guest stays a guest."""
    if found := re.search(r'"customer":\{.*?"id":(\d+)', text):
        return text.replace(found[1], str(7_100_000_000_000 + customer))
    return text
