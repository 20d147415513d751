"""Checks of one's own: SQL files that see a load before readers do. See docs/checks.md#your-own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final, get_args

import psycopg2
from psycopg2 import sql
from sqlalchemy import Connection, Engine

from orders_dask.checks.comparison import Finding, Severity
from orders_dask.contract.columns import PUBLIC
from orders_dask.contract.order_tables import FACTS, public_columns
from orders_dask.contract.storage_tables import DIMENSION_ROWS
from orders_dask.errors import ServiceUnavailable, SettingsError
from orders_dask.load.connect import driver_cursor
from orders_dask.load.error_translation import translate_error
from orders_dask.setting_values import parse_seconds

VARIABLE: Final = "ORDERS_DASK_CHECKS"
"""Variable of the folder."""

TIMEOUT: Final = 60.0
"""Seconds that a check may take unless its head says otherwise."""

MIN_TIMEOUT: Final = 0.001
"""Least seconds of a check: PostgreSQL takes 0 for no limit."""

MAX_MESSAGE: Final = 1_000
"""Characters of what a check says: a column of its row may have any size."""

_SEVERITIES: Final[dict[str, Severity]] = {name: name for name in get_args(Severity)}

_HEAD: Final = re.compile(r"--\s*(severity|message|timeout)\s*:\s*(.*?)\s*$", re.IGNORECASE)

_NO_LOAD: Final = -1
"""Id that no load has: a check is tried on no rows."""


@dataclass(frozen=True)
class SqlCheck:
    """A check of one's own.

    Attributes
    ----------
    name
        Name of the file without ``.sql``.
    query
        A query. Each row that it returns is something wrong.
    severity
        ``hold`` by default.
    message
        What is wrong, with the columns of the first row as ``{column}``.
    timeout
        Seconds that it may take.
    """

    name: str
    query: str
    severity: Severity = "hold"
    message: str = ""
    timeout: float = TIMEOUT


def load(folder: Path, database: Engine) -> tuple[SqlCheck, ...]:
    """Return the checks in a folder, each tried on a load without rows.

    Raises
    ------
    SettingsError
        The folder can't be read, a head is malformed, or PostgreSQL doesn't take a query.
    """
    try:
        files = sorted(folder.glob("*.sql"))
        texts = [file.read_text(encoding="utf-8") for file in files]
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{VARIABLE} can't be read: {folder} ({type(error).__name__})."
        ) from error
    if not files:
        raise SettingsError(f"{VARIABLE} is no folder with files *.sql: {folder}.")
    checks = tuple(_parse(file, text) for file, text in zip(files, texts, strict=True))
    with database.connect() as connection:
        for check in checks:
            _try(connection, check)
    return checks


def run(
    database: Engine, run_date: date, load_id: int, checks: Sequence[SqlCheck]
) -> Iterator[Finding]:
    """Yield what the checks find in a load that is not published yet."""
    if not checks:
        return
    with database.connect() as connection:
        for check in checks:
            if check.severity == "off":
                continue
            try:
                columns, rows = _execute(connection, check, run_date, load_id)
            except psycopg2.extensions.QueryCanceledError:
                message = f"it did not end within {check.timeout:g} s"
            except Exception as error:
                known = translate_error(error) if isinstance(error, psycopg2.Error) else None
                if known and _is_broken(connection):  # the run tries again
                    raise known from error
                # PostgreSQL's message may quote a value, so only the kind of error is told.
                message = f"it failed ({type(error).__name__})"
            else:
                if not rows:
                    continue
                message = _message(check, rows[0][0], dict(zip(columns, rows[0], strict=True)))
            yield Finding(check.name, check.severity, message)


def _is_broken(connection: Connection) -> bool:
    """Return whether the server is gone, or ended the session: not that it refused a query."""
    driver_connection: Any = connection.connection.driver_connection
    return bool(driver_connection is None or driver_connection.closed)


def _parse(file: Path, text: str) -> SqlCheck:
    """Return the check of a file: comments at its head, then one query."""
    head: dict[str, str] = {}
    for line in text.lstrip("\ufeff \t\r\n").splitlines():
        if not line.startswith("--"):
            break
        if match := _HEAD.match(line):
            head[match[1].lower()] = match[2]
    severity = _SEVERITIES.get(head.get("severity", "hold"))
    if severity is None:
        raise SettingsError(f"{file.name} of {VARIABLE}: severity must be off, warn or hold.")
    try:
        timeout = float(str(parse_seconds(head.get("timeout", str(TIMEOUT)))))
    except ValueError as error:
        raise SettingsError(f"{file.name} of {VARIABLE}: timeout {error}.") from error
    if timeout < MIN_TIMEOUT:
        raise SettingsError(f"{file.name} of {VARIABLE}: timeout must be a millisecond or more.")
    query = text.strip().rstrip(";")
    return SqlCheck(file.stem, query, severity, head.get("message", ""), timeout)


def _try(connection: Connection, check: SqlCheck) -> None:
    """Raise unless PostgreSQL takes a query, and returns the columns that the message names."""
    try:
        columns, _ = _execute(connection, check, date.min, _NO_LOAD, max_rows=0)
    except psycopg2.Error as error:
        known = translate_error(error)
        if isinstance(known, ServiceUnavailable):
            raise known from error
        reason = (error.diag.message_primary or type(error).__name__).strip()
        raise SettingsError(
            f"{check.name}.sql of {VARIABLE} is not a query that PostgreSQL takes: {reason}."
        ) from error
    if unknown := sorted(set(_PLACEHOLDER.findall(check.message)) - {*columns}):
        raise SettingsError(
            f"{check.name}.sql of {VARIABLE}: its message names {', '.join(unknown)}, which is no "
            f"column of its query; these are {', '.join(sorted(columns))}."
        )


_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")


def _message(check: SqlCheck, rows: int, first: dict[str, Any]) -> str:
    """Return what a check says of its rows: of the first one, and how many there are."""
    counted = f"{rows:,} rows" if rows < MAX_ROWS else f"{MAX_ROWS:,} rows or more"
    if not check.message:
        return counted
    text = _PLACEHOLDER.sub(lambda match: str(first[match[1]]), check.message)
    text = text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}…"
    return f"{text} ({counted})" if rows > 1 else text


MAX_ROWS: Final = 1_000
"""Rows of a check that are counted; the first one is fetched."""


def _execute(
    connection: Connection,
    check: SqlCheck,
    run_date: date,
    load_id: int,
    max_rows: int = MAX_ROWS,
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return columns and first row of a check; the first column is the number of its rows.

    Tables without a schema are the load's. It runs in a read-only transaction.
    """
    tables = [
        sql.SQL("{} as (select {} from {} where {})").format(
            sql.Identifier(table.name),
            sql.SQL(", ").join(sql.Identifier(column.name) for column in public_columns(table)),
            sql.Identifier(table.schema or PUBLIC, table.name),
            sql.SQL(" and ").join(
                sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value))
                for name, value in (("load_id", load_id), ("run_date", run_date))
                if name in table.c
            ),
        )
        for table in (*FACTS, *DIMENSION_ROWS)
    ]
    # The line end closes a comment at the end of the query.
    statement = sql.SQL(
        "with {}, rows_of_check as materialized (select * from ({}\n) as found limit {}) "
        "select (select count(*) from rows_of_check) as row_count, * from rows_of_check limit 1"
    ).format(sql.SQL(", ").join(tables), sql.SQL(check.query), sql.Literal(max_rows))
    with connection.begin(), driver_cursor(connection) as cursor:
        cursor.execute("set transaction read only")
        milliseconds = f"{check.timeout * 1000:.0f}ms"
        cursor.execute("select set_config('statement_timeout', %s, true)", (milliseconds,))
        cursor.execute(statement)
        return [column.name for column in cursor.description or ()], cursor.fetchall()
