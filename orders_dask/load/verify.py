"""The books, against what is really in the storage."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    Table,
    and_,
    column,
    func,
    select,
    update,
    values,
)

from orders_dask.books import CURRENCY, Books, money_columns
from orders_dask.contract.tables import (
    COUNT,
    ENTRIES,
    FACTS,
    ID,
    LOADED,
    book_column,
    fact_order,
    load_file,
    load_part,
    order_version,
)
from orders_dask.errors import OutOfBalance
from orders_dask.load.connect import without_statistics
from orders_dask.load.ledger import Lease, advance

Loaded = tuple[Mapping[str, int], Mapping[str, Any]]
"""What the ledger has of a part: the rows copied by table, and what lost by fact."""

Comparison = tuple[str, object, object]
"""What must be equal: its description, the figure expected and the one found."""


def verify(lease: Lease, load_id: int, parts: int, decoded: Mapping[str, Books]) -> None:
    """Compare what was decoded with what is really stored under a sealed load, and write down what each file gave.

    Of every fact, the rows and sums of money that were decoded are those that are stored and those that lost to another
    version; of every file and fact, the records read are those stored, those that lost and those rejected.

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
    with ThreadPoolExecutor(1) as beside, lease.transaction() as connection:
        # In a session of its own, beside the files' counts: both take about as long.
        stored = beside.submit(_stored, lease.connection.engine, lease.run_date, load_id)
        without_statistics(connection)
        of_load = load_part.c.load_id == load_id
        copied = connection.execute(select(load_part.c.rows, load_part.c.superseded).where(of_load))
        loaded = [(part.rows, part.superseded) for part in copied]
        _write_files(lease, load_id, [superseded for _, superseded in loaded])
        for what, expected, found in (
            ("parts", parts, len(loaded)),
            *_of_tables(stored.result(), loaded, decoded),
            *_of_files(connection, load_id),
        ):
            if expected != found:
                raise OutOfBalance(
                    f"Load {load_id} of {lease.run_date} is out of balance in {what}: "
                    f"{expected} expected, {found} found; nothing was published."
                )
        advance(connection, load_id, "sealed", "verified")


def _write_files(lease: Lease, load_id: int, superseded: Sequence[Mapping[str, Any]]) -> None:
    """Write down how many rows each file has in the storage, and how many of it lost."""
    of_file: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for fact in FACTS:
        of_file_loaded = _rows_by_file(fact, lease.run_date, load_id)
        for file_id, rows in lease.connection.execute(of_file_loaded):
            of_file[file_id][book_column(fact, "loaded")] = rows
        for part in superseded:
            for file_id, rows in part.get(fact.name, _NOTHING)["files"].items():
                of_file[int(file_id)][book_column(fact, "superseded")] += rows
    if not of_file:
        return
    names = [book_column(fact, entry) for fact in FACTS for entry in ("loaded", "superseded")]
    rows_of_file = values(
        column("file_id", ID), *(column(name, COUNT) for name in names), name="of_file"
    ).data([(file_id, *(counts[name] for name in names)) for file_id, counts in of_file.items()])
    lease.connection.execute(
        update(load_file)
        .values({name: rows_of_file.c[name] for name in names})
        .where(load_file.c.file_id == rows_of_file.c.file_id, load_file.c.load_id == load_id)
    )


_NOTHING: Final[Mapping[str, Any]] = {"books": Books().to_json(), "files": {}}


def _stored(database: Engine, run_date: date, load_id: int) -> dict[str, Books]:
    """Make the books of what is stored of a load, by table."""
    with database.begin() as connection:
        without_statistics(connection)
        return {t.name: stored_books(connection, t, run_date, load_id) for t in LOADED}


def _of_tables(
    all_stored: Mapping[str, Books], loaded: Sequence[Loaded], decoded: Mapping[str, Books]
) -> Iterator[Comparison]:
    """Compare what each table holds with what was copied into it and, of a fact, with what was decoded."""
    for table in LOADED:
        stored = all_stored[table.name]
        copied = sum(rows.get(table.name, 0) for rows, _ in loaded)
        yield f"the rows of {table.name}, as copied", copied, stored.rows
        if table is order_version:
            orders = sum(rows.get(fact_order.name, 0) for rows, _ in loaded)
            yield f"the rows of {table.name}, one an order", orders, stored.rows
        if table in FACTS:
            lost = (part.get(table.name, _NOTHING)["books"] for _, part in loaded)
            found = sum((Books.from_json(books) for books in lost), stored)
            expected = decoded[table.name]
            what = f"{table.name}, as decoded: the"
            yield f"{what} rows", expected.rows, found.rows
            for entry in (expected - found).sums:
                currency, money = entry
                described = f"{what} sum of {money} in {currency or 'no currency'}"
                yield described, expected.sums.get(entry, 0), found.sums.get(entry, 0)


def _of_files(connection: Connection, load_id: int) -> Iterator[Comparison]:
    """Compare what was read of each file with what became of it."""
    of_load = select(load_file).where(load_file.c.load_id == load_id)
    for file in connection.execute(of_load).mappings():
        for fact in FACTS:
            read, *others = (file[book_column(fact, entry)] for entry in ENTRIES)
            yield f"{file['name']}, the {fact.name} records read", read, sum(others)


def _under(table: Table, run_date: date, load_id: int) -> ColumnElement[bool]:
    """Select the rows of a load; of a table with run dates by the leaf, and the beginning of its key."""
    of_load = table.c.load_id == load_id
    return and_(of_load, table.c.run_date == run_date) if "run_date" in table.c else of_load


def stored_books(connection: Connection, table: Table, run_date: date, load_id: int) -> Books:
    """Make the books of what is stored of a load; for a table that is no fact only its rows."""
    under = _under(table, run_date, load_id)
    if table not in FACTS:
        rows = connection.execute(select(func.count()).select_from(table).where(under))
        return Books(rows.scalar_one())
    money = money_columns(table.name)
    currency = table.c[CURRENCY]
    query = select(currency, func.count(), *(func.sum(table.c[name]) for name in money))
    groups = connection.execute(query.where(under).group_by(currency)).all()
    return Books.of(
        sum(rows for _, rows, *_ in groups),
        (
            (code, name, total)
            for code, _, *totals in groups
            for name, total in zip(money, totals, strict=True)
        ),
    )


def _rows_by_file(fact: Table, run_date: date, load_id: int) -> Select[int, int]:
    """Count the rows of a fact that stem from each file: its orders name them."""
    file = fact_order.c.source_file_id
    query = select(file, func.count()).where(_under(fact_order, run_date, load_id)).group_by(file)
    if fact is fact_order:
        return query
    of_order = fact.c.order_id == fact_order.c.order_id
    return query.join_from(fact_order, fact, of_order).where(_under(fact, run_date, load_id))
