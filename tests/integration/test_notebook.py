"""docs/notebook.md runs beside a PostgreSQL and an S3 server, and shows its own results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

DOCS: Final = Path(__file__).parents[2] / "docs"


@pytest.mark.slow
def test_the_notebook_runs_and_its_page_and_pictures_are_current() -> None:
    ended = subprocess.run(
        [sys.executable, DOCS / "generate_notebook.py", "--check"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr


def test_the_notebook_opens_as_cells_of_code_and_text() -> None:
    from jupytext import read

    cells = read(DOCS / "notebook.md").cells
    assert [cell.cell_type for cell in cells[:2]] == ["markdown", "code"]
    assert not [cell.source for cell in cells if cell.source.startswith("<!--")]
