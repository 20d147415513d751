"""`orders-dask drift`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Annotated, Final

import typer

from orders_dask.cli import output
from orders_dask.cli.app import command
from orders_dask.cli.options import JsonOutput, parse_date
from orders_dask.errors import SettingsError, SourceMissing

if TYPE_CHECKING:
    from orders_dask.ledger.schema_drift import DriftingKey

MAX_SUGGESTED: Final = 50
"""Keys that lines of TOML are printed for: more would be no list to choose from."""


@command()
def drift(
    run_date: Annotated[
        date | None,
        typer.Option(
            parser=parse_date,
            metavar="DATE",
            help="Show the keys of this run date.",
            show_default="the latest one that has a load",
        ),
    ] = None,
    last: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Show those of the latest run dates.", show_default=False
        ),
    ] = None,
    json: JsonOutput = False,
) -> None:
    """List the keys of orders that the contract doesn't know, and so are not loaded."""
    from orders_dask.ledger.schema_drift import drift_report
    from orders_dask.load.ready import ready_database
    from orders_dask.settings import load_settings

    if run_date is not None and last is not None:
        raise SettingsError("Give --run-date or --last, not both.")
    found = drift_report(ready_database(load_settings()), run_date, last or 1)
    if found is None:
        what = f"for {run_date}" if run_date else "yet"
        raise SourceMissing(f"Nothing was loaded {what}: see `orders-dask status`.")
    if json:
        output.result_json(found)
        return
    first, end = found.run_dates[-1], found.run_dates[0]
    dates = str(end) if first == end else f"{first} to {end}"
    if not found.keys:
        output.result(f"{dates}: no key that the contract doesn't know.")
        return
    columns = ("path", "type", "share", "first_seen", "sample")
    rows = [{name: getattr(key, name) for name in columns} for key in found.keys]
    output.result_table([row | {"share": _percent(row["share"])} for row in rows])
    if found.more:
        output.result("And more: a load lists a thousand.")
    output.result(_lines_for_file(found.keys))


def _lines_for_file(keys: Sequence[DriftingKey]) -> str:
    """Return lines of TOML that declare the first keys as columns; comments where none can be."""
    from orders_dask.contract.suggested_columns import suggest_column, toml_lines

    taken: set[tuple[str, str]] = set()
    lines = ["", "# Lines for columns.toml, the file of ORDERS_DASK_COLUMNS (docs/columns.md):"]
    for key in keys[:MAX_SUGGESTED]:
        share = _percent(key.share)
        seen = f"in {share} of the records" if share else f"first seen on {key.first_seen}"
        lines.append(f"\n# {key.path}: {key.type or 'unknown type'}, {seen}")
        try:
            column = suggest_column(key.path, key.type, key.sample, taken)
        except ValueError as error:
            lines[-1] += f"; it {error}"
            continue
        taken.add((column.table, column.name))
        lines.append(toml_lines(column))
    if len(keys) > MAX_SUGGESTED:
        lines.append(f"\n# And {len(keys) - MAX_SUGGESTED:,} more keys.")
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    if share is None:
        return ""
    return "<0.1%" if share < 0.001 else f"{share:.1%}"
