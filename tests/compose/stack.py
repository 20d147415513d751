"""A project of Compose: its services, commands on it, and what its database holds."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.support.waiting import until

IMAGE = "orders-dask:test"

DAYS = ("2026-03-01", "2026-03-02", "2026-03-03")
BACKFILL = ("backfill", "--from", DAYS[0], "--to", DAYS[-1], "--force")
SMALL_BLOCKS = {"ORDERS_DASK_BLOCK_SIZE": "2MiB"}
"""Settings that cut a day into many tasks, so that a fault meets some of them."""

WITH_TLS = ["docker-compose.yml", "deploy/compose/tls.yml"]
"""Compose files: each may change what those before it say."""

VIEWS = """
select table_name from information_schema.views where table_schema = 'orders' order by table_name
"""

ROWS = "select count(*) from orders.{} where run_date = '{}'"

CONTENT = """
select count(*), md5(string_agg(row, chr(10) order by row))
from (select (to_jsonb(v) - 'source_file_id')::text as row from orders.{} v) as rows
"""
"""The ids of files are those of a load: every load has others."""

Expected = dict[str, dict[str, Any]]
"""By run date, what the generator says that a load must find."""

Contents = dict[str, list[str]]


def docker(*arguments: str, **options: Any) -> str:
    """Run ``docker ...`` and return what it prints."""
    ended: subprocess.CompletedProcess[str] = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, **options
    )
    assert ended.returncode == 0, f"docker {' '.join(arguments)}: {ended.stdout}{ended.stderr}"
    return ended.stdout


def iter_until(text: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield lines up to the first one with a text in it."""
    for line in lines:
        yield line
        if text in line:
            return


@dataclass
class Stack:
    """A running project.

    Attributes
    ----------
    folder
        Folder with copies of the files. The repository's own may have an ``.env`` with somebody's
        real database.
    variables
        Variables for Compose: the project's name, the image and the ports.
    secret
        The secret of all its services.
    files
        Compose files.
    """

    folder: Path
    variables: dict[str, str]
    secret: str
    files: list[str] = field(default_factory=lambda: ["docker-compose.yml"])

    def compose(self, *arguments: str, timeout: float = 180) -> str:
        """Run ``docker compose ...`` and return what it prints."""
        return docker(
            *self._files(), *arguments, env=self._environment(), cwd=self.folder, timeout=timeout
        )

    def _files(self) -> list[str]:
        return ["compose", *(f"--file={file}" for file in self.files)]

    def _environment(self) -> dict[str, str]:
        """Return the variables of the Docker client, and none that change the project."""
        return {
            name: value
            for name, value in os.environ.items()
            if name in ("HOME", "PATH") or name.startswith("DOCKER_")
        } | self.variables

    def has_workers(self, count: int) -> None:
        """Wait until the scheduler has as many workers."""
        until(lambda: self.workers() == count, 90, f"the scheduler doesn't have {count} workers")

    def up(self, *arguments: str) -> None:
        """Start what isn't running, and wait until it is healthy."""
        self.compose("up", "--detach", "--wait", "--no-build", "--quiet-pull", *arguments)

    @contextmanager
    def started(self, *words: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
        """Yield ``orders-dask ...`` in a container; it is killed if it still runs at the end."""
        settings = (f"--env={name}={value}" for name, value in environment.items())
        with subprocess.Popen(
            ["docker", *self._files(), "run", "--rm", "--no-TTY", *settings, "orders", *words],
            env=self._environment(),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def orders(self, *words: str, **environment: str) -> str:
        """Run ``orders-dask ...`` in a container and return what it prints on standard output."""
        code, out, err = self.ended(*words, **environment)
        assert code == 0, f"exit code {code}: {out}{err}"
        return out

    def ended(self, *words: str, **environment: str) -> tuple[int, str, str]:
        """Run ``orders-dask ...`` in a container; return its exit code and what it prints."""
        with self.started(*words, **environment) as process:
            out, err = process.communicate(timeout=240)
            return process.returncode, out, err

    def reload(self, disturb: Callable[[], object], *codes: int) -> int:
        """Load the days once more from the dump, and disturb that when it has begun.

        With one of the exit codes `codes` the same command is given again.

        Returns
        -------
        int
            The exit code of the disturbed command.
        """
        before = self.loads()
        settings = SMALL_BLOCKS | {"ORDERS_DASK_STAGE_URL": f"s3://orders/{uuid.uuid4().hex}"}
        with self.started(*BACKFILL, **settings) as process:
            assert process.stderr
            shown = list(iter_until(" discover ", process.stderr))
            assert process.poll() is None, "".join(shown)
            disturb()
            out, err = process.communicate(timeout=240)
        code = process.returncode
        assert code in (0, *codes), f"exit code {code}: {''.join(shown)}{out}{err}"
        if code:
            self.orders(*BACKFILL, **settings)
        remaining = {*before} & {*self.loads()}
        assert not remaining, f"{len(remaining)} days were not loaded once more: {out}{err}"
        return code

    def shell(self, commands: str) -> None:
        """Run commands of the documentation in the folder of the project."""
        ended = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", commands],
            env=self._environment(),
            cwd=self.folder,
            timeout=180,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, f"{commands}: {ended.stdout}{ended.stderr}"

    def container(self, service: str) -> str:
        """Return the id of a container of a service."""
        return self.compose("ps", "--all", "--quiet", "--no-trunc", service).split()[0]

    def workers(self) -> int:
        """Return the number of workers that the scheduler has now, 0 where it doesn't answer."""
        port = self.variables["DASHBOARD_PORT"]
        with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/json/counts.json") as answer:
            return int(json.load(answer)["workers"])
        return 0

    def query(self, statement: str) -> list[str]:
        """Return the lines of an SQL query's result, on the server itself."""
        psql = ("psql", "--username=orders", "--no-align", "--tuples-only", "--command", statement)
        return self.compose("exec", "--no-TTY", "postgres", *psql).splitlines()

    def rows(self, fact: str, run_date: str) -> int:
        """Return the number of rows of a run date in a fact."""
        [count] = self.query(ROWS.format(fact, run_date))
        return int(count)

    def contents(self) -> Contents:
        """Return the number of rows of each view, and a hash of their values."""
        return {name: self.query(CONTENT.format(name)) for name in self.query(VIEWS)}

    def loads(self) -> list[str]:
        """Return the ids of the published loads."""
        return self.query("select load_id from orders_ops.load_run where status = 'published'")
