"""The demo: generate three days with every kind of defect, load them, and show the result."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import time
from collections import Counter
from datetime import date
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

from distributed import Client
from sqlalchemy import ColumnElement, Engine, Select, column, func, inspect, select, table

from orders_dask.cli import output
from orders_dask.cli.progress import counting_progress, shown_progress
from orders_dask.cli.report_file import write_report
from orders_dask.cluster.connect import connect
from orders_dask.contract.columns import PUBLIC
from orders_dask.contract.ledger_tables import data_issue, load_run
from orders_dask.errors import LoadHeld, SettingsError
from orders_dask.extract.source.listing import list_files
from orders_dask.filesystem import filesystem
from orders_dask.jobs.backfill import backfill
from orders_dask.jobs.report import report as report_on
from orders_dask.jobs.review import discard
from orders_dask.jobs.run import run
from orders_dask.ledger import rejects
from orders_dask.load.connect import engine
from orders_dask.load.schema import initialise
from orders_dask.pipeline.progress import Listener
from orders_dask.sandbox import sandbox
from orders_dask.settings import Settings, load_settings
from orders_dask.synthetic import generate
from orders_dask.urls import parent_folder

DAYS: Final = (date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 3))

DEFECTS: Final = 0.0005
"""Share of orders with each defect: 5 of 23 reject the order, far below the limit of 1%."""

ROWS: Final = 5
"""Rows of a view to show."""

SUMMARY: Final = (
    "order_id",
    "run_date",
    "order_local_date",
    "is_test",
    "currency",
    "gross_sales",
    "discounts",
    "returns",
    "total_sales",
)
SALES: Final = (
    "gross_sales",
    "discounts",
    "returns",
    "net_sales",
    "shipping",
    "taxes",
    "duties",
    "fees",
    "total_sales",
)
REFUNDED: Final = ("returns", "shipping", "taxes", "gift_card_returns", "refunded_value")


def show_in_sandbox(orders: int, workers: int | None, data: Path | None) -> None:
    """Run the demo with a PostgreSQL and an S3 server of its own.

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
        report = (data or Path(mkdtemp(prefix="orders-dask-demo-"))) / "report.html"
        _show(services.environment["_AWS_S3_URL_SOURCE"], orders, workers, report)
    output.result(f"\nDone in {time.monotonic() - began:.0f} s.")
    _show_next(data)


def show_with_settings(orders: int, workers: int | None) -> None:
    """Run the demo with the services of the settings, if they hold nothing but a demo.

    Parameters
    ----------
    orders
        Number of orders of each day.
    workers
        Number of worker processes of a local cluster, instead of the cluster of the settings.

    Raises
    ------
    SettingsError
        The database or the folder of the dump holds anything else.
    """
    began = time.monotonic()
    settings = load_settings()
    folder = parent_folder(settings.source)
    _check_unused(settings, folder)
    _show(folder, orders, workers)
    output.result(f"\nDone in {time.monotonic() - began:.0f} s. All of it stays.")


def _check_unused(settings: Settings, folder: str) -> None:
    """Raise SettingsError if the services of the settings hold what no demo has written."""
    name = re.compile(r"/run_date=({})/orders-0000\.ndjson".format("|".join(map(str, DAYS))))
    foreign = [
        file.name
        for file in list_files(folder).files
        if not name.fullmatch(file.name.removeprefix(folder))
    ]
    if foreign:
        raise SettingsError(
            f"{folder} holds {foreign[0]}, which no demo wrote: name an empty bucket or folder in "
            "_AWS_S3_URL_SOURCE, for the demo overwrites what it finds."
        )
    database = engine(settings)
    if not inspect(database).has_table(load_run.name, load_run.schema):
        return
    ours = (load_run.c.source == _source(folder)) & load_run.c.run_date.in_(DAYS)
    with database.connect() as connection:
        run_date = connection.scalar(select(func.min(load_run.c.run_date)).where(~ours))
    if run_date:
        raise SettingsError(
            f"The database {settings.pgsql_database} has a load of {run_date} that is no demo's: "
            "name an empty one in _PGSQL_DATABASE."
        )


def _source(folder: str) -> str:
    """Return the URL of the dump that `generate` writes into a folder."""
    return f"{folder}/run_date={{run_date}}/"


def _show(folder: str, orders: int, workers: int | None, report: Path | None = None) -> None:
    """Generate into a folder, load into the database of the settings, and show the result."""
    with counting_progress("Generating", len(DAYS) * orders) as advance:
        dump = generate(
            folder,
            start=DAYS[0],
            days=len(DAYS),
            orders=orders,
            defects=DEFECTS,
            progress=advance,
        )
    settings = load_settings(source=dump.source).model_copy(update={"record": None})
    database = engine(settings)
    initialise(database, settings.partition_width, DAYS[0])
    with (
        connect(settings, workers=workers, without_pandas=True) as client,
        shown_progress() as listener,
    ):
        output.message(f"Dashboard: {client.dashboard_link}")
        ended = backfill(DAYS[0], DAYS[-1], settings=settings, client=client, listener=listener)
        held = _hold_half_a_day(settings, client, folder, listener, report)
    for each in ended:
        output.result(output.show_outcome(each))
    _show_defects(database)
    _show_orders(database)
    output.result(f"\nThe same dump once more, with half of its orders:\n{held}")
    if report and report.exists():
        output.result(f"Its report, for a browser: {report}")
    _show_sales(database)
    _show_refunds(database)


def _hold_half_a_day(
    settings: Settings, client: Client, folder: str, listener: Listener, report: Path | None
) -> str:
    """Load half of the last day's dump, which a check holds; discard it, and return the message."""
    day = DAYS[-1]
    fs, path = filesystem(f"{folder}/run_date={day}/orders-0000.ndjson")
    whole = fs.cat_file(path)
    lines = whole.splitlines(keepends=True)
    try:
        fs.pipe_file(path, b"".join(lines[: len(lines) // 2]))
        run(day, settings=settings, client=client, force=True, listener=listener)
    except LoadHeld as held:
        if report:
            write_report(report, report_on(day, settings=settings))
        discard(day, "The demo had cut the file.", settings=settings)
        return str(held)
    finally:
        fs.pipe_file(path, whole)
    return f"{day}  published"


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


def _show_orders(database: Engine) -> None:
    """Show the first orders that were not cancelled."""
    view = table("order_summary", *map(column, SUMMARY), schema=PUBLIC)
    is_cancelled: ColumnElement[bool] = column("is_cancelled")
    rows = select(*view.c).where(~is_cancelled).order_by(view.c.order_id).limit(ROWS)
    _show_query(database, rows, f"Some rows of {PUBLIC}.{view.name}")


def _show_sales(database: Engine) -> None:
    """Show what was sold on each day, in each currency."""
    names = ("event_local_date", "currency", "order_count", *SALES)
    view = table("sales_by_day", *map(column, names), schema=PUBLIC)
    day, currency, order_count = list(view.c)[:3]
    amounts = [func.round(view.c[name], 2).label(name) for name in SALES]
    rows = select(day.label("day"), currency, order_count.label("orders"), *amounts)
    rows = rows.order_by(day, currency)
    _show_query(database, rows, f"Sales by day: {PUBLIC}.{view.name}")


def _show_refunds(database: Engine) -> None:
    """Show what was given back in each currency, and why."""
    names = ("currency", "note", *REFUNDED)
    view = table("refund_summary", *map(column, names), schema=PUBLIC)
    reason = func.coalesce(func.nullif(view.c.note, ""), "(none given)")
    added_up = [func.round(func.sum(view.c[name]), 2).label(name) for name in REFUNDED]
    rows = (
        select(view.c.currency, reason.label("reason"), func.count().label("refunds"), *added_up)
        .group_by(view.c.currency, reason)
        .order_by(view.c.currency, added_up[-1].desc())
    )
    title = f"Refunds by reason: {PUBLIC}.{view.name}. Edits are returns too, and no refunds"
    _show_query(database, rows, title)


def _show_query(database: Engine, query: Select[Any], title: str) -> None:
    with database.connect() as connection:
        output.result_table([dict(row) for row in connection.execute(query).mappings()], title)


def _show_next(data: Path | None) -> None:
    """Print commands to look further."""
    if data is None:
        output.result("It was all temporary. To keep it: orders-dask demo --data ./demo")
        data = Path("demo")
    if shutil.which("orders-dask") is None:
        scripts = shlex.quote(str(Path(sys.executable).parent))
        output.result(f"These need orders-dask on the path: export PATH={scripts}:$PATH")
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
