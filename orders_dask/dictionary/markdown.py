"""The pages for people: the data dictionary, and a diagram of keys in Mermaid's language."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from orders_dask.contract.versions import CONTRACT_VERSION
from orders_dask.dictionary.description import ColumnDescription, Reference, TableDescription

NOTICE: Final = "<!-- Written by `orders-dask docs`. -->"

OWN: Final = "own"
"""Shown as the version of a column that the contract doesn't have."""

_DICTIONARY: Final = f"""\
{NOTICE}

# Data dictionary

What people read in schema `orders`, at contract version {CONTRACT_VERSION}. A *path* is where a
value stands in an order of the dump: several where there is a second source, or where the value is
computed from them. What has no path is computed, or read by `orders-dask dimensions load`. *Since*
is the contract version that a column first appeared in; 5 also stands for what is older, and
*{OWN}* for a column of `ORDERS_DASK_COLUMNS`.

{{contents}}
"""

_DIAGRAM: Final = f"""\
{NOTICE}

# Diagram

Facts, dimensions and the current orders: keys, references, and columns of `ORDERS_DASK_COLUMNS`.
All other columns are in the [dictionary](dictionary.md).

```mermaid
erDiagram
{{lines}}
```
"""


def dictionary(tables: Sequence[TableDescription]) -> str:
    """Return the data dictionary: a section a view or dimension, a line a column."""
    contents = "\n".join(
        f"- [{table.name}](#{table.name}): {_text(table.meaning)}" for table in tables
    )
    sections = "\n".join(_section(table) for table in tables)
    return _DICTIONARY.format(contents=contents) + "\n" + sections


def _section(table: TableDescription) -> str:
    facts = [f"A {table.kind}"]
    if table.key:
        facts.append(f"key: {', '.join(map(_code, table.key))}")
    if table.records:
        facts.append(f"a row each of {_code(table.records)}")
    rows = [
        (
            _code(column.name),
            _code(column.type),
            _text(column.meaning),
            ", ".join(map(_code, column.paths)),
            OWN if column.since is None else str(column.since),
        )
        for column in table.columns
    ]
    head = ("column", "type", "meaning", "path in the dump", "since")
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return f"## {table.name}\n\n{_text(table.meaning)}. {'; '.join(facts)}.\n\n" + "".join(
        f"{line}\n" for line in lines
    )


def _text(text: str) -> str:
    """Return a comment as Markdown that shows just its characters, in one line."""
    return re.sub(r"([\\`*<>|\[\]])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """Return a name or path as code, within a cell of a table."""
    ticks = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    blank = " " if "`" in text else ""
    return f"{ticks}{blank}{text}{blank}{ticks}".replace("|", r"\|")


def diagram(tables: Sequence[TableDescription]) -> str:
    """Return the diagram of what has a declaration: facts, dimensions, the current orders."""
    shown = [each for each in tables if each.records is not None and each.name != "order_history"]
    lines = [line for table in shown for line in _entity(table)]
    names = {table.name for table in shown}
    lines += [
        _relation(table, reference)
        for table in shown
        for reference in table.references
        if reference.table in names
    ]
    return _DIAGRAM.format(lines="\n".join(f"    {line}" for line in lines))


def _entity(table: TableDescription) -> Iterator[str]:
    referring = {name for reference in table.references for name in reference.columns}
    yield f"{table.name} {{"
    for column in table.columns:
        marks = [
            mark for mark, names in (("PK", table.key), ("FK", referring)) if column.name in names
        ]
        if marks or column.since is None:
            yield f"    {' '.join((_mermaid_type(column), column.name, ', '.join(marks)))}".rstrip()
    yield "}"


def _mermaid_type(column: ColumnDescription) -> str:
    """Return a type as Mermaid takes it: one word, without a comma."""
    return re.sub(r"\W+", "_", column.type).strip("_")


def _relation(table: TableDescription, reference: Reference) -> str:
    one = "|o" if reference.is_optional else "||"
    many = "||" if reference.is_own_key else "o{"
    return f'{reference.table} {one}--{many} {table.name} : "{", ".join(reference.columns)}"'
