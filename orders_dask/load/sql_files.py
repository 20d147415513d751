"""The files of ``sql/``."""

from __future__ import annotations

from pathlib import Path


def sql_file(name: str) -> str:
    """Return a file of ``sql/``: inside this package in a wheel, beside it in a checkout."""
    packaged = Path(__file__).parents[1] / "sql"
    folder = packaged if packaged.is_dir() else packaged.parents[1] / "sql"
    return (folder / name).read_text(encoding="utf-8")
