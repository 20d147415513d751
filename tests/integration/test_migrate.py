"""Upgrading databases that earlier versions made, while people read and runs load."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import date
from typing import NamedTuple

import psycopg2
import pytest
from distributed import Client
from sqlalchemy import Engine, inspect, text

from orders_dask import read_staged
from orders_dask.contract.versions import CONTRACT_VERSION
from orders_dask.errors import DatabaseNotReady, RunDateLocked, SettingsError, TableInUse
from orders_dask.jobs.diff import diff
from orders_dask.jobs.migrate import migrate, plan_migration
from orders_dask.jobs.replay import replay
from orders_dask.jobs.rollback import rollback
from orders_dask.jobs.run import run
from orders_dask.ledger.queries import dates_without, status
from orders_dask.load.partitions import ensure_partitions
from orders_dask.load.ready import ensure_ready
from orders_dask.load.schema import initialise
from orders_dask.migration import execute
from orders_dask.migration.changes import Change
from orders_dask.retention.partitions import drop_marked, mark_for_drop
from orders_dask.sandbox import Sandbox
from orders_dask.settings import Settings
from tests.support.analysts import JOINED, PG_DUMP, WHOLE, Analysts
from tests.support.builders import lines, order
from tests.support.catalogue import catalogue
from tests.support.commands import orders_dask
from tests.support.old_databases import restore
from tests.support.services import as_user, bucket_of

FIRST, MIDDLE, LAST = date(2026, 1, 30), date(2026, 1, 31), date(2026, 2, 1)
PARTITIONS = [date(2026, month, 1) for month in (1, 2, 11, 12)]
"""Those of the database of version 5: of its dates, and of the day of its `init` and the next."""

FIGURES = {
    "orders": "select count(*), sum(total_price), sum(line_count) from orders.order_current",
    "days": (
        "select created_local_date, currency, count(*), sum(unit_count), sum(total_price)"
        " from orders.order_current group by 1, 2 order by 1, 2"
    ),
    "orders one by one": "select order_id, refunded_amount from orders.order_summary order by 1",
}


@pytest.fixture
def owner_settings(settings: Settings, owner_login: dict[str, str]) -> Settings:
    dump = "s3://orders/version-5/dump/"
    return as_user(settings, owner_login).model_copy(
        update={"source": f"{dump}run_date={{run_date}}/", "stage_url": f"{dump}.orders_dask"}
    )


@pytest.fixture
def version_5(owner: Engine, services: Sandbox) -> Engine:
    """Return the database of version 5 that is kept in tests/data, for its owner."""
    restore("version-5", owner, bucket_of(services.environment))
    return owner


def figures(database: Engine) -> dict[str, list[tuple[object, ...]]]:
    with database.connect() as connection:
        return {
            name: [tuple(row) for row in connection.execute(text(query))]
            for name, query in FIGURES.items()
        }


RENAMED = {"order_summary", "daily_sales"}
"""Views whose figures got other names in version 12."""


def view_columns(database: Engine) -> dict[str, list[str]]:
    """Return the columns of each public view, in their order: queries may rely on it."""
    inspector = inspect(database)
    return {
        view: [column["name"] for column in inspector.get_columns(view, "orders")]
        for view in inspector.get_view_names("orders")
    }


def test_a_database_of_version_5_becomes_what_init_makes(
    version_5: Engine, owner_settings: Settings, fresh: Engine
) -> None:
    before, views = figures(version_5), view_columns(version_5)
    migration = migrate(settings=owner_settings)
    assert (migration.from_version, migration.to_version) == (5, CONTRACT_VERSION)
    initialise(fresh, today=PARTITIONS[-2], roles=True)
    with fresh.connect() as connection:
        for first in PARTITIONS:
            ensure_partitions(connection, first)
    differs = catalogue(fresh) ^ catalogue(version_5)
    assert not differs, "\n".join(sorted(map(str, differs)))
    assert figures(version_5) == before
    after = view_columns(version_5)
    remaining = {name: columns for name, columns in views.items() if name not in RENAMED}
    assert {name: after[name][: len(columns)] for name, columns in remaining.items()} == remaining
    assert migrate(settings=owner_settings).changes == (), "nothing is left to do"
    assert initialise(version_5, today=PARTITIONS[-2]) == []


@pytest.mark.slow
def test_every_command_works_on_the_dates_of_a_migrated_database(
    version_5: Engine, owner_settings: Settings, client: Client, services: Sandbox
) -> None:
    settings = owner_settings
    migrate(settings=settings)
    assert [(load.run_date, load.orders) for load in status(version_5)] == [
        *((FIRST, 32), (MIDDLE, 32), (LAST, 31)),
    ]
    assert len(read_staged(FIRST, "fact_order", stage_url=settings.stage_url).compute()) == 32
    found = diff(LAST, settings=settings, client=client)
    # The decoder is another one: a discount code that is no object nulls no other code any more.
    assert (found.added, found.removed) == (0, 0)
    assert [order.columns for order in found.orders()] == [("discount_codes",)]
    assert rollback(LAST, settings=settings)
    assert [load.orders for load in status(version_5)] == [32, 32, 32]
    with version_5.begin() as connection:
        corrected = "update orders_ops.rejected_record set corrected_raw = :raw where position = 23"
        connection.execute(text(corrected), {"raw": lines(order(23)).decode()})
    replayed = replay(FIRST, settings=settings, client=client)
    assert replayed.taken_in == 1
    lacking = dates_without(version_5)
    assert {day for days in lacking.values() for day in days} <= {FIRST, MIDDLE, LAST}
    # Version 5 took a document of an error for an order that is none, not for a damaged file.
    lenient = settings.model_copy(update={"allow_unreadable": True})
    assert run(MIDDLE, settings=lenient, client=client).orders == 32
    bucket_of(services.environment).pipe_file(
        "orders/version-5/dump/run_date=2026-02-02/a.json", lines(order(1), order(2))
    )
    assert run(date(2026, 2, 2), settings=settings, client=client).orders == 2


def test_every_command_refers_to_migrate_before_it(
    version_5: Engine, owner_login: dict[str, str]
) -> None:
    version = f"of version 5 of the contract and this is version {CONTRACT_VERSION}"
    for command in (
        *("status", "status --run-date 2026-01-30", "rejects", "drift", "fresh", "daily"),
        *("report --out report.html", "prune --dry-run", "rollback --run-date 2026-01-30"),
        *("diff --run-date 2026-01-30", "backfill --refresh all", "init"),
    ):
        _, message = orders_dask(*command.split(), code=2, environment=owner_login)
        assert f"{version}: run `orders-dask migrate`" in message, command


def test_a_dry_run_changes_nothing_and_gives_sql(
    version_5: Engine, owner_settings: Settings, owner_login: dict[str, str]
) -> None:
    before = catalogue(version_5)
    sql, notes = orders_dask("migrate", "--dry-run", environment=owner_login)
    assert "rename column holder to run_by" in sql
    assert "also grants rights and records the version" in notes
    planned = plan_migration(settings=owner_settings)
    assert not planned.complete, "what is added is known only when tables have their names"
    assert "rename column holder to run_by" in planned.changes[0].statements[0]
    assert catalogue(version_5) == before


# What a database may lack, as statements that take it away.
LACKS = {
    "a column of a fact": "alter table orders_store.fact_order drop note cascade",
    "a column of a dimension": "alter table orders.dim_app drop source_name;"
    "alter table orders_store.dim_app drop source_name",
    "a fact": "drop table orders_store.fact_refund_adjustment cascade;"
    "alter table orders_ops.load_file drop refund_adjustment_read",
    "an index of a table": "drop index orders_store.order_version_load_id",
    "an index of a fact": "drop index orders_store.fact_order_order_id",
    "a part of an index": "drop index orders_store.fact_order_order_id;"
    "create index fact_order_order_id on only orders_store.fact_order (order_id);"
    "create index fact_order_2026_01_order_id_idx on orders_store.fact_order_2026_01 (order_id)",
    "no sequence": "create sequence orders.old owned by orders.dim_app.app_id;"
    "alter table orders.dim_app alter app_id set default nextval('orders.old')",
    "a view": "drop view orders.daily_sales",
    "a comment": "comment on column orders.dim_app.app_id is null;"
    "comment on table orders_ops.alert is 'x'",
    "the function": "create or replace function orders_store.make_partition(first date) "
    "returns void language sql as 'select'",
    "a partition of one fact": "drop table orders_store.fact_refund_2026_02",
}


@pytest.mark.parametrize("lack", LACKS)
def test_what_a_database_lacks_is_added(
    lack: str, warehouse: Engine, owner: Engine, owner_settings: Settings
) -> None:
    with owner.connect() as connection:
        for first in PARTITIONS:
            ensure_partitions(connection, first)
    whole = names_of(owner)
    with owner.begin() as connection:
        connection.exec_driver_sql(LACKS[lack])
    assert names_of(owner) != whole
    planned = plan_migration(settings=owner_settings).changes
    assert migrate(settings=owner_settings).changes == planned
    differs = names_of(owner) ^ whole
    assert not differs, "\n".join(sorted(map(str, differs)))
    ensure_ready(owner)


def names_of(database: Engine) -> set[tuple[object, ...]]:
    """Return the catalogue without the order of columns: what is added comes last."""
    return {
        (kind, of, name, None if kind == "column" else number, definition)
        for kind, of, name, number, definition in catalogue(database)
        if kind != "view"
    }


class Stored(NamedTuple):
    """What readers see of a run date, as one of the analysts' versions."""

    seen: tuple[object, ...]


@pytest.mark.slow
@pytest.mark.skipif(not PG_DUMP.exists(), reason="there is no pg_dump of the server's version")
@pytest.mark.long
@pytest.mark.parametrize("months", [12, 120])
def test_no_reader_of_many_partitions_waits_for_a_migration(
    months: int,
    version_5: Engine,
    owner_settings: Settings,
    database: str,
    reader: dict[str, str],
    record_property: Callable[[str, object], None],
) -> None:
    with version_5.begin() as connection:
        connection.exec_driver_sql(_PARTITIONS, {"last": months - 1})
        seen = [*connection.exec_driver_sql(WHOLE), *connection.exec_driver_sql(JOINED)]
    login = "{_PGSQL_USER}:{_PGSQL_PASS}".format(**reader)
    analysts = Analysts(f"postgresql://{login}@{database.rpartition('@')[2]}")
    for row in seen:
        analysts.versions.setdefault(row[0], []).append(Stored(tuple(row)))  # type: ignore[arg-type]
    steps: list[float] = []

    def hold_locks() -> None:
        with closing(psycopg2.connect(analysts.url, application_name="analyst")) as session:
            session.cursor().execute("select count(*) from orders.order_history")
            time.sleep(3)

    with analysts.at_work(database) as found:
        blocker = threading.Thread(target=hold_locks)
        blocker.start()
        began = time.monotonic()
        migration = migrate(settings=owner_settings, progress=lambda _, took: steps.append(took))
        seconds = time.monotonic() - began
        blocker.join()
    record_property(
        "measured",
        f"{len(migration.changes)} changes in {seconds:.1f} s, the longest in {max(steps):.1f} s; "
        f"{found.reads:,} reads, {len(found.wrong)} wrong; "
        f"longest wait of a reader for a lock {found.longest_wait:.3f} s",
    )
    assert found.wrong == []
    assert found.longest_wait < 0.4, "a reader waited for long"
    assert migrate(settings=owner_settings).changes == ()


_PARTITIONS = """
    insert into orders_ops.storage_leaf (first_date, end_date, watch)
    select day, day + interval '1 month', '{}'
    from generate_series(
        date '2016-01-01', date '2016-01-01' + make_interval(months => %(last)s), interval '1 month'
    ) day;
    select orders_store.make_leaf(first_date) from orders_ops.storage_leaf
"""


def test_a_lock_that_nobody_gives_back_is_named(
    warehouse: Engine, owner: Engine, owner_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "GIVE_UP_AFTER", 1.0)
    with owner.begin() as connection:
        connection.exec_driver_sql("alter table orders_store.fact_order drop note cascade")
    with owner.begin() as reading:
        reading.exec_driver_sql("select count(*) from orders_store.fact_order")
        with pytest.raises(TableInUse, match=r"process \d+ of user orders for \d+ s: end that"):
            migrate(settings=owner_settings)
    migrate(settings=owner_settings)
    ensure_ready(owner)


def test_a_dump_that_runs_keeps_what_it_listed_and_is_named(
    version_5: Engine, owner_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "GIVE_UP_AFTER", 1.0)
    before = catalogue(version_5)
    with version_5.begin() as dumping:
        dumping.exec_driver_sql("set local application_name = 'pg_dump'")
        dumping.exec_driver_sql("select count(*) from orders_ops.load_file")
        with pytest.raises(TableInUse, match=r"in use by process \d+ of user orders for \d+ s"):
            migrate(settings=owner_settings)
    assert catalogue(version_5) == before
    migrate(settings=owner_settings)


def test_an_owner_without_rights_on_statistics_names_sessions_too(
    warehouse: Engine, owner: Engine
) -> None:
    change = Change("", (), locks=("orders_store.fact_order",))
    with owner.begin() as reading:
        reading.exec_driver_sql("select count(*) from orders_store.fact_order")
        assert re.search(r"process \d+ of user orders$", execute._holders(warehouse, change))
        found = execute._holders(owner, change)
    assert re.search(r"process \d+ of user orders for \d+ s$", found)


# What somebody may have made, and what the migration says of it.
IN_THE_WAY = {
    "drop function orders_store.make_partition(date);"
    "create function orders_store.make_partition(first date) returns int language sql "
    "as 'select 1'": "cannot change return type",
    "drop view orders.daily_sales; create view orders.daily_sales as select 1 as mine;"
    "update orders_ops.schema_info set views_hash = ''": "name of view column",
    "drop index orders_store.fact_order_order_id;"
    "create index fact_order_2026_01_order_id_idx on orders_store.fact_order_2026_01 (email)"
    "": "index definitions do not match",
    "drop index orders_store.fact_order_order_id;"
    "alter table orders_store.fact_order detach partition orders_store.fact_order_2026_01"
    "": "not an index on any partition",
}


@pytest.mark.parametrize("made", IN_THE_WAY)
def test_what_is_in_the_way_of_a_migration_is_named(
    made: str, warehouse: Engine, owner: Engine, owner_login: dict[str, str]
) -> None:
    with owner.connect() as connection:
        ensure_partitions(connection, FIRST)
    with owner.begin() as connection:
        connection.exec_driver_sql(made)
    _, message = orders_dask("migrate", code=2, environment=owner_login)
    assert IN_THE_WAY[made] in message
    assert message.endswith("then repeat `orders-dask migrate`.\n")


def test_a_partition_that_was_half_detached_can_be_dropped_after_a_migration(
    warehouse: Engine, owner: Engine, owner_settings: Settings
) -> None:
    with owner.connect() as connection:
        ensure_partitions(connection, FIRST)
    mark_for_drop(owner, LAST)
    with warehouse.connect() as reading:
        reading.exec_driver_sql("table orders_store.fact_order")
        assert drop_marked(owner, 0.2).waiting, "it waits for the reader"
    with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as session:
        pending = session.exec_driver_sql("select bool_or(inhdetachpending) from pg_inherits")
        assert pending.scalar(), "PostgreSQL is half done"
        session.exec_driver_sql("alter table orders_store.fact_order drop note cascade")
        session.exec_driver_sql("drop index orders_store.fact_order_order_id")
    migrate(settings=owner_settings)
    assert drop_marked(owner, 5).waiting is None
    ensure_ready(owner)


def test_no_partition_is_dropped_during_a_migration(
    warehouse: Engine, owner: Engine, owner_settings: Settings
) -> None:
    with owner.connect() as connection:
        ensure_partitions(connection, FIRST)
    mark_for_drop(owner, LAST)
    with owner.begin() as connection:
        connection.exec_driver_sql("alter table orders_store.fact_order drop note cascade")
    waiting: list[str | None] = []

    def prune(*_: object) -> None:
        waiting.append(drop_marked(owner, 0).waiting)

    assert migrate(settings=owner_settings, progress=prune).changes
    assert {*waiting} == {"Another command frees partitions, or migrates."}
    assert drop_marked(owner, 5).partitions == (date(2026, 1, 1),)


def test_settings_of_the_database_do_not_disturb_a_migration(
    warehouse: Engine, owner: Engine, owner_settings: Settings
) -> None:
    with owner.begin() as connection:
        connection.exec_driver_sql("alter table orders_store.fact_order drop note cascade")
        for setting in (
            "quote_all_identifiers = on",
            "statement_timeout = 100",
            "search_path = ''",
        ):
            database = owner_settings.pgsql_database
            connection.exec_driver_sql(f"alter database {database} set {setting}")
    assert migrate(settings=owner_settings).changes
    ensure_ready(owner)


def test_two_migrations_at_once_are_one(version_5: Engine, owner_settings: Settings) -> None:
    ends: list[int] = []

    def one() -> None:
        ends.append(len(migrate(settings=owner_settings).changes))

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(bool, ends)) == [False, True]


def test_a_run_of_older_code_is_not_disturbed_by_what_it_can_not_cope_with(
    version_5: Engine, owner_settings: Settings
) -> None:
    before = catalogue(version_5)
    with version_5.connect() as connection:
        connection.exec_driver_sql("select pg_advisory_lock(1704201001, 736000)")
        with pytest.raises(RunDateLocked, match="has locked the run date 2016-02-06, and can't go"):
            migrate(settings=owner_settings)
    assert catalogue(version_5) == before


def test_only_the_owner_migrates_only_what_is_his(
    warehouse: Engine, settings: Settings, owner: Engine, owner_settings: Settings
) -> None:
    with pytest.raises(SettingsError, match="belong to the user orders: run this command as that"):
        migrate(settings=settings)
    with owner.begin() as connection:
        connection.exec_driver_sql(
            "drop table orders_ops.alert; create view orders_ops.alert as select 1"
        )
    with pytest.raises(SettingsError, match=r"view orders_ops\.alert is there, and was not made"):
        migrate(settings=owner_settings)


def test_there_must_be_tables_to_migrate_and_of_no_later_version(
    owner: Engine, owner_settings: Settings
) -> None:
    with pytest.raises(
        DatabaseNotReady, match="no tables of ours to migrate: run `orders-dask init`"
    ):
        migrate(settings=owner_settings)
    initialise(owner)
    with owner.begin() as connection:
        connection.exec_driver_sql("update orders_ops.schema_info set contract_version = 999")
    with pytest.raises(DatabaseNotReady, match=r"of version 999 .* install a later orders_dask"):
        migrate(settings=owner_settings)
