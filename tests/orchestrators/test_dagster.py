"""deploy/dagster with the real Dagster: in one process, and by its web server and daemon."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from tests.orchestrators.shop import (
    SHOP_TIMEZONE,
    Shop,
    edited_copy,
    exported_after_an_attempt,
    free_port,
    get_json,
    import_file,
    post_json,
    running,
    until,
)
from tests.orchestrators.slow_s3 import SlowServer

ORDERS = dg.AssetKey("orders")
FIRST_RUN_DATE = '"2025-01-01"'


@pytest.fixture
def module(shop: Shop, tmp_path: Path) -> ModuleType:
    """Return the module, with retries after a second."""
    return import_file(
        edited_copy(
            "dagster/orders_dagster.py",
            tmp_path,
            FIRST_RUN_DATE=FIRST_RUN_DATE,
            RETRY_SECONDS="1",
        )
    )


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Yield an instance that lasts as long as the test."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def materialise(
    module: ModuleType, instance: dg.DagsterInstance, run_date: str
) -> dg.ExecuteInProcessResult:
    """Materialise a partition in this process."""
    return dg.materialize(
        [module.orders], instance=instance, partition_key=run_date, raise_on_error=False
    )


def test_a_day_is_materialised_with_its_figures_and_a_retry_finds_it_up_to_date(
    module: ModuleType, instance: dg.DagsterInstance, shop: Shop
) -> None:
    shop.export("2025-10-01")
    for _ in range(2):
        ended = materialise(module, instance, "2025-10-01")
        assert ended.success
        [made] = ended.asset_materializations_for_node("orders")
        assert made.partition == "2025-10-01"
        figures = {name: value.value for name, value in made.metadata.items()}
        assert figures["dagster/row_count"] == 50
        assert figures.keys() == {
            *("dagster/row_count", "lines", "superseded", "rejected", "seconds")
        }
    assert shop.runs() == [("2025-10-01 2025-10-01", 0)] * 2


def test_a_refused_day_fails_without_a_retry(
    module: ModuleType, instance: dg.DagsterInstance, shop: Shop
) -> None:
    shop.export_refused("2025-10-02")
    assert not materialise(module, instance, "2025-10-02").success
    assert shop.runs() == [("2025-10-02 2025-10-02", 3)]
    assert instance.get_materialized_partitions(ORDERS) == set()


def test_a_command_that_is_not_there_fails_without_a_retry(
    module: ModuleType, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMMAND", "/nowhere/orders-dask")
    ended = materialise(module, instance, "2025-10-01")
    [failure] = ended.filter_events(lambda event: event.is_step_failure)
    assert "Can't run /nowhere/orders-dask" in str(failure.event_specific_data)
    assert not ended.filter_events(lambda event: event.is_step_up_for_retry)


def test_a_late_dump_is_materialised_when_it_arrives(
    module: ModuleType, instance: dg.DagsterInstance, shop: Shop
) -> None:
    with exported_after_an_attempt(shop, "2025-10-03"):
        assert materialise(module, instance, "2025-10-03").success
    *missing, loaded = shop.runs()
    assert {code for _, code in missing} == {6}
    assert loaded == ("2025-10-03 2025-10-03", 0)
    assert instance.get_materialized_partitions(ORDERS) == {"2025-10-03"}


class Server:
    """A web server with its daemon and code server, as `dagster dev` starts them."""

    def __init__(self, url: str) -> None:
        self.graphql = f"{url}/graphql"

    def ask(self, query: str, **variables: Any) -> Any:
        """Return the one thing that a query asks for."""
        answer = post_json(self.graphql, {"query": query, "variables": variables})
        assert "errors" not in answer, answer
        [found] = answer["data"].values()
        return found

    def backfill(self, *run_dates: str) -> None:
        """Launch a backfill of some partitions as the page of the asset does."""
        launched = self.ask(
            """mutation ($params: LaunchBackfillParams!) {
                 launchPartitionBackfill(backfillParams: $params) { __typename }
               }""",
            params={"assetSelection": [{"path": ["orders"]}], "partitionNames": run_dates},
        )
        assert launched["__typename"] == "LaunchBackfillSuccess", launched

    def runs(self) -> list[dict[str, Any]]:
        """Return id and status of each run, the latest first."""
        found = self.ask("{ runsOrError { ... on Runs { results { id status } } } }")
        runs: list[dict[str, Any]] = found["results"]
        return runs

    def wait_for_run(self, number: int, status: str) -> None:
        """Wait until there are so many runs and the latest has ended, with this status."""

        def ended() -> bool:
            runs = self.runs()
            return len(runs) == number and runs[0]["status"] in ("SUCCESS", "FAILURE", "CANCELED")

        until(ended, 150, f"run {number} has not ended")
        assert self.runs()[0]["status"] == status

    def terminate(self) -> None:
        """Terminate the latest run as its page does."""
        ended = self.ask(
            """mutation ($id: String!) {
                 terminateRun(runId: $id, terminatePolicy: SAFE_TERMINATE) { __typename }
               }""",
            id=self.runs()[0]["id"],
        )
        assert ended["__typename"] == "TerminateRunSuccess", ended

    def materialised(self) -> dict[str, dict[str, Any]]:
        """Return the figures of each materialised partition."""
        found = self.ask(
            """{ assetOrError(assetKey: {path: ["orders"]}) { ... on Asset {
                 assetMaterializations { partition metadataEntries {
                   label ... on IntMetadataEntry { intValue } } } } } }"""
        )
        return {
            made["partition"]: {
                entry["label"]: entry.get("intValue") for entry in made["metadataEntries"]
            }
            for made in found["assetMaterializations"]
        }


@contextmanager
def dagster_dev(folder: Path, **constants: str) -> Iterator[Server]:
    """Start `dagster dev` with the module, and yield its server."""
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    module = edited_copy(
        "dagster/orders_dagster.py", folder, FIRST_RUN_DATE=FIRST_RUN_DATE, **constants
    )
    port = free_port()
    command = ("-m", "dagster", "dev", "-f", str(module), "-p", str(port))
    environment = {"DAGSTER_HOME": str(folder)}
    log = folder / "dagster.log"
    with running(sys.executable, *command, log=log, environment=environment):
        url = f"http://127.0.0.1:{port}"
        until(lambda: get_json(f"{url}/server_info"), 120, "the web server does not answer")
        yield Server(url)


def test_a_backfill_is_one_command_and_a_day_without_a_dump_is_not_materialised(
    shop: Shop, tmp_path: Path
) -> None:
    shop.export("2025-10-04", days=2)
    with dagster_dev(tmp_path, RETRIES="1", RETRY_SECONDS="1") as server:
        server.backfill("2025-10-04", "2025-10-05", "2025-10-06")
        server.wait_for_run(1, "FAILURE")
        assert shop.runs() == [("2025-10-04 2025-10-06", 6)] * 2, "once, and once more for the 6th"
        assert server.materialised().keys() == {"2025-10-04", "2025-10-05"}

        shop.export("2025-10-06")
        server.backfill("2025-10-04", "2025-10-05", "2025-10-06")
        server.wait_for_run(2, "SUCCESS")
        assert shop.runs()[2:] == [("2025-10-04 2025-10-06", 0)]
        figures = server.materialised()
        assert {day: each["dagster/row_count"] for day, each in figures.items()} == {
            f"2025-10-0{day}": 50 for day in (4, 5, 6)
        }


def test_the_schedule_materialises_yesterday_in_the_time_zone_of_the_shop(
    shop: Shop, tmp_path: Path
) -> None:
    soon = datetime.now(ZoneInfo(SHOP_TIMEZONE)) + timedelta(minutes=2)
    yesterday = str(soon.date() - timedelta(days=1))
    shop.export(yesterday)
    at = {"HOUR, MINUTE": f"{soon.hour}, {soon.minute}"}
    with dagster_dev(tmp_path, **at) as server:
        until(server.runs, 180, "the schedule has started no run")
        server.wait_for_run(1, "SUCCESS")
        assert server.materialised().keys() == {yesterday}
    assert shop.runs() == [(f"{yesterday} {yesterday}", 0)]


def test_a_terminated_run_ends_cleanly_and_the_next_one_succeeds(
    shop: Shop, slow_s3: SlowServer, tmp_path: Path
) -> None:
    shop.export("2025-10-08", orders=2_000)
    with dagster_dev(tmp_path) as server:
        server.backfill("2025-10-08")
        until(lambda: shop.statuses().get("2025-10-08") == "loading", 120, "no load has begun")
        server.terminate()
        server.wait_for_run(1, "CANCELED")
        [stopped] = until(shop.commands, 30, "the command has not ended")
        assert (stopped["signals"], stopped["exit_code"]) == (["SIGTERM"], 143)
        assert shop.statuses()["2025-10-08"] == "failed", "nothing is published"
        assert not server.materialised()

        slow_s3.fast.set()
        server.backfill("2025-10-08")
        server.wait_for_run(2, "SUCCESS")
    assert shop.statuses()["2025-10-08"] == "published"
