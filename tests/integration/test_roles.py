"""Rights of the roles of ``sql/roles.sql``, each tried as a login of its own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from distributed import Client
from psycopg2 import sql
from pydantic import SecretStr
from sqlalchemy import Engine, Table, text
from sqlalchemy.exc import DataError

from orders_dask import run
from orders_dask.contract.columns import METADATA, PUBLIC, STORE
from orders_dask.contract.dimension_tables import DIMENSIONS
from orders_dask.contract.ledger_tables import (
    alert,
    check_finding,
    data_issue,
    load_file,
    load_part,
    load_run,
    rejected_record,
    schema_info,
    storage_partition,
)
from orders_dask.contract.mart_tables import LOAD_MARTS, MARTS
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.storage_tables import (
    DIMENSION_NAMES,
    DIMENSION_ROWS,
    order_superseded,
    order_version,
    published,
)
from orders_dask.errors import SettingsError
from orders_dask.load.connect import engine
from orders_dask.load.partitions import ensure_partitions
from orders_dask.load.schema import initialise
from orders_dask.load.views import STORE_VIEWS, VIEW_FILES, VIEWS
from orders_dask.sandbox import Sandbox, sandbox
from orders_dask.settings import Settings, load_settings
from tests.support.loads import DAY
from tests.support.loads import published as publish_load
from tests.support.services import administer
from tests.support.types import Put, Query

APPEND = {"SELECT", "INSERT"}
APPEND_DELETE = APPEND | {"DELETE"}
ALL_ROWS = APPEND_DELETE | {"UPDATE"}

# Some columns of the ledger's tables may be updated, too.
OF_LOADER: dict[Table, set[str]] = {
    **{fact: APPEND_DELETE | {"MAINTAIN"} for fact in FACTS},
    **dict.fromkeys((order_version, order_superseded, *DIMENSION_ROWS), APPEND_DELETE),
    **dict.fromkeys((published, *DIMENSIONS), ALL_ROWS),
    **dict.fromkeys(DIMENSION_NAMES.values(), APPEND | {"UPDATE"}),
    **dict.fromkeys(
        (load_run, rejected_record, data_issue, storage_partition, check_finding, alert),
        APPEND,
    ),
    load_file: APPEND | {"UPDATE"},
    load_part: APPEND_DELETE,
    **{table: {"SELECT"} for table in (schema_info, *MARTS)},
    **{table: {"SELECT", "INSERT", "DELETE"} for table in LOAD_MARTS},
}


def test_the_loader_has_what_it_needs_of_each_table_and_no_more(
    warehouse: Engine, query: Query
) -> None:
    granted = query(
        """
        select concat(relnamespace::regnamespace, '.', relname), array_agg(privilege_type::text)
        from pg_class, aclexplode(relacl) where grantee = 'orders_loader'::regrole group by 1
        """
    )
    views = {f"{PUBLIC}.{view}": {"SELECT"} for view in VIEWS}
    views |= {f"{STORE}.{view}": {"SELECT"} for view in STORE_VIEWS}
    assert {name: {*rights} for name, rights in granted} == views | {
        str(table): rights for table, rights in OF_LOADER.items()
    }
    assert OF_LOADER.keys() == {*METADATA.tables.values()}, "a new table needs rights of its own"


def test_the_identity_of_loads_and_rejected_records_can_not_be_updated(
    warehouse: Engine, query: Query
) -> None:
    granted = query(
        """
        select concat(relnamespace::regnamespace, '.', relname), array_agg(attname::text)
        from pg_attribute join pg_class c on c.oid = attrelid, aclexplode(attacl)
        where grantee = 'orders_loader'::regrole and privilege_type = 'UPDATE' group by 1
        """
    )
    fixed: dict[Table, set[str]] = {
        load_run: {"load_id", "run_date", "source", "fingerprint", "run_by", "started_at"},
        rejected_record: {"load_id", "file_id", "position", "path", "code"},
        data_issue: {"load_id", "file_id", "field", "code", "value_count"},
        storage_partition: {"first_date", "end_date"},
        alert: {"alert_id", "run_date", "kind", "message"},
        load_part: {"load_id", "part", "loaded_at", "superseded"},
    }
    may = {name: {*columns} for name, columns in granted}
    assert may.keys() == {str(table) for table in fixed}
    for table, columns in fixed.items():
        assert not may[str(table)] & columns, table


def test_nothing_is_granted_to_everybody(warehouse: Engine, query: Query) -> None:
    open_to_all = query(
        """
        with granted as (
          select oid::regclass::text as what, relacl as acl from pg_class
          where relnamespace::regnamespace::text like 'orders%'
          union all
          select oid::regprocedure::text, coalesce(proacl, acldefault('f', proowner)) from pg_proc
          where pronamespace::regnamespace::text like 'orders%'
          union all
          select nspname, nspacl from pg_namespace where nspname like 'orders%'
        )
        select what, privilege_type from granted, aclexplode(acl) where grantee = 0
        """
    )
    assert open_to_all == []


def test_a_whole_run_is_the_loaders(
    client: Client,
    settings: Settings,
    warehouse: Engine,
    put: Put,
    query: Query,
) -> None:
    put("dump/a.json", b'{"id": 1, "total_price": "9.50", "currency": "EUR"}\n{"id": "none"}\n')
    with warehouse.connect() as connection:
        [(user, superuser)] = connection.execute(
            text("select current_user, rolsuper from pg_roles where rolname = current_user")
        )
    assert (user, superuser) == (settings.pgsql_user, False)
    for force in (False, True):
        result = run(DAY, settings=settings, client=client, force=force)
        assert (result.outcome, result.orders, result.rejected) == ("published", 1, 1)
    assert query("select order_id, total_price from orders.order_current") == [(1, 9.5)]
    assert query("select status from orders_ops.load_run order by load_id") == [
        ("replaced",),
        ("published",),
    ]
    analysed = (
        "select distinct tablename::text from pg_stats"
        " where schemaname = 'orders_store' and inherited"
    )
    assert ("fact_order",) in query(analysed), "MAINTAIN lets it analyse the parents"


LOADER_MAY_NOT = (
    "create schema mine",
    "create table orders.mine ()",
    "create table orders_store.mine ()",
    "create table public.mine ()",
    "create function orders_store.mine() returns int language sql return 1",
    "create role mine",
    "drop table orders_store.fact_order",
    "drop view orders.order_current",
    "alter table orders.dim_app add column mine int",
    "alter table orders_store.fact_order detach partition orders_store.fact_order_2017_11",
    "create trigger mine before insert on orders.dim_app execute function orders_store.mine()",
    "truncate orders_store.fact_order",
    "truncate orders_ops.load_run",
    "update orders_store.fact_order set note = ''",
    "update orders_store.order_version set version_at = null",
    "update orders_store.dim_app set source_name = ''",
    "update orders_ops.load_run set source = ''",
    "update orders_ops.rejected_record set code = ''",
    "update orders_ops.schema_info set contract_version = 0",
    "update orders_ops.storage_partition set end_date = 'infinity'",
    "delete from orders_ops.load_run",
    "delete from orders_ops.load_file",
    "delete from orders_ops.rejected_record",
    "delete from orders_ops.storage_partition",
    "table orders_store.fact_order_2017_11",
    "table elsewhere.secrets",
    "table pg_catalog.pg_authid",
    "select pg_read_file('PG_VERSION')",
    "copy (select) to program 'true'",
    "set role orders_reader",
)


def test_the_loader_may_do_nothing_else(warehouse: Engine, owner: Engine) -> None:
    with owner.connect() as connection:
        ensure_partitions(connection, DAY)
        with connection.begin():
            connection.execute(text("create schema elsewhere"))
            connection.execute(text("create table elsewhere.secrets ()"))
    for statement in LOADER_MAY_NOT:
        denied(warehouse, statement)


def denied(engine: Engine, statement: str) -> None:
    """Check that PostgreSQL denies the statement for lack of a privilege."""
    with pytest.raises(SettingsError) as caught, engine.begin() as connection:
        connection.execute(text(statement))
    message = str(caught.value)
    assert "permission denied" in message or "must be owner of" in message, (statement, message)


@pytest.fixture
def rejected(warehouse: Engine) -> None:
    """Publish an order, and store a rejected record."""
    publish_load(warehouse, DAY, {"fact_order": [{"order_id": 1}]})
    with warehouse.begin() as connection:
        connection.execute(
            rejected_record.insert().values(
                {c.name: 1 for c in rejected_record.c if not c.nullable}
                | {"path": "", "code": "bad_order_id", "message": "no id", "raw": "{}"}
            )
        )


def test_the_loader_corrects_and_redacts_texts_of_rejected_records(
    rejected: None, warehouse: Engine, query: Query
) -> None:
    with warehouse.begin() as connection:
        connection.execute(rejected_record.update().values(corrected_raw='{"id": 1}', raw=None))
    assert query("select corrected_raw, raw from orders_ops.rejected_record") == [
        ('{"id": 1}', None)
    ]


def test_the_reader_sees_all_of_the_public_schema(
    rejected: None, warehouse: Engine, owner: Engine, analyst: Engine
) -> None:
    with owner.begin() as connection:
        connection.execute(text("create view orders.later as table orders.order_current"))
    seen = (*VIEW_FILES, *(table.name for table in (*FACTS, *DIMENSIONS)), "later")
    with analyst.connect() as connection:
        for name in seen:
            connection.execute(text(f'table {PUBLIC}."{name}"')).all()
        assert connection.scalar(text("select count(*) from orders.later")) == 1


READER_MAY_NOT = (
    "table orders_store.fact_order",
    "table orders_store.fact_order_2017_11",
    "table orders_store.published",
    "table orders_store.dim_customer",
    "select raw from orders_ops.rejected_record",
    "select samples from orders_ops.data_issue",
    "table orders_ops.load_run",
    "table orders_store.version_sale",
    "select orders_store.make_partition('2017-12-01')",
    "select orders_store.count_load(1)",
    "select orders_store.rebuild_marts()",
    "insert into orders.dim_app values (1)",
    "update orders.dim_app set source_name = ''",
    "create view orders.mine as select 1",
    "drop view orders.daily_sales",
    "table pg_catalog.pg_authid",
    "delete from orders.dim_app",
)


def test_the_reader_may_do_nothing_else(rejected: None, analyst: Engine) -> None:
    for statement in READER_MAY_NOT:
        denied(analyst, statement)


def test_a_partition_begins_at_a_calendar_month(warehouse: Engine) -> None:
    make = text("select orders_store.make_partition(cast(:first as date))")
    for first in ("2017-11-02", "infinity", None):
        with (
            pytest.raises(DataError, match="no month of run dates begins on"),
            warehouse.begin() as connection,
        ):
            connection.execute(make, {"first": first})


def test_a_partition_is_made_by_our_function_whatever_the_callers_search_path(
    warehouse: Engine, query: Query
) -> None:
    """Temporary tables and functions of the caller don't shadow those of the owner."""
    shadow = """
        create temporary table schema_info as select 'day' as partition_width;
        create temporary table pg_class (relname name, relnamespace oid, relkind "char");
        create function pg_temp.to_char(date, text) returns text language sql return 'mine';
        set local search_path = pg_temp, pg_catalog;
    """
    with warehouse.begin() as connection:
        connection.execute(text(shadow))
        connection.execute(text("select orders_store.make_partition('2031-05-01')"))
    made = query(
        """
        select inhparent::regclass::text, pg_get_userbyid(relowner) = current_user
        from pg_inherits join pg_class on oid = inhrelid
        where relname like '%\\_2031\\_05' and relkind = 'r'
        """
    )
    assert sorted(made) == sorted((str(fact), True) for fact in FACTS)


def test_init_by_a_loader_names_the_owner(warehouse: Engine, services: Sandbox) -> None:
    owner = services.environment["_PGSQL_USER"]
    with pytest.raises(SettingsError, match=f"belong to the user {owner}: run this command as"):
        initialise(warehouse)


def test_roles_are_granted_when_asked_for_and_from_then_on(
    warehouse: Engine, owner: Engine
) -> None:
    with owner.begin() as connection:
        connection.execute(text("drop owned by orders_loader, orders_reader"))
    initialise(owner)
    denied(warehouse, "table orders_ops.load_run")
    initialise(owner, roles=True)
    with owner.begin() as connection:
        connection.execute(text("drop table orders_ops.data_issue"))
    initialise(owner)
    with warehouse.connect() as connection:
        connection.execute(text("table orders_ops.data_issue"))


@pytest.fixture
def bare() -> Iterator[Sandbox]:
    """Yield a server of its own, without the roles."""
    with sandbox() as box:
        yield box


def owner_of(database: str, box: Sandbox, *attributes: str) -> Engine:
    """Create a user who is no superuser, and a database that this user owns."""
    password = secrets.token_hex(16)
    role = sql.SQL("create role {} login password {} {}").format(
        sql.Identifier(database),
        sql.Literal(password),
        sql.SQL(" ").join(map(sql.SQL, attributes)),
    )
    create = sql.SQL("create database {0} owner {0}").format(sql.Identifier(database))
    administer(box.environment, role, create)
    return engine(
        load_settings(
            pgsql_hostname=box.environment["_PGSQL_HOSTNAME"],
            pgsql_port=int(box.environment["_PGSQL_PORT"]),
            pgsql_user=database,
            pgsql_pass=SecretStr(password),
            pgsql_database=database,
            source="s3://orders/",
        )
    )


def test_ordinary_owners_create_the_roles_also_concurrently_or_use_existing_ones(
    bare: Sandbox,
) -> None:
    plain = owner_of("plain", bare)
    with pytest.raises(SettingsError, match="permission denied to create role"):
        initialise(plain, roles=True)
    makers = [owner_of(name, bare, "createrole") for name in ("one", "two")]
    with ThreadPoolExecutor(len(makers)) as pool:
        done = [pool.submit(initialise, maker, roles=True) for maker in makers]
        assert [future.result() for future in done] == [[], []]
    assert initialise(plain, roles=True) == []
    for owner in (plain, *makers):
        with owner.connect() as connection:
            granted = text("select has_schema_privilege('orders_reader', 'orders', 'usage')")
            assert connection.scalar(granted)
            roles = text(
                """
                select rolname, rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls
                from pg_roles where rolname in ('orders_loader', 'orders_reader') order by 1
                """
            )
            assert connection.execute(roles).all() == [
                (name, *[False] * 5) for name in ("orders_loader", "orders_reader")
            ]
