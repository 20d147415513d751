"""The same orders in every layout of the contract give the same tables, byte for byte."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from distributed import Client
from psycopg2 import sql
from sqlalchemy import Engine

from orders_dask.contract.columns import PUBLIC
from orders_dask.contract.dimension_tables import DIMENSIONS
from orders_dask.contract.order_tables import FACTS
from orders_dask.jobs.run import run
from orders_dask.settings import Settings
from tests.support.builders import lines
from tests.support.dumps import COMMITTED, REAL
from tests.support.types import Put

RUN_DATE = date(2018, 1, 1)
LEDGER_COLUMNS = {"load_id", "source_file_id", "source_position"}


@dataclass(frozen=True)
class Dump:
    """A dump whose run dates are read as one, in all layouts.

    Attributes
    ----------
    path
        The zip.
    orders, superseded, rejected
        Number of its records by outcome.
    cut
        Block size that cuts it into many ranges.
    """

    path: Path
    orders: int
    superseded: int
    rejected: int
    cut: int

    def pages(self) -> Iterator[list[dict[str, Any]]]:
        """Yield the records of each day, with amounts as written."""
        with zipfile.ZipFile(self.path) as dump:
            for name in sorted(dump.namelist()):
                yield json.loads(dump.read(name))["orders"]

    def forms(self) -> Iterator[tuple[str, str, bytes, int]]:
        """Yield description, file name, content and block size of each layout."""
        records = [record for page in self.pages() for record in page]
        text = lines(*records)
        pages = [json.dumps({"orders": page}, indent=1) for page in self.pages()]
        yield "a zip of pages", "all.zip", self.path.read_bytes(), 32 << 20
        yield "gzip of lines", "all.ndjson.gz", gzip.compress(text, 1), 32 << 20
        yield "lines in ranges", "all.ndjson", text, self.cut
        yield "pretty-printed pages", "all.json", "\n".join(pages).encode(), 32 << 20
        yield "one big array", "all.json", json.dumps(records, indent=2).encode(), 32 << 20


DUMPS = [pytest.param(Dump(COMMITTED, 67, 7, 1, 30_000), id="committed")]
if REAL.exists():
    real = Dump(REAL, 25_000, 0, 0, 300_000)
    DUMPS.append(pytest.param(real, id="real", marks=pytest.mark.long))


def tables(analyst: Engine) -> dict[str, str]:
    """Return every public table as text, ordered by key, without the columns of the ledger."""
    dumped = {}
    with analyst.connect() as connection:
        raw = connection.connection.dbapi_connection
        assert raw is not None
        for table in (*FACTS, *DIMENSIONS):
            columns = [c.name for c in table.c if c.name not in LEDGER_COLUMNS]
            ordered = sql.SQL("copy (select {} from {} order by {}) to stdout").format(
                sql.SQL(", ").join(map(sql.Identifier, columns)),
                sql.Identifier(PUBLIC, table.name),
                sql.SQL(", ").join(map(sql.Identifier, table.info["key"])),
            )
            buffer = StringIO()
            raw.cursor().copy_expert(ordered, buffer)
            dumped[table.name] = buffer.getvalue()
    return dumped


@pytest.mark.parametrize("dump", DUMPS)
def test_every_layout_of_a_dump_gives_the_same_tables(
    client: Client, settings: Settings, analyst: Engine, put: Put, dump: Dump
) -> None:
    expected: dict[str, str] = {}
    for number, (form, name, content, block_size) in enumerate(dump.forms()):
        put(f"dump/{number}/{name}", content)
        of_form = settings.model_copy(
            update={"source": f"{settings.source}{number}/", "block_size": block_size}
        )
        result = run(RUN_DATE, settings=of_form, client=client)
        counts = (result.outcome, result.orders, result.superseded, result.rejected)
        assert counts == ("published", dump.orders, dump.superseded, dump.rejected), form
        found = tables(analyst)
        expected = expected or found
        for table, text in found.items():
            assert text == expected[table], f"{table} of {form} differs"
