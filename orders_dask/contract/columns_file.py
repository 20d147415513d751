"""Read the file of custom columns that ``ORDERS_DASK_COLUMNS`` names, column by column.

A message is the rest of a sentence that begins with the file. See docs/columns.md.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS

from orders_dask.contract.columns import KINDS
from orders_dask.contract.sources import Source, parse_source

MAX_BYTES: Final = 1 << 18
"""Largest file: a larger one is some other file."""

MAX_COLUMNS: Final = 200
"""Most columns: the reader's hash table of keys has 4,096 slots, and our own take 600."""

MAX_NAME: Final = 63
"""Longest name of PostgreSQL, in bytes."""

_KEYS: Final = ("type", "source", "comment")
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]*")


class CustomColumn(NamedTuple):
    """A column of the file.

    Attributes
    ----------
    table, name
        The table and the column.
    kind
        Its type, one of :data:`~orders_dask.contract.columns.KINDS`.
    source
        Where its values stand in a record of the table.
    comment
        What it is.
    """

    table: str
    name: str
    kind: str
    source: Source
    comment: str


def read_columns(file: Path) -> list[CustomColumn]:
    """Return the columns of a file, each correct by itself.

    Raises
    ------
    ValueError
        The file can't be read, or a column is not; the message is the rest of a sentence that
        begins with the file.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror or type(error).__name__}") from None
    if len(content) > MAX_BYTES:
        raise ValueError(f"is larger than {MAX_BYTES >> 10} KiB: it is some other file")
    try:
        tables = tomllib.loads(content.decode())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"is no TOML: {error}") from None
    except (ValueError, RecursionError):
        raise ValueError("is no TOML: it is no UTF-8, or something in it is too large") from None
    columns = [
        parse_column(table, name, given)
        for table, of_table in tables.items()
        for name, given in _items(table, of_table)
    ]
    if len(columns) > MAX_COLUMNS:
        raise ValueError(f"has {len(columns)} columns: more than {MAX_COLUMNS} can't be read")
    return columns


def _items(name: str, value: Any) -> Iterable[tuple[str, Any]]:
    if not isinstance(value, dict):
        raise ValueError(f"has {shown(name)}, which is no table: begin it with [fact_order.NAME]")
    return value.items()


def parse_column(table: str, name: str, given: Any) -> CustomColumn:
    """Parse one column, given as the file has it.

    Raises
    ------
    ValueError
        It can't be; the message is the rest of a sentence that begins with the file.
    """
    where = f"has {shown(table)}.{shown(name)}"
    if not isinstance(given, dict):
        raise ValueError(f"{where}, which is no column: give it a type and a source")
    for key, value in given.items():
        if key not in _KEYS:
            raise ValueError(f"{where} with the key {shown(key)}: it may have {joined(_KEYS)}")
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise ValueError(f"{where} with a {key} that is no text, or empty: write it in quotes")
    if missing := [key for key in ("type", "source") if key not in given]:
        raise ValueError(f"{where} without a {missing[0]}: add one")
    kind = given["type"]
    if kind not in KINDS:
        raise ValueError(f"{where} of the type {shown(kind)}: the types are {joined(KINDS)}")
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise ValueError(
            f"{where}, whose name can't be: use small letters, digits and _, at most {MAX_NAME}, "
            "and no digit first"
        )
    if name in RESERVED_WORDS:
        raise ValueError(f"{where}, whose name is a word of SQL: give it another one")
    try:
        source = parse_source(given["source"])
    except ValueError as error:
        raise ValueError(f"{where} from {shown(given['source'])}, which {error}") from None
    if source.array and not source.is_selected and kind not in ("text", "money"):
        raise ValueError(
            f"{where} of the type {kind} from the array {source.text}: of an array, texts are "
            "joined and money is added up"
        )
    return CustomColumn(table, name, kind, source, given.get("comment", f"As in {source.text}"))


def joined(names: Iterable[str]) -> str:
    """Return names for a message."""
    return ", ".join(names)


def shown(text: str) -> str:
    """Return a text of the file for a message: short, and on one line."""
    return (text if text.isprintable() and text else repr(text))[:100]
