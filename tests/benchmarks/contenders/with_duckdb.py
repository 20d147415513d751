"""DuckDB: ``read_json`` of the dump's columns into an attached PostgreSQL.

All threads, insertion order not preserved: one pass over the dump into memory, then all tables in
parallel, a connection each, by its binary COPY. Computed columns (sums, counts, local days) stay
null, which favours it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import duckdb
from sqlalchemy import Column, DateTime, Numeric, Table
from sqlalchemy.dialects import registry

from orders_dask.contract.order_tables import FACTS, fact_order
from orders_dask.load.connect import engine
from orders_dask.settings import Settings
from tests.benchmarks.contenders import target
from tests.benchmarks.dump import RUN_DATE

TARGET = target.RIVAL

EXTENSIONS = ("httpfs", "postgres_scanner")


@contextmanager
def ready(
    settings: Settings, facts: Sequence[Table] = target.TABLES
) -> Iterator[Callable[[], object]]:
    """Create the tables, connect, and yield the load."""
    with connected(settings, facts) as database:
        source = settings.source.format(run_date=RUN_DATE)
        yield partial(_load, database, _lines(f"{source}*", facts), facts)


@contextmanager
def ready_for_documents(
    settings: Settings, pattern: str, facts: Sequence[Table] = target.TABLES
) -> Iterator[Callable[[], object]]:
    """Yield the load of files that are one document ``{"orders": [...]}`` each."""
    with connected(settings, facts) as database:
        yield partial(_load, database, _documents(pattern, facts), facts)


@contextmanager
def connected(settings: Settings, facts: Sequence[Table]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Create the tables, and yield a database that knows both servers."""
    target.make(engine(settings), facts)
    with duckdb.connect() as database:
        for name in EXTENSIONS:
            folder = files(f"duckdb_extension_{name}") / "extensions" / f"v{duckdb.__version__}"
            database.execute(f"load '{folder / name}.duckdb_extension'")
        endpoint = urlsplit(os.environ["AWS_ENDPOINT_URL_S3"]).netloc
        database.execute(
            "create secret (type s3, url_style 'path', use_ssl false, "
            "endpoint '{}', key_id '{}', secret '{}')".format(
                endpoint, os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
            )
        )
        database.execute(
            "attach 'host={} port={} user={} password={} dbname={}' as shop (type postgres)".format(
                *(settings.pgsql_hostname, settings.pgsql_port, settings.pgsql_user),
                *(settings.pgsql_pass.get_secret_value(), settings.pgsql_database),
            )
        )
        database.execute("set global preserve_insertion_order = false")
        # Without it a NUL in a text ends the load.
        database.execute("set global pg_null_byte_replacement = ''")
        yield database


def _lines(pattern: str, facts: Sequence[Table]) -> str:
    """Return the query for the orders of files that have one a line."""
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in _columns(facts).items())
    return (
        f"select * from read_json('{pattern}', format = 'newline_delimited', "
        f"columns = {{{columns}}}, ignore_errors = true, maximum_object_size = {16 << 20})"
    )


def _documents(pattern: str, facts: Sequence[Table]) -> str:
    """Return the query for the orders of files that are documents."""
    members = ", ".join(f'"{name}" {kind}' for name, kind in _columns(facts).items())
    return (
        f"select unnest(orders, max_depth := 2) from read_json('{pattern}', "
        f"columns = {{orders: 'struct({members})[]'}}, maximum_object_size = {64 << 20})"
    )


def _load(database: duckdb.DuckDBPyConnection, orders: str, facts: Sequence[Table]) -> None:
    database.execute(f"create table dump as {orders}")
    with ThreadPoolExecutor() as pool:
        # A cursor is a connection of its own to the same database.
        list(pool.map(lambda insert: database.cursor().execute(insert), map(_insert, facts)))


def _insert(fact: Table) -> str:
    levels = _levels(fact)
    rows = "dump"
    for level in levels[1:]:
        elements = f"{_struct(level.parent)}{level.name}"
        rows = (
            f"(select *, unnest({elements}) as level{level.depth}, "
            f"unnest(range(1, len({elements}) + 1)) as number{level.depth} from {rows})"
        )
    expressions = {c.name: value for c in fact.c if (value := _value(levels, c.name))}
    key = " and ".join(f"{expressions[name]} is not null" for name in fact.info["key"])
    return (
        f"insert into shop.{TARGET}.{fact.name} ({', '.join(expressions)}) "
        f"select {', '.join(expressions.values())} from {rows} where {key}"
    )


class _Level(NamedTuple):
    """The records of a fact, as a column of the rows that are inserted.

    Attributes
    ----------
    fact
        The fact.
    name
        Key of their array in the level above.
    depth
        0 for orders, 1 for their children.
    """

    fact: Table
    name: str
    depth: int

    @property
    def parent(self) -> int:
        """Return the depth of the level above."""
        return self.depth - 1


def _levels(fact: Table) -> list[_Level]:
    """Return the levels from the order down to a fact."""
    path = ""
    levels = [_Level(fact_order, "", 0)]
    for depth, name in enumerate(filter(None, fact.info["records"].split(".")), 1):
        path = f"{path}.{name}".removeprefix(".")
        [above] = (f for f in FACTS if f.info["records"] == path)
        levels.append(_Level(above, f'"{name.removesuffix("[]")}"', depth))
    return levels


def _struct(depth: int) -> str:
    return f"level{depth}." if depth else ""


def _value(levels: Sequence[_Level], name: str) -> str | None:
    """Return the SQL expression of a column; None if it stays null."""
    level = levels[-1]
    column = level.fact.c[name]
    if name == "run_date":
        return f"date '{RUN_DATE}'"
    if column.info["source"]:
        return _source(_struct(level.depth), column)
    if level.depth and name == level.fact.info["key"][-1]:
        return f"number{level.depth}"
    if level.depth and name in levels[-2].fact.c:
        return _value(levels[:-1], name)
    return None if column.nullable else "0"


def _source(struct: str, column: Column[Any]) -> str:
    values = [
        _at(struct, column, path)
        for path in (column.info["source"], column.info["fallback"])
        if path
    ]
    return f"coalesce({', '.join(values)})" if values[1:] else values[0]


def _at(struct: str, column: Column[Any], source: str) -> str:
    path, array, rest = source.partition("[]")
    value = struct + ".".join(f'"{name}"' for name in path.split("."))
    if not array:
        return value
    if rest:
        value = f"list_transform({value}, lambda each: each{rest})"
    if isinstance(column.type, Numeric):
        return f"list_sum({value})"
    if isinstance(column.type, DateTime):
        return f"list_max({value})"
    return f"array_to_string({value}, ', ')"


def _columns(facts: Sequence[Table]) -> dict[str, str]:
    """Return the columns to read, with their nested types."""
    columns: list[tuple[str, str]] = []
    dialect = registry.load("postgresql")()
    for fact in facts:
        prefix = fact.info["records"] and fact.info["records"] + "."
        for column in fact.c:
            kind = column.type.compile(dialect)
            sources = (column.info["source"], column.info["fallback"])
            columns += [(prefix + source, kind) for source in sources if source]
    return _nested(columns)


def _nested(columns: list[tuple[str, str]]) -> dict[str, str]:
    below: dict[str, list[tuple[str, str]]] = {}
    for path, kind in columns:
        head, _, rest = path.partition(".")
        below.setdefault(head, []).append((rest, kind))
    fields = {}
    for head, inner in below.items():
        kind = inner[0][1]
        if inner[0][0]:
            members = ", ".join(f'"{name}" {of}' for name, of in _nested(inner).items())
            kind = f"struct({members})"
        fields[head.removesuffix("[]")] = kind + "[]" * head.endswith("[]")
    return fields
