"""The books, against what is really in the storage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from itertools import chain
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Engine,
    Table,
    and_,
    func,
    literal,
    select,
    update,
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


@dataclass(frozen=True)
class Stored:
    """What a table holds of a load.

    Attributes
    ----------
    books
        Its rows and, of a fact, its sums of money.
    files
        Rows of a fact that stem from each file, by the ledger's id.
    """

    books: Books
    files: Mapping[int, int]


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
    stored = _stored(lease.connection.engine, lease.run_date, load_id)
    with lease.transaction() as connection:
        of_load = load_part.c.load_id == load_id
        copied = connection.execute(select(load_part.c.rows, load_part.c.superseded).where(of_load))
        loaded = [(part.rows, part.superseded) for part in copied]
        _write_files(connection, load_id, stored, [superseded for _, superseded in loaded])
        for what, expected, found in (
            ("parts", parts, len(loaded)),
            *_of_tables(stored, loaded, decoded),
            *_of_files(connection, load_id),
        ):
            if expected != found:
                raise OutOfBalance(
                    f"Load {load_id} of {lease.run_date} is out of balance in {what}: "
                    f"{expected} expected, {found} found; nothing was published."
                )
        advance(connection, load_id, "sealed", "verified")


def _write_files(
    connection: Connection,
    load_id: int,
    stored: Mapping[str, Stored],
    superseded: Sequence[Mapping[str, Any]],
) -> None:
    """Write down how many rows each file has in the storage, and how many of it lost."""
    counts: dict[str, Mapping[int, int]] = {}
    for fact in FACTS:
        counts[book_column(fact, "loaded")] = stored[fact.name].files
        lost = counts[book_column(fact, "superseded")] = Counter[int]()
        for part in superseded:
            files = part.get(fact.name, _NOTHING)["files"]
            lost.update({int(file_id): rows for file_id, rows in files.items()})
    # As arrays, one a column: as rows of parameters 50,000 files took 650 MB of the client's memory.
    ids = [*{*chain(*counts.values())}]
    columns = ([of_file.get(file_id, 0) for file_id in ids] for of_file in counts.values())
    given = func.unnest(literal(ids, ARRAY(ID)), *(literal(each, ARRAY(COUNT)) for each in columns))
    of_file = given.table_valued("file_id", *counts).render_derived()
    connection.execute(
        update(load_file)
        .values({name: of_file.c[name] for name in counts})
        .where(load_file.c.file_id == of_file.c.file_id, load_file.c.load_id == load_id)
    )


_NOTHING: Final[Mapping[str, Any]] = {"books": Books().to_json(), "files": {}}


def _stored(database: Engine, run_date: date, load_id: int) -> dict[str, Stored]:
    """Look what is stored of a load, by table: two at once, the largest first."""

    def look(table: Table) -> Stored:
        with database.begin() as connection:
            without_statistics(connection)
            if table in FACTS:
                return stored_books(connection, table, run_date, load_id)
            under = _under(table, run_date, load_id)
            rows = connection.execute(select(func.count()).select_from(table).where(under))
            return Stored(Books(rows.scalar_one()), {})

    with ThreadPoolExecutor(2) as pool:
        return dict(zip((table.name for table in LOADED), pool.map(look, LOADED), strict=True))


def _of_tables(
    all_stored: Mapping[str, Stored], loaded: Sequence[Loaded], decoded: Mapping[str, Books]
) -> Iterator[Comparison]:
    """Compare what each table holds with what was copied into it and, of a fact, with what was decoded."""
    for table in LOADED:
        stored = all_stored[table.name].books
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
    """Compare what was read with what became of it, of the first file where a fact's don't agree."""
    for fact in FACTS:
        read, *others = (load_file.c[book_column(fact, entry)] for entry in ENTRIES)
        found = sum(others, literal(0))
        differing = select(load_file.c.name, read, found).where(
            load_file.c.load_id == load_id, read != found
        )
        for name, expected, became in connection.execute(differing.limit(1)):
            yield f"{name}, the {fact.name} records read", expected, became


def _under(table: Table, run_date: date, load_id: int) -> ColumnElement[bool]:
    """Select the rows of a load; of a table with run dates by the leaf, and the beginning of its key."""
    of_load = table.c.load_id == load_id
    return and_(of_load, table.c.run_date == run_date) if "run_date" in table.c else of_load


def stored_books(connection: Connection, fact: Table, run_date: date, load_id: int) -> Stored:
    """Make the books of what is stored of a load, and count what stems from each file, in one look."""
    money = money_columns(fact.name)
    file, currency = fact_order.c.source_file_id, fact.c[CURRENCY]
    query = select(file, currency, func.count(), *(func.sum(fact.c[name]) for name in money))
    query = query.where(_under(fact, run_date, load_id)).group_by(file, currency)
    if (
        fact is not fact_order
    ):  # its orders name the files; one without an order counts all the same
        of_order = fact.c.order_id == fact_order.c.order_id
        its_order = and_(of_order, _under(fact_order, run_date, load_id))
        query = query.join_from(fact, fact_order, its_order, isouter=True)
    files = Counter[int | None]()

    def sums() -> Iterator[tuple[str | None, str, Decimal | None]]:
        for file_id, code, rows, *totals in connection.execute(query):
            files[file_id] += rows
            yield from ((code, name, total) for name, total in zip(money, totals, strict=True))

    books = Books.of(0, sums())
    return Stored(
        replace(books, rows=files.total()),
        {file_id: rows for file_id, rows in files.items() if file_id is not None},
    )
