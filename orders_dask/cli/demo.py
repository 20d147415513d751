"""The demo: three generated days with some of every defect, loaded for real, and what became of them."""

from __future__ import annotations

import os
import shlex
import time
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, Select, column, func, select, table

from orders_dask.cli import output as screen
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
"""Share of orders with each kind of defect: 4 of the 19 kinds refuse an order, far below the 1% that refuse a day."""

ROWS: Final = 5
"""Rows to show of a view."""

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
        Orders of each day.
    workers
        Worker processes of the local cluster; one a core by default.
    data
        Folder that keeps database and bucket; a temporary one by default.
    """
    began = time.monotonic()
    screen.message("Starting PostgreSQL and S3 on this machine")
    with sandbox(data) as services:
        os.environ.update(services.environment)  # where the workers and the libraries look
        with screen.counting_progress("Generating", len(DAYS) * orders) as more:
            made = generate(
                services.environment["_AWS_S3_URL_SOURCE"],
                start=DAYS[0],
                days=len(DAYS),
                orders=orders,
                defects=DEFECTS,
                progress=more,
            )
        settings = load_settings(source=made.source)
        database = engine(settings)
        initialise(database, settings.partition_width, DAYS[0])
        with connect(settings, workers=workers) as client, screen.progress() as listener:
            screen.message(f"Dashboard: {client.dashboard_link}")
            ended = backfill(DAYS[0], DAYS[-1], settings=settings, client=client, listener=listener)
        for each in ended:
            screen.result(screen.show_outcome(each))
        _show_refused(database)
        _show_view(database, "order_summary", SUMMARY)
        _show_view(database, "daily_sales", SALES)
    screen.result(f"\nDone in {time.monotonic() - began:.0f} s.")
    _show_next(data)


def _show_refused(database: Engine) -> None:
    """Show what was refused, and what was repaired or nulled, by code."""
    refused = list(rejects.rejects(database))
    counts = Counter(each.code for each in refused)
    example = {each.code: each.message for each in reversed(refused)}
    rows = [
        {"code": code, "records": count, "for example": example[code]}
        for code, count in sorted(counts.items())
    ]
    screen.result_table(rows, "Refused, and kept in orders_ops.rejected_record")
    issue = data_issue.c
    repaired = (
        select(issue.code, issue.field, func.sum(issue["value_count"]).label("values"))
        .group_by(issue.code, issue.field)
        .order_by(issue.code, issue.field)
    )
    _show_query(database, repaired, "Repaired or nulled, and counted in orders_ops.data_issue")


def _show_view(database: Engine, name: str, columns: tuple[str, ...]) -> None:
    """Show the first rows of a public view."""
    view = table(name, *(column(each) for each in columns), schema=PUBLIC)
    rows = select(*view.c).order_by(*list(view.c)[:2]).limit(ROWS)
    _show_query(database, rows, f"The first rows of {PUBLIC}.{name}")


def _show_query(database: Engine, query: Select[Any], title: str) -> None:
    with database.connect() as connection:
        screen.result_table([dict(row) for row in connection.execute(query).mappings()], title)


def _show_next(data: Path | None) -> None:
    """Say how to look further."""
    if data is None:
        screen.result("It was all temporary. To keep it: orders-dask demo --data ./demo")
        data = Path("demo")
    kept = f"orders-dask sandbox --data {shlex.quote(str(data))}"
    for command, what in (
        (f"{kept} -- orders-dask status", "a line a run date"),
        (f"{kept} -- orders-dask rejects --json", "what was refused, with the text as it stood"),
        (f"{kept}", "the settings, for psql, pandas or a BI tool, until Ctrl-C"),
        ("orders-dask sandbox --upload PATH -- bash", "your own dump, in a sandbox of its own"),
    ):
        screen.result(f"  {command:<64}  {what}")
