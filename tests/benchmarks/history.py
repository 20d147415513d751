"""Measure publishing and reading with ten years of history: ``make bench-history``.

One real run date of few orders is loaded and copied, inside the database, to 3,650 run dates, each
with 5% of the orders of a week before edited. Then the same day is published into this history and
into an empty database, with the marts and without, and typical queries are timed."""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import date, timedelta
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Final

from distributed import Client
from psycopg2 import sql
from sqlalchemy import Connection, Engine, Table, func, insert, literal, select, text

from orders_dask import run
from orders_dask.cluster.connect import connect
from orders_dask.contract.columns import PUBLIC, STORE, kind_name
from orders_dask.contract.ledger_tables import load_run
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.storage_tables import (
    DIMENSION_ROWS,
    order_superseded,
    order_version,
    published,
)
from orders_dask.ledger import leases
from orders_dask.ledger.timings import load_timings
from orders_dask.load.connect import driver_cursor, engine
from orders_dask.load.partitions import ensure_partitions
from orders_dask.load.schema import initialise
from orders_dask.pipeline import staged_rows
from orders_dask.publish.unpublish import unpublish_run_date
from orders_dask.sandbox import sandbox
from orders_dask.settings import Settings, load_settings, without_service_variables
from orders_dask.synthetic import generate
from orders_dask.transform.mart_sums import mart_sums
from tests.benchmarks.report import Target

TEMPLATE: Final = date(2026, 10, 30)
NEW: Final = date(2026, 10, 31)
"""The day that is published, into the last partition of the history, as a daily run does."""

WEEK: Final = 7
CUSTOMERS_FOR: Final = 90
"""Days after which the customers of a day order again."""

ID_STEP: Final = 10**12
"""Distance between the order ids of consecutive days."""

SESSIONS: Final = 30
REPEATS: Final = 7
ROUNDS: Final = 3
"""Rounds of runs that count: of eight runs each."""


def main() -> None:
    """Measure, and fail if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.history", description=__doc__)
    parser.add_argument("--days", type=int, default=3_650, help="published run dates")
    parser.add_argument("--orders", type=int, default=1_400, help="of each of them")
    parser.add_argument("--edited", type=int, default=20, help="one order in so many, a week later")
    parser.add_argument("--new", type=int, default=50_000, help="orders of the published day")
    parser.add_argument("--into", type=Path, default=Path("build"), help="folder of history.md")
    args = parser.parse_args()
    with sandbox() as box:
        os.environ |= without_service_variables(os.environ) | box.environment
        bucket = box.environment["_AWS_S3_URL_SOURCE"]
        generate(f"{bucket}days/", start=TEMPLATE, days=1, orders=args.orders, edited=0)
        generate(f"{bucket}days/", start=NEW, days=1, orders=args.new, edited=0, seed=1)
        os.environ["_AWS_S3_URL_SOURCE"] = f"{bucket}days/run_date={{run_date}}/"
        settings = load_settings()
        with connect(settings) as client:
            found = [*_measured(settings, client, args.days, args.edited)]
    lines = ["| what | target | measured | |", "| --- | ---: | ---: | --- |"]
    lines += [
        f"| {t.what} | {'' if t.at_most is None else f'≤ {t.at_most}'} | {t.ratio:.2f} | "
        f"{'' if t.at_most is None else 'met' if t.met else 'missed'} |"
        for t in found
    ]
    print("\n".join(lines))
    args.into.mkdir(parents=True, exist_ok=True)
    (args.into / "history.md").write_text("\n".join(lines) + "\n")
    raise SystemExit(0 if all(target.met for target in found) else "A target was missed.")


def _measured(settings: Settings, client: Client, days: int, edited: int) -> Iterator[Target]:
    with (
        _database(settings, "empty") as (empty, none),
        _database(settings, "history") as (full, database),
    ):
        initialise(none)
        initialise(database)
        run(TEMPLATE, settings=full, client=client)
        copies = [TEMPLATE - timedelta(n) for n in range(1, days)]
        _fill(database, copies, edited)
        taken = _publishes(client, {"empty": (empty, none), "history": (full, database)})
        for what, at_most in (("verify and publish", 1.1), ("run", None)):
            alone, among = (taken[name, True, True, what] for name in ("empty", "history"))
            yield Target(
                f"{what} of a replaced day, times those into an empty database",
                among / alone,
                at_most=at_most,
            )
            for replacing in (False, True):
                with_marts, without = (
                    taken["history", replacing, marts, what] for marts in (True, False)
                )
                day = "a replaced day" if replacing else "a new day"
                yield Target(
                    f"{what} of {day}, times those without marts",
                    with_marts / without,
                    at_most=1.2,
                )
        yield from _reads(database, copies[len(copies) // 2])


@contextmanager
def _database(settings: Settings, name: str) -> Iterator[tuple[Settings, Engine]]:
    """Yield the settings and the engine of a new database with a stage of its own."""
    server = engine(settings).execution_options(isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        driver_cursor(connection).execute(
            sql.SQL("create database {}").format(sql.Identifier(name))
        )
    stage = f"{settings.stage_url.rstrip('/')}/{name}/"
    own = settings.model_copy(update={"pgsql_database": name, "stage_url": stage})
    yield own, engine(own)


def _publishes(
    client: Client, into: Mapping[str, tuple[Settings, Engine]]
) -> dict[tuple[str, bool, bool, str], float]:
    """Run the new day in turn: into each database, new and again, with the marts and without.

    The first round does not count. Verify and publish are summed, because the precomputation of a
    publish runs beside verify.

    Returns
    -------
    dict
        Median seconds by database, whether the day was published before, whether there are marts,
        and what took them.
    """
    seconds: dict[tuple[str, bool, bool, str], list[float]] = defaultdict(list)
    for round_number in range(ROUNDS + 1):
        for (name, (settings, database)), marts in product(into.items(), (True, False)):
            _set_marts(client, database, on=marts)
            for replacing in (False, True):
                whole = run(NEW, settings=settings, client=client, force=True).seconds
                timings = load_timings(database, NEW)
                assert timings, "a run records the time of its steps"
                steps = {step.step: step.seconds for step in timings.steps}
                publish = steps["verify"] + steps["publish"]
                print(
                    f"{name} {replacing=} {marts=}: {steps['verify']:.2f} + {steps['publish']:.2f} s"
                )
                if round_number:
                    seconds[name, replacing, marts, "verify and publish"].append(publish)
                    seconds[name, replacing, marts, "run"].append(whole)
            with leases.acquire_lease(database, NEW) as lease:
                unpublish_run_date(lease)
    return {case: median(taken) for case, taken in seconds.items()}


def _set_marts(client: Client, database: Engine, on: bool) -> None:
    """Set the triggers of the marts on or off, and what the workers add up for them."""
    word = "enable" if on else "disable"
    with database.begin() as connection:
        cursor = driver_cursor(connection)
        cursor.execute(f"alter table orders_store.published {word} trigger user")
        cursor.execute(f"alter table orders_store.order_superseded {word} trigger user")
    client.run(_set_mart_sums, on)


def _set_mart_sums(on: bool) -> None:
    vars(staged_rows)[mart_sums.__name__] = mart_sums if on else lambda facts: {}


def _fill(database: Engine, days: Sequence[date], edited: int) -> None:
    """Copy the template to other days, each as a published load."""
    with database.connect() as connection:
        template: int = connection.execute(select(published.c.load_id)).scalar_one()
        connection.rollback()
        for first in sorted({day.replace(day=1) for day in days}):
            ensure_partitions(connection, first)
            with connection.begin():
                of_month = [day for day in days if day.replace(day=1) == first]
                _fill_month(connection, template, of_month, edited)
        with connection.begin():
            connection.execute(text(_SUPERSEDE))
            highest = func.pg_get_serial_sequence(str(load_run), "load_id")
            connection.execute(select(func.setval(highest, func.max(load_run.c.load_id))))
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(text("vacuum analyze"))


def _fill_month(connection: Connection, template: int, days: Sequence[date], edited: int) -> None:
    loads = {day: template + (TEMPLATE - day).days for day in days}
    runs = [column for column in load_run.c if column.name not in ("load_id", "run_date")]
    for day, load_id in loads.items():
        values = literal(load_id, load_run.c.load_id.type), literal(day, load_run.c.run_date.type)
        row = select(*values, *runs)
        names = ["load_id", "run_date", *(column.name for column in runs)]
        connection.execute(
            insert(load_run).from_select(names, row.where(load_run.c.load_id == template))
        )
    parameters = {"template": template, "days": days, "last": TEMPLATE, "edited": edited}
    for table in (*FACTS, order_version, *DIMENSION_ROWS):
        connection.execute(text(_copy(table)), parameters)
    # Last, because the marts add up what is published.
    connection.execute(insert(published), [{"run_date": d, "load_id": n} for d, n in loads.items()])


def _copy(table: Table) -> str:
    """Return SQL that copies a load to days; one order in twenty is an edit of a week before."""
    expressions = {
        "run_date": "d.day",
        "load_id": ":template + (:last - d.day)",
        "order_id": f"t.order_id + d.back * {ID_STEP}",
        "customer_id": f"t.customer_id + d.back % {CUSTOMERS_FOR} * {ID_STEP}",
        "version_at": "t.version_at - make_interval(days => (:last - d.day))",
    }
    names = [column.name for column in table.c]
    shifted = {
        column.name: f'(t."{column.name}" - make_interval(days => d.back))::{kind}'
        for column in table.c
        if (kind := {"day": "date", "timestamp": "timestamptz"}.get(kind_name(column.type) or ""))
    }
    values = ", ".join((shifted | expressions).get(name, f't."{name}"') for name in names)
    is_edited = "t.order_id % :edited = 0" if "order_id" in table.c else "true"
    return f"""
        insert into {table} ({", ".join(f'"{name}"' for name in names)})
        select {values}
        from {table} t,
          (select day, (:last - day) + edits.week as back, edits.week
           from unnest(cast(:days as date[])) day, (values (0), ({WEEK})) edits (week)) d
        where t.load_id = :template and (d.week = 0 or {is_edited})
    """


_SUPERSEDE: Final = """
    insert into orders_store.order_superseded (order_id, run_date)
    select order_id, run_date from (
      select order_id, run_date,
        row_number() over (
          partition by order_id order by version_at desc nulls last, run_date desc) as rank
      from orders_store.order_version) ranked
    where rank > 1
"""


def _reads(database: Engine, day: date) -> Iterator[Target]:
    with database.connect() as connection:
        orders = select(order_version.c.order_id).where(order_version.c.run_date == day)
        order_id = connection.scalar(orders.limit(1))
        for what, where, value in (
            ("run date", "run_date", day),
            ("order id", "order_id", order_id),
        ):
            query = f"select * from {PUBLIC}.order_summary where {where} = :value"
            plan, took = _explained(connection, query, {"value": value})
            print(plan)
            yield Target(f"order_summary of one {what}, ms", took, at_most=50)
        by_day = f"select * from {PUBLIC}.sales_by_day where event_local_date >= :first"
        for what, back, at_most in (("a month", 30, 50), ("ten years", 3_650, 1_000)):
            values = {"first": day - timedelta(back)}
            within = f"{by_day} and event_local_date < :first + {back}"
            plan, took = _explained(connection, within, values)
            print(plan)
            yield Target(f"sales_by_day of {what}, ms", took, at_most=at_most)
        total = "select count(*), sum(total_price) from {}"
        current, through_pointer, stored = (
            _explained(connection, total.format(name), {})[1]
            for name in (f"{PUBLIC}.order_current", f"{PUBLIC}.fact_order", f"{STORE}.fact_order")
        )
        versions, superseded = (
            connection.scalar(select(func.count()).select_from(table)) or 0
            for table in (order_version, order_superseded)
        )
        yield Target("share of versions that are superseded", superseded / versions)
        yield Target(
            "sum of everything that is current, times that of the storage", current / stored
        )
        yield Target(
            "sum of everything through the pointer, times that of the storage",
            through_pointer / stored,
            at_most=1.5,
        )
    yield Target("sessions of 30 that ran out of locks", _out_of_locks(database), at_most=0)


def _explained(connection: Connection, query: str, values: dict[str, Any]) -> tuple[str, float]:
    """Return the plan, and the median milliseconds of planning and execution together."""
    took = []
    for _ in range(REPEATS):
        lines = list(connection.scalars(text(f"explain (analyze, timing off) {query}"), values))
        took.append(sum(float(line.split()[-2]) for line in lines if "Time:" in line))
    return "\n".join(lines), median(took)


def _out_of_locks(database: Engine) -> int:
    """Count sessions that fail when each holds locks on every partition of five tables."""
    joined = " ".join(f"left join {PUBLIC}.{fact.name} using (order_id)" for fact in FACTS[1:5])
    query = text(f"explain select count(*) from {PUBLIC}.{FACTS[0].name} {joined}")
    failed = 0
    with ExitStack() as stack, ThreadPoolExecutor(SESSIONS) as pool:
        sessions = [stack.enter_context(database.connect()) for _ in range(SESSIONS)]
        for query_result in [pool.submit(session.execute, query) for session in sessions]:
            failed += query_result.exception() is not None
    return failed


if __name__ == "__main__":
    main()
