"""The books, against what is really in the storage."""

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
"""What the ledger has of a part: the rows copied by table, and what lost by fact."""


Comparison = tuple[str, object, object]
"""What must be equal: its description, the figure expected and the one found."""


def verify(lease: Lease, load_id: int, parts: int, decoded: Mapping[str, ControlTotals]) -> None:
    """Compare what was decoded with what is really stored under a sealed load, and write down what each file gave.

    Of every fact, the rows and sums of money that were decoded are those that are stored and those
    that lost to another version; of every file and fact, the records read are those stored, those
    that lost and those rejected.

    Parameters
    ----------
    parts
        How many parts the load has.
    decoded
        Books of all that was decoded and not rejected, by fact.

    Raises
    ------
    OutOfBalance
        Two figures differ that should not; the first such pair is named.
    LoadWithdrawn
        The load is not ``sealed``.
    """
    stored = totals_in_storage(lease.connection.engine, lease.run_date, load_id)
    with lease.transaction() as connection:
        of_load = load_part.c.load_id == load_id
        copied = connection.execute(select(load_part.c.rows, load_part.c.superseded).where(of_load))
        loaded = [(part.rows, part.superseded) for part in copied]
        files = _write_files(connection, load_id, stored, [lost for _, lost in loaded])
        for what, expected, found in (
            ("parts", parts, len(loaded)),
            files,
            *_compare_tables(stored, loaded, decoded),
            *_compare_files(connection, load_id),
        ):
            if expected != found:
                raise ReconciliationError(
                    f"Load {load_id} of {lease.run_date} is out of balance in {what}: "
                    f"{expected} expected, {found} found; nothing was published."
                )
        transition(connection, load_id, "sealed", "verified")


def _write_files(
    connection: Connection,
    load_id: int,
    stored: Mapping[str, StoredTotals],
    superseded: Sequence[Mapping[str, Any]],
) -> Comparison:
    """Write down how many rows each file has in the storage and how many of it lost; compare the number of files."""
    counts: dict[str, Mapping[int, int]] = {}
    for fact in FACTS:
        counts[counter_column(fact, "loaded")] = stored[fact.name].rows_by_file
        lost = counts[counter_column(fact, "superseded")] = Counter[int]()
        for part in superseded:
            files = part.get(fact.name, _NO_TOTALS)["files"]
            lost.update({int(file_id): rows for file_id, rows in files.items()})
    # As arrays, one a column: as rows of parameters 50,000 files took 650 MB of the client's
    # memory.
    ids = sorted(set().union(*counts.values()))
    columns = ([of_file.get(file_id, 0) for file_id in ids] for of_file in counts.values())
    given = func.unnest(literal(ids, ARRAY(ID)), *(literal(each, ARRAY(COUNT)) for each in columns))
    of_file = given.table_valued("file_id", *counts).render_derived()
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
    """Compare what each table holds with what was copied into it and, of a fact, with what was decoded."""
    for table in COPIED_TABLES:
        books = stored[table.name].totals
        copied = sum(rows.get(table.name, 0) for rows, _ in loaded)
        yield f"the rows of {table.name}, as copied", copied, books.rows
        if table is order_version:
            orders = sum(rows.get(fact_order.name, 0) for rows, _ in loaded)
            yield f"the rows of {table.name}, one an order", orders, books.rows
        if table in FACTS:
            lost = (part.get(table.name, _NO_TOTALS)["totals"] for _, part in loaded)
            found = sum((ControlTotals.from_json(each) for each in lost), books)
            expected = decoded[table.name]
            what = f"{table.name}, as decoded: the"
            yield f"{what} rows", expected.rows, found.rows
            for entry in (expected - found).sums:
                currency, money = entry
                described = f"{what} sum of {money} in {currency or 'no currency'}"
                yield described, expected.sums.get(entry, 0), found.sums.get(entry, 0)


def _compare_files(connection: Connection, load_id: int) -> Iterator[Comparison]:
    """Compare what was read with what became of it, of the first file where a fact's don't agree."""
    for fact in FACTS:
        read, *others = (load_file.c[counter_column(fact, entry)] for entry in FILE_COUNTERS)
        found = sum(others, literal(0))
        differing = select(load_file.c.name, read, found).where(
            load_file.c.load_id == load_id, read != found
        )
        for name, expected, became in connection.execute(
            differing.order_by(load_file.c.name).limit(1)
        ):
            yield f"{name}, the {fact.name} records read", expected, became
