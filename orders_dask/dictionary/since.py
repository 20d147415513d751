"""The contract version that each column first appeared in, from a file beside this module.

A line of the file has a version, a table, and its columns that appeared in that version. What was
there in version 5, the oldest that can be migrated, has 5. ``python docs/generate_dictionary.py``
writes the file: a name that it lacks gets the version of now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

FILE: Final = Path(__file__).with_name("since.txt")

Since: TypeAlias = Mapping[tuple[str, str], int]
"""Version by table and column."""


def read_since() -> Since:
    """Return the version of every column of the contract."""
    lines = (line.split() for line in FILE.read_text(encoding="utf-8").splitlines())
    return {(table, name): int(version) for version, table, *names in lines for name in names}


def with_new(since: Since, names: Iterable[tuple[str, str]], version: int) -> Since:
    """Return the versions of the names that there are: that of now for those that are new."""
    return {name: since.get(name, version) for name in names}


def to_text(since: Since) -> str:
    """Return the content of the file."""
    lines: dict[tuple[int, str], list[str]] = {}
    for (table, name), version in since.items():
        lines.setdefault((version, table), []).append(name)
    return "".join(
        f"{version} {table} {' '.join(sorted(names))}\n"
        for (version, table), names in sorted(lines.items())
    )
