"""Make loads of a few rows by hand, and take them through the ledger as a run does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
from sqlalchemy import Engine, Table, select

from orders_dask.contract.arrow import FILE, POSITION, arrow_schema
from orders_dask.contract.control_totals import ControlTotals, totals_of
from orders_dask.contract.order_tables import FACTS, fact_order
from orders_dask.contract.storage_tables import COPIED_TABLES, order_version
from orders_dask.contract.storage_tables import published as seen
from orders_dask.ledger import leases
from orders_dask.ledger import loads as ledger
from orders_dask.ledger.leases import Lease
from orders_dask.load.copy import load_part
from orders_dask.load.partitions import ensure_partitions
from orders_dask.publish.publish import precompute, publish, seal
from orders_dask.publish.review import Review
from orders_dask.publish.rollback import restore_previous
from orders_dask.publish.unpublish import unpublish_run_date
from orders_dask.publish.verify import verify
from tests.support.proxy import PostgresProxy
from tests.support.waiting import until

DAY: Final = date(2017, 11, 3)
"""The run date of most loads."""
NEXT: Final = DAY + timedelta(days=1)

Rows = Sequence[Mapping[str, Any]]
TABLES = {table.name: table for table in COPIED_TABLES}


@dataclass(frozen=True)
class File:
    """A file of a load, as the ledger records it."""

    read: Mapping[str, int]
    name: str = "s3://orders/a.json"
    etag: str = "etag"
    size: int = 1
    unreadable: bool = False
    rejected: Mapping[str, int] = field(
        default_factory=lambda: dict.fromkeys((fact.name for fact in FACTS), 0)
    )


def moment(second: int = 0, *, day: date = DAY, hour: int = 12) -> datetime:
    """Return a timestamp in UTC, by default seconds after noon of `DAY`."""
    return datetime(day.year, day.month, day.day, hour, 0, second, tzinfo=UTC)


def order(order_id: int, second: int = 0, **columns: Any) -> dict[str, Any]:
    """Return a row of ``fact_order`` whose version is some seconds after noon."""
    return {"order_id": order_id, "updated_at": moment(second), **columns}


def arrow(table: Table, rows: Rows) -> pa.Table:
    """Return rows as they are copied into a table; columns that a row doesn't name are null."""
    fields = [f for f in arrow_schema(table) if f.name not in {"run_date", "load_id"}]
    return pa.Table.from_pylist(list(rows), schema=pa.schema(fields))


def part(file_id: int, **rows: Rows) -> dict[str, pa.Table]:
    """Return the tables of a part: the named ones, and the versions of its orders."""
    tables = {
        name: [{FILE: file_id, POSITION: n, **row} for n, row in enumerate(of_table, 1)]
        for name, of_table in rows.items()
    }
    versions = [
        {"order_id": o["order_id"], "version_at": o.get("updated_at") or o.get("created_at")}
        for o in tables.get(fact_order.name, ())
    ]
    tables[order_version.name] = versions
    return {name: arrow(TABLES[name], of_table) for name, of_table in tables.items()}


def begin(lease: Lease) -> int:
    """Create a load and its partitions; return its id."""
    load_id = ledger.create_load(lease, "s3://orders/", "fingerprint", "tester")
    ensure_partitions(lease.connection, lease.run_date)
    return load_id


def verified(lease: Lease, *parts: Mapping[str, Rows]) -> int:
    """Load, seal and verify a load of one file; return its id."""
    load_id = begin(lease)
    read = {f.name: sum(len(rows.get(f.name, ())) for rows in parts) for f in FACTS}
    [file_id] = ledger.record_files(lease, load_id, [File(read)])
    decoded = dict.fromkeys(read, ControlTotals())
    for number, rows in enumerate(parts):
        tables = part(file_id, **rows)
        for name in decoded.keys() & tables.keys():
            decoded[name] += totals_of(name, tables[name])
        load_part(
            lease.connection.engine, load_id, lease.run_date, f"part={number}", tables.items(), {}
        )
    seal(lease, load_id)
    verify(lease, load_id, len(parts), decoded)
    return load_id


def published(engine: Engine, run_date: date, *parts: Mapping[str, Rows]) -> int:
    """Publish a load of one file; return its id."""
    with leases.acquire_lease(engine, run_date) as lease:
        load_id = verified(lease, *parts)
        publish(lease, load_id, precompute(engine, run_date, load_id))
    return load_id


def rolled_back(engine: Engine, run_date: date) -> int:
    """Roll back the published load of a run date; return its id."""
    with leases.acquire_lease(engine, run_date) as lease:
        with lease.transaction() as connection:
            load_id = connection.execute(
                select(seen.c.load_id).where(seen.c.run_date == run_date)
            ).scalar_one()
        restore_previous(lease, load_id, Review("a test"))
    return int(load_id)


def unpublished(engine: Engine, run_date: date) -> int:
    """Unpublish a run date; return the id of the load that was published."""
    with leases.acquire_lease(engine, run_date) as lease:
        load_id = unpublish_run_date(lease)
    assert load_id
    return load_id


def lose_answer(proxy: PostgresProxy) -> None:
    """Wait until the delayed commit is done, and reset its connection in place of the answer."""
    until(lambda: proxy.delayed is not None, 30, "nothing was committed")
    proxy.release(lose=True)
