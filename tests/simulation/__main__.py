"""Simulate shop-years, and print how often the checks are right: ``python -m tests.simulation``."""

from __future__ import annotations

import argparse
import sys
from collections import Counter, deque
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from statistics import median
from typing import Final

import numpy as np

from orders_dask.checks.builtin import CHECKS
from orders_dask.checks.comparison import Comparison, EarlierDay, Finding
from orders_dask.checks.measures import Measures
from orders_dask.checks.run import Checks, evaluate
from tests.simulation.faults import FAULTS
from tests.simulation.shops import FIRST, shop, year

CHECKS_BY_DEFAULT: Final = Checks(
    {name: check.severity for name, check in CHECKS.items()},
    {name: check.threshold for name, check in CHECKS.items()},
)

SIZES: Final = ("under 20", "20 to 200", "over 200")
"""Shops by the median of their orders a day."""

FAULTS_A_SHOP: Final = 4
"""Days a year that get each fault, in turn."""


@dataclass
class Tally:
    """Counts of shop-years.

    Attributes
    ----------
    shops
        Number of shops, by size.
    held, warned
        Days of no fault that were held and warned of, by size.
    by_check
        Days of no fault that were held and warned of, by check and severity.
    faults
        Days with a fault, by size and fault.
    caught, noticed
        Those that were held, and those that were held or warned of.
    """

    shops: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)
    warned: Counter[str] = field(default_factory=Counter)
    by_check: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    caught: Counter[tuple[str, str]] = field(default_factory=Counter)
    noticed: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __iadd__(self, other: Tally) -> Tally:
        """Add the counts of other shops."""
        for name, counter in vars(self).items():
            counter.update(vars(other)[name])
        return self


def simulate(number: int, seed: int) -> Tally:
    """Return what the checks say of one shop-year, with faults on some days beside it."""
    random = np.random.default_rng([seed, number])
    drawn = shop(random)
    size = SIZES[sum(median(drawn.orders) >= limit for limit in (20, 200))]
    tally = Tally(shops=Counter([size]))
    earlier: deque[EarlierDay] = deque(maxlen=56)
    days_of_fault = {
        name: {int(n) for n in random.choice(np.arange(1, 365), FAULTS_A_SHOP, replace=False)}
        for name in FAULTS
    }
    for run_date, measures in year(random, drawn):
        findings = list(_findings(run_date, measures, earlier))
        held_by = {finding.check_name for finding in findings if finding.severity == "hold"}
        if run_date >= FIRST:
            tally.held[size] += bool(held_by)
            tally.warned[size] += bool(findings) and not held_by
            tally.by_check.update({(f.check_name, f.severity) for f in findings})
            for name, fault in FAULTS.items():
                if (run_date - FIRST).days not in days_of_fault[name] or not measures.orders:
                    continue
                faulty = fault(random, measures, earlier[-1].measures)
                if faulty is not None:
                    found = list(_findings(run_date, faulty, earlier))
                    tally.faults[size, name] += 1
                    tally.noticed[size, name] += bool(found)
                    tally.caught[size, name] += any(f.severity == "hold" for f in found)
        # A day without a fault that is held is accepted the same day.
        earlier.append(EarlierDay(run_date, measures, accepted=held_by))
    return tally


def _findings(run_date: date, measures: Measures, earlier: Iterable[EarlierDay]) -> list[Finding]:
    return list(evaluate(Comparison(run_date, measures, None, list(earlier)), CHECKS_BY_DEFAULT))


def main() -> None:
    """Print the tables of docs/checks.md."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shops", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=18)
    options = parser.parse_args()
    total = Tally()
    with ProcessPoolExecutor() as pool:
        for tally in pool.map(
            partial(simulate, seed=options.seed), range(options.shops), chunksize=10
        ):
            total += tally
    sys.stdout.write("\n\n".join((_sizes(total), _faults(total), _checks(total))) + "\n")


def _sizes(total: Tally) -> str:
    rows = [
        (
            f"{size} orders a day",
            str(total.shops[size]),
            f"{total.held[size] / (total.shops[size] or 1):.2f}",
            f"{total.warned[size] / (total.shops[size] or 1):.1f}",
        )
        for size in SIZES
    ]
    shops = sum(total.shops.values())
    held, warned = sum(total.held.values()) / shops, sum(total.warned.values()) / shops
    everybody = "all", str(shops), f"{held:.2f}", f"{warned:.1f}"
    return _table(("shop", "shops", "false holds a year", "warnings a year"), [*rows, everybody])


def _faults(total: Tally) -> str:
    def shares(key: tuple[str, str]) -> str:
        days = total.faults[key] or 1
        return f"{total.caught[key] / days:.0%} ({total.noticed[key] / days:.0%})"

    rows = [(name, *(shares((size, name)) for size in SIZES)) for name in FAULTS]
    return _table(("fault", *SIZES), rows)


def _checks(total: Tally) -> str:
    shops = sum(total.shops.values())
    rows = [
        (f"`{name}`", *(f"{total.by_check[name, s] / shops:.2f}" for s in ("hold", "warn")))
        for name in CHECKS
        if any(total.by_check[name, s] for s in ("hold", "warn"))
    ]
    return _table(("check", "false holds a year", "warnings a year"), rows)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    rule = "| --- |" + " ---: |" * (len(head) - 1)
    return "\n".join((f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(r)} |" for r in rows)))


if __name__ == "__main__":
    main()
