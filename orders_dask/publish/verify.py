"""Reconcile the control totals of a sealed load with what the storage really contains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import ARRAY, Connection, func, literal, select, union_all, update

from orders_dask.contract.columns import COUNT, ID
from orders_dask.contract.control_totals import ControlTotals
from orders_dask.contract.ledger_tables import FILE_COUNTERS, counter_column, load_file, load_part
from orders_dask.contract.order_tables import FACTS, fact_order
from orders_dask.contract.storage_tables import COPIED_TABLES, order_version
from orders_dask.errors import ReconciliationError
from orders_dask.ledger.leases import Lease
from orders_dask.ledger.loads import transition
from orders_dask.publish.stored_totals import StoredTotals, TotalsOfLoads, totals_in_storage

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
    loads = {lease.run_date: load_id}
    stored = totals_in_storage(lease.connection.engine, loads)
    with lease.transaction() as connection:
        errors = reconcile(connection, loads, stored, {load_id: parts}, {load_id: decoded})
        if errors:
            raise errors[load_id]
        transition(connection, load_id, "sealed", "verified")


def reconcile(
    connection: Connection,
    loads: Mapping[date, int],
    stored: TotalsOfLoads,
    parts: Mapping[int, int],
    decoded: Mapping[int, Mapping[str, ControlTotals]],
) -> dict[int, ReconciliationError]:
    """Write the row counts of the files of loads, and return an error for each that differs.

    Parameters
    ----------
    connection
        With an open transaction.
    loads
        The loads by run date: no part can be copied into them any more.
    stored
        What the storage contains (:func:`~orders_dask.publish.stored_totals.totals_in_storage`).
    parts, decoded
        Number of parts, and control totals of what was decoded, as in :func:`verify`, by load.

    Returns
    -------
    dict
        By load the first pair of figures that differ, of each load that has one.
    """
    errors: dict[int, ReconciliationError] = {}
    loaded: dict[int, list[Loaded]] = {load_id: [] for load_id in loads.values()}
    copied = select(load_part.c.load_id, load_part.c.rows, load_part.c.superseded)
    for load_id, rows, superseded in connection.execute(
        copied.where(load_part.c.load_id.in_(loads.values()))
    ):
        loaded[load_id].append((rows, superseded))
    files = _write_files(connection, stored, loaded)
    differing = _differing_files(connection, [*loaded])
    for run_date, load_id in loads.items():
        for figure, expected, found in (
            ("parts", parts[load_id], len(loaded[load_id])),
            files[load_id],
            *_compare_tables(stored[load_id], loaded[load_id], decoded[load_id]),
            *differing[load_id],
        ):
            if expected != found:
                errors[load_id] = ReconciliationError(
                    f"Load {load_id} of {run_date} does not reconcile in {figure}: "
                    f"{expected} expected, {found} found; nothing was published."
                )
                break
    return errors


def _write_files(
    connection: Connection, stored: TotalsOfLoads, loaded: Mapping[int, Sequence[Loaded]]
) -> dict[int, Comparison]:
    """Write how many rows of each file are stored and superseded; compare the number of files."""
    counts = {
        counter_column(fact, counter): Counter[int]()
        for fact in FACTS
        for counter in ("loaded", "superseded")
    }
    load_of: dict[int, int] = {}
    for load_id, parts in loaded.items():
        for fact in FACTS:
            rows_by_file = stored[load_id][fact.name].rows_by_file
            counts[counter_column(fact, "loaded")].update(rows_by_file)
            load_of.update(dict.fromkeys(rows_by_file, load_id))
            for _, superseded in parts:
                files = superseded.get(fact.name, _NO_TOTALS)["files"]
                rows_by_file = {int(file_id): rows for file_id, rows in files.items()}
                counts[counter_column(fact, "superseded")].update(rows_by_file)
                load_of.update(dict.fromkeys(rows_by_file, load_id))
    # An array a column: as rows of parameters, 50,000 files took 650 MB of the client's memory.
    columns = ([by_file[file_id] for file_id in load_of] for by_file in counts.values())
    arrays = (
        *(literal(ids, ARRAY(ID)) for ids in ([*load_of], [*load_of.values()])),
        *(literal(column, ARRAY(COUNT)) for column in columns),
    )
    of_file = func.unnest(*arrays).table_valued("file_id", "load_id", *counts).render_derived()
    its_row = load_file.c.file_id == of_file.c.file_id, load_file.c.load_id == of_file.c.load_id
    statement = update(load_file).values({name: of_file.c[name] for name in counts})
    written = connection.scalars(statement.where(*its_row).returning(load_file.c.load_id))
    expected, found = Counter(load_of.values()), Counter(written)
    return {
        load_id: ("the files that its rows stem from", expected[load_id], found[load_id])
        for load_id in loaded
    }


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


def _differing_files(
    connection: Connection, load_ids: Sequence[int]
) -> Mapping[int, Sequence[Comparison]]:
    """Compare the records read of files with their outcomes, and return by load what differs.

    Of each load and fact that is the first file alone.
    """
    queries = []
    for number, fact in enumerate(FACTS):
        read, *outcomes = (load_file.c[counter_column(fact, counter)] for counter in FILE_COUNTERS)
        total = sum(outcomes, literal(0))
        of_load = load_file.c.load_id
        rank = func.row_number().over(partition_by=of_load, order_by=load_file.c.name)
        files = (
            select(of_load, literal(number), load_file.c.name, read, total, rank.label("rank"))
            .where(of_load.in_(load_ids), read != total)
            .subquery()
        )
        queries.append(select(files).where(files.c.rank == 1))
    differing: dict[int, list[Comparison]] = {load_id: [] for load_id in load_ids}
    rows = connection.execute(union_all(*queries)).all()
    for load_id, number, name, expected, found, _ in sorted(rows, key=itemgetter(0, 1)):
        figure = f"{name}, the {FACTS[number].name} records read"
        differing[load_id].append((figure, expected, found))
    return differing
