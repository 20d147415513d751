"""The public views: those of facts, from their declarations, and those of ``sql/views/``.

A view is replaced while people read it, and what reads it names its columns, so it only ever gets
columns at its end: whatever the declaration's order is, the columns that a view has come first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Final

from psycopg2 import sql
from sqlalchemy import Connection, Table, column, inspect, select, table, text

from orders_dask.contract.columns import PUBLIC, STORE
from orders_dask.contract.ledger_tables import schema_info
from orders_dask.contract.order_tables import FACTS, fact_order, public_columns
from orders_dask.contract.storage_tables import published
from orders_dask.load.connect import driver_cursor
from orders_dask.load.error_translation import translating_errors
from orders_dask.load.marts import TRIGGERS, mart_functions
from orders_dask.load.sale_events import version_sale
from orders_dask.load.sql_files import sql_file

STORE_VIEWS: Final = {"version_sale": version_sale}
"""Views of the storage, which public views read, with what returns their statements."""

VIEW_FILES: Final = (
    *("order_current", "order_history", "order_tag", "order_url_parameter"),
    *("sale", "sales_by_day_and_channel", "sales_by_day", "product_sales"),
    *("order_summary", "order_line_summary", "refund_summary", "daily_sales"),
    *("discount_sales", "customer_summary", "customer_cohort_month"),
)
"""Files of ``sql/views/``, each after the views that it reads."""

VIEWS: Final = frozenset((*(fact.name for fact in FACTS), *VIEW_FILES))
"""All public views."""

ORDER_VIEW_FILES: Final = ("order_current", "order_history")
"""Those that have all columns of ``fact_order``, with its comments."""


def create_views(connection: Connection) -> None:
    """Make all public views, if one is missing or a definition has changed."""
    definitions = view_definitions(connection)
    if views_are_current(connection, definitions):
        return
    cursor = driver_cursor(connection)
    with translating_errors():
        for statements in definitions.values():
            for statement in statements:
                cursor.execute(statement)
        cursor.execute(record_views(connection, definitions))


def view_definitions(connection: Connection) -> dict[str, list[str]]:
    """Return the statements that make each view and the functions of the marts, in their order.

    Those of each stand under its description.
    """
    cursor = driver_cursor(connection)
    definitions: dict[str, list[sql.Composable]] = {}
    for fact in FACTS:
        definitions[f"view {fact.name}"] = [
            _fact_view(connection, fact),
            sql.SQL("comment on view {} is {}").format(
                sql.Identifier(PUBLIC, fact.name), sql.Literal(fact.comment)
            ),
            *_column_comments(fact.name, fact),
        ]
    for name, statements_of in STORE_VIEWS.items():
        definitions[f"view {name}"] = [sql.SQL(statements_of())]
    for name in VIEW_FILES:
        statements = definitions[f"view {name}"] = [sql.SQL(sql_file(f"views/{name}.sql"))]
        if name in ORDER_VIEW_FILES:
            statements += _column_comments(name, fact_order)
    definitions["functions of the marts"] = [sql.SQL(mart_functions())]
    return {
        description: [statement.as_string(cursor) for statement in of]
        for description, of in definitions.items()
    }


def views_are_current(connection: Connection, definitions: dict[str, list[str]]) -> bool:
    """Return whether all views and triggers are there, made by just these statements."""
    missing = VIEWS.difference(inspect(connection).get_view_names(PUBLIC))
    enabled = set(connection.scalars(_TRIGGERS, {"schema": STORE}))
    if missing or not enabled.issuperset(TRIGGERS):
        return False
    return bool(connection.scalar(select(schema_info.c.views_hash)) == _hash(definitions))


_TRIGGERS: Final = text(
    """
    select tgname from pg_trigger join pg_class c on c.oid = tgrelid
    where c.relnamespace = to_regnamespace(:schema) and tgenabled = 'O'
    """
)


def record_views(connection: Connection, definitions: dict[str, list[str]]) -> str:
    """Return the statement that records what made the views, as a hash."""
    statement = sql.SQL("update {} set {} = {}").format(
        sql.Identifier(str(schema_info.schema), schema_info.name),
        sql.Identifier(schema_info.c.views_hash.name),
        sql.Literal(_hash(definitions)),
    )
    return statement.as_string(driver_cursor(connection))


def _hash(definitions: dict[str, list[str]]) -> str:
    statements = (statement for each in definitions.values() for statement in each)
    return sha256("\n".join(statements).encode()).hexdigest()


def _fact_view(connection: Connection, fact: Table) -> sql.Composable:
    """Return the statement that makes a fact's public view: the rows of published loads.

    The pointer is joined on `load_id` alone. With the run date as well, the planner expects one
    row, and a month of orders with their lines took 1.9 s instead of 0.14.
    """
    names = _view_columns(connection, fact)
    load_id = fact_order.c.load_id.name
    stored = table(fact.name, *map(column, (*names, load_id)), schema=fact.schema)
    query = select(*(stored.c[name] for name in names)).join_from(
        stored, published, published.c.load_id == stored.c[load_id]
    )
    view = sql.Identifier(PUBLIC, fact.name)
    definition = sql.SQL(str(query.compile(dialect=connection.dialect)))
    return sql.SQL("create or replace view {} as {}").format(view, definition)


def _view_columns(connection: Connection, fact: Table) -> Sequence[str]:
    """Return the columns of a fact's view: those that it has, then those that are declared.

    It may have columns of somebody's own that this declaration lacks (``ORDERS_DASK_COLUMNS``).
    """
    inspector = inspect(connection)
    has = []
    if fact.name in inspector.get_view_names(PUBLIC):
        has = [each["name"] for each in inspector.get_columns(fact.name, PUBLIC)]
    return [*dict.fromkeys((*has, *(each.name for each in public_columns(fact))))]


def _column_comments(view: str, fact: Table) -> Iterator[sql.Composable]:
    """Yield the statements that copy the comments of a fact's columns to a view's columns."""
    for each in public_columns(fact):
        name = sql.Identifier(PUBLIC, view, each.name)
        yield sql.SQL("comment on column {} is {}").format(name, sql.Literal(each.comment))
