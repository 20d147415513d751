"""Fail if a run became clearly slower beside the floors of decode and COPY, or small ones beside it.

It compares ratios of one benchmark run, never times: machines differ, and drift.
"""

from __future__ import annotations

import os
from typing import Final

from tests.benchmarks.backfills import beside_one_date
from tests.benchmarks.dump import SHARE, Form
from tests.benchmarks.measure import measure
from tests.benchmarks.report import BESIDE_FLOORS, Case, targets

ORDERS: Final = 20_000
REPEATS: Final = 3

RECORDED: Final = 1.2
"""Measured on 2026-11-27 with two cores: 1.08 to 1.17; 1.60 at most on slower machines."""

SMALL_DATES: Final = 32
SMALL_ORDERS: Final = 60

RECORDED_SMALL: Final = 3.0
"""Measured on 2026-12-01 with two cores: 2.7 to 3.5."""

SLACK: Final = 1.5
"""Factor allowed on the recorded ratio: medians of three rounds differ by a tenth."""

CORES: Final = 2
"""The ratio depends on the number of cores: with more, the floors fall further than a run."""


def main() -> None:
    """Measure on the number of cores of the recorded ratio, and compare."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    dump, clean = (Form("gzip", ORDERS, "gzip", SHARE), Form("clean", ORDERS, "gzip", 0.0))
    cases = Case("ours", dump), Case("decode_floor", clean), Case("copy_floor", clean)
    measured = measure(cases, REPEATS)
    ratio = next(t.ratio for t in targets(measured) if t.what == BESIDE_FLOORS)
    assert ratio, "all three ran"
    most = RECORDED * SLACK
    print(f"{BESIDE_FLOORS}: {ratio:.2f}, recorded {RECORDED}, at most {most:.2f}")
    if ratio > most:
        raise SystemExit("A run has become slower beside the floors.")
    of_small = beside_one_date(SMALL_DATES, SMALL_ORDERS, REPEATS)
    most = RECORDED_SMALL * SLACK
    print(
        f"{SMALL_DATES} run dates of {SMALL_ORDERS} orders beside one of all of these: "
        f"{of_small:.2f}, recorded {RECORDED_SMALL}, at most {most:.2f}"
    )
    if of_small > most:
        raise SystemExit("Small run dates have become slower beside a large one.")


if __name__ == "__main__":
    main()
