"""What a BI tool finds when it reflects the database as a reader (docs/bi-tools.md)."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import Column, Engine, MetaData, Table, inspect, text
from sqlalchemy.types import NullType

from orders_dask.contract.columns import OPS, PUBLIC, STORE
from orders_dask.contract.dimension_tables import DIMENSIONS
from orders_dask.errors import SettingsError
from orders_dask.load.views import VIEWS
from tests.support import REPOSITORY

RESERVED = "select word from pg_get_keywords() where catcode in ('R', 'T')"

QUOTED = "select name from unnest(cast(:names as text[])) name where quote_ident(name) <> name"

SEQUENCES = "select relname::text from pg_class where relkind = 'S' and relnamespace = 'orders'::regnamespace"


@pytest.fixture
def reflected(analyst: Engine) -> list[Table]:
    """Return the tables and views that SQLAlchemy reflects for a reader."""
    metadata = MetaData()
    metadata.reflect(analyst, schema=PUBLIC, views=True)
    return [*metadata.tables.values()]


def columns(tables: list[Table]) -> list[Column[object]]:
    return [column for table in tables for column in table.c]


def test_a_reader_reflects_all_views_and_dimensions(reflected: list[Table]) -> None:
    assert {table.name for table in reflected} == VIEWS | {table.name for table in DIMENSIONS}


def test_every_column_has_a_type_and_a_comment(reflected: list[Table]) -> None:
    assert [str(c) for c in columns(reflected) if isinstance(c.type, NullType)] == []
    assert [str(table) for table in reflected if not table.comment] == []
    assert [str(column) for column in columns(reflected) if not column.comment] == []


def test_no_name_needs_quoting(reflected: list[Table], analyst: Engine) -> None:
    names = [*{*(table.name for table in reflected), *(c.name for c in columns(reflected))}]
    preparer = analyst.dialect.identifier_preparer
    assert [name for name in names if preparer.quote(name) != name] == []
    with analyst.connect() as connection:
        assert connection.scalars(text(QUOTED), {"names": names}).all() == []
        assert {*connection.scalars(text(RESERVED))}.isdisjoint(names)


def test_a_key_has_no_default_and_no_sequence(reflected: list[Table], analyst: Engine) -> None:
    """Clients that list all of a schema's relations fail on one that they may not read."""
    assert [str(c) for c in columns(reflected) if c.server_default is not None] == []
    with analyst.connect() as connection:
        assert connection.scalars(text(SEQUENCES)).all() == []


@pytest.mark.parametrize("schema", [STORE, OPS])
def test_a_reader_reads_none_of_the_other_schemas(schema: str, analyst: Engine) -> None:
    names = inspect(analyst).get_table_names(schema)
    assert names, "PostgreSQL tells everybody the names"
    for name in names:
        with pytest.raises(SettingsError, match="permission denied"), analyst.begin() as connection:
            connection.execute(text(f"table {schema}.{name}"))


def test_the_login_of_the_page_can_be_made(owner: Engine, warehouse: Engine) -> None:
    page = (REPOSITORY / "docs" / "bi-tools.md").read_text()
    [statements] = re.findall(r"```sql\n(create role.*?)```", page, re.DOTALL)
    with owner.connect() as connection:
        connection.exec_driver_sql(statements)
        [settings] = connection.scalars(
            text("select rolconfig from pg_roles where rolname = 'dashboards'")
        )
        assert "TimeZone=UTC" in settings
        connection.rollback()
