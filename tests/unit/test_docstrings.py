"""Docstrings name what is there: references, parameters and attributes.

The sources are read, not imported: some modules of the tests change the product when they are
imported.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REFERENCE = re.compile(r":(?:func|class|data|mod|meth|exc|attr|obj):`~?([\w.]+)`")


def modules() -> dict[str, tuple[Path, ast.Module]]:
    """Return all modules of ours by their names."""
    paths = [
        path for top in ("orders_dask", "tests") for path in sorted((ROOT / top).rglob("*.py"))
    ]
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): (
            path.relative_to(ROOT),
            ast.parse(path.read_text()),
        )
        for path in paths
    }


def names(body: Iterable[ast.stmt], scope: str) -> Iterator[str]:
    """Yield the full names of what a module or class defines or imports."""
    for node in body:
        match node:
            case ast.ClassDef():
                yield f"{scope}.{node.name}"
                yield from names(node.body, f"{scope}.{node.name}")
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield f"{scope}.{node.name}"
            case ast.Import() | ast.ImportFrom():
                yield from (f"{scope}.{each.asname or each.name}" for each in node.names)
            case ast.Assign() | ast.AnnAssign():
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for part in (part for target in targets for part in ast.walk(target)):
                    if isinstance(part, ast.Name):
                        yield f"{scope}.{part.id}"
            case ast.If():  # TYPE_CHECKING
                yield from names([*node.body, *node.orelse], scope)


def references(node: ast.AST, scope: str) -> Iterator[tuple[str, int, str]]:
    """Yield each reference with its line, and with the class or module that it is in."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield from ((scope, child.lineno, name) for name in REFERENCE.findall(child.value))
        inner = f"{scope}.{child.name}" if isinstance(child, ast.ClassDef) else scope
        yield from references(child, inner)


@pytest.mark.parametrize("top", ["orders_dask", "tests"])
def test_every_reference_in_a_docstring_names_what_is_there(top: str) -> None:
    ours = modules()
    known = {name for module, (_, tree) in ours.items() for name in names(tree.body, module)}
    known |= ours.keys()
    found, broken = 0, []
    for module, (path, tree) in ours.items():
        package = module if path.stem == "__init__" else module.rpartition(".")[0]
        for scope, line, name in references(tree, module):
            meant = (
                {package + name}
                if name.startswith(".")
                else {name, f"{scope}.{name}", f"{module}.{name}"}
            )
            found += module.startswith(top)
            if module.startswith(top) and not meant & known:
                broken.append(f"{path}:{line}: {name}")
    assert found, "no reference was looked at"
    assert not broken, "\n".join(["these docstrings refer to what isn't there:", *broken])


def described(docstring: str, section: str) -> set[str]:
    """Return the names that a section of a docstring describes, without the stars of ``*args``."""
    docscrape = pytest.importorskip("numpydoc.docscrape", reason="numpydoc is in the extra docs")
    entries = docscrape.NumpyDocString(docstring)[section]
    return {name.lstrip("*") for each in entries for name in (each.name or each.type).split(", ")}


def test_docstrings_describe_parameters_and_attributes_by_their_names() -> None:
    wrong = []
    for module, (path, tree) in modules().items():
        for node in ast.walk(tree):
            if not isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                continue
            docstring = ast.get_docstring(node) or ""
            if isinstance(node, ast.ClassDef):
                section, there = "Attributes", set(names(node.body, ""))
                there = {name.removeprefix(".") for name in there}
            else:
                section, there = (
                    "Parameters",
                    {arg.arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg)},
                )
            if f"{section}\n---" in docstring and module.startswith("orders_dask"):
                wrong += [
                    f"{path}:{node.lineno}: {name}"
                    for name in sorted(described(docstring, section) - there)
                ]
    assert not wrong, "\n".join(["these docstrings describe what isn't there:", *wrong])
