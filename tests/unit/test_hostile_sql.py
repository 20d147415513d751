"""No SQL is joined from strings: ruff's S608 looks at text, this test at the called function."""

from __future__ import annotations

import ast
from pathlib import Path

import orders_dask

PACKAGE = Path(orders_dask.__file__).parent
TAKE_SQL = {
    *("text", "SQL", "literal_column", "DDL"),
    *("exec_driver_sql", "execute", "executemany", "copy_expert", "scalar"),
}


def joined(given: ast.expr) -> bool:
    """Return whether an expression joins text: f-string, ``%``, ``+``, ``format`` or ``join``."""
    if isinstance(given, ast.Call) and isinstance(given.func, ast.Attribute):
        composed = any(
            isinstance(part, ast.Attribute) and part.attr == "SQL" for part in ast.walk(given.func)
        )
        return given.func.attr in {"format", "join", "replace"} and not composed
    if isinstance(given, ast.BinOp):
        return isinstance(given.op, ast.Add | ast.Mod)
    return isinstance(given, ast.JoinedStr)


def found(source: str) -> list[int]:
    """Return the lines that pass joined text, or a name of it, to a function that takes SQL."""
    tree = ast.parse(source)
    names = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value and joined(node.value)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args)
    return [
        call.lineno
        for call in calls
        if getattr(call.func, "attr", getattr(call.func, "id", "")) in TAKE_SQL
        and (
            joined(call.args[0])
            or (isinstance(call.args[0], ast.Name) and call.args[0].id in names)
        )
    ]


def test_no_sql_is_joined_from_strings_anywhere() -> None:
    assert {
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in PACKAGE.rglob("*.py")
        for line in found(path.read_text())
    } == set()


def test_sql_that_is_joined_would_be_found() -> None:
    joined_ones = (
        'text(f"select {a}")',
        'c.execute("select %s" % a)',
        'c.execute("select " + a, b)',
        'sql.SQL("select {}".format(a))',
        'q = f"select {a}"\nc.execute(q)',
        'c.exec_driver_sql(", ".join(a))',
    )
    assert [found(source) for source in joined_ones] == [[1], [1], [1], [1], [2], [1]]
    good = (
        'c.execute(sql.SQL("drop table {}").format(sql.Identifier(a)))\n'
        'c.execute(text("select :a"), {"a": a})'
    )
    assert found(good) == []
