"""What a process has declared beside its code, to be the same on the client and on all workers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from orders_dask.contract import custom_columns, table_groups
from orders_dask.contract.columns import kind_name
from orders_dask.contract.order_tables import FACTS
from orders_dask.errors import SettingsError

Declaration = Mapping[str, str]
"""The value of each thing that is declared by the environment, by its name."""

NOT_DECLARED: Final = "not declared"

MAX_NAMED: Final = 3
"""Differences, and processes with the same difference, that a message names."""


def declared() -> Declaration:
    """Return what this process has declared: groups of tables, and custom columns."""
    groups = {table_groups.VARIABLE: ",".join(table_groups.ACTIVE_GROUPS)}
    return groups | dict(_columns())


def _columns() -> Iterator[tuple[str, str]]:
    for fact in FACTS:
        for column in fact.c:
            if source := column.info["custom"]:
                what = f"{kind_name(column.type)} from {source.text}"
                yield f"{fact.name}.{column.name}", what


def difference(client: Declaration, processes: Mapping[str, Declaration]) -> SettingsError | None:
    """Return an error that names what processes declare otherwise than the client, or None.

    Parameters
    ----------
    client
        What the client has declared.
    processes
        What other processes have declared, by the name of the process.
    """
    differing: dict[tuple[str, str], list[str]] = defaultdict(list)
    for process, declaration in processes.items():
        for name in sorted({*client, *declaration}):
            there = declaration.get(name, NOT_DECLARED)
            if there != client.get(name, NOT_DECLARED):
                differing[name, there].append(process)
    if not differing:
        return None
    clauses = [
        f"{name} is {client.get(name, NOT_DECLARED)} on the client and {there} on {_some(where)}"
        for (name, there), where in differing.items()
    ]
    return SettingsError(
        f"The cluster has other tables: {_some(clauses, '; ')}. Give {table_groups.VARIABLE} and "
        f"{custom_columns.VARIABLE} the same value, and the file the same content, everywhere, and "
        "start the workers anew."
    )


def _some(names: list[str], separator: str = ", ") -> str:
    """Return a few names, and how many more there are."""
    more = len(names) - MAX_NAMED
    return separator.join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
