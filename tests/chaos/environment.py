"""What a case needs: services behind proxies, a cluster, an old day, and the expected result."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from psycopg2 import sql
from pydantic import SecretStr
from sqlalchemy import Engine

from orders_dask.load.connect import engine
from orders_dask.sandbox.services import BUCKET
from orders_dask.settings import Settings
from tests.chaos import checks, dumps
from tests.chaos.cluster import Cluster
from tests.chaos.commands import Command, Commands
from tests.chaos.failpoint_control import Failpoints
from tests.chaos.reader import State, read_state
from tests.chaos.servers import Servers, servers
from tests.support import REPOSITORY
from tests.support.proxy import Loop, PostgresProxy, S3Proxy
from tests.support.services import administer, bucket_of, is_setting, server_of

DATABASE: Final = "chaos"
"""The database of all cases: workers have its name in their environment, and outlive a case."""
TEMPLATE: Final = "chaos_old"
"""The database as it is before each case."""


class ChaosEnvironment:
    """Services, proxies and cluster of a test process, and the expected content of the run dates.

    Parameters
    ----------
    folder
        For files that the processes write.
    running
        The servers.
    loop
        Where the proxies run.

    Attributes
    ----------
    url
        URL of the database, straight to the server.
    environment
        Variables of every process: the settings of the product, which point at the proxies.
    before, after
        What a reader of the day sees before a case, and after it.
    undisturbed
        The content of all tables and views after a run without a fault.
    """

    def __init__(self, folder: Path, running: Servers, loop: Loop) -> None:
        self.folder, self.servers = folder, running
        direct = running.environment
        self.postgres = PostgresProxy(loop, int(direct["_PGSQL_PORT"]))
        self.s3 = S3Proxy(loop, int(direct["AWS_ENDPOINT_URL_S3"].rpartition(":")[2]))
        (folder / "failpoints").mkdir()
        self.failpoints = Failpoints(folder / "failpoints")
        self.bucket = bucket_of(direct)
        self.url = server_of(direct) + DATABASE
        inherited = {name: value for name, value in os.environ.items() if not is_setting(name)}
        self.environment = (
            inherited
            | direct
            | {
                "_PGSQL_PORT": str(self.postgres.port),
                "_PGSQL_DATABASE": DATABASE,
                "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.s3.port}",
                "_AWS_S3_URL_SOURCE": source_of("new"),
                "ORDERS_DASK_BLOCK_SIZE": dumps.BLOCK_SIZE,
                "CHAOS_FOLDER": str(folder / "failpoints"),
                "PYTHONPATH": str(REPOSITORY),
            }
        )
        self.cluster = Cluster(folder, self.environment)
        self._commands = Commands(folder, REPOSITORY, self.environment, self.cluster.thread_dump)

    def prepare(self) -> None:
        """Publish the old day, save that database as a template, then publish the new day."""
        for name, files in (("old", dumps.old()), ("new", dumps.new()), ("many", dumps.many())):
            for file, content in files.items():
                self.bucket.pipe_file(f"{BUCKET}/{name}/{file}", content)
        self.cluster.start()
        self._administer("create database {}", DATABASE)
        assert self.command("init").end().code == 0
        days = ("--from", str(dumps.DAY), "--to", str(dumps.OTHER))
        first = self.run(*days, name="backfill", dump="old", stage="stage-old").end()
        assert first.code == 0, first.output
        self._administer("create database {} template {}", TEMPLATE, DATABASE)
        self.before: State = read_state(self.url, str(dumps.DAY))
        second = self.run(stage="stage-reference").end()
        assert second.code == 0, second.output
        self.after: State = read_state(self.url, str(dumps.DAY))
        assert self.before != self.after
        self.undisturbed = checks.contents(self.url)

    def close(self) -> None:
        """Stop all that it started."""
        self.cluster.stop()
        self._commands.close()
        self.postgres.close()
        self.s3.close()

    def reset(self) -> str:
        """Restore the old day, clear all faults, and return the name of a new stage."""
        self.failpoints.clear()
        self.s3.clear_faults()
        self.postgres.release(lose=False)
        self.cluster.restart_unless_idle()
        self._administer("drop database if exists {} with (force)", DATABASE)
        self._administer("create database {} template {} strategy file_copy", DATABASE, TEMPLATE)
        return f"stage-{uuid.uuid4().hex[:12]}"

    def _administer(self, statement: str, *names: str) -> None:
        made = sql.SQL(statement).format(*map(sql.Identifier, names))
        administer(self.servers.environment, made)

    def engine(self) -> Engine:
        """Return an engine for the database, straight to the server."""
        direct = self.servers.environment
        settings = Settings(
            pgsql_hostname=direct["_PGSQL_HOSTNAME"],
            pgsql_port=int(direct["_PGSQL_PORT"]),
            pgsql_user=direct["_PGSQL_USER"],
            pgsql_pass=SecretStr(direct["_PGSQL_PASS"]),
            pgsql_database=DATABASE,
            source=source_of("new"),
        )
        return engine(settings)

    # Commands.

    def command(self, *arguments: str, **environment: str) -> Command:
        """Start a command of the product with the failpoints installed."""
        return self._commands.start(*arguments, environment=self.environment | environment)

    def files(self, stage: str) -> tuple[AbstractFileSystem, str]:
        """Return the file system of a stage, and its folder there."""
        if _is_url(stage):
            return url_to_fs(stage)  # type: ignore[no-any-return]
        return self.bucket, f"{BUCKET}/{stage}"

    def run(
        self,
        *dates: str,
        stage: str,
        name: str = "run",
        dump: str = "new",
        cluster: tuple[str, str] | None = None,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> Command:
        """Start ``run`` of the day, or another command, on the cluster.

        Parameters
        ----------
        dates
            Options that name the run dates.
        stage
            A folder of the bucket, or a URL.
        name
            The command.
        dump
            Which of the dumps.
        cluster
            The option that names the cluster, if it is another one.
        variables
            Further variables of the command.
        """
        dates = dates or ("--run-date", str(dumps.DAY))
        variables = {
            "_AWS_S3_URL_SOURCE": source_of(dump),
            "ORDERS_DASK_STAGE_URL": stage if _is_url(stage) else f"s3://{BUCKET}/{stage}",
            **variables,
        }
        cluster = cluster or ("--scheduler", self.cluster.address)
        return self.command(name, *dates, *cluster, **variables)


@contextmanager
def chaos_environment(folder: Path) -> Iterator[ChaosEnvironment]:
    """Yield a prepared environment, and stop it when the block ends."""
    with servers() as running:
        loop = Loop()
        environment = ChaosEnvironment(folder, running, loop)
        try:
            environment.prepare()
            yield environment
        finally:
            environment.close()
            loop.close()


def _is_url(stage: str) -> bool:
    return "://" in stage


def source_of(dump: str) -> str:
    """Return the source URL of a dump."""
    return f"s3://{BUCKET}/{dump}/run_date={{run_date}}/"
