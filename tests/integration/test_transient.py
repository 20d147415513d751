"""Errors of PostgreSQL are transient or terminal, and transient ones are retried."""

from __future__ import annotations

import time
from contextlib import closing
from threading import Timer

import psycopg2
import pytest
from psycopg2 import sql
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from orders_dask.errors import LeaseLost, ServiceUnavailable, SettingsError
from orders_dask.ledger import leases
from orders_dask.load.connect import engine
from orders_dask.publish.publish import publish
from orders_dask.retry import retry_transient
from orders_dask.settings import Settings
from tests.support.loads import DAY, begin, verified
from tests.support.types import Query

_RAISE = "do $$ begin raise exception using errcode = '{}', message = 'as asked'; end $$"


@pytest.mark.parametrize(
    "code", ["08006", "40001", "40P01", "53100", "53200", "53300", "55P03", "57014", "57P01"]
)
def test_transient_errors_mean_that_the_service_is_unavailable(
    settings: Settings, code: str
) -> None:
    with engine(settings).connect() as connection, pytest.raises(ServiceUnavailable):
        connection.execute(text(_RAISE.format(code)))


@pytest.mark.parametrize("code", ["22003", "23505", "42601"])
def test_a_fault_of_ours_stays_one(settings: Settings, code: str) -> None:
    with engine(settings).connect() as connection, pytest.raises(DBAPIError):
        connection.execute(text(_RAISE.format(code)))


def test_a_read_only_database_is_a_settings_error(settings: Settings) -> None:
    with engine(settings).connect() as connection:
        connection.execute(text("set transaction read only"))
        with pytest.raises(SettingsError, match="name a primary server"):
            connection.execute(text("create table orders_store.there_is_none ()"))


def test_timeouts_that_a_database_sets_end_no_session_of_ours(
    settings: Settings, database: str
) -> None:
    timeouts = ("statement", "lock", "idle_in_transaction_session", "idle_session", "transaction")
    with closing(psycopg2.connect(database)) as owner:
        owner.autocommit = True
        for timeout in timeouts:
            statement = sql.SQL("alter database {} set {} = '100ms'").format(
                sql.Identifier(settings.pgsql_database), sql.Identifier(f"{timeout}_timeout")
            )
            owner.cursor().execute(statement)
    with engine(settings).connect() as connection:
        assert connection.scalar(text("select 1 from pg_sleep(0.3)")) == 1
        time.sleep(0.3)
        assert connection.scalar(text("select 2")) == 2
        connection.rollback()
        time.sleep(0.3)
        assert connection.scalar(text("select 3")) == 3


def test_a_server_without_a_free_connection_is_waited_for(
    settings: Settings, database: str
) -> None:
    """PostgreSQL's 53300 reaches libpq without its code. The limit doesn't bind superusers."""
    with closing(psycopg2.connect(database)) as owner:
        owner.autocommit = True

        def limit(connections: int) -> None:
            statement = sql.SQL("alter database {} connection limit {}")
            name = sql.Identifier(settings.pgsql_database)
            owner.cursor().execute(statement.format(name, sql.Literal(connections)))

        limit(0)
        with pytest.raises(ServiceUnavailable, match="too many connections"):
            engine(settings).connect()
        unlimited = Timer(1.0, limit, [-1])
        unlimited.start()
        retry_transient(engine(settings).connect)().close()
        unlimited.join()


def test_a_session_that_reconnected_has_no_lease(warehouse: Engine, query: Query) -> None:
    with leases.acquire_lease(warehouse, DAY) as lease:
        load_id = verified(lease, {"fact_order": [{"order_id": 1}]})
        session = lease.connection.connection.driver_connection
        pid = session.info.backend_pid  # type: ignore[union-attr]
        query("select pg_terminate_backend(:pid)", pid=pid)
        with pytest.raises(ServiceUnavailable):
            publish(lease, load_id)
        with pytest.raises(LeaseLost, match="lost its hold on run date 2017-11-03"):
            publish(lease, load_id)
    assert query("select * from orders.fact_order") == []


def test_a_session_whose_lock_was_released_can_write_nothing(
    warehouse: Engine, query: Query
) -> None:
    with leases.acquire_lease(warehouse, DAY) as lease:
        with lease.connection.begin():
            lease.connection.execute(text("select pg_advisory_unlock_all()"))
        with pytest.raises(LeaseLost):
            begin(lease)
    assert query("select * from orders_ops.load_run") == []
