"""Settings come from the environment; a wrong one is named in a sentence without secrets."""

from __future__ import annotations

import re
from datetime import time
from pathlib import Path

import pytest

from orders_dask.errors import SettingsError
from orders_dask.settings import Settings, load_settings, without_service_variables
from orders_dask.urls import STAGE_FOLDER, split_zip_url
from tests.support import REPOSITORY

REQUIRED = {
    "_PGSQL_HOSTNAME": "db.example.com",
    "_PGSQL_USER": "loader",
    "_PGSQL_PASS": "correct horse",
    "_PGSQL_DATABASE": "shop",
    "_AWS_S3_URL_SOURCE": "s3://bucket/orders/run_date={run_date}/",
}
EXAMPLE = REPOSITORY / ".envrc.example"


@pytest.fixture(autouse=True)
def environment(no_settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)


def test_all_but_the_services_has_a_default() -> None:
    settings = load_settings()
    assert settings.pgsql_port == 5432
    assert (settings.pgsql_auth, settings.pgsql_pass_file) == ("password", None)
    assert settings.pgsql_pass.get_secret_value() == "correct horse"
    assert settings.stage_url == f"s3://bucket/orders/{STAGE_FOLDER}"
    assert settings.zone.key == "UTC"
    assert (settings.max_rejected, settings.copy_connections) == (0.01, 4)
    assert settings.block_size == 128 * 1024**2
    assert (settings.partition_width, settings.allow_unreadable) == ("month", False)
    assert settings.scheduler_address is None


def test_every_setting_is_read_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "_PGSQL_PORT": "6543",
        "ORDERS_DASK_PG_AUTH": "password",
        "ORDERS_DASK_SECRETS_DIR": str(EXAMPLE.parent),
        "ORDERS_DASK_STAGE_URL": "s3://other/place/",
        "ORDERS_DASK_SHOP_TIMEZONE": "America/New_York",
        "ORDERS_DASK_RECORD": "debezium.body",
        "ORDERS_DASK_KEEP_RAW": "parquet",
        "ORDERS_DASK_SCHEMA_DRIFT": "refuse",
        "ORDERS_DASK_FACTS": " sales,",
        "ORDERS_DASK_LATEST": "06:30",
        "ORDERS_DASK_MAX_REJECTED": "0.5",
        "ORDERS_DASK_COPY_CONNECTIONS": "8",
        "ORDERS_DASK_BLOCK_SIZE": "64MiB",
        "ORDERS_DASK_PARTITION": "day",
        "ORDERS_DASK_CHECK_SEVERITY": "orders=warn,nulls=off",
        "ORDERS_DASK_CHECK_THRESHOLD": "fewer_orders=0.5",
        "ORDERS_DASK_CHECKS": "/srv/checks",
        "ORDERS_DASK_PRICES": "worker_hour=0.05,gigabyte=0.02",
        "ORDERS_DASK_BUDGET": "2.5",
        "ORDERS_DASK_ALLOW_UNREADABLE": "true",
        "DASK_SCHEDULER_ADDRESS": "tls://scheduler:8786",
        "ORDERS_DASK_WORKERS_TIMEOUT": "10m",
        "PGSSLMODE": "require",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9000",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    others = {"pgsql_pass", "pgsql_pass_file", "pgsql_secret"}  # tests of their own
    others |= {"alert_url", "alert_key", "alert_command"}
    assert load_settings().model_dump(exclude=others) == {
        "pgsql_hostname": "db.example.com",
        "pgsql_port": 6543,
        "pgsql_user": "loader",
        "pgsql_database": "shop",
        "pgsql_auth": "password",
        "secrets_folder": str(EXAMPLE.parent),
        "source": "s3://bucket/orders/run_date={run_date}/",
        "stage_url": "s3://other/place/.orders_dask",
        "shop_timezone": "America/New_York",
        "record": "debezium.body",
        "keep_raw": "parquet",
        "schema_drift": "refuse",
        "facts": "sales",
        "columns": None,
        "latest": time(6, 30),
        "max_rejected": 0.5,
        "copy_connections": 8,
        "block_size": 64 * 1024**2,
        "partition_width": "day",
        "check_severities": {"orders": "warn", "nulls": "off"},
        "check_thresholds": {"fewer_orders": 0.5},
        "prices": {"worker_hour": 0.05, "gigabyte": 0.02},
        "budget": 2.5,
        "checks_folder": Path("/srv/checks"),
        "allow_unreadable": True,
        "scheduler_address": "tls://scheduler:8786",
        "workers_timeout": 600,
        "ssl_mode": "require",
        "s3_endpoint": "http://127.0.0.1:9000",
    }


def test_groups_that_this_process_has_not_declared_are_refused() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(facts="sales,taxes")
    assert str(caught.value) == (
        "ORDERS_DASK_FACTS must be set in the environment before orders_dask is imported: this "
        "process has the tables of sales"
    )


def test_a_file_of_columns_that_this_process_has_not_read_is_refused() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(columns="columns.toml")
    assert str(caught.value) == (
        "ORDERS_DASK_COLUMNS must be set in the environment before orders_dask is imported: this "
        "process has read no such file"
    )


def test_a_password_is_no_setting_that_has_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_PGSQL_PASS", "")
    assert load_settings().pgsql_pass.get_secret_value() == ""
    monkeypatch.delenv("_PGSQL_PASS")
    assert load_settings().pgsql_pass.get_secret_value() == ""


def test_an_override_goes_before_the_environment_and_none_is_no_override() -> None:
    settings = load_settings(source="s3://mine/{run_date}.json", pgsql_user=None)
    assert settings.source == "s3://mine/{run_date}.json"
    assert settings.stage_url == f"s3://mine/{STAGE_FOLDER}"
    assert settings.pgsql_user == "loader"


def test_all_that_is_missing_or_malformed_is_named_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("_PGSQL_HOSTNAME")
    monkeypatch.setenv("_PGSQL_USER", "")
    monkeypatch.setenv("_PGSQL_PORT", "five")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == (
        "_PGSQL_HOSTNAME and _PGSQL_USER are not set; "
        "_PGSQL_PORT should be a valid integer, unable to parse string as an integer"
    )


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("_PGSQL_PORT", "65536", "less than or equal to 65535"),
        ("_AWS_S3_URL_SOURCE", "s3://bucket/{date}/", "no placeholder but {run_date}"),
        ("_AWS_S3_URL_SOURCE", "s3://bucket/{run_date", "no placeholder but {run_date}"),
        ("_AWS_S3_URL_SOURCE", "zip://*::s4://bucket/x.zip", "names s4://"),
        ("ORDERS_DASK_SHOP_TIMEZONE", "Europe/Atlantis", "IANA time zone"),
        ("ORDERS_DASK_SHOP_TIMEZONE", "../../etc/passwd", "IANA time zone"),
        ("ORDERS_DASK_SHOP_TIMEZONE", "Europe", "IANA time zone"),
        ("ORDERS_DASK_RECORD", "detail..payload", "joined by dots, such as detail.payload"),
        ("ORDERS_DASK_RECORD", "orders", "must not begin with orders"),
        ("ORDERS_DASK_MAX_REJECTED", "1.5", "less than or equal to 1"),
        ("ORDERS_DASK_MAX_REJECTED", "nan", "finite number"),
        ("ORDERS_DASK_COPY_CONNECTIONS", "0", "greater than or equal to 1"),
        ("ORDERS_DASK_BLOCK_SIZE", "32 apples", "number of bytes such as 32MiB"),
        ("ORDERS_DASK_BLOCK_SIZE", "4GiB", "less than or equal to 1073741824"),
        ("ORDERS_DASK_PARTITION", "year", "'month' or 'day'"),
        ("ORDERS_DASK_ALLOW_UNREADABLE", "perhaps", "valid boolean"),
    ],
)
def test_a_malformed_setting_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name} .*{re.escape(complaint)}"):
        load_settings()


def test_the_password_is_in_no_text_of_the_settings_or_of_their_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = load_settings()
    assert (
        "horse"
        not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    )
    monkeypatch.setenv("_PGSQL_PORT", "five")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert caught.value.__suppress_context__ or caught.value.__context__ is None, (
        "a traceback would show pydantic's error, which holds the values"
    )


@pytest.mark.parametrize(
    ("source", "stage"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/{run_date:%Y/%m/%d}/*.jsonl.gz", "s3://bucket"),
        ("s3://bucket/shop/run_date={run_date}/", "s3://bucket/shop"),
        ("s3://bucket/shop/part-?.json", "s3://bucket/shop"),
        ("zip://{run_date}.json::s3://bucket/old/orders.zip", "s3://bucket/old"),
        ("/dumps/{run_date}.json", "/dumps"),
        ("file:///dumps/{run_date}/", "file:///dumps"),
        ("s3://bucket/a::b://c #/?versionId=null/{run_date}/", "s3://bucket/a::b://c #"),
        ("zip://a::{run_date}.json::s3://bucket/a::b/orders.zip", "s3://bucket/a::b"),
    ],
)
def test_the_stage_lies_beside_the_source(source: str, stage: str) -> None:
    assert load_settings(source=source).stage_url == f"{stage}/{STAGE_FOLDER}"


@pytest.mark.parametrize("source", ["s3://{run_date}/orders.json", "file:///x.json"])
def test_a_source_without_a_folder_asks_for_a_stage(source: str) -> None:
    with pytest.raises(SettingsError, match=r"^ORDERS_DASK_STAGE_URL must be set"):
        load_settings(source=source)


@pytest.mark.parametrize("variable", ["_AWS_S3_URL_SOURCE", "ORDERS_DASK_STAGE_URL"])
@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("s3:/bucket/x", "must begin with a protocol"),
        ("bucket/orders/{run_date}/", "must begin with a protocol"),
        ("orders.json", "must begin with a protocol"),
        ("file:dumps/", "must begin with a protocol"),
        ("s4://bucket/", "names s4://"),
        ("s3://", "must name a bucket"),
        ("s3:///orders/", "must name a bucket"),
        ("zip://orders.json", "must name where the zip lies|names zip://, which is no store"),
        ("zip://*.json::bucket/x.zip", "must name where the zip lies|names zip://"),
        ("zip://*.json::s3:/bucket/y.zip", "must name where the zip lies|names zip://"),
        ("zip://*.json::s3:///y.zip", "must name a bucket|names zip://"),
        ("zip://*.json::zip://x.zip::s3://bucket/y.zip", "names zip://"),
        ("simplecache::s3://bucket/", "names simplecache::s3://"),
    ],
)
def test_a_url_that_names_no_store_is_a_settings_error(
    monkeypatch: pytest.MonkeyPatch, variable: str, url: str, complaint: str
) -> None:
    monkeypatch.setenv(variable, url)
    with pytest.raises(SettingsError, match=rf"^{variable} .*({complaint})"):
        load_settings()


def test_a_stage_lies_in_no_zip() -> None:
    with pytest.raises(SettingsError, match=r"^ORDERS_DASK_STAGE_URL names zip://"):
        load_settings(stage_url="zip://stage::s3://bucket/stage.zip")


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("zip://*.json::s3://b/x.zip", ("*.json", "s3://b/x.zip")),
        ("zip://a::b::s3://b/c::d://e.zip", ("a::b", "s3://b/c::d://e.zip")),
        ("zip://::file:///x.zip", ("", "file:///x.zip")),
        ("zip://*::/dumps/x.zip", ("*", "/dumps/x.zip")),
        ("s3://b/zip://a::s3://b/x.zip", (None, "s3://b/zip://a::s3://b/x.zip")),
    ],
)
def test_a_zip_is_parted_at_the_first_double_colon_that_a_url_follows(
    source: str, parts: tuple[str | None, str]
) -> None:
    assert split_zip_url(source) == parts


@pytest.mark.parametrize(
    "url",
    ["s3://b/tmp", "s3://b/tmp/", f"s3://b/tmp/{STAGE_FOLDER}", f"s3://b/tmp/{STAGE_FOLDER}/"],
)
def test_a_chosen_stage_lies_in_the_folder_that_discover_ignores(url: str) -> None:
    assert load_settings(stage_url=url).stage_url == f"s3://b/tmp/{STAGE_FOLDER}"


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().pgsql_port = 1


def test_services_leave_an_environment_and_all_else_stays() -> None:
    mine = {"HOME": "/home/me", "ORDERS_DASK_SHOP_TIMEZONE": "UTC"}
    services = {"AWS_PROFILE": "production", "PGHOST": "db", "DASK_SCHEDULER_ADDRESS": "tcp://a:1"}
    assert without_service_variables(mine | services | REQUIRED) == mine


NO_DEFAULT = (
    *("pgsql_pass_file", "pgsql_secret", "stage_url", "scheduler_address", "ssl_mode"),
    *("s3_endpoint", "check_severities", "check_thresholds", "checks_folder"),
    *("alert_url", "alert_key", "alert_command", "prices", "budget", "record", "columns"),
)
"""Settings whose commented line in the example shows a value, not the default."""


def test_the_example_names_every_setting_and_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    written = dict(re.findall(r"^(?:# )?export (\w+)=(\S*)", EXAMPLE.read_text(), re.MULTILINE))
    monkeypatch.setenv("_AWS_S3_URL_SOURCE", written["_AWS_S3_URL_SOURCE"].strip("'"))
    monkeypatch.delenv("_PGSQL_PASS")
    defaults = load_settings()
    for name, field in Settings.model_fields.items():
        variable = str(field.validation_alias)
        assert variable in written, f"{EXAMPLE.name} does not name {variable}"
        if not field.is_required() and name not in NO_DEFAULT:
            monkeypatch.setenv(variable, written[variable])
    assert load_settings() == defaults, "what is commented out is said to be the default"


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("PGSSLMODE", "bogus", "PGSSLMODE"),
        ("AWS_ENDPOINT_URL_S3", "garbage", "AWS_ENDPOINT_URL_S3 must be an address"),
        ("AWS_ACCESS_KEY_ID", "AKIA\n", "^AWS_ACCESS_KEY_ID must hold no line break"),
        ("AWS_SECRET_ACCESS_KEY", "s\r", "^AWS_SECRET_ACCESS_KEY must hold no line break"),
        ("AWS_SESSION_TOKEN", "\tt", "^AWS_SESSION_TOKEN must hold no line break"),
        ("_PGSQL_PASS", "\udcff", "^_PGSQL_PASS must be UTF-8 without a NUL byte$"),
        ("ORDERS_DASK_WORKERS_TIMEOUT", "1e400", "must be a duration such as 30s"),
        ("ORDERS_DASK_BLOCK_SIZE", "1e400", "must be a number of bytes such as 32MiB"),
        (
            "_AWS_S3_URL_SOURCE",
            "ftp://me:hunter2@host/{run_date}/",
            "^_AWS_S3_URL_SOURCE must hold",
        ),
        ("ORDERS_DASK_STAGE_URL", "s3://AKIA:hunter2@bucket/", "must hold no user or password"),
        ("AWS_REGION", "eu-central-1\n", "^AWS_REGION must hold no line break"),
        ("_AWS_S3_URL_SOURCE", "s3://", "_AWS_S3_URL_SOURCE must name a bucket"),
        ("_AWS_S3_URL_SOURCE", "s3://b/{run_date.year}/", "_AWS_S3_URL_SOURCE must hold no"),
    ],
)
def test_what_a_library_would_trip_over_is_found_before_anything_is_contacted(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=complaint):
        load_settings()
