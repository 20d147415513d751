"""Run the notebook docs/notebook.md, and write its results into the page and its pictures.

``python docs/generate_notebook.py`` loads a synthetic shop into a sandbox, runs all cells as
Jupyter does, and writes the text that a cell prints below the cell, and what it draws into the
picture that the page shows next. With ``--check`` it writes nothing, and ends with one sentence
that names the files that are stale. A cell that fails ends it with the cell and its error.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from unittest.mock import patch

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "notebook.md"

RESULT: Final = re.compile(r"\A\n*```text\n(.*?)```\n", re.DOTALL)
"""The result of a cell, at the beginning of the text that follows it."""

PICTURE: Final = re.compile(r"\A\n*!\[[^]]*\]\(([^)]+)\)")

SET_UP: Final = """
%config InlineBackend.figure_formats = ["svg"]
%config InlineBackend.print_figure_kwargs = {"bbox_inches": None, "metadata": {"Date": None}}
import matplotlib
matplotlib.rcParams["svg.hashsalt"] = "orders_dask"  # ids that are the same each time
"""

NUMBER: Final = re.compile(r"-?\d+\.\d+")
DRAWN_BY: Final = re.compile(r"Matplotlib v[\d.]+")


def main() -> None:
    """Write the files, or check them."""
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("Usage: python docs/generate_notebook.py [--check]")
    files = current_files()
    if sys.argv[1:]:
        stale = [path.relative_to(ROOT) for path, text in files.items() if _is_stale(path, text)]
        if stale:
            names = ", ".join(map(str, stale))
            sys.exit(f"Stale: {names}. Run `make notebook`.")
    else:
        for path, text in files.items():
            path.write_text(text, encoding="utf-8")


def current_files() -> dict[Path, str]:
    """Return the content that the page and its pictures should have."""
    from jupytext import read, writes

    notebook = read(PAGE)
    _execute(notebook)
    files = {}
    for cell, following in pairwise(notebook.cells):
        if cell.cell_type != "code":
            continue
        printed = "".join(_texts(cell))
        following.source = RESULT.sub("", following.source)
        if printed:
            following.source = f"```text\n{printed}```\n\n{following.source.lstrip()}"
        drawn = [data["image/svg+xml"] for data in _shown(cell) if "image/svg+xml" in data]
        picture = PICTURE.match(following.source)
        if len(drawn) != int(picture is not None):
            sys.exit(f"A cell draws {len(drawn)} pictures, each shown by the page:\n{cell.source}")
        if picture:
            files[PAGE.parent / picture[1]] = _shortened(drawn[0])
    return {PAGE: writes(notebook, "md")} | files


def _execute(notebook: Any) -> None:
    """Run all cells beside a sandbox that has the shop."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError
    from nbformat.v4 import new_code_cell

    # What this shell has set declares other tables, where they are imported.
    for name in [name for name in os.environ if name.startswith(("ORDERS_DASK_", "_PGSQL_", "PG"))]:
        del os.environ[name]
    from orders_dask.sandbox import sandbox

    with TemporaryDirectory() as folder, sandbox() as services:
        names = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR")
        own = dict.fromkeys(names, folder)
        with patch.dict(os.environ, services.environment | own):
            _load()
            notebook.cells.insert(0, new_code_cell(SET_UP))
            kernel = NotebookClient(notebook, timeout=120, kernel_name="python3")
            kernel.extra_arguments = ["--log-level=ERROR"]  # it warns of TCP, which stays here
            try:
                kernel.execute(cwd=folder)
            except CellExecutionError as error:
                sys.exit(str(error))
            del notebook.cells[0]


def _load() -> None:
    """Load the dumps of the shop, in their order, and become a user who may only read."""
    from distributed import Client, LocalCluster
    from notebook_shop import write_dumps

    from orders_dask import load_settings, run
    from orders_dask.load.connect import engine
    from orders_dask.load.schema import initialise

    folder = f"{os.environ['_AWS_S3_URL_SOURCE']}shop/"
    run_dates = write_dumps(folder)
    os.environ["_AWS_S3_URL_SOURCE"] = f"{folder}run_date={{run_date}}/"
    settings = load_settings()
    database = engine(settings)
    initialise(database, roles=True)
    with database.begin() as connection:
        password = f"password '{settings.pgsql_pass.get_secret_value()}'"
        connection.exec_driver_sql(f"create role analyst login {password} in role orders_reader")
    # In this process: workers of their own take longer to start than to load this.
    with (
        LocalCluster(processes=False, n_workers=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        for run_date in run_dates:
            run(run_date, settings=settings, client=client)
    os.environ["_PGSQL_USER"] = "analyst"


def _texts(cell: Any) -> Iterator[str]:
    """Yield what a cell prints, and its value where that is no picture."""
    for output in cell.outputs:
        if output.output_type == "stream":
            if output.name == "stderr":
                sys.exit(f"A cell warns:\n{cell.source}\n{output.text}")
            yield output.text
        elif "text/plain" in output.data and "image/svg+xml" not in output.data:
            yield output.data["text/plain"] + "\n"


def _shown(cell: Any) -> Iterator[dict[str, str]]:
    for output in cell.outputs:
        if output.output_type in ("display_data", "execute_result"):
            yield output.data


def _shortened(svg: str) -> str:
    """Return a picture with two decimals where lines begin and end, which no eye tells from six."""
    lines = re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE).rstrip()
    ends = re.compile(r"(?<=[ML] )(\S+) (\S+)$", re.MULTILINE)
    return ends.sub(lambda at: " ".join(f"{float(each):.2f}" for each in at.groups()), lines) + "\n"


def _is_stale(path: Path, text: str) -> bool:
    if not path.exists():
        return True
    there = path.read_text(encoding="utf-8")
    if path.suffix != ".svg":
        return there != text
    if DRAWN_BY.findall(there) != DRAWN_BY.findall(text):
        return False  # another version draws the same otherwise
    # Machines round the last digits differently.
    numbers = zip(NUMBER.findall(there), NUMBER.findall(text), strict=False)
    return NUMBER.sub("", there) != NUMBER.sub("", text) or any(
        abs(float(old) - float(new)) > 0.05 for old, new in numbers
    )


if __name__ == "__main__":
    main()
