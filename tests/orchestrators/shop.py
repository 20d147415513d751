"""A shop's dumps in a real S3 server, its tables in a real PostgreSQL, and the real command."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from urllib.request import Request, urlopen

import pytest

from tests.support import REPOSITORY, waiting

DEPLOY = REPOSITORY / "deploy"
SHOP_TIMEZONE = "America/New_York"


def real_command() -> str:
    """Return the path of the project's `orders-dask`, which is no part of this environment."""
    found = shutil.which("orders-dask")
    assert found, "orders-dask is not on PATH: run these tests by `make test-orchestrators`"
    return found


@contextmanager
def sandbox(command: str) -> Iterator[dict[str, str]]:
    """Start `orders-dask sandbox` with the tables made, and yield its settings."""
    with subprocess.Popen(
        [command, "sandbox"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        settings: dict[str, str] = {}
        seen = []
        for line in process.stdout:
            seen.append(line)
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").partition("=")
                settings[name] = shlex.split(value)[0]
            elif line.startswith("PostgreSQL and S3 are running"):
                break
        else:
            raise AssertionError("the sandbox did not start:\n" + "".join(seen))
        try:
            subprocess.run([command, "init"], env=os.environ | settings, check=True)
            yield settings
        finally:
            process.terminate()


@dataclass(frozen=True)
class Shop:
    """The dumps and tables of one test.

    Attributes
    ----------
    command
        Path of the real `orders-dask`.
    bucket
        URL of the folder for this test's dumps.
    records
        File in which the commands that an orchestrator ran are recorded.
    """

    command: str
    bucket: str
    records: Path

    def export(self, run_date: str, days: int = 1, orders: int = 50, *more: str) -> None:
        """Export the dumps of some days to S3, as the shop's own system would."""
        self._call(
            *("generate", self.bucket, "--start", run_date, "--days", str(days)),
            *("--orders", str(orders), "--files-per-day", "1", *more),
        )

    def export_refused(self, run_date: str) -> None:
        """Export a dump of which more is rejected than is allowed."""
        self.export(run_date, 1, 50, "--defect", "bad_order_id=0.5")

    def statuses(self) -> dict[str, str]:
        """Return the status of each run date in the ledger."""
        return {
            day["run_date"]: day["status"] for day in json.loads(self._call("status", "--json"))
        }

    def commands(self) -> list[dict[str, Any]]:
        """Return the commands that have ended: arguments, signals and exit code."""
        if not self.records.exists():
            return []
        return [json.loads(line) for line in self.records.read_text().splitlines()]

    def runs(self) -> list[tuple[str, int]]:
        """Return the dates and the exit code of each command that has ended."""
        return [
            (" ".join(filter(is_date, command["arguments"])), command["exit_code"])
            for command in self.commands()
        ]

    def _call(self, *arguments: str) -> str:
        return subprocess.run(
            [self.command, *arguments], check=True, stdout=subprocess.PIPE, text=True
        ).stdout


def export_settings(services: dict[str, str], folder: Path, patch: pytest.MonkeyPatch) -> Shop:
    """Return a shop with a folder of its own in the bucket, and put it into the environment."""
    made = Shop(
        command=os.environ["REAL_ORDERS_DASK"],
        bucket=f"{services['_AWS_S3_URL_SOURCE']}{uuid.uuid4().hex}/",
        records=folder / "commands.jsonl",
    )
    patch.setenv("_AWS_S3_URL_SOURCE", f"{made.bucket}run_date={{run_date}}/")
    patch.setenv("RECORDED_COMMANDS", str(made.records))
    return made


def is_date(text: str) -> bool:
    """Return whether a text is a date."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def edited_copy(module: str, folder: Path, **constants: str) -> Path:
    """Copy a module of deploy/ into a folder, and edit its constants as a user would."""
    source = (DEPLOY / module).read_text()
    lines = source.splitlines()
    for name, value in constants.items():
        [index] = [n for n, line in enumerate(lines) if line.startswith(f"{name} = ")]
        lines[index] = f"{name} = {value}"
    folder.mkdir(parents=True, exist_ok=True)
    copied = folder / Path(module).name
    copied.write_text("\n".join(lines) + "\n")
    return copied


def import_file(path: Path) -> ModuleType:
    """Import a module from its file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def exported_after_an_attempt(shop: Shop, run_date: str) -> Iterator[None]:
    """Export a day's dump as soon as a command has ended without it."""

    def export() -> None:
        until(shop.commands, 120, "no command has ended")
        shop.export(run_date)

    thread = threading.Thread(target=export)
    thread.start()
    yield
    thread.join()


@contextmanager
def running(
    *command: str, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server while a block lasts, with its output in a file."""
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            stop_group(process)


def free_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def get_json(url: str, **headers: str) -> Any:
    """Return what a server answers, or None if it answers nothing yet or has no such thing."""
    try:
        with urlopen(Request(url, headers=headers), timeout=30) as answer:
            return json.load(answer)
    except OSError:  # HTTPError and a refused connection are
        return None


def post_json(url: str, body: object, method: str = "POST", **headers: str) -> Any:
    """Send JSON to a server, and return its answer."""
    content = json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **headers}
    with urlopen(Request(url, content, headers, method=method), timeout=60) as answer:
        return json.load(answer)


def stop_group(process: subprocess.Popen[bytes]) -> None:
    """End a server, and what it started in its session, by their process group."""
    for number, seconds in ((signal.SIGTERM, 20), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, number)
            process.wait(seconds)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


until: Final = partial(waiting.until, pause=0.5)
"""Wait as other tests do, at a pace that a web server of an orchestrator bears."""
