"""DuckDB: ``read_json`` of the dump's columns into an attached PostgreSQL.

All threads, insertion order not preserved: one pass over the dump into memory, then both tables in
parallel, a connection each, by its binary COPY. Computed columns (sums, counts, local days) stay
null, which favours it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import duckdb
from sqlalchemy import Column, DateTime, Numeric, Table
from sqlalchemy.dialects import registry

from orders_dask.contract.order_tables import fact_order, fact_order_line
from orders_dask.load.connect import engine
from orders_dask.settings import Settings
from tests.benchmarks.contenders import target
from tests.benchmarks.dump import RUN_DATE

TARGET = target.RIVAL

EXTENSIONS = ("httpfs", "postgres_scanner")


@contextmanager
def ready(settings: Settings) -> Iterator[Callable[[], object]]:
    """Create the tables, connect, and yield the load."""
    target.make(engine(settings))
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
        yield partial(_load, database, settings.source.format(run_date=RUN_DATE))


def _load(database: duckdb.DuckDBPyConnection, source: str) -> None:
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in _columns().items())
    database.execute(
        f"create table dump as select * from read_json('{source}*', format = 'newline_delimited', "
        f"columns = {{{columns}}}, ignore_errors = true, maximum_object_size = {16 << 20})"
    )
    lines = (
        f"select *, unnest({fact_order_line.info['records'].removesuffix('[]')}) as line from dump"
    )
    with ThreadPoolExecutor() as pool:
        inserts = (_insert(fact_order, "from dump"), _insert(fact_order_line, f"from ({lines})"))
        # A cursor is a connection of its own to the same database.
        list(pool.map(lambda insert: database.cursor().execute(insert), inserts))


def _insert(fact: Table, rows: str) -> str:
    expressions = {column.name: value for column in fact.c if (value := _value(fact, column))}
    key = " and ".join(f"{expressions[name]} is not null" for name in fact.info["key"])
    return (
        f"insert into shop.{TARGET}.{fact.name} ({', '.join(expressions)}) "
        f"select {', '.join(expressions.values())} {rows} where {key}"
    )


def _value(fact: Table, column: Column[Any]) -> str | None:
    """Return the SQL expression of a column; None if it stays null."""
    if column.name == "run_date":
        return f"date '{RUN_DATE}'"
    if not column.info["source"]:
        if fact is not fact_order and column.name in fact_order.c:
            return _value(fact_order, fact_order.c[column.name]) or "0"
        return None if column.nullable else "0"
    path, array, rest = column.info["source"].partition("[]")
    value = ".".join(f'"{name}"' for name in path.split("."))
    if fact is fact_order_line:
        value = f"line.{value}"
    if not array:
        return value
    if rest:
        value = f"list_transform({value}, lambda each: each{rest})"
    if isinstance(column.type, Numeric):
        return f"list_sum({value})"
    if isinstance(column.type, DateTime):
        return f"list_max({value})"
    return f"array_to_string({value}, ', ')"


def _columns() -> dict[str, str]:
    """Return the columns to read, with their nested types."""
    columns: list[tuple[str, str]] = []
    dialect = registry.load("postgresql")()
    for fact in (fact_order, fact_order_line):
        prefix = fact.info["records"] and fact.info["records"] + "."
        for column in fact.c:
            if column.info["source"]:
                kind = column.type.compile(dialect)
                columns.append((prefix + column.info["source"], kind))
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
