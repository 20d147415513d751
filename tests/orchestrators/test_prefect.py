"""deploy/prefect with the real Prefect: its test harness, and a served deployment."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from prefect.settings import PREFECT_HOME, temporary_settings
from prefect.testing.utilities import prefect_test_harness

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


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Yield Prefect's own harness: a server and a database that last as long as the tests."""
    home = tmp_path_factory.mktemp("prefect")
    with temporary_settings({PREFECT_HOME: home}), prefect_test_harness(120):
        yield


@pytest.fixture
def flows(harness: None, shop: Shop, tmp_path: Path) -> ModuleType:
    """Return the module, with retries after a second."""
    return import_file(edited_copy("prefect/orders_prefect.py", tmp_path, RETRY_SECONDS="1"))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of the API of a Prefect server, as `prefect server start` gives it."""
    home = tmp_path_factory.mktemp("server")
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(home))
        patch.setenv("PREFECT_API_URL", url)
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        patch.setenv("PREFECT_RUNNER_POLL_FREQUENCY", "1")
        start = ("-m", "prefect", "server", "start", "--port", str(port))
        with running(sys.executable, *start, log=home / "server.log"):
            until(lambda: get_json(f"{url}/health"), 120, "the server does not answer")
            yield url


@contextmanager
def served(folder: Path, **constants: str) -> Iterator[None]:
    """Serve the deployments in a process of its own, as `python orders_prefect.py` does."""
    module = edited_copy("prefect/orders_prefect.py", folder, **constants)
    with running(sys.executable, str(module), log=folder / "served.log"):
        yield


def deployment(api: str, name: str) -> dict[str, Any]:
    """Return a deployment, once it is there."""
    path = f"{api}/deployments/name/{name}/{name}"
    found: dict[str, Any] = until(lambda: get_json(path), 60, f"there is no deployment {name}")
    return found


def start_run(api: str, name: str, **parameters: Any) -> str:
    """Create a run of a deployment and return the URL of the run."""
    url = f"{api}/deployments/{deployment(api, name)['id']}/create_flow_run"
    return f"{api}/flow_runs/{post_json(url, {'parameters': parameters})['id']}"


def wait_for(run: str, state: str) -> None:
    """Wait until a run has a state, and fail if it ends in another one."""
    ended = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
    until(lambda: get_json(run)["state_type"] in ended, 120, "the run has not ended")
    assert get_json(run)["state_type"] == state, get_json(run)["state"]


def test_a_day_is_loaded_and_a_retry_finds_it_up_to_date(flows: ModuleType, shop: Shop) -> None:
    shop.export("2026-10-01")
    for _ in range(2):
        state = flows.orders_daily(run_date=date(2026, 10, 1), return_state=True)
        assert state.is_completed(), state
    assert shop.statuses()["2026-10-01"] == "published"
    assert shop.runs() == [("2026-10-01", 0)] * 2


def test_a_refused_day_fails_without_a_retry(flows: ModuleType, shop: Shop) -> None:
    shop.export_refused("2026-10-02")
    state = flows.orders_daily(run_date=date(2026, 10, 2), return_state=True)
    assert state.is_failed()
    assert "2026-10-02" in state.message
    assert shop.runs() == [("2026-10-02", 3)]


def test_a_late_dump_is_loaded_when_it_arrives(flows: ModuleType, shop: Shop) -> None:
    with exported_after_an_attempt(shop, "2026-10-03"):
        state = flows.orders_daily(run_date=date(2026, 10, 3), return_state=True)
    assert state.is_completed(), state
    *missing, loaded = shop.runs()
    assert missing
    assert set(missing) == {("2026-10-03", 6)}
    assert loaded == ("2026-10-03", 0)


def test_a_backfill_is_one_command_and_lists_a_day_without_a_dump(
    flows: ModuleType, shop: Shop
) -> None:
    shop.export("2026-10-04", days=2)
    state = flows.orders_backfill(start=date(2026, 10, 4), end=date(2026, 10, 6), return_state=True)
    assert state.is_completed(), state
    assert shop.runs() == [("2026-10-04 2026-10-06", 0)]
    statuses = shop.statuses()
    assert [statuses.get(f"2026-10-0{day}") for day in (4, 5, 6)] == [
        *("published", "published"),
        None,
    ]


def test_the_schedule_loads_yesterday_and_what_was_due_in_an_outage_is_run_after_it(
    api: str, shop: Shop, tmp_path: Path
) -> None:
    today = datetime.now(ZoneInfo(SHOP_TIMEZONE)).date()
    yesterday = str(today - timedelta(days=1))
    shop.export(yesterday, days=2)  # the second one is for a test at midnight
    loaded = [(yesterday, 0), (str(today), 0)]
    with served(tmp_path / "before", DAILY='"* * * * *"'):
        until(shop.commands, 150, "the schedule has started no run")
    assert shop.runs()[0] in loaded
    assert shop.statuses()[shop.runs()[0][0]] == "published"

    ids = [deployment(api, "orders-daily")["id"]]
    until(
        lambda: post_json(
            f"{api}/deployments/get_scheduled_flow_runs",
            {"deployment_ids": ids, "scheduled_before": str(datetime.now(UTC))},
        ),
        150,
        "no run became due in the outage",
    )
    before = len(shop.runs())
    with served(tmp_path / "after"):
        until(lambda: set(shop.runs()[before:]) & set(loaded), 150, "the late run is not started")


def test_a_late_scheduled_run_loads_the_day_that_was_missed(
    api: str, shop: Shop, tmp_path: Path
) -> None:
    shop.export("2026-10-07")
    with served(tmp_path):
        daily = deployment(api, "orders-daily")
        # 03:00 UTC on the 9th is the 8th in New York.
        late = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2026-10-09T03:00:00Z"}}
        url = f"{api}/deployments/{daily['id']}/create_flow_run"
        wait_for(f"{api}/flow_runs/{post_json(url, {'state': late})['id']}", "COMPLETED")
    assert shop.runs() == [("2026-10-07", 0)]


def test_a_cancelled_run_ends_cleanly_and_the_next_one_succeeds(
    api: str, shop: Shop, slow_s3: SlowServer, tmp_path: Path
) -> None:
    shop.export("2026-10-08", orders=2_000)
    with served(tmp_path):
        run = start_run(api, "orders-daily", run_date="2026-10-08")
        until(lambda: shop.statuses().get("2026-10-08") == "loading", 120, "no load has begun")
        post_json(f"{run}/set_state", {"state": {"type": "CANCELLING"}})
        wait_for(run, "CANCELLED")
        [stopped] = shop.commands()
        assert (stopped["signals"], stopped["exit_code"]) == (["SIGTERM"], 143)
        assert shop.statuses()["2026-10-08"] == "failed", "nothing is published"

        slow_s3.fast.set()
        wait_for(start_run(api, "orders-daily", run_date="2026-10-08"), "COMPLETED")
    assert shop.statuses()["2026-10-08"] == "published"
