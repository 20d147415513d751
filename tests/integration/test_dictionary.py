"""`orders-dask docs` describes the database that it is given, and what it promises holds."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from distributed import Client
from sqlalchemy import Engine, Select, func, inspect, select
from sqlalchemy import column as sql_column
from sqlalchemy import table as sql_table

from orders_dask import run
from orders_dask.contract.custom_columns import VARIABLE
from orders_dask.contract.table_groups import ACTIVE_GROUPS, ALWAYS
from orders_dask.dictionary.catalogue import describe
from orders_dask.dictionary.dbt import sources
from orders_dask.dictionary.documents import documents
from orders_dask.dictionary.since import read_since
from orders_dask.settings import Settings
from tests.support import REPOSITORY
from tests.support.builders import DAY, lines, order
from tests.support.commands import ORDERS_DASK
from tests.support.types import Put

COLUMNS = """
[fact_order.delivery_note]
type = "text"
source = "notes[name=driver].text"
comment = "What the driver {{ has | to }} know"
"""

Files = dict[str, str]


@pytest.fixture
def command(tmp_path: Path, environment: dict[str, str]) -> Callable[..., str]:
    """Return ``command("init", ...)``, which is a process with a column of its own."""
    declared = tmp_path / "columns.toml"
    declared.write_text(COLUMNS)

    def command(*arguments: str, code: int = 0, **more: str) -> str:
        ended = subprocess.run(
            [*ORDERS_DASK, *arguments],
            env={**os.environ, **more, VARIABLE: str(declared)},
            capture_output=True,
            text=True,
        )
        assert ended.returncode == code, ended.stderr
        return ended.stderr

    return command


def files_in(folder: Path) -> Files:
    return {path.name: path.read_text() for path in folder.iterdir()}


def relations(database: Engine) -> dict[str, list[str]]:
    """Return the columns of each public view and table."""
    with database.connect() as connection:
        inspector = inspect(connection)
        names = [*inspector.get_view_names("orders"), *inspector.get_table_names("orders")]
        return {
            name: [each["name"] for each in inspector.get_columns(name, "orders")] for name in names
        }


def wrong_rows(table: str, column: str, test: Any) -> Select[Any]:
    """Return a query that counts the rows for which a test fails, as dbt does."""
    rows = sql_table(table, sql_column(column), schema="orders")
    value = rows.c[column]
    match test:
        case "not_null":
            return select(func.count()).where(value.is_(None))
        case "unique":
            return select(func.count(value) - func.count(value.distinct()))
        case {"relationships": {"arguments": {"to": to, "field": field}}}:
            [name] = re.findall(r"^source\('orders', '(\w+)'\)$", to)
            other = sql_table(name, sql_column(field), schema="orders")
            return select(func.count()).where(value.not_in(select(other.c[field])))
    raise AssertionError(f"{test} is no test that dbt has itself")


def described(source: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield table, column and each test of a file of sources."""
    for table in source["tables"]:
        for column in table["columns"]:
            yield from (
                (table["name"], column["name"], test) for test in column.get("data_tests", ())
            )


@pytest.mark.long
def test_a_column_of_ones_own_is_in_every_file(
    command: Callable[..., str], tmp_path: Path, owner_login: dict[str, str], owner: Engine
) -> None:
    command("init", **owner_login)
    command("docs", "--out", str(tmp_path / "out"), **owner_login)
    files = files_in(tmp_path / "out")
    assert sorted(files) == ["contract.odcs.yaml", "dictionary.md", "er.md", "sources.yml"]
    assert [name for name, text in files.items() if "delivery_note" not in text] == []
    assert (
        r"| What the driver {{ has \| to }} know | `notes[name=driver].text` | own |"
        in files["dictionary.md"]
    )

    there = relations(owner)
    [source] = yaml.safe_load(files["sources.yml"])["sources"]
    objects = yaml.safe_load(files["contract.odcs.yaml"])["schema"]
    for tables, columns in ((source["tables"], "columns"), (objects, "properties")):
        named = {table["name"]: [each["name"] for each in table[columns]] for table in tables}
        assert {name: sorted(each) for name, each in named.items()} == {
            name: sorted(each) for name, each in there.items()
        }
        for table in tables:
            assert all(each["description"] for each in (table, *table[columns])), table["name"]
    entities = set(re.findall(r"^ {4}(\w+) {$", files["er.md"], re.M))
    related = re.findall(
        r"^ {4}(\w+) [|o}]{2}--[|o{]{2} (\w+) : \"[\w, ]+\"$", files["er.md"], re.M
    )
    assert entities < there.keys()
    assert {name for pair in related for name in pair} <= entities

    command("docs", "--out", str(tmp_path / "out"), **owner_login)
    assert files_in(tmp_path / "out") == files, "the same database gives the same bytes"
    unwritable = command("docs", "--out", str(tmp_path / "columns.toml"), code=2, **owner_login)
    assert (
        unwritable
        == f"Error: {tmp_path / 'columns.toml'} can't be written (File exists): correct the option that names it.\n"
    )
    assert (tmp_path / "columns.toml").read_text() == COLUMNS


@pytest.mark.skipif(ACTIVE_GROUPS != (ALWAYS,), reason="the files are those of the default tables")
def test_the_committed_files_describe_the_database_that_this_code_makes(warehouse: Engine) -> None:
    committed = files_in(REPOSITORY / "docs" / "dictionary")
    stale = "run `python docs/generate_dictionary.py`"
    assert documents(describe(warehouse, read_since())) == committed, stale


@pytest.mark.groups
def test_what_the_sources_test_holds_of_a_published_load(
    client: Client, settings: Settings, warehouse: Engine, put: Put, owner: Engine
) -> None:
    line = {"id": 11, "quantity": 1, "price": "5.00", "product_id": 1, "variant_id": 2}
    refund = {"id": 3, "refund_line_items": [{"id": 4, "line_item_id": 11, "quantity": 1}]}
    people: dict[str, Any] = {
        "customer": {"id": 7},
        "user_id": 8,
        "location_id": 9,
        "device_id": 10,
        "app_id": 1,
    }
    put(
        "dump/a.ndjson",
        lines(order(1, line_items=[line], refunds=[refund], tags="a, b", **people), order(2)),
    )
    assert run(DAY, settings=settings, client=client).outcome == "published"
    [source] = yaml.safe_load(sources(describe(warehouse, read_since())))["sources"]
    tests = list(described(source))
    assert len(tests) > 50
    with owner.connect() as connection:
        failed = [each for each in tests if connection.scalar(wrong_rows(*each))]
    assert failed == []
