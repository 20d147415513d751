"""Lineage: names of data sets, the keys that columns come from, and the events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from openlineage.client.serde import Serde

from orders_dask.contract.dimension_tables import dim_user
from orders_dask.contract.envelopes import DELETION_KEYS
from orders_dask.contract.order_tables import FACTS, fact_order, fact_order_line, public_columns
from orders_dask.contract.record_keys import GRAPHQL_ID
from orders_dask.contract.refund_tables import fact_refund, fact_refund_line
from orders_dask.errors import DataRefused, ServiceUnavailable
from orders_dask.monitoring import lineage_client
from orders_dask.monitoring.column_sources import PUBLIC_TABLES, column_sources, source_keys
from orders_dask.monitoring.lineage import sending_lineage
from orders_dask.monitoring.lineage_client import is_configured
from orders_dask.monitoring.lineage_datasets import MAX_FILES
from orders_dask.monitoring.lineage_events import (
    complete_event,
    failed_event,
    start_event,
)
from orders_dask.monitoring.load_lineage import DumpFile, LoadLineage, dump_name, server_name
from tests.support.openlineage import problems

DAY = date(2026, 10, 25)
RUN_ID = "01a22862-7def-7965-b3f2-4e2988bb2e9c"


@pytest.fixture
def load() -> LoadLineage:
    """Return a load of one file, of the day on which summer time ends."""
    return LoadLineage(
        run_date=DAY,
        load_id=7,
        zone=ZoneInfo("Europe/Berlin"),
        dump=dump_name("s3://shop/orders/{run_date}/", DAY),
        fingerprint="f" * 64,
        files=[DumpFile("s3://shop/orders/2026-10-25/a.json", "e7", 12)],
        server=server_name("db.example.org", 5432),
        database="shop",
    )


def as_json(event: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Serde.to_json(event))
    return found


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("s3://b/orders/run_date={run_date}/", ("s3://b", "orders/run_date=2026-10-25")),
        ("s3a://b/{run_date:%Y/%m/%d}/*.jsonl.gz", ("s3://b", "2026/10/25")),
        ("s3://b/{run_date}.json", ("s3://b", "2026-10-25.json")),
        ("s3://b/{run_date}-*.json", ("s3://b", "/")),
        ("s3://b/a[[]b/", ("s3://b", "/")),
        ("s3://b", ("s3://b", "/")),
        ("zip://{run_date}.json::s3://b/orders_2026.zip", ("s3://b", "orders_2026.zip")),
        ("zip://*.json::/dumps/{run_date}.zip", ("file", "/dumps/2026-10-25.zip")),
        ("/dumps/{run_date}/", ("file", "/dumps/2026-10-25")),
        ("file:///dumps/{run_date}/", ("file", "/dumps/2026-10-25")),
        ("gs://b/{run_date}/", ("gs://b", "2026-10-25")),
    ],
)
def test_a_dump_has_the_name_of_its_folder_file_or_zip(source: str, name: tuple[str, str]) -> None:
    assert dump_name(source, DAY) == name


def test_the_server_has_no_user_and_no_folder() -> None:
    assert server_name("db.example.org", 5432) == "postgres://db.example.org:5432"
    assert server_name("/var/run/postgresql", 5433) == "postgres://localhost:5433"


@pytest.mark.parametrize(
    ("table", "column", "sources"),
    [
        (fact_order, "customer_id", {"customer.id": "IDENTITY"}),
        (fact_order, "discount_codes", {"discount_codes[].code": "AGGREGATION"}),
        (fact_order, "line_count", {}),
        (fact_order_line, "price", {"line_items[].price": "IDENTITY"}),
        (fact_order_line, "line_tax", {"line_items[].tax_lines[].price": "AGGREGATION"}),
        (fact_order_line, "currency", {"currency": "IDENTITY"}),
        (
            fact_order_line,
            "order_id",
            {"id": "IDENTITY"} | dict.fromkeys([GRAPHQL_ID, *DELETION_KEYS], "CONDITIONAL"),
        ),
        (fact_refund_line, "refund_id", {"refunds[].id": "IDENTITY"}),
        (fact_refund_line, "currency", {"currency": "IDENTITY"}),
        (fact_refund_line, "refunded_at", {"refunds[].created_at": "IDENTITY"}),
        (
            fact_refund,
            "refunded_amount",
            {
                "refunds[].transactions[].amount": "AGGREGATION",
                "refunds[].transactions[].kind": "CONDITIONAL",
                "refunds[].transactions[].status": "CONDITIONAL",
                "refunds[].transactions[].currency": "CONDITIONAL",
            },
        ),
        (
            fact_refund_line,
            "subtotal",
            {
                "refunds[].refund_line_items[].subtotal_set.shop_money.amount": "IDENTITY",
                "refunds[].refund_line_items[].subtotal": "IDENTITY",
            },
        ),
        (
            fact_refund,
            "refunded_local_date",
            {"refunds[].processed_at": "IDENTITY", "refunds[].created_at": "IDENTITY"},
        ),
        (fact_order_line, "is_tip", {"line_items[].tip_payment_gateway": "CONDITIONAL"}),
        (dim_user, "last_order_email", {"email": "IDENTITY"}),
        (dim_user, "first_seen", {}),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_column_comes_from_the_keys_of_its_declaration(
    table: Any, column: str, sources: dict[str, str]
) -> None:
    found = column_sources(table, table.c[column])
    assert {source.path: source.use for source in found} == sources


def test_every_declared_source_is_in_the_lineage() -> None:
    declared = {
        ".".join(filter(None, (table.info["records"], path)))
        for table in PUBLIC_TABLES
        for column in table.c
        for path in (column.info["source"], column.info["fallback"])
        if path
    }
    assert declared <= source_keys().keys()


def test_the_events_of_a_load_are_valid(load: LoadLineage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_PARENT_ID", f"airflow/prod/daily.orders/{RUN_ID}")
    rows = {fact.name: number for number, fact in enumerate(FACTS)}
    events = [
        start_event(load, RUN_ID),
        complete_event(load, RUN_ID, (5, rows)),
        complete_event(load, RUN_ID, None),
        failed_event(load, RUN_ID, "It was stopped.", is_cancelled=True),
        failed_event(load, RUN_ID, "Refused.", is_cancelled=False),
    ]
    for event in map(as_json, events):
        assert problems(event) == []
    assert [event["eventType"] for event in map(as_json, events)] == [
        *("START", "COMPLETE", "COMPLETE", "ABORT", "FAIL")
    ]
    assert len({event["run"]["runId"] for event in map(as_json, events)}) == 1


def test_what_is_wrong_with_an_event_is_found(load: LoadLineage) -> None:
    event = as_json(start_event(load, RUN_ID))
    event["run"]["runId"] = "7"
    event["eventTime"] = "yesterday"
    event["producer"] = "no URI"
    del event["job"]["name"]
    event["inputs"][0]["facets"]["version"]["datasetVersion"] = 7
    event["inputs"][0]["facets"]["versions"] = event["inputs"][0]["facets"]["version"]
    event["run"]["facets"]["nominalTime"]["begin"] = "2026-10-25"
    assert len(problems(event)) == 8


def test_the_nominal_time_is_the_run_date_of_the_shop(load: LoadLineage) -> None:
    facets = as_json(start_event(load, RUN_ID))["run"]["facets"]
    assert facets["nominalTime"]["nominalStartTime"] == "2026-10-25T00:00:00+02:00"
    assert facets["nominalTime"]["nominalEndTime"] == "2026-10-26T00:00:00+01:00"


def test_the_parent_may_have_a_namespace_with_slashes_and_a_root(
    load: LoadLineage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_PARENT_ID", f"https://airflow/prod/orders.load/{RUN_ID}")
    monkeypatch.setenv("OPENLINEAGE_ROOT_PARENT_ID", f"airflow/orders/{RUN_ID}")
    parent = as_json(start_event(load, RUN_ID))["run"]["facets"]["parent"]
    assert parent["job"]["namespace"] == "https://airflow/prod"
    assert (parent["job"]["name"], parent["run"]["runId"]) == ("orders.load", RUN_ID)
    assert parent["root"]["job"]["name"] == "orders"


@pytest.mark.parametrize("value", ["orders", "a/b/no-uuid"])
def test_a_wrong_parent_is_left_out_with_a_warning(
    load: LoadLineage,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    value: str,
) -> None:
    monkeypatch.setenv("OPENLINEAGE_PARENT_ID", value)
    assert "parent" not in as_json(start_event(load, RUN_ID))["run"]["facets"]
    assert caplog.messages == [
        "OPENLINEAGE_PARENT_ID is left out of lineage: it must be namespace/name/run_id."
    ]


def test_a_table_has_the_columns_that_people_see_and_their_comments(load: LoadLineage) -> None:
    event = as_json(complete_event(load, RUN_ID, (1, {"fact_order": 1})))
    [order] = [each for each in event["outputs"] if each["name"] == "shop.orders.fact_order"]
    fields = order["facets"]["schema"]["fields"]
    assert [field["name"] for field in fields] == [c.name for c in public_columns(fact_order)]
    assert "load_id" not in [field["name"] for field in fields]
    assert all(field["description"] for field in fields)
    assert order["outputFacets"]["outputStatistics"]["rowCount"] == 1
    [customer] = [each for each in event["outputs"] if each["name"] == "shop.orders.dim_customer"]
    assert not customer.get("outputFacets"), "rows of dimensions are not counted"
    known = {field["name"] for field in event["inputs"][0]["facets"]["schema"]["fields"]}
    used = {
        source["field"]
        for output in event["outputs"]
        for field in output["facets"]["columnLineage"]["fields"].values()
        for source in field["inputFields"]
    }
    assert used == known, "receivers know a key by the schema of the dump"


def test_an_event_names_so_many_files_and_counts_all(load: LoadLineage) -> None:
    many = replace(load, files=[DumpFile(f"s3://shop/{n}", "", 1) for n in range(MAX_FILES + 5)])
    facets = as_json(start_event(many, RUN_ID))["inputs"][0]["inputFacets"]
    assert len(facets["subset"]["inputCondition"]["locations"]) == MAX_FILES
    assert facets["inputStatistics"]["fileCount"] == MAX_FILES + 5


@pytest.mark.parametrize(
    ("variables", "configured"),
    [
        ({}, False),
        ({"OPENLINEAGE_URL": "http://127.0.0.1:1"}, True),
        ({"OPENLINEAGE__TRANSPORT__TYPE": "console"}, True),
        ({"OPENLINEAGE_CONFIG": "openlineage.yml"}, True),
        ({"OPENLINEAGE_NAMESPACE": "shop"}, False),
        ({"OPENLINEAGE_URL": "http://127.0.0.1:1", "OPENLINEAGE_DISABLED": "True"}, False),
    ],
    ids=str,
)
def test_events_are_sent_only_where_variables_say_where(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], configured: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_configured() == configured
    (tmp_path / "openlineage.yml").write_text("transport: {type: noop}")
    assert is_configured() == ("OPENLINEAGE_DISABLED" not in variables)


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a file that gets the events of this test."""
    file = tmp_path / "events"
    transport = {"type": "file", "log_file_path": str(file), "append": True}
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT", json.dumps(transport))
    monkeypatch.setattr(lineage_client, "_pause_ends", 0.0)
    lineage_client._client.cache_clear()
    yield file
    lineage_client._client.cache_clear()


def no_counts() -> Any:
    raise ServiceUnavailable("PostgreSQL can't be reached.")


def test_a_load_is_complete_without_numbers_if_the_ledger_fails(
    load: LoadLineage, events: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with sending_lineage(load, no_counts, str):
        pass
    [_, completed] = map(json.loads, events.read_text().splitlines())
    assert (completed["eventType"], problems(completed)) == ("COMPLETE", [])
    assert "outputStatistics" not in json.dumps(completed)
    assert len(caplog.messages) == 1


def test_whatever_goes_wrong_with_an_event_is_a_warning_and_ends_no_run(
    load: LoadLineage, events: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unusable = replace(load, database="", files=None)  # type: ignore[arg-type]
    with sending_lineage(unusable, lambda: (1, {}), str):
        pass
    [warning] = caplog.messages
    assert f"load 7 of {DAY} (TypeError), nor will it be" in warning
    assert not is_configured(), "a minute of rest"


def test_the_error_of_a_load_is_raised_after_its_event(load: LoadLineage, events: Path) -> None:
    with pytest.raises(DataRefused), sending_lineage(load, no_counts, lambda error: "Refused."):
        raise DataRefused("secret")
    [_, failed] = map(json.loads, events.read_text().splitlines())
    assert failed["run"]["facets"]["errorMessage"]["message"] == "Refused."
