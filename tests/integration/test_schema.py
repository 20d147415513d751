"""Tables, views and partitions that `init` makes, also repeatedly and concurrently."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from orders_dask.contract.columns import METADATA
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.versions import CONTRACT_VERSION
from orders_dask.errors import (
    DatabaseNotReady,
    OrdersDaskError,
    ServiceUnavailable,
    SettingsError,
)
from orders_dask.load import schema
from orders_dask.load.connect import engine
from orders_dask.load.partitions import PartitionWidth, ensure_partitions
from orders_dask.load.ready import ensure_ready
from orders_dask.load.schema import initialise
from orders_dask.load.views import VIEW_FILES
from orders_dask.settings import Settings, load_settings
from tests.support.types import Query

TODAY = date(2017, 11, 3)


@pytest.fixture
def empty(owner: Engine) -> Engine:
    return owner


@pytest.fixture
def initialised(warehouse: Engine, owner: Engine) -> Engine:
    """Return the initialised database for its owner, who alone may repeat `init`."""
    return owner


def tables(database: Engine) -> list[str]:
    names = """
        select concat(relnamespace::regnamespace, '.', relname) from pg_class
        where relnamespace::regnamespace::text like 'orders%' and relkind in ('r', 'p', 'v')
        order by 1
    """
    with database.connect() as connection:
        return list(connection.scalars(text(names)))


def test_init_makes_everything_and_can_be_repeated(empty: Engine) -> None:
    assert initialise(empty, "month", TODAY) == []
    made = tables(empty)
    assert {str(table) for table in METADATA.tables.values()} <= {*made}
    assert {f"orders.{name}" for name in (*VIEW_FILES, *(fact.name for fact in FACTS))} <= {*made}
    assert initialise(empty, "month", TODAY) == []
    assert tables(empty) == made


def test_init_completes_what_is_missing_and_keeps_the_rest(initialised: Engine) -> None:
    with initialised.begin() as connection:
        connection.execute(text("drop view orders.daily_sales"))
        connection.execute(text("drop table orders.dim_app"))
        connection.execute(text("insert into orders.dim_device values (1, 2, null, now(), now())"))
    initialise(initialised)
    assert {"orders.daily_sales", "orders.dim_app"} <= {*tables(initialised)}
    with initialised.connect() as connection:
        assert connection.scalar(text("select count(*) from orders.dim_device")) == 1


THEIRS = {
    "table orders.dim_customer": "create table orders.dim_customer (customer_id int, name text)",
    "table orders.fact_order": "create table orders.fact_order (id int)",
    "view orders.fact_order": "create view orders.fact_order as select 1 as id",
    "view orders.daily_sales": "create view orders.daily_sales as select 1 as id",
    "materialized view orders.order_current": "create materialized view orders.order_current"
    " as select 1 as id",
    "table orders_store.fact_order": "create table orders_store.fact_order (id int)",
    "table orders_store.fact_refund_2031_05": "create table orders_store.fact_refund_2031_05"
    " (id int)",
    "index orders_store.order_version_load_id": "create table orders_store.t (id int); "
    "create index order_version_load_id on orders_store.t (id)",
    "sequence orders_ops.load_run": "create sequence orders_ops.load_run",
    "type orders.dim_app": "create type orders.dim_app as enum ('a')",
    "type orders.dim_user": "create type orders.dim_user as (id int)",
    "type orders_ops.load_part": "create domain orders_ops.load_part as int",
    "function orders_store.make_partition": "create function "
    "orders_store.make_partition(first date) returns void language sql as 'select'",
    "table orders_ops.schema_info": "create table orders_ops.schema_info (version text)",
    "foreign table orders_ops.load_file": "create foreign data wrapper w; "
    "create server s foreign data wrapper w; "
    "create foreign table orders_ops.load_file (id int) server s",
}


def everything(database: Engine) -> list[tuple[Any, ...]]:
    """Return all that is in our schemas, with its definition."""
    objects = """
        select 'r', oid::regclass::text, relkind::text, relnatts::text from pg_class
        where relnamespace::regnamespace::text like 'orders%'
        union all select 'p', oid::regprocedure::text, prosrc, proacl::text from pg_proc
        where pronamespace::regnamespace::text like 'orders%'
        union all select 't', oid::regtype::text, typtype::text, null from pg_type
        where typnamespace::regnamespace::text like 'orders%'
        union all select 'n', nspname, null, null from pg_namespace where nspname like 'orders%'
        order by 1, 2
    """
    with database.connect() as connection:
        return [tuple(row) for row in connection.execute(text(objects))]


@pytest.mark.parametrize("named", THEIRS)
def test_objects_of_others_with_our_names_are_named_and_not_changed(
    empty: Engine, named: str
) -> None:
    with empty.begin() as connection:
        for name in ("orders", "orders_store", "orders_ops"):
            connection.execute(text(f"create schema {name}"))
        connection.execute(text(THEIRS[named]))
    before = everything(empty)
    with pytest.raises(
        SettingsError, match=f"^The {named} is there, and was not made by `orders-dask init`"
    ):
        initialise(empty)
    assert everything(empty) == before
    with pytest.raises(DatabaseNotReady, match=r"orders_ops\.schema_info"):
        ensure_ready(empty)


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        (
            "drop table orders.dim_app; create table orders.dim_app (app_id int)",
            r"table orders\.dim_app",
        ),
        ("alter table orders.dim_app alter app_id type numeric", r"table orders\.dim_app"),
        (
            "alter table orders.dim_app alter source_name type varchar(9)",
            r"column orders\.dim_app\.source_name has the type character varying\(9\) in the "
            "database, and text in this",
        ),
        (
            "drop table orders_ops.data_issue; create view orders_ops.data_issue as select 1",
            "view orders_ops.data_issue",
        ),
        (
            "drop view orders.daily_sales; create table orders.daily_sales ()",
            r"table orders\.daily_sales",
        ),
        (
            "drop index orders_store.order_version_load_id; "
            "create table orders_store.order_version_load_id ()",
            r"table orders_store\.order_version_load_id",
        ),
        ("delete from orders_ops.schema_info", r"view orders\.\w+ .* more names of ours"),
        (
            "drop function orders_store.make_partition(date); "
            "create function orders_store.make_partition(first date) returns int "
            "language sql as 'select 1'",
            "PostgreSQL says cannot change return type of existing function",
        ),
        (
            "drop view orders.daily_sales; create view orders.daily_sales as select 1 as x; "
            "update orders_ops.schema_info set views_hash = ''",
            'PostgreSQL says cannot change name of view column "x"',
        ),
    ],
)
def test_objects_that_replaced_ours_are_named_and_not_changed(
    initialised: Engine, statements: str, named: str
) -> None:
    with initialised.begin() as connection:
        connection.execute(text(statements))
    before = everything(initialised)
    with pytest.raises(SettingsError, match=named):
        initialise(initialised)
    assert everything(initialised) == before


def test_other_objects_in_our_schemas_do_not_matter(empty: Engine) -> None:
    with empty.begin() as connection:
        connection.execute(text("create schema orders"))
        connection.execute(text("create table orders.mine (id int)"))
    assert initialise(empty) == []
    with empty.begin() as connection:
        connection.execute(text("alter table orders.dim_app add column mine text"))
    assert initialise(empty) == []
    assert "orders.mine" in tables(empty)


def test_init_may_run_concurrently(empty: Engine) -> None:
    with ThreadPoolExecutor(3) as pool:
        done = [pool.submit(initialise, empty, "month", TODAY) for _ in range(3)]
        assert [future.result() for future in done] == [[], [], []]


def test_init_is_repeated_without_waiting_for_readers(
    initialised: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_LOCK_TIMEOUT", "200ms")
    with initialised.connect() as reader:
        for view in VIEW_FILES:
            reader.exec_driver_sql(f"table orders.{view}")
        initialise(initialised)
        with initialised.begin() as connection:
            connection.execute(text("update orders_ops.schema_info set views_hash = 'older'"))
        with pytest.raises(ServiceUnavailable, match="lock timeout"):
            initialise(initialised)
    initialise(initialised)


def test_every_table_view_and_column_has_a_comment(initialised: Engine, query: Query) -> None:
    without = query(
        """
        select c.oid::regclass::text, a.attname from pg_class c
        join pg_attribute a on a.attrelid = c.oid and a.attnum >= 0 and not a.attisdropped
        where c.relnamespace::regnamespace::text like 'orders%' and c.relkind in ('r', 'p', 'v')
          and col_description(c.oid, a.attnum) is null
        union all
        select c.oid::regclass::text, null from pg_class c
        where c.relnamespace::regnamespace::text like 'orders%' and c.relkind in ('r', 'p', 'v')
          and not c.relispartition and obj_description(c.oid) is null
        """
    )
    assert without == []


def test_what_people_see_has_no_load_id(initialised: Engine, query: Query) -> None:
    columns = query(
        "select table_name, column_name from information_schema.columns"
        " where table_schema = 'orders'"
    )
    assert [table for table, column in columns if column == "load_id"] == []


@pytest.mark.parametrize(
    ("width", "days", "suffixes"),
    [
        (
            "month",
            [date(2017, 11, 3), date(2017, 11, 30), date(2016, 2, 29)],
            ["2016_02", "2017_11", "2017_12"],
        ),
        (
            "day",
            [date(2017, 11, 3), date(2016, 2, 29), date(2017, 12, 31)],
            ["2016_02_29", "2017_11_03", "2017_11_04", "2017_12_31"],
        ),
    ],
)
def test_partitions_are_made_once_in_all_facts(
    empty: Engine, settings: Settings, width: PartitionWidth, days: list[date], suffixes: list[str]
) -> None:
    initialise(empty, width, TODAY, roles=True)
    loader = engine(settings)

    def make(day: date) -> None:
        with loader.connect() as connection:
            ensure_partitions(connection, day)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, days * 2))
    attached = text(
        """
        select concat(inhparent::regclass, ' ', relname) from pg_inherits
        join pg_class on oid = inhrelid where relkind = 'r'
        """
    )
    with empty.connect() as connection:
        assert sorted(connection.scalars(attached)) == sorted(
            f"{fact} {fact.name}_{suffix}" for fact in FACTS for suffix in suffixes
        )


def test_the_width_of_partitions_is_fixed(initialised: Engine) -> None:
    with pytest.raises(
        SettingsError, match=r"ORDERS_DASK_PARTITION is day, .* partitions of a month"
    ):
        initialise(initialised, "day")


def test_a_database_without_init_is_not_ready(empty: Engine) -> None:
    with pytest.raises(DatabaseNotReady, match="run `orders-dask init`"):
        ensure_ready(empty)


def test_a_database_of_another_contract_is_not_ready(initialised: Engine) -> None:
    ensure_ready(initialised)
    later = CONTRACT_VERSION + 1
    of_later = f"for code of version {later} or later, and this is version {CONTRACT_VERSION}: inst"
    of_before = f"version {CONTRACT_VERSION - 1} .* version {CONTRACT_VERSION}: run `orders-dask mi"
    for version, oldest, message in (
        (later, later, of_later),
        (CONTRACT_VERSION - 1, CONTRACT_VERSION - 1, of_before),
    ):
        with initialised.begin() as connection:
            update = "update orders_ops.schema_info set contract_version = :version, "
            versions = {"version": version, "oldest": oldest}
            connection.execute(text(f"{update} oldest_code_version = :oldest"), versions)
        with pytest.raises(DatabaseNotReady, match=message):
            ensure_ready(initialised)
        with pytest.raises(DatabaseNotReady, match=message):
            initialise(initialised)


def test_a_database_of_a_later_version_is_ready_for_code_that_it_is_made_for(
    initialised: Engine,
) -> None:
    with initialised.begin() as connection:
        connection.execute(
            text("update orders_ops.schema_info set contract_version = contract_version + 1")
        )
        connection.execute(text("drop view orders.daily_sales"))
        connection.execute(text("create view orders.daily_sales as select 1 as other_column"))
    ensure_ready(initialised)
    assert initialise(initialised, today=date(2031, 5, 1)) == []
    with initialised.connect() as connection:
        assert connection.scalar(text("select other_column from orders.daily_sales")) == 1
        partition = text("select to_regclass('orders_store.fact_order_2031_06')")
        assert connection.scalar(partition), "init makes partitions all the same"


@pytest.mark.parametrize(
    ("statement", "lacks"),
    [
        ("alter table orders_ops.load_part drop rows", r"orders_ops\.load_part\.rows of this"),
        (
            "drop table orders_store.fact_refund cascade",
            r"orders_store\.fact_refund\.run_date and \d+ more",
        ),
    ],
)
def test_init_refers_to_migrate_for_what_is_missing(
    initialised: Engine, statement: str, lacks: str
) -> None:
    with initialised.begin() as connection:
        connection.execute(text(statement))
    for refuses in (ensure_ready, initialise):
        with pytest.raises(DatabaseNotReady, match=f"lacks {lacks}.* run `orders-dask migrate`"):
            refuses(initialised)


def test_few_locks_are_warned_of(initialised: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MIN_LOCKS", 10**9)
    [warning] = initialise(initialised)
    assert warning.startswith("max_locks_per_transaction of the server is ")


@pytest.mark.parametrize(
    ("change", "kind", "why"),
    [
        (
            {"pgsql_pass": SecretStr("not-the-one")},
            SettingsError,
            "password authentication failed",
        ),
        ({"pgsql_database": "nowhere"}, SettingsError, 'database "nowhere" does not exist'),
        ({"pgsql_port": 1}, ServiceUnavailable, "Connection refused"),
    ],
)
def test_a_refused_connection_is_one_sentence_without_the_password(
    settings: Settings, change: dict[str, Any], kind: type[OrdersDaskError], why: str
) -> None:
    changed = settings.model_copy(update=change)
    made = engine(changed)
    with pytest.raises(kind) as caught:
        made.connect()
    sentence = str(caught.value)
    assert why in sentence
    address = f"{changed.pgsql_hostname}:{changed.pgsql_port}"
    for named in (address, changed.pgsql_database, changed.pgsql_user):
        assert named in sentence
    secret = changed.pgsql_pass.get_secret_value()
    assert secret not in f"{sentence} {made!r} {made.url!r}"
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"PGSSLMODE": "require"}, "server does not support SSL, but SSL was required"),
        ({"PGCHANNELBINDING": "require"}, "channel binding required"),
    ],
)
@pytest.mark.usefixtures("environment")
def test_encryption_that_the_server_does_not_have_is_a_settings_error(
    variables: dict[str, str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=why) as caught:
        engine(load_settings()).connect()
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("environment")
def test_variables_of_libpq_change_neither_server_nor_time_zone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGHOSTADDR", "203.0.113.1")
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    with engine(load_settings()).connect() as connection:
        assert connection.scalar(text("show timezone")) == "UTC"


@pytest.mark.parametrize("name", ["PGSERVICE", "PGTARGETSESSIONATTRS"])
@pytest.mark.usefixtures("environment")
def test_a_variable_of_libpq_that_no_server_fits_is_a_settings_error(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "standby")
    with pytest.raises(SettingsError):
        engine(load_settings()).connect()


def scans(query: Query, statement: str) -> dict[str, str]:
    """Return how each table is scanned by a statement; partitions may be left out as it runs."""

    def below(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield plan
        for child in plan.get("Plans", ()):
            yield from below(child)

    [([found],)] = query(f"explain (analyze, format json) {statement}")
    nodes = [
        node for node in below(found["Plan"]) if "Relation Name" in node and node["Actual Loops"]
    ]
    return {node["Relation Name"]: node["Node Type"] for node in nodes}


@pytest.fixture
def quarter(initialised: Engine) -> Engine:
    """Publish three months of 100 orders a day, every third refunded, every 20th superseded."""
    fill = """
        insert into orders_store.published
          select d, row_number() over (order by d)
          from generate_series('2017-10-01'::timestamp, '2017-12-31', '1 day') d;
        insert into orders_store.fact_order
            (run_date, load_id, order_id, source_file_id, source_position, refund_count)
          select run_date, load_id, load_id * 100 + n, 1, n, (n % 3 = 0)::int
          from orders_store.published, generate_series(1, 100) n;
        insert into orders_store.fact_order_line (run_date, load_id, order_id, line_id, line_number)
          select run_date, load_id, order_id, n, n
          from orders_store.fact_order, generate_series(1, 2) n;
        insert into orders_store.fact_shipping_line
            (run_date, load_id, order_id, shipping_line_number)
          select run_date, load_id, order_id, 1 from orders_store.fact_order;
        insert into orders_store.fact_refund_line
            (run_date, load_id, order_id, refund_id, refund_line_id)
          select run_date, load_id, order_id, order_id, 1 from orders_store.fact_order;
        insert into orders_store.fact_refund_adjustment
            (run_date, load_id, order_id, refund_id, adjustment_id)
          select run_date, load_id, order_id, order_id, 1 from orders_store.fact_order;
        insert into orders_store.fact_refund
            (run_date, load_id, order_id, refund_id, refunded_amount)
          select run_date, load_id, order_id, order_id, 1 from orders_store.fact_order
          where refund_count = 1;
        insert into orders_store.order_version (order_id, run_date, load_id)
          select order_id, run_date, load_id from orders_store.fact_order;
        insert into orders_store.order_superseded
          select order_id, run_date from orders_store.fact_order where order_id % 20 = 0;
    """
    with initialised.connect() as connection:
        for month in (10, 11, 12):
            ensure_partitions(connection, date(2017, month, 1))
        with connection.begin():
            connection.execute(text(fill))
            connection.execute(text("analyze"))
    return initialised


def test_a_query_for_one_run_date_reads_one_partition_by_index(
    quarter: Engine, query: Query
) -> None:
    for statement in (
        "select * from orders.fact_order where run_date = '2017-11-03'",
        "select * from orders.order_current where run_date = '2017-11-03'",
        "select * from orders.sale where run_date = '2017-11-03'",
        "select * from orders.order_summary where run_date = '2017-11-03'",
        "select * from orders.order_history where run_date = '2017-11-03'",
    ):
        found = {table: how for table, how in scans(query, statement).items() if "_2017_" in table}
        assert {table.partition("_2017_")[2] for table in found} == {"11"}, statement
        assert "Seq Scan" not in found.values(), (statement, found)


def test_a_query_for_one_order_scans_no_partition(quarter: Engine, query: Query) -> None:
    for statement in (
        "select * from orders.fact_order where order_id = 3703",
        "select * from orders.order_current where order_id = 3703",
        "select * from orders.sale where order_id = 3703",
        "select * from orders.order_summary where order_id = 3703",
        "select * from orders.order_history where order_id = 3703",
    ):
        found = {table: how for table, how in scans(query, statement).items() if "_2017_" in table}
        assert "fact_order_2017_11" in found, statement
        assert "Seq Scan" not in found.values(), (statement, found)
