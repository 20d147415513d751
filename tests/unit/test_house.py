"""No test module is imported: shared helpers are in tests/support, fixtures in conftest.py."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.support import REPOSITORY


def imported(source: str, package: str) -> Iterator[str]:
    """Yield the dotted name of everything that a module of a package imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            parent = [*(above if node.level else ()), *filter(None, [node.module])]
            yield from (".".join([*parent, name.name]) for name in node.names)


def borrowed(source: str, package: str) -> list[str]:
    """Return the imports from test modules and conftests, and from outside for a support module."""

    def is_borrowed(name: str) -> bool:
        parts = name.split(".")
        if parts[0] != "tests":
            return False
        in_support = package.startswith("tests.support")
        return any(part.startswith("test_") or part == "conftest" for part in parts) or (
            in_support and parts[1] != "support"
        )

    return [name for name in imported(source, package) if is_borrowed(name)]


def test_no_module_imports_a_test_module() -> None:
    house = REPOSITORY / "tests"
    found = {}
    for path in sorted(house.rglob("*.py")):
        package = ".".join(path.relative_to(REPOSITORY).parent.parts)
        if names := borrowed(path.read_text(encoding="utf-8"), package):
            found[str(path.relative_to(house))] = names
    assert found == {}, (
        "what others need belongs in tests/support, or is a fixture of a conftest.py"
    )


@pytest.mark.parametrize(
    ("source", "package", "found"),
    [
        ("from tests.unit.test_a import b", "tests.unit", ["tests.unit.test_a.b"]),
        ("import tests.unit.test_a as a", "tests.chaos", ["tests.unit.test_a"]),
        ("from tests.unit import test_a", "tests.chaos", ["tests.unit.test_a"]),
        ("def f():\n  from .test_a import b", "tests.unit", ["tests.unit.test_a.b"]),
        ("from ..unit.test_a import b", "tests.chaos", ["tests.unit.test_a.b"]),
        ("from tests.conftest import a", "tests.unit", ["tests.conftest.a"]),
        (
            "from tests.chaos.failpoint_control import Trap",
            "tests.support",
            ["tests.chaos.failpoint_control.Trap"],
        ),
        ("from tests.chaos.failpoint_control import Trap", "tests.chaos", []),
        ("from tests.support.builders import order", "tests.support", []),
        ("from orders_dask.jobs import run", "tests.support", []),
    ],
)
def test_every_way_to_import_is_seen(source: str, package: str, found: list[str]) -> None:
    assert borrowed(source, package) == found
