"""The demo: generate three days with every kind of defect, load them, and show the result."""

from __future__ import annotations

import os
import shlex
import time
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, Select, column, func, select, table

from orders_dask.cli import output
from orders_dask.cluster.connect import connect
from orders_dask.contract.columns import PUBLIC
from orders_dask.contract.ledger_tables import data_issue
from orders_dask.jobs.backfill import backfill
from orders_dask.ledger import rejects
from orders_dask.load.connect import engine
from orders_dask.load.schema import initialise
from orders_dask.sandbox import sandbox
from orders_dask.settings import load_settings
from orders_dask.synthetic import generate

DAYS: Final = (date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 3))

DEFECTS: Final = 0.0005
"""Share of orders with each defect: 4 of 19 reject the order, far below the limit of 1%."""

ROWS: Final = 5
"""Rows of a view to show."""

SUMMARY: Final = (
    "order_id",
    "run_date",
    "created_local_date",
    "is_test",
    "is_cancelled",
    "line_count",
    "unit_count",
    "currency",
    "gross_amount",
    "refunded_amount",
    "net_amount",
)
SALES: Final = (
    "created_local_date",
    "currency",
    "order_count",
    "cancelled_order_count",
    "unit_count",
    "gross_amount",
    "refunded_amount",
    "net_amount",
)


def show(orders: int, workers: int | None, data: Path | None) -> None:
    """Run the demo.

    Parameters
    ----------
    orders
        Number of orders of each day.
    workers
        Number of worker processes of the local cluster; one per core by default.
    data
        Folder that keeps database and bucket; a temporary one by default.
    """
    began = time.monotonic()
    output.message("Starting PostgreSQL and S3 on this machine")
    with sandbox(data) as services:
        os.environ.update(services.environment)  # read by the workers and the libraries
        with output.counting_progress("Generating", len(DAYS) * orders) as advance:
            dump = generate(
                services.environment["_AWS_S3_URL_SOURCE"],
                start=DAYS[0],
                days=len(DAYS),
                orders=orders,
                defects=DEFECTS,
                progress=advance,
            )
        settings = load_settings(source=dump.source)
        database = engine(settings)
        initialise(database, settings.partition_width, DAYS[0])
        with connect(settings, workers=workers) as client, output.progress() as listener:
            output.message(f"Dashboard: {client.dashboard_link}")
            ended = backfill(DAYS[0], DAYS[-1], settings=settings, client=client, listener=listener)
        for each in ended:
            output.result(output.show_outcome(each))
        _show_defects(database)
        _show_view(database, "order_summary", SUMMARY)
        _show_view(database, "daily_sales", SALES)
    output.result(f"\nDone in {time.monotonic() - began:.0f} s.")
    _show_next(data)


def _show_defects(database: Engine) -> None:
    """Show the rejected records, and the repaired and nulled values, by code."""
    records = list(rejects.rejects(database))
    counts = Counter(record.code for record in records)
    examples = {record.code: record.message for record in reversed(records)}
    rows = [
        {"code": code, "records": count, "for example": examples[code]}
        for code, count in sorted(counts.items())
    ]
    output.result_table(rows, "Rejected, and stored in orders_ops.rejected_record")
    issue = data_issue.c
    issues = (
        select(issue.code, issue.field, func.sum(issue.value_count).label("values"))
        .group_by(issue.code, issue.field)
        .order_by(issue.code, issue.field)
    )
    _show_query(database, issues, "Repaired or nulled, and counted in orders_ops.data_issue")


def _show_view(database: Engine, name: str, columns: tuple[str, ...]) -> None:
    """Show the first rows of a public view."""
    view = table(name, *map(column, columns), schema=PUBLIC)
    rows = select(*view.c).order_by(*list(view.c)[:2]).limit(ROWS)
    _show_query(database, rows, f"The first rows of {PUBLIC}.{name}")


def _show_query(database: Engine, query: Select[Any], title: str) -> None:
    with database.connect() as connection:
        output.result_table([dict(row) for row in connection.execute(query).mappings()], title)


def _show_next(data: Path | None) -> None:
    """Print commands to look further."""
    if data is None:
        output.result("It was all temporary. To keep it: orders-dask demo --data ./demo")
        data = Path("demo")
    sandbox_command = f"orders-dask sandbox --data {shlex.quote(str(data))}"
    for command, what in (
        (f"{sandbox_command} -- orders-dask status", "a line a run date"),
        (
            f"{sandbox_command} -- orders-dask rejects --json",
            "what was rejected, with its raw text",
        ),
        (sandbox_command, "the settings, for psql, pandas or a BI tool, until Ctrl-C"),
        ("orders-dask sandbox --upload PATH -- bash", "your own dump, in a sandbox of its own"),
    ):
        output.result(f"  {command:<64}  {what}")
