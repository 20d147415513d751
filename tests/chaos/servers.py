"""A real PostgreSQL and a real S3 server that a test can crash and restart."""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from orders_dask.sandbox import supervise
from orders_dask.sandbox.services import (
    ADDRESS,
    BUCKET,
    DATABASE,
    LISTENERS,
    USER,
    free_ports,
    postgres_service,
    weed_service,
)
from orders_dask.sandbox.supervise import Service
from tests.support.services import bucket_of, server_of

START_SECONDS = 60


class Server:
    """A service under a supervisor of its own, which stops it when this process ends in any way.

    Parameters
    ----------
    folder
        Where the supervisor has its lock.
    service
        What to start. Its stop signal is the hard one: SIGQUIT (immediate shutdown) for PostgreSQL,
        SIGKILL for the S3 server.
    ready
        Returns whether it answers.
    """

    def __init__(self, folder: Path, service: Service, ready: Callable[[], bool]) -> None:
        self._folder, self._service, self._ready = folder, service, ready
        self._supervisor: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._supervisor = subprocess.Popen(
            [sys.executable, "-I", "-S", supervise.__file__, self._folder, "keep"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            cwd="/",
            start_new_session=True,
        )
        assert self._supervisor.stdin
        self._supervisor.stdin.write(json.dumps([self._service]) + "\n")
        self._supervisor.stdin.flush()
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            assert time.monotonic() < deadline, Path(self._service.log).read_text()[-3000:]
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it hard, and wait for its end."""
        if self._supervisor:
            assert self._supervisor.stdin
            self._supervisor.stdin.close()
            self._supervisor.wait()
            self._supervisor = None

    def crash(self) -> None:
        """Stop it hard and start it again."""
        self.stop()
        self.start()


@dataclass(frozen=True)
class Servers:
    """Both servers, and the settings that reach them directly."""

    postgres: Server
    s3: Server
    environment: dict[str, str]


@contextmanager
def servers() -> Iterator[Servers]:
    """Yield both servers in a temporary folder, and stop them when the block ends."""
    with ExitStack() as stack:
        # Not pytest's folder: the PostgreSQL of root runs as nobody, who can't enter that one.
        folder = Path(tempfile.mkdtemp(prefix="orders-dask-chaos-", dir="/tmp"))
        folder.chmod(0o711)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        ports = dict(zip(LISTENERS, free_ports(), strict=False))
        environment = {
            "_PGSQL_HOSTNAME": ADDRESS,
            "_PGSQL_PORT": str(ports["postgres"]),
            "_PGSQL_USER": USER,
            "_PGSQL_PASS": secrets.token_hex(16),
            "_PGSQL_DATABASE": DATABASE,
            "PGSSLMODE": "disable",
            "AWS_ENDPOINT_URL_S3": f"http://{ADDRESS}:{ports['s3']}",
            "AWS_ACCESS_KEY_ID": secrets.token_hex(16),
            "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
            "_AWS_S3_URL_SOURCE": f"s3://{BUCKET}/",
        }
        bucket = bucket_of(environment)

        def database_ready() -> bool:
            try:
                psycopg2.connect(server_of(environment) + "postgres", connect_timeout=5).close()
            except psycopg2.OperationalError:
                return False
            return True

        def bucket_ready() -> bool:
            try:
                with closing(socket.create_connection((ADDRESS, ports["s3"]), timeout=5)):
                    # An object must be readable: the volumes come back a moment after the port.
                    bucket.pipe_file(f"{BUCKET}/ready", b"ready")
                    return bytes(bucket.cat_file(f"{BUCKET}/ready")) == b"ready"
            except OSError:
                return False

        arguments = (folder, False, ports, environment)
        for name in ("postgres", "s3"):
            (folder / f"lock-{name}").mkdir()
        postgres = Server(folder / "lock-postgres", postgres_service(*arguments), database_ready)
        s3 = Server(folder / "lock-s3", weed_service(*arguments), bucket_ready)
        for server in (postgres, s3):
            stack.callback(server.stop)
            server.start()
        yield Servers(postgres, s3, environment)
