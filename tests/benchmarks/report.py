"""Write the results as a Markdown table and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, Final

from orders_dask.contract.order_tables import fact_order, fact_order_line
from tests.benchmarks.dump import Form

Measured = Mapping["Case", Sequence[Mapping[str, Any]]]

BESIDE_FLOORS: Final = "time beside the floors of decode and COPY"

STAGED: Final = ("decode", "normalise", "stage")
"""The steps that one task does for each split."""

PACKAGES: Final = ("orders_dask", "dask", "pyarrow", "duckdb", "dlt", "pandas")


@dataclass(frozen=True)
class Case:
    """One contender on one form of the dump."""

    contender: str
    form: Form

    def __str__(self) -> str:
        """Return its name."""
        return f"{self.contender}:{self.form.name}"


@dataclass(frozen=True)
class Target:
    """A measured ratio and its target.

    Attributes
    ----------
    what
        Its description.
    ratio
        Its measured value; None if a contender did not run.
    at_least, at_most
        Bounds of the target.
    """

    what: str
    ratio: float | None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool:
        """Return whether the ratio is within the bounds."""
        return (
            self.ratio is not None
            and (self.at_least is None or self.ratio >= self.at_least)
            and (self.at_most is None or self.ratio <= self.at_most)
        )


def targets(measured: Measured) -> list[Target]:
    """Return the ratios of the medians."""
    seconds = _medians(measured, "seconds")
    staged = _medians(measured, *STAGED)
    orders = {(case.contender, case.form.name): case.form.orders for case in measured}
    an_order = {case: taken / orders[case] for case, taken in seconds.items()}

    def ratio(
        above: tuple[str, str],
        *below: tuple[str, str],
        of: Mapping[tuple[str, str], float] = seconds,
    ) -> float | None:
        if above not in of or not all(one in of for one in below):
            return None
        return of[above] / sum(of[one] for one in below)

    ours = ("ours", "gzip")
    return [
        Target("orders/s beside DuckDB, gzip", ratio(("with_duckdb", "gzip"), ours), at_least=1.0),
        Target("orders/s beside DuckDB, all facts", ratio(("with_duckdb_all", "gzip"), ours)),
        Target(
            "orders/s beside DuckDB, plain",
            ratio(("with_duckdb", "plain"), ("ours", "plain")),
        ),
        Target("orders/s beside dlt", ratio(("with_dlt", "part"), ours, of=an_order), at_least=15),
        Target(
            "orders/s beside pandas.to_sql",
            ratio(("with_pandas", "part"), ours, of=an_order),
            at_least=15,
        ),
        Target(
            BESIDE_FLOORS,
            ratio(ours, ("decode_floor", "clean"), ("copy_floor", "clean")),
            at_most=1.4,
        ),
        Target(
            "decode to stage with one worker beside two",
            ratio(("ours_alone", "gzip"), ours, of=staged),
            at_least=1.8,
        ),
        Target("time of four times the data", ratio(ours, ("ours", "part")), at_most=4.2),
    ]


def _medians(measured: Measured, *names: str) -> dict[tuple[str, str], float]:
    """Return medians of the sum of these figures by contender and form, where measured."""
    return {
        (case.contender, case.form.name): median(sum(one[name] for name in names) for one in each)
        for case, each in measured.items()
        if all(name in one for one in each for name in names)
    }


def write(folder: Path, measured: Measured) -> None:
    """Write ``bench.md`` and ``bench.json``."""
    machine = {
        "date": date.today().isoformat(),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES if find_spec(name)},
    }
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"contender": case.contender, "form": case.form.name, "orders": case.form.orders, **one}
        for case, each in measured.items()
        for one in each
    ]
    ratios = [
        {"what": target.what, "ratio": target.ratio, "met": target.met}
        for target in targets(measured)
    ]
    (folder / "bench.json").write_text(
        json.dumps({"machine": machine, "measured": rows, "ratios": ratios}, indent=1)
    )
    (folder / "bench.md").write_text(
        f"{_table(measured)}\n\n{_targets(measured)}\n\n{_machine_line(machine)}\n"
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _table(measured: Measured) -> str:
    lines = [
        "| contender | dump | orders | seconds | of CPU | orders/s | loaded orders, lines |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for case, each in measured.items():
        seconds, cpu = (median(one[name] for one in each) for name in ("seconds", "cpu"))
        loaded = ", ".join(f"{each[-1].get(f.name, 0):,}" for f in (fact_order, fact_order_line))
        lines.append(
            f"| {case.contender} | {case.form.name} | {case.form.orders:,} "
            f"| {seconds:.1f} | {cpu:.1f} | {case.form.orders / seconds:,.0f} | {loaded} |"
        )
    return "\n".join(lines)


def _targets(measured: Measured) -> str:
    lines = ["| ratio of medians | target | measured | |", "| --- | ---: | ---: | --- |"]
    for target in targets(measured):
        wanted = (
            f"≥ {target.at_least}"
            if target.at_least
            else f"≤ {target.at_most}"
            if target.at_most
            else ""
        )
        if target.ratio is not None:
            mark = "" if not wanted else "met" if target.met else "missed"
            lines.append(f"| {target.what} | {wanted} | {target.ratio:.2f} | {mark} |")
    return "\n".join(lines)


def _machine_line(machine: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in machine.items())
