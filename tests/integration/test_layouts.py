"""The same orders in every form of the contract give the same tables, byte for byte."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable, Iterator
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from distributed import Client
from psycopg2 import sql
from sqlalchemy import Engine

from orders_dask.contract.tables import DIMENSIONS, FACTS, PUBLIC
from orders_dask.jobs.run import run
from orders_dask.settings import Settings
from tests.support.types import Put

DUMP = Path(__file__).parents[3] / "shared" / "data" / "orders_2017.zip"
RUN_DATE = date(2018, 1, 1)
LEDGER_COLUMNS = {"load_id", "source_file_id", "source_position"}


pytestmark = [
    pytest.mark.skipif(not DUMP.exists(), reason="the real dump is not here"),
    pytest.mark.slow,
]


def members() -> Iterator[list[dict[str, Any]]]:
    """The orders of each day, amounts as written."""
    with zipfile.ZipFile(DUMP) as dump:
        for name in sorted(dump.namelist()):
            yield json.loads(dump.read(name))["orders"]


def lines() -> bytes:
    return b"".join(json.dumps(o).encode() + b"\n" for orders in members() for o in orders)


def pages() -> bytes:
    return b"\n".join(json.dumps({"orders": orders}, indent=1).encode() for orders in members())


def array() -> bytes:
    return json.dumps([order for orders in members() for order in orders], indent=2).encode()


FORMS: dict[str, tuple[str, Callable[[], bytes], int]] = {
    "a zip of pages": ("all.zip", DUMP.read_bytes, 32 << 20),
    "gzip of lines": ("all.ndjson.gz", lambda: gzip.compress(lines(), 1), 32 << 20),
    "lines in ranges of 300 kB": ("all.ndjson", lines, 300_000),
    "pretty-printed pages": ("all.json", pages, 32 << 20),
    "one big array": ("all.json", array, 32 << 20),
}


def tables(analyst: Engine) -> dict[str, str]:
    """Every public table as text, ordered by key, but for what the ledger gives."""
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


def test_every_layout_of_the_real_dump_gives_the_same_tables(
    client: Client, settings: Settings, analyst: Engine, put: Put
) -> None:
    expected: dict[str, str] = {}
    for number, (form, (name, content, block_size)) in enumerate(FORMS.items()):
        put(f"dump/{number}/{name}", content())
        of_form = settings.model_copy(
            update={"source": f"{settings.source}{number}/", "block_size": block_size}
        )
        result = run(RUN_DATE, settings=of_form, client=client)
        assert (result.outcome, result.orders, result.rejected) == ("published", 25_000, 0), form
        found = tables(analyst)
        expected = expected or found
        for table, text in found.items():
            assert text == expected[table], f"{table} of {form} differs"
