"""Reconcile the control totals of a sealed load with what the storage really contains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ARRAY, Connection, func, literal, select, update

from orders_dask.contract.columns import COUNT, ID
from orders_dask.contract.control_totals import ControlTotals
from orders_dask.contract.ledger_tables import FILE_COUNTERS, counter_column, load_file, load_part
from orders_dask.contract.order_tables import FACTS, fact_order
from orders_dask.contract.storage_tables import COPIED_TABLES, order_version
from orders_dask.errors import ReconciliationError
from orders_dask.ledger.leases import Lease
from orders_dask.ledger.loads import transition
from orders_dask.publish.stored_totals import StoredTotals, totals_in_storage

Loaded = tuple[Mapping[str, int], Mapping[str, Any]]
"""Ledger entry of a part: rows copied by table, and superseded totals by fact."""

Comparison = tuple[str, object, object]
"""Description, expected figure, and found figure: the two must be equal."""


def verify(lease: Lease, load_id: int, parts: int, decoded: Mapping[str, ControlTotals]) -> None:
    """Reconcile a sealed load, write the row counts of its files, and mark it ``verified``.

    For every fact, rows and sums of money are decoded = stored + superseded. For every file and
    fact, records are read = loaded + superseded + rejected. See docs/contract.md#reconciliation.

    Parameters
    ----------
    lease, load_id
        The lease and the load.
    parts
        Number of parts of the load.
    decoded
        Control totals of all rows that were decoded and not rejected, by fact.

    Raises
    ------
    ReconciliationError
        Two figures differ; the message names the first such pair.
    LoadNotActive
        The load is not ``sealed``.
    """
    stored = totals_in_storage(lease.connection.engine, lease.run_date, load_id)
    with lease.transaction() as connection:
        of_load = load_part.c.load_id == load_id
        copied = connection.execute(select(load_part.c.rows, load_part.c.superseded).where(of_load))
        loaded = [(part.rows, part.superseded) for part in copied]
        files = _write_files(connection, load_id, stored, [superseded for _, superseded in loaded])
        for figure, expected, found in (
            ("parts", parts, len(loaded)),
            files,
            *_compare_tables(stored, loaded, decoded),
            *_compare_files(connection, load_id),
        ):
            if expected != found:
                raise ReconciliationError(
                    f"Load {load_id} of {lease.run_date} does not reconcile in {figure}: "
                    f"{expected} expected, {found} found; nothing was published."
                )
        transition(connection, load_id, "sealed", "verified")


def _write_files(
    connection: Connection,
    load_id: int,
    stored: Mapping[str, StoredTotals],
    superseded: Sequence[Mapping[str, Any]],
) -> Comparison:
    """Write how many rows of each file are stored and superseded; compare the number of files."""
    counts: dict[str, Mapping[int, int]] = {}
    for fact in FACTS:
        counts[counter_column(fact, "loaded")] = stored[fact.name].rows_by_file
        total = counts[counter_column(fact, "superseded")] = Counter[int]()
        for part in superseded:
            files = part.get(fact.name, _NO_TOTALS)["files"]
            total.update({int(file_id): rows for file_id, rows in files.items()})
    # An array a column: as rows of parameters, 50,000 files took 650 MB of the client's memory.
    ids = sorted(set().union(*counts.values()))
    columns = ([by_file.get(file_id, 0) for file_id in ids] for by_file in counts.values())
    arrays = literal(ids, ARRAY(ID)), *(literal(column, ARRAY(COUNT)) for column in columns)
    of_file = func.unnest(*arrays).table_valued("file_id", *counts).render_derived()
    written = connection.execute(
        update(load_file)
        .values({name: of_file.c[name] for name in counts})
        .where(load_file.c.file_id == of_file.c.file_id, load_file.c.load_id == load_id)
    )
    return "the files that its rows stem from", len(ids), written.rowcount


_NO_TOTALS: Final[Mapping[str, Any]] = {"totals": ControlTotals().to_json(), "files": {}}


def _compare_tables(
    stored: Mapping[str, StoredTotals],
    loaded: Sequence[Loaded],
    decoded: Mapping[str, ControlTotals],
) -> Iterator[Comparison]:
    """Compare each table's totals with what was copied and, for a fact, with what was decoded."""
    for table in COPIED_TABLES:
        totals = stored[table.name].totals
        copied = sum(rows.get(table.name, 0) for rows, _ in loaded)
        yield f"the rows of {table.name}, as copied", copied, totals.rows
        if table is order_version:
            orders = sum(rows.get(fact_order.name, 0) for rows, _ in loaded)
            yield f"the rows of {table.name}, one an order", orders, totals.rows
        if table in FACTS:
            superseded = (part.get(table.name, _NO_TOTALS)["totals"] for _, part in loaded)
            found = sum((ControlTotals.from_json(of_part) for of_part in superseded), totals)
            expected = decoded[table.name]
            prefix = f"{table.name}, as decoded: the"
            yield f"{prefix} rows", expected.rows, found.rows
            for key in (expected - found).sums:
                currency, column = key
                figure = f"{prefix} sum of {column} in {currency or 'no currency'}"
                yield figure, expected.sums.get(key, 0), found.sums.get(key, 0)


def _compare_files(connection: Connection, load_id: int) -> Iterator[Comparison]:
    """Compare the records read with their outcomes, for the first file of a fact that differs."""
    for fact in FACTS:
        read, *outcomes = (load_file.c[counter_column(fact, counter)] for counter in FILE_COUNTERS)
        total = sum(outcomes, literal(0))
        differing = select(load_file.c.name, read, total).where(
            load_file.c.load_id == load_id, read != total
        )
        for name, expected, found in connection.execute(
            differing.order_by(load_file.c.name).limit(1)
        ):
            yield f"{name}, the {fact.name} records read", expected, found
