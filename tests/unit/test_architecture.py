"""Imports run one way: ALLOWED has the rooms that each room imports, without a cycle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

import pytest

import orders_dask
from tests.support import REPOSITORY

PACKAGE = Path(orders_dask.__file__).parent
ROOT = "__init__"

ALLOWED: Final[dict[str, set[str]]] = {
    "contract": {"errors"},
    "errors": set(),
    "dump": set(),
    "s3_requests": set(),
    "replace_file": set(),
    "step_metrics": {"s3_requests"},
    "cost": {"step_metrics"},
    "retry": {"errors"},
    "sandbox": {"errors"},
    "urls": set(),
    "aws": {"errors"},
    "secrets": {"aws", "errors"},
    "setting_values": {"contract", "secrets", "urls"},
    "settings": {"cost", "errors", "secrets", "setting_values", "urls"},
    "synthetic": {"errors"},
    "cluster": {"contract", "errors", "settings"},
    "filesystem": {"aws", "errors", "s3_requests", "urls"},
    "without_pandas": {"cluster"},
    "transform": {"contract"},
    "extract": {"contract", "dump", "errors", "filesystem", "urls"},
    "order_api": {
        *("dump", "errors", "filesystem", "retry", "secrets", "setting_values", "settings", "urls"),
    },
    "stage": {"contract", "errors", "extract", "filesystem"},
    "load": {"aws", "contract", "errors", "retry", "secrets", "settings"},
    "ledger": {"contract", "cost", "errors", "load", "step_metrics"},
    "publish": {"contract", "errors", "ledger", "load", "retry"},
    "migration": {"contract", "errors", "load", "publish", "retry"},
    "retention": {"contract", "errors", "filesystem", "ledger", "load", "publish", "stage"},
    "alerts": {"contract", "settings"},
    "monitoring": {"contract", "errors", "replace_file", "urls"},
    "checks": {"contract", "errors", "ledger", "load", "setting_values", "settings"},
    "read": {"contract", "errors", "extract", "settings", "stage", "transform"},
    "dictionary": {"contract", "load", "monitoring", "retry"},
    "reporting": {"checks", "contract", "ledger", "load", "settings"},
    "pipeline": {
        *("checks", "cluster", "contract", "cost", "errors", "extract", "ledger", "load"),
        *("monitoring", "publish", "retry", "settings", "stage", "step_metrics", "transform"),
    },
    "jobs": {
        *("alerts", "checks", "cluster", "contract", "cost", "errors", "extract", "ledger", "load"),
        *(
            "migration",
            "monitoring",
            "order_api",
            "pipeline",
            "publish",
            "reporting",
            "retention",
            "retry",
        ),
        *("settings", "stage", "step_metrics", "urls"),
    },
    ROOT: {
        *("cluster", "cost", "errors", "jobs", "ledger", "order_api", "pipeline", "publish"),
        "read",
        "settings",
    },
    "cli": {
        *("cluster", "contract", "dictionary", "errors", "extract", "filesystem", "jobs", "ledger"),
        *(
            "load",
            "migration",
            "monitoring",
            "order_api",
            "pipeline",
            "publish",
            "replace_file",
            "sandbox",
            "setting_values",
            "settings",
            "synthetic",
            "urls",
        ),
    },
}
"""By room, the rooms that it imports, anywhere in its modules. `ROOT` is the package itself."""


def module_name(path: Path) -> str:
    """Return the name of a module below the package; a folder's ``__init__`` has the folder's."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts).removesuffix(f".{ROOT}")


MODULES: Final = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room(module: str) -> str:
    """Return the room of a module: its folder below the package, or itself."""
    return module.partition(".")[0]


def imported(path: Path) -> Iterator[str]:
    """Yield the modules of the package that a module imports, lazily or for types alone too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: import by the full name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            package, _, below = name.partition(".")
            if package == "orders_dask":
                yield defining_module(below)


def defining_module(name: str) -> str:
    """Return the module that a name below the package is, or is defined in."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or ROOT


IMPORTS: Final = {name: {*imported(path)} for name, path in MODULES.items()}
ROOMS: Final = sorted({room(module) for module in MODULES})


def test_every_room_has_an_entry() -> None:
    assert sorted(ALLOWED) == ROOMS


@pytest.mark.parametrize("importer", ROOMS)
def test_a_room_imports_exactly_the_rooms_that_are_allowed(importer: str) -> None:
    found: dict[str, list[str]] = {}
    for module, targets in IMPORTS.items():
        for target in sorted(targets):
            if room(module) == importer != room(target):
                found.setdefault(room(target), []).append(f"{module} imports {target}")
    allowed = ALLOWED.get(importer, set())
    forbidden = {target: imports for target, imports in found.items() if target not in allowed}
    assert not forbidden, f"{importer} imports rooms that ALLOWED does not have: {forbidden}"
    unused = allowed - found.keys()
    assert not unused, f"{importer} no longer imports {sorted(unused)}: remove them from ALLOWED"


def test_rooms_have_no_import_cycle() -> None:
    # Raises CycleError, which names the rooms of a cycle.
    order = list(TopologicalSorter(ALLOWED).static_order())
    assert order.index("contract") < order.index("jobs") < order.index("cli")


def test_modules_have_no_import_cycle() -> None:
    graph = {module: targets - {module} for module, targets in IMPORTS.items()}
    assert set(TopologicalSorter(graph).static_order()) == MODULES.keys()


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("from orders_dask.load import copy", ["load.copy"]),
        ("from orders_dask.load.copy import load_part", ["load.copy"]),
        ("from orders_dask.sandbox import sandbox", ["sandbox"]),
        ("import orders_dask.settings as s", ["settings"]),
        ("from orders_dask import Settings, retry", [ROOT, "retry"]),
        ("def f():\n    import orders_dask", [ROOT]),
        ("import dask\nfrom pathlib import Path", []),
    ],
)
def test_every_form_of_import_is_found(tmp_path: Path, source: str, modules: list[str]) -> None:
    (tmp_path / "module.py").write_text(source)
    assert list(imported(tmp_path / "module.py")) == modules


def test_the_page_has_the_arrows() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text()
    rows = re.findall(
        r"^\| (\S+) \| ([^|]*) \|$", page.partition("| room | imports from |")[2], re.M
    )
    shown = {
        name.removesuffix(".py"): {*rooms.split(", ")} for name, rooms in rows if name != "---"
    }
    of_package = ALLOWED | {"orders_dask/__init__": ALLOWED[ROOT]}
    assert shown == {room: rooms for room, rooms in of_package.items() if rooms and room != ROOT}
