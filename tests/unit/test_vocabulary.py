"""Names of the code, the database and the command line use the terms of docs/glossary.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest
import typer

from orders_dask.cli import app
from orders_dask.contract.columns import METADATA
from orders_dask.contract.issue_codes import NULLED, REJECTED, REPAIRED, SKIPPED
from orders_dask.contract.ledger_tables import STATUSES
from orders_dask.settings import Settings
from tests.support import REPOSITORY
from tests.support.commands import commands_of

BANNED: Final = {
    "again": "retry, or replay",
    "balance": "reconciliation",
    "balanced": "reconciled",
    "balances": "is reconciled",
    "books": "control totals",
    "bring": "load, or upsert",
    "brought": "loaded, or incoming",
    "carrier": "source",
    "carriers": "sources",
    "clock": "timer",
    "compared": "comparison",
    "costs": "step metrics",
    "decided": "confirmed",
    "flag": "boolean",
    "foresee": "precompute",
    "foreseen": "plan",
    "freed": "dropped",
    "freeing": "dropping",
    "gate": "pointer",
    "gather": "collect",
    "gathered": "collected",
    "gone": "deleted, or missing",
    "holder": "owner",
    "instant": "timestamp",
    "instants": "timestamps",
    "judge": "apply rules",
    "judged": "repaired",
    "kept": "stored, or remaining",
    "leaf": "partition",
    "leaves": "partitions",
    "leaving": "draining",
    "leftover": "garbage",
    "looked": "inspected",
    "loser": "superseded",
    "losers": "superseded",
    "lost": "superseded, or missing",
    "mend": "correct",
    "mended": "corrected",
    "patience": "timeout",
    "patiently": "retry",
    "place": "position, index, or rank",
    "placed": "numbered",
    "places": "positions, or indices",
    "said": "rows, or message",
    "says": "rows, or message",
    "settle": "make irreversible",
    "settled": "up to date, or irreversible",
    "sniffed": "detected",
    "spoil": "inject a defect",
    "spoilt": "defective",
    "standing": "published, or loaded",
    "stood": "was before",
    "outcomes_by_record": "results",
    "story": "result",
    "strike": "fault",
    "sweep": "delete",
    "swept": "deleted",
    "tells": "reports",
    "told": "message, or rows",
    "turn": "change, or round",
    "turns": "changes, or rounds",
    "unsaid": "unknown",
    "unswept": "remaining",
    "verdict": "outcome",
    "verdicts": "outcomes",
    "withdraw": "unpublish",
    "withdrawn": "unpublished",
    "zoneless": "no offset",
}
"""Words that mean nothing, or something else, to people of the field, each with what to use."""

FIXED_CODES: Final = {
    *("bad_flag", "flag_from_text"),
    *("bad_instant", "instant_without_offset", "instant_with_zone_name"),
}
"""Issue codes that users have in their databases. Functions are named like the codes they make."""

KEYS_OF_THE_DUMP: Final = {"carrier_identifier"}
"""Columns that have the name of their key."""

EXEMPT: Final = {*FIXED_CODES, *KEYS_OF_THE_DUMP, "ClusterLost", "LeaseLost"}

FOLDERS: Final = ("docs", "orders_dask", "tests")
SOURCES: Final = [
    path for folder in FOLDERS for path in sorted((REPOSITORY / folder).rglob("*.py"))
]


def identifiers(source: str) -> Iterator[tuple[int, str]]:
    """Yield every name that a module binds, with its line."""
    for node in ast.walk(ast.parse(source)):
        name: str | None = None
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                name = node.name
            case ast.arg():
                name = node.arg
            case ast.Name(ctx=ast.Store()):
                name = node.id
            case ast.Attribute(ctx=ast.Store()):
                name = node.attr
            case ast.alias():
                name = node.asname
            case ast.ExceptHandler() | ast.MatchAs() | ast.MatchStar():
                name = node.name
            case ast.MatchMapping():
                name = node.rest
        if name:
            yield getattr(node, "lineno", 0), name


def banned(name: str) -> list[str]:
    """Return the banned words of a name, each with what to use."""
    if name in EXEMPT:
        return []
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    return [f"{word}: use {BANNED[word]}" for word in words if word in BANNED]


def offending(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the names that have banned words, with these words."""
    return {name: words for name in names if (words := banned(name))}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_identifiers_have_no_banned_word(path: Path) -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{line}: {name}: {', '.join(words)}"
        for line, name in identifiers(path.read_text(encoding="utf-8"))
        if (words := banned(name))
    ]
    assert not found, "\n".join(["these names use words that docs/glossary.md avoids:", *found])


def test_modules_have_no_banned_word() -> None:
    assert offending(part for path in SOURCES for part in path.relative_to(REPOSITORY).parts) == {}


def test_tables_columns_and_statuses_have_no_banned_word() -> None:
    tables = METADATA.tables.values()
    names = [*(table.name for table in tables), *(column.name for t in tables for column in t.c)]
    assert offending([*names, *STATUSES]) == {}


def test_settings_have_no_banned_word() -> None:
    variables = [str(field.validation_alias) for field in Settings.model_fields.values()]
    assert offending([*Settings.model_fields, *variables]) == {}


def test_commands_and_options_have_no_banned_word() -> None:
    commands = commands_of(typer.main.get_command(app))
    options = [
        option for command in commands.values() for each in command.params for option in each.opts
    ]
    assert options
    assert offending([*commands, *options]) == {}


@pytest.mark.parametrize("path", sorted((REPOSITORY / "sql").rglob("*.sql")), ids=lambda p: p.name)
def test_sql_has_no_banned_word(path: Path) -> None:
    code = re.sub(r"--.*|'(?:[^']|'')*'", "", path.read_text(encoding="utf-8"))
    assert offending(re.findall(r"\w+", code)) == {}


def test_no_further_issue_code_has_a_banned_word() -> None:
    codes = {*REJECTED, *REPAIRED, *NULLED, *SKIPPED}
    assert codes >= FIXED_CODES
    assert offending(codes) == {}


@pytest.mark.parametrize(
    "source",
    [
        "def open_gate(): ...",
        "class Gate: ...",
        "class OpenGate2: ...",
        "def f(gate): ...",
        "def f(*, a, **gate): ...",
        "GATE = 1",
        "a, (b, *gate) = c",
        "a.gate: int = 1",
        "import a as gate",
        "for gate in a: ...",
        "a = [0 for gate in a]",
        "with a as gate: ...",
        "try: ...\nexcept A as gate: ...",
        "match a:\n    case {'a': [*gate]}: ...",
        "match a:\n    case {'a': 1, **gate}: ...",
        "match a:\n    case A() as gate: ...",
        "(gate := 1)",
    ],
)
def test_a_banned_word_is_found_wherever_a_name_is_bound(source: str) -> None:
    assert [words for _, name in identifiers(source) for words in banned(name)] == [
        "gate: use pointer"
    ]


def test_names_that_others_bound_are_not_searched() -> None:
    assert not list(identifiers("from a import gate\nf(gate=gate.leaf)"))
