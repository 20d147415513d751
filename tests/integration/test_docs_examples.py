"""Commands, Python examples and queries of the pages work, in the order of each page."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Final
from unittest.mock import patch

import dask
import pytest
from distributed import LocalCluster
from markdown_it import MarkdownIt
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from orders_dask.cli import app
from orders_dask.cli.demo import DAYS, DEFECTS
from orders_dask.sandbox import Sandbox
from orders_dask.synthetic import generate

ROOT: Final = Path(__file__).parents[2]
NOT_HERE: Final = {"docs/cli.md", "docs/notebook.md", "docs/roles.md"}
"""Pages of usage lines, of cells and of statements for administrators, which test_notebook and
test_roles cover."""

OWN_SERVICES: Final = ("make ", "orders-dask sandbox ", "orders-dask demo")
"""Commands that start services of their own; other tests cover them."""


README: Final = (ROOT / "README.md").read_text()


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return the code blocks of a page, each with its language."""
    fences = (token for token in MarkdownIt().parse(page.read_text()) if token.type == "fence")
    return [(fence.info.strip(), fence.content) for fence in fences]


PAGES: Final = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if {language for language, _ in blocks(page)} & {"console", "python"}
    and str(page.relative_to(ROOT)) not in NOT_HERE
]


def commands(block: str) -> Iterator[str]:
    """Yield the commands of a block, except those with services of their own."""
    for command in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        if not command.startswith(OWN_SERVICES):
            yield command


def call(command: str) -> None:
    """Run ``orders-dask`` in this process; it must end with exit code 0."""
    program, *arguments = shlex.split(command, comments=True)
    assert program == "orders-dask", f"this test can't run {command!r}"
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == 0, f"{command}\n{ended.output}"


def execute(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a script in this process, as the main module."""
    main = ModuleType("__main__")
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "__main__", main)
        exec(compile(script, "example", "exec"), main.__dict__)


@pytest.fixture(scope="module")
def dump(services: Sandbox) -> str:
    """Return the source URL of three days from 2026-10-01 on, with all kinds of defects."""
    bucket = services.environment["_AWS_S3_URL_SOURCE"]
    with patch.dict(os.environ, services.environment):
        made = generate(
            f"{bucket}docs/", start=date(2026, 10, 1), days=3, orders=500, defects=0.001
        )
    return made.source


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Yield the address of a cluster in this process: others take a minute to start and end."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def shop(
    environment: dict[str, str],
    owner_login: dict[str, str],
    dump: str,
    scheduler: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[None]:
    """Set an empty database, the dump and a cluster for commands and scripts."""
    settings = {**owner_login, "_AWS_S3_URL_SOURCE": dump, "DASK_SCHEDULER_ADDRESS": scheduler}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    # A client of another test may have left its scheduler in this process's configuration.
    with dask.config.set(scheduler_address=scheduler, scheduler=None):
        yield


@pytest.mark.slow
def test_the_readme_shows_the_rows_of_the_demo(
    shop: None, owner: Engine, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = generate(source, start=DAYS[0], days=len(DAYS), orders=3_000, defects=DEFECTS)
    monkeypatch.setenv("_AWS_S3_URL_SOURCE", made.source)
    call("orders-dask init")
    call(f"orders-dask backfill --from {DAYS[0]} --to {DAYS[-1]}")
    [query] = [content for language, content in blocks(ROOT / "README.md") if language == "sql"]
    with owner.connect() as connection:
        rows = [[str(value) for value in row] for row in connection.execute(text(query))]
    table = [line.split("|") for line in README.splitlines() if line.startswith(" 2026-")]
    assert [[cell.strip() for cell in line] for line in table] == rows, "run `make demo` and copy"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_shows_works(
    page: Path, shop: None, owner: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = blocks(page)
    shown = "".join(content for _, content in parts)
    if "orders-dask init" not in shown:
        call("orders-dask init")
    if "backfill" not in shown:
        call("orders-dask backfill --from 2026-10-01 --to 2026-10-03")
    for language, content in parts:
        if language == "console":
            for command in commands(content):
                call(command)
        elif language == "python":
            execute(content, monkeypatch)
    # Last, because the README shows queries before the commands that load.
    with owner.connect() as connection:
        for language, content in parts:
            if language == "sql":
                connection.execute(text(content.replace(":", r"\:")))
