"""Run all contenders in turn, several times, and write the results as Markdown and JSON."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.benchmarks import report
from tests.benchmarks.dump import SHARE, Form
from tests.benchmarks.measure import measure
from tests.benchmarks.report import Case


def main() -> None:
    """Run the benchmark that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--orders", type=int, default=200_000, help="of the dump")
    parser.add_argument("--repeats", type=int, default=3, help="times that each contender runs")
    parser.add_argument("--only", nargs="*", help="contenders, or ours:gzip; all by default")
    parser.add_argument(
        "--into", type=Path, default=Path("build"), help="folder of bench.md and .json"
    )
    args = parser.parse_args()

    gzip = Form("gzip", args.orders, "gzip", SHARE)
    plain = Form("plain", args.orders, "none", SHARE)
    clean = Form("clean", args.orders, "gzip", 0.0)
    part = Form("part", args.orders // 4, "gzip", 0.0)
    cases = [
        Case("ours", gzip),
        Case("with_duckdb", gzip),
        Case("with_duckdb_all", gzip),
        Case("decode_floor", clean),
        Case("copy_floor", clean),
        Case("ours_alone", gzip),
        Case("ours", plain),
        Case("with_duckdb", plain),
        Case("ours", part),
        Case("with_dlt", part),
        Case("with_pandas", part),
    ]
    if args.only:
        cases = [case for case in cases if {case.contender, str(case)} & {*args.only}]
    measured = measure(cases, args.repeats)
    report.write(args.into, measured)
    print((args.into / "bench.md").read_text())


if __name__ == "__main__":
    main()
