"""deploy/airflow with the real Airflow: `airflow dags test`, and `airflow standalone`."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.orchestrators.shop import (
    SHOP_TIMEZONE,
    Shop,
    edited_copy,
    export_settings,
    exported_after_an_attempt,
    free_port,
    get_json,
    post_json,
    running,
    until,
)
from tests.orchestrators.slow_s3 import SlowServer, slow_s3_of

DAG = "orders_daily"
DAYS_TO_CATCH_UP = 4


def airflow(*arguments: str, code: int = 0) -> None:
    """Run a command of Airflow."""
    ended = subprocess.run(
        [sys.executable, "-m", "airflow", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert ended.returncode == code, ended.stdout


@contextmanager
def airflow_home(folder: Path) -> Iterator[dict[str, str]]:
    """Make a database and an empty folder of DAGs, and yield Airflow's settings."""
    (folder / "dags").mkdir()
    port = free_port()
    settings = {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "false",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "true",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        airflow("db", "migrate")
        airflow("pools", "set", "orders_dask", "1", "Runs of orders-dask at once")
        yield settings


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have a database of Airflow, and the DAG with retries after two seconds."""
    folder = tmp_path_factory.mktemp("airflow")
    with airflow_home(folder):
        edited_copy(
            "airflow/orders_airflow.py",
            folder / "dags",
            FIRST_RUN_DATE="datetime(2025, 1, 1)",
            RETRY_DELAY="timedelta(seconds=2)",
        )
        yield


def test_a_day_is_loaded_and_a_retry_finds_it_up_to_date(home: None, shop: Shop) -> None:
    shop.export("2025-10-01")
    for _ in range(2):
        # The run that is due on the 2nd at 4:30 in New York is about the 1st.
        airflow("dags", "test", DAG, "2025-10-02T04:30:00-04:00")
    assert shop.runs() == [("2025-10-01", 0)] * 2
    assert shop.statuses()["2025-10-01"] == "published"


def test_a_refused_day_fails_without_a_retry(home: None, shop: Shop) -> None:
    shop.export_refused("2025-10-02")
    airflow("dags", "test", DAG, "--conf", json.dumps({"run_date": "2025-10-02"}), code=1)
    assert shop.runs() == [("2025-10-02", 3)]


def test_a_late_dump_is_loaded_when_it_arrives(home: None, shop: Shop) -> None:
    with exported_after_an_attempt(shop, "2025-10-03"):
        airflow("dags", "test", DAG, "--conf", json.dumps({"run_date": "2025-10-03"}))
    *missing, loaded = shop.runs()
    assert set(missing) == {("2025-10-03", 6)}
    assert loaded == ("2025-10-03", 0)


class Server:
    """`airflow standalone`: its API, the shop whose dumps it loads, and the speed of S3."""

    def __init__(self, url: str, shop: Shop, s3: SlowServer) -> None:
        self.url, self.shop, self.s3 = url, shop, s3
        self.token = until(self._token, 240, "the API does not answer")

    def _token(self) -> str | None:
        answer = get_json(f"{self.url}/auth/token")
        return answer["access_token"] if answer else None

    def get(self, path: str) -> Any:
        """Return what the API answers."""
        return get_json(f"{self.url}/api/v2/dags/{path}", Authorization=f"Bearer {self.token}")

    def send(self, path: str, body: object, method: str = "POST") -> Any:
        """Send something to the API and return its answer."""
        bearer = {"Authorization": f"Bearer {self.token}"}
        return post_json(f"{self.url}/api/v2/dags/{path}", body, method, **bearer)

    def states(self) -> list[str]:
        """Return the states of the scheduled and backfilled DAG runs, by their logical date."""
        found = self.get(f"{DAG}/dagRuns?order_by=logical_date") or {"dag_runs": []}
        return [run["state"] for run in found["dag_runs"] if run["run_type"] != "manual"]

    def trigger(self, run_date: str) -> str:
        """Trigger a run by hand as its page does, and return the path of the run."""
        body = {"logical_date": None, "conf": {"run_date": run_date}}
        return f"{DAG}/dagRuns/{self.send(f'{DAG}/dagRuns', body)['dag_run_id']}"

    def wait_for(self, run: str, state: str) -> None:
        """Wait until a run has ended, with this state."""
        ended = ("success", "failed")
        until(lambda: self.get(run)["state"] in ended, 240, "the run has not ended")
        assert self.get(run)["state"] == state


def days_to_catch_up() -> list[str]:
    """Return the run dates from the DAG's start to yesterday."""
    today = datetime.now(ZoneInfo(SHOP_TIMEZONE)) - timedelta(hours=4, minutes=30)
    return [str(today.date() - timedelta(days=n)) for n in range(DAYS_TO_CATCH_UP, 0, -1)]


@pytest.fixture(scope="module")
def server(services: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield `airflow standalone` with the DAG since some days, as a user starts it."""
    folder = tmp_path_factory.mktemp("standalone")
    start = datetime.fromisoformat(days_to_catch_up()[0])
    constants = {
        "FIRST_RUN_DATE": f"datetime({start.year}, {start.month}, {start.day})",
        "RETRIES": "1",
        "RETRY_DELAY": "timedelta(seconds=1)",
    }
    with pytest.MonkeyPatch.context() as patch:
        shop = export_settings(services, folder, patch)
        shop.export(days_to_catch_up()[0], days=DAYS_TO_CATCH_UP - 1)
        with slow_s3_of(patch) as s3, airflow_home(folder) as settings:
            s3.fast.set()
            log = folder / "standalone.log"
            with running(sys.executable, "-m", "airflow", "standalone", log=log):
                server = Server(settings["AIRFLOW__API__BASE_URL"], shop, s3)
                # Not before: attempts of tasks that can't reach the API are used up.
                edited_copy("airflow/orders_airflow.py", folder / "dags", **constants)
                until(lambda: server.get(DAG), 120, "the DAG is not found")
                yield server


def test_missed_days_are_caught_up_and_a_backfill_loads_a_day_that_failed(server: Server) -> None:
    days = days_to_catch_up()
    until(
        lambda: server.states() == ["success"] * (DAYS_TO_CATCH_UP - 1) + ["failed"],
        400,
        "the missed days are not caught up",
    )
    runs = server.shop.runs()
    assert sorted(run for run in runs if run[0] in days[:-1]) == [(day, 0) for day in days[:-1]]
    assert [run for run in runs if run[0] == days[-1]] == [(days[-1], 6)] * 2, "one retry"

    server.shop.export(days[-1])
    airflow(
        *("backfill", "create", "--dag-id", DAG, "--reprocess-behavior", "failed"),
        *("--from-date", days[0], "--to-date", str(datetime.now().date())),
    )
    until(lambda: server.states() == ["success"] * DAYS_TO_CATCH_UP, 240, "not backfilled")
    assert server.shop.runs()[len(runs) :] == [(days[-1], 0)]
    assert {server.shop.statuses()[day] for day in days} == {"published"}


def test_a_run_that_is_marked_as_failed_ends_cleanly_and_the_next_one_succeeds(
    server: Server,
) -> None:
    shop = server.shop
    shop.export("2025-10-08", orders=4_000)
    server.s3.fast.clear()
    run = server.trigger("2025-10-08")
    until(lambda: shop.statuses().get("2025-10-08") == "loading", 400, "no load has begun")
    server.send(f"{run}/taskInstances/load", {"new_state": "failed"}, method="PATCH")
    server.wait_for(run, "failed")
    stopped = until(
        lambda: [each for each in shop.commands() if "2025-10-08" in each["arguments"]],
        60,
        "the command has not ended",
    )
    assert [(each["signals"], each["exit_code"]) for each in stopped] == [(["SIGTERM"], 143)]
    assert shop.statuses()["2025-10-08"] == "failed", "nothing is published"

    server.s3.fast.set()
    server.wait_for(server.trigger("2025-10-08"), "success")
    assert shop.statuses()["2025-10-08"] == "published"
