"""Identifiers, columns, statuses and options use the field's words: docs/glossary.md has them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

import orders_dask
from orders_dask.cli import app
from orders_dask.contract.columns import METADATA
from orders_dask.contract.issue_codes import NULLED, REJECTED, REPAIRED
from orders_dask.contract.ledger_tables import STATUSES
from orders_dask.settings import Settings
from tests.support.commands import commands_of

ROOT = Path(orders_dask.__file__).parents[1]

BANNED = {
    "again": "retry, or replay",
    "books": "control totals",
    "brought": "loaded",
    "carrier": "source",
    "costs": "step metrics",
    "decided": "confirmed",
    "envelope": "container",
    "enveloped": "in_page",
    "foresee": "precompute",
    "foreseen": "plan",
    "freed": "dropped",
    "freeing": "dropping",
    "gate": "pointer",
    "gathered": "collected",
    "judge": "apply rules",
    "judged": "repaired",
    "kept": "stored, or remaining",
    "leaf": "partition",
    "leaves": "partitions",
    "leftover": "garbage",
    "looked": "inspected",
    "loser": "superseded",
    "losers": "superseded",
    "mend": "correct",
    "mended": "corrected",
    "patience": "timeout",
    "patiently": "retry",
    "said": "rows, or message",
    "says": "rows, or message",
    "settle": "finish",
    "settled": "up to date",
    "sniffed": "detected",
    "spoil": "inject defect",
    "spoilt": "defective",
    "standing": "published",
    "story": "result",
    "strike": "fault",
    "sweep": "delete",
    "told": "message",
    "turn": "change, or round",
    "unsaid": "unknown",
    "verdict": "outcome",
    "withdraw": "unpublish",
    "withdrawn": "unpublished",
    "zoneless": "without offset",
}
"""Words that mean nothing, or something else, to people of the field; and what to say."""

FOLDERS = ("orders_dask", "tests")


def identifiers(path: Path) -> Iterator[tuple[int, str]]:
    """Yield every name that a module gives to something, with its line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.alias) and node.asname:
            yield node.lineno, node.asname


def banned(name: str) -> list[str]:
    """Return the banned words in a name, with what to say."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    return [f"{word} (say {BANNED[word]})" for word in words if word in BANNED]


@pytest.mark.parametrize(
    "path",
    [
        path.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
    ],
)
def test_identifiers_use_no_banned_word(path: str) -> None:
    found = {f"{path}:{line} {name}": banned(name) for line, name in identifiers(ROOT / path)}
    assert {where: words for where, words in found.items() if words} == {}


def test_modules_columns_statuses_and_settings_use_no_banned_word() -> None:
    names = [
        *(path.stem for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")),
        *(table.name for table in METADATA.tables.values()),
        *(column.name for table in METADATA.tables.values() for column in table.c),
        *STATUSES,
        *(str(field.validation_alias) for field in Settings.model_fields.values()),
    ]
    assert {name: banned(name) for name in names if banned(name)} == {}


def test_commands_and_options_use_no_banned_word() -> None:
    names = [
        name
        for path, command in commands_of(typer.main.get_command(app)).items()
        for name in (path, *(option for each in command.params for option in each.opts))
    ]
    assert names
    assert {name: banned(name) for name in names if banned(name)} == {}


def test_sql_uses_no_banned_word() -> None:
    words = {
        word
        for path in (ROOT / "sql").rglob("*.sql")
        for word in re.findall(r"\b[a-z]+_[a-z_]+\b", path.read_text())
    }
    assert {word: banned(word) for word in words if banned(word)} == {}


def test_issue_codes_are_no_exception_but_those_that_the_contract_fixes() -> None:
    assert [code for code in (*REJECTED, *REPAIRED, *NULLED) if banned(code)] == []
