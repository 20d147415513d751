"""Fail where a run is clearly slower, beside the floors of decode and COPY, than it was when this was recorded.

The ratio of one run, never a time: machines differ, and drift.
"""

from __future__ import annotations

import os
from typing import Final

from tests.benchmarks.dump import SHARE, Form
from tests.benchmarks.measure import measure
from tests.benchmarks.report import BESIDE_FLOORS, Case, targets

ORDERS: Final = 20_000
REPEATS: Final = 3

RECORDED: Final = 1.2
"""On 2026-11-27, two cores: 1.08, 1.09, 1.11 and 1.17. Slower machines, with the code of
days before, told 1.45 and 1.60."""

SLACK: Final = 1.5
"""What the ratio may be beside the recorded one: medians of three turns differ by a tenth on a
machine whose speed drifts by half, and a step that went wrong costs more than that."""

CORES: Final = 2
"""The ratio depends on them: on more, the floors fall further than what one core alone can do."""


def main() -> None:
    """Measure on as many cores as it was recorded on, and compare."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    dump, clean = (Form("gzip", ORDERS, "gzip", SHARE), Form("clean", ORDERS, "gzip", 0.0))
    cases = Case("ours", dump), Case("decode_floor", clean), Case("copy_floor", clean)
    measured = measure(cases, REPEATS)
    ratio = next(t.ratio for t in targets(measured) if t.what == BESIDE_FLOORS)
    assert ratio, "all three ran"
    most = RECORDED * SLACK
    print(f"{BESIDE_FLOORS}: {ratio:.2f}, recorded {RECORDED}, at most {most:.2f}")
    raise SystemExit("A run has become slower beside the floors." if ratio > most else 0)


if __name__ == "__main__":
    main()
