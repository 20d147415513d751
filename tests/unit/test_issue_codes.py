"""The issue codes that the code uses, declares and documents in docs/contract.md are the same."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from orders_dask.contract.issue_codes import NULLED, REJECTED, REPAIRED, SKIPPED
from orders_dask.synthetic.defects import DEFECTS, IN_OPTIONAL_GROUPS, REJECTING, UNREADABLE

ROOT = Path(__file__).parents[2]
DECLARATION = ROOT / "orders_dask" / "contract" / "issue_codes.py"
SCANNED = [
    path
    for package in ("contract", "extract", "transform")
    for path in sorted((ROOT / "orders_dask" / package).rglob("*.py"))
    if path != DECLARATION
]
DECLARED = {*REJECTED, *REPAIRED, *NULLED, *SKIPPED}

# ---------------------------------------------------------------------------- codes that are used


def constants(node: ast.AST | None) -> Iterator[str]:
    """Yield the texts that an expression may evaluate to."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from constants(node.body)
        yield from constants(node.orelse)


def code_parameters(trees: list[ast.Module]) -> dict[str, int]:
    """Return the index of the parameter ``code`` by function or class, without ``self``."""
    found = {}
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.FunctionDef):
            names = [each.arg for each in node.args.args if each.arg != "self"]
        elif isinstance(node, ast.ClassDef):
            fields = (each.target for each in node.body if isinstance(each, ast.AnnAssign))
            names = [each.id for each in fields if isinstance(each, ast.Name)]
        else:
            continue
        if "code" in names:
            found[node.name] = names.index("code")
    return found


def passed(call: ast.Call, parameters: dict[str, int]) -> Iterator[str]:
    """Yield the codes that a call passes, by position or by name."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    for keyword in call.keywords:
        if keyword.arg == "code":
            yield from constants(keyword.value)
    if name in parameters and len(call.args) > parameters[name]:
        yield from constants(call.args[parameters[name]])


def assigned(target: ast.expr, value: ast.expr) -> Iterator[str]:
    """Yield the codes that are assigned to a variable named ``code``."""
    if isinstance(target, ast.Name) and target.id == "code":
        yield from constants(value)
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for inner, each in zip(target.elts, value.elts, strict=True):
            yield from assigned(inner, each)
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.IfExp):
        yield from assigned(target, value.body)
        yield from assigned(target, value.orelse)


def returned(function: ast.FunctionDef) -> Iterator[str]:
    """Yield the codes that a rule returns in pairs of a value and a code or None."""
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and node.value is not None:
            for pair in (each for each in ast.walk(node.value) if isinstance(each, ast.Tuple)):
                if len(pair.elts) == 2:
                    yield from constants(pair.elts[1])


def is_rule(function: ast.FunctionDef) -> bool:
    """Return whether a function is annotated to return a value and its code."""
    annotation = ast.unparse(function.returns) if function.returns else ""
    return bool(re.fullmatch(r"tuple\[.+, (str|\w*Code) \| None\]", annotation))


def given_codes(sources: list[str]) -> set[str]:
    """Return every text that is passed, assigned or returned as a code."""
    trees = [ast.parse(source) for source in sources]
    parameters = code_parameters(trees)
    found: set[str] = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Call):
            found.update(passed(node, parameters))
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                found.update(assigned(target, node.value))
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            found.update(assigned(node.target, node.value))
        elif isinstance(node, ast.FunctionDef) and is_rule(node):
            found.update(returned(node))
    return found


@pytest.fixture(scope="module")
def given() -> set[str]:
    return given_codes([path.read_text(encoding="utf-8") for path in SCANNED])


@pytest.mark.parametrize(
    "source",
    [
        "def reject(line, code): ...\nreject(b'', 'new_code')",
        "def reject(line, code): ...\nreject(b'', code='new_code')",
        "class Notes:\n    def note(self, path, code): ...\nnotes.note('id', 'new_code')",
        "class Issue:\n    field: str\n    code: str\nIssue('id', 'new_code')",
        "if bad:\n    code = 'new_code' if worse else None",
        "code: RejectedCode = 'new_code'",
        "code, message = 'new_code', 'It is bad.'",
        "def rule(value) -> tuple[int | None, str | None]:\n    return None, 'new_code'",
        "def rule(value) -> tuple[int, ValueCode | None]:\n    return 1, None if good else 'new_code'",
        "def rule(value) -> tuple[int, str | None]:\n    return (1, None) if good else (2, 'new_code')",
    ],
)
def test_a_new_code_is_found_however_it_is_given(source: str) -> None:
    assert given_codes([source]) == {"new_code"}


# ---------------------------------------------------------------------- codes that are documented


def explained_codes() -> dict[str, list[str]]:
    """Return the codes of each table under *Issue codes*, by the table's heading."""
    page = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    section = page.partition("\n## Issue codes\n")[2].partition("\n## ")[0]
    tables = re.split(r"^### (\w+)$", section, flags=re.MULTILINE)[1:]
    return {
        heading: re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)
        for heading, table in zip(tables[::2], tables[1::2], strict=True)
    }


def test_every_code_that_the_code_gives_is_declared_and_the_reverse(given: set[str]) -> None:
    assert given - DECLARED == set(), "declare these in contract/issue_codes.py"
    assert DECLARED - given == set(), "nothing gives these codes: take them out of issue_codes.py"


def test_the_contract_explains_exactly_the_declared_codes_each_under_its_heading() -> None:
    explained = {heading: sorted(codes) for heading, codes in explained_codes().items()}
    assert explained == {
        "Rejected": sorted(REJECTED),
        "Repaired": sorted(REPAIRED),
        "Nulled": sorted(NULLED),
        "Skipped": sorted(SKIPPED),
    }, "docs/contract.md, Issue codes, and contract/issue_codes.py differ"


def test_no_code_has_two_meanings() -> None:
    assert len(DECLARED) == sum(map(len, (REJECTED, REPAIRED, NULLED, SKIPPED)))


OF_FILES = {"nested_compression"}
"""Codes of whole files, which are no defect of a record."""


def test_the_generator_makes_a_defect_of_every_code() -> None:
    made = {UNREADABLE, *(code for defects in DEFECTS.values() for code in defects)}
    made |= IN_OPTIONAL_GROUPS.keys()
    assert made == DECLARED - {*SKIPPED, *OF_FILES}, (
        "synthetic/defects.py and contract/issue_codes.py differ"
    )
    assert made >= REJECTING
    assert set(REJECTED) >= REJECTING, (
        "the generator counts a code as rejecting that does not reject"
    )
