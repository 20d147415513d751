"""Imports run one way: which room may import which is written down here, and nowhere broken."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import orders_dask

PACKAGE = Path(orders_dask.__file__).parent

ALLOWED: dict[str, set[str]] = {
    "contract": set(),
    "errors": set(),
    "step_metrics": set(),
    "settings": {"errors"},
    "filesystem": {"errors", "settings"},
    "retry": {"errors"},
    "sandbox": {"errors"},
    "synthetic": {"errors"},
    "cluster": {"errors", "settings"},
    "without_pandas": {"cluster"},
    "transform": {"contract"},
    "extract": {"contract", "errors", "filesystem", "settings"},
    "stage": {"contract", "errors", "extract", "filesystem"},
    "load": {"contract", "errors", "retry", "settings"},
    "ledger": {"contract", "errors", "load", "step_metrics"},
    "publish": {"contract", "errors", "ledger", "load", "retry"},
    "retention": {"contract", "errors", "filesystem", "ledger", "load", "publish", "stage"},
    "read": {"contract", "errors", "extract", "settings", "stage", "transform"},
    "pipeline": {
        *("cluster", "contract", "errors", "extract", "ledger", "load", "publish"),
        *("retry", "settings", "stage", "step_metrics", "transform"),
    },
    "jobs": {
        *("cluster", "contract", "errors", "extract", "ledger", "load", "pipeline"),
        *("publish", "retention", "retry", "settings", "stage"),
    },
    "__init__": {"errors", "jobs", "ledger", "pipeline", "publish", "read", "settings"},
    "cli": {
        *("cluster", "contract", "errors", "jobs", "ledger", "load", "pipeline"),
        *("publish", "sandbox", "settings", "synthetic"),
    },
}
"""By room, a folder or a module at the top of the package, the rooms that it may import, lazily or not."""


def modules() -> dict[str, Path]:
    """Return every module of the package by its name below the package."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


MODULES = modules()


def room(module: str) -> str:
    """Return the room of a module: its folder below the package, or itself."""
    return module.partition(".")[0]


def imported(path: Path) -> Iterator[str]:
    """Yield the modules of the package that a module imports anywhere in it, in types alone too."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            package, _, inside = name.partition(".")
            if package == "orders_dask":
                yield inside


ARROWS: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
for _name, _path in MODULES.items():
    for _target in imported(_path):
        if room(_target) in {*map(room, MODULES)} - {room(_name)}:
            ARROWS[room(_name)][room(_target)].append(_name)


@pytest.mark.parametrize("start", sorted({*map(room, MODULES)}))
def test_a_room_imports_the_rooms_that_are_allowed_and_no_other(start: str) -> None:
    found = ARROWS[start]
    more = {end: names for end, names in found.items() if end not in ALLOWED.get(start, set())}
    assert not more, f"{start} imports rooms that it may not: {more}"
    unused = ALLOWED[start] - found.keys()
    assert not unused, f"{start} no longer imports {unused}: take the arrow out of ALLOWED"


def test_no_arrow_between_rooms_leads_back() -> None:
    # Raises CycleError, which names the rooms, where there is a circle.
    order = list(TopologicalSorter(ALLOWED).static_order())
    assert order.index("contract") < order.index("jobs") < order.index("cli")


def test_no_circle_of_modules() -> None:
    graph: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        targets = set()
        for target in imported(path):
            # `from package import name` names a module, or something in one.
            parent = target.rpartition(".")[0]
            targets |= {each for each in (target, parent) if each in MODULES} - {name}
        graph[name] = targets
    assert list(TopologicalSorter(graph).static_order())
