"""Decode orders in a process with custom columns, both ways: tables are declared once a process.

As a program, it reads lines of a dump from standard input.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from zoneinfo import ZoneInfo

from tests.support import REPOSITORY

VARIABLE: Final = "ORDERS_DASK_COLUMNS"
"""As in the product, which the parent process need not import."""

ZONE: Final = ZoneInfo("America/New_York")


@dataclass(frozen=True)
class DecodedElsewhere:
    """What a process with custom columns made of a dump.

    Attributes
    ----------
    tables
        Rows of each staged table, dates and decimals as text.
    issues
        Field, code, count and samples of each issue.
    totals
        Control totals of each fact, as JSON.
    drift
        Paths that nobody knows.
    """

    tables: dict[str, list[dict[str, Any]]]
    issues: list[tuple[str, str, int, list[Any]]]
    totals: dict[str, Any]
    drift: list[str]


def call(
    *arguments: str, columns: str, text: bytes = b"", **more: str
) -> subprocess.CompletedProcess[bytes]:
    """Call Python in a process with the columns of a file."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "columns.toml"
        file.write_text(columns)
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=REPOSITORY,
            env={**os.environ, **more, VARIABLE: str(file)},
            input=text,
            capture_output=True,
        )


def decoded(columns: str, orders: Iterable[str], **more: str) -> DecodedElsewhere:
    """Decode orders with the columns of a file; the reader and the rules must agree."""
    text = "".join(f"{order}\n" for order in orders).encode()
    ended = call("-m", __name__, columns=columns, text=text, **more)
    assert ended.returncode == 0, ended.stderr.decode()
    return DecodedElsewhere(**json.loads(ended.stdout))


def _main() -> None:
    from orders_dask.contract.control_totals import totals_of
    from orders_dask.contract.order_tables import FACTS
    from orders_dask.contract.rejects import merge_issues
    from orders_dask.extract.decode.block import decode_records
    from orders_dask.extract.records import Records
    from orders_dask.transform.normalise import normalise
    from tests.support.decoding import only_the_rules

    records = Records(sys.stdin.buffer.read(), in_page=False, strict=False)
    block = decode_records(records, ZONE)
    with only_the_rules():
        ruled = decode_records(records, ZONE)
    assert block.orders.equals(ruled.orders), "reader and rules differ"
    assert block.drift == ruled.drift, "reader and rules count other unknown keys"
    issues = [sorted(merge_issues(each.issues), key=repr) for each in (block, ruled)]
    assert issues[0] == issues[1], f"reader and rules count other issues: {issues}"
    made = normalise(block.orders, 0, 0)
    found = (*issues[0], *made.issues)
    result = {
        "tables": {name: table.to_pylist() for name, table in made.tables.items()},
        "issues": [(each.field, each.code, each.count, each.samples) for each in found],
        "totals": {f.name: totals_of(f.name, made.tables[f.name]).to_json() for f in FACTS},
        "drift": block.drift.paths,
    }
    sys.stdout.write(json.dumps(result, default=str))


if __name__ == "__main__":
    _main()
