"""Faults in the middle of a backfill, and all that the compose file promises.

Each case loads the three days again, from the dump, with a stage of its own. Afterwards the views
hold what they held after a backfill that nothing disturbed.
"""

from __future__ import annotations

import json
import re
import time

import pytest

from tests.compose.stack import BACKFILL, DAYS, VIEWS, Contents, Expected, Stack, docker
from tests.support import REPOSITORY


def test_the_demo_shows_three_days_that_it_loaded_on_the_cluster(demo: str) -> None:
    for day in DAYS:
        assert f"{day}  published: " in demo
    assert "orders.sales_by_day" in demo


def test_three_days_reconcile_with_what_was_generated(stack: Stack, expected: Expected) -> None:
    statuses = {row["run_date"]: row for row in json.loads(stack.orders("status", "--json"))}
    assert {*statuses} == {*DAYS}
    for day, made in expected.items():
        found = statuses[day]
        assert found["status"] == "published"
        for total in ("superseded", "rejected"):
            assert found[total] == made[total]
        assert found["orders"] + found["superseded"] + found["rejected"] == made["records"]
        for fact, rows in made["rows"].items():
            assert stack.rows(fact, day) == rows


def test_a_killed_worker_comes_back_and_the_run_goes_on(
    stack: Stack, undisturbed: Contents
) -> None:
    worker = stack.container("worker")

    def kill() -> None:
        # By the kernel, as for lack of memory: after `docker kill`, Docker would leave it so.
        process = docker("inspect", "--format={{.State.Pid}}", worker).strip()
        docker(
            *("run", "--rm", "--pid=host", "--network=none", "--user=0", "--cap-add=KILL"),
            *(stack.variables["ORDERS_DASK_IMAGE"], "sh", "-c", f"kill -9 {process}"),
        )

    stack.reload(kill)
    assert docker("inspect", "--format={{.RestartCount}}", worker).strip() == "1"
    stack.has_workers(2)
    assert stack.contents() == undisturbed


@pytest.mark.long
def test_after_a_restart_of_the_scheduler_workers_are_back_and_the_same_command_ends_the_work(
    stack: Stack, undisturbed: Contents
) -> None:
    assert stack.reload(lambda: stack.compose("restart", "scheduler"), 4) == 4
    stack.has_workers(2)
    assert stack.contents() == undisturbed


@pytest.mark.long
def test_a_worker_that_is_cut_off_the_network_is_done_without_and_comes_back(
    stack: Stack, undisturbed: Contents
) -> None:
    network = f"{stack.variables['COMPOSE_PROJECT_NAME']}_default"
    worker = stack.container("worker")

    def cut() -> None:
        docker("network", "disconnect", network, worker)
        time.sleep(5)
        docker("network", "connect", network, worker)

    stack.reload(cut)
    stack.has_workers(2)
    assert stack.contents() == undisturbed


@pytest.mark.long
def test_a_backfill_outlives_a_stop_and_a_start_of_postgresql(
    stack: Stack, undisturbed: Contents
) -> None:
    def stop_and_start() -> None:
        stack.compose("stop", "postgres")
        stack.up("postgres")

    stack.reload(stop_and_start, 4)
    assert stack.contents() == undisturbed


@pytest.mark.long
def test_workers_join_and_leave_in_the_middle_of_a_backfill(
    stack: Stack, undisturbed: Contents
) -> None:
    def scale() -> None:
        for workers in (4, 1):
            stack.up("--no-recreate", "--scale", f"worker={workers}", "worker")
            stack.has_workers(workers)

    stack.reload(scale)
    assert stack.contents() == undisturbed


@pytest.mark.long
def test_a_stop_of_the_container_ends_a_run_cleanly(stack: Stack, undisturbed: Contents) -> None:
    def stop() -> None:
        [run] = docker(
            *("ps", "--quiet", "--filter=label=com.docker.compose.service=orders"),
            f"--filter=label=com.docker.compose.project={stack.variables['COMPOSE_PROJECT_NAME']}",
        ).split()
        docker("stop", run)

    assert stack.reload(stop, 143) == 143
    assert stack.contents() == undisturbed


@pytest.mark.long
def test_down_and_up_keep_database_and_bucket(stack: Stack, undisturbed: Contents) -> None:
    loads = stack.loads()
    stack.compose("down")
    stack.up()
    days = json.loads(stack.orders(*BACKFILL[:-1], "--json"))
    assert [day["outcome"] for day in days] == ["up_to_date"] * 3
    assert (stack.loads(), stack.contents()) == (loads, undisturbed)


@pytest.mark.long
def test_a_new_volume_holds_what_the_backup_of_the_documentation_saved(
    stack: Stack, undisturbed: Contents
) -> None:
    page = (REPOSITORY / "docs" / "deployment.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    [backup], [restore] = (
        [block for block in blocks if command in block] for command in ("pg_dump ", "pg_restore ")
    )
    loads = stack.loads()
    stack.shell(backup)
    stack.compose("rm", "--stop", "--force", "postgres")
    docker("volume", "rm", f"{stack.variables['COMPOSE_PROJECT_NAME']}_postgres")
    stack.up("postgres")
    assert stack.query(VIEWS) == []
    stack.shell(restore)
    stack.up()
    assert (stack.loads(), stack.contents()) == (loads, undisturbed)
    days = json.loads(stack.orders(*BACKFILL[:-1], "--json"))
    assert [day["outcome"] for day in days] == ["up_to_date"] * 3
    assert stack.reload(lambda: None) == 0, "the tables that it made can be written"


READS_ALL_FORMATS = """
import sys
from orders_dask import read_orders
from orders_dask.extract import json_scanner
from orders_dask.synthetic import generate
from datetime import date

for layout in ("ndjson", "pages"):
    for compression in ("none", "gzip", "zip"):
        day = date(2026, 3, 1)
        dump = generate(f"/tmp/{layout}-{compression}", start=day, days=1, orders=20,
                        layout=layout, compression=compression)
        source = f"zip://*::{dump.source}*.zip" if compression == "zip" else dump.source
        assert len(read_orders(source, day).compute(scheduler="sync")) == dump.days[0].records
stats = [each.stats for each in vars(json_scanner).values() if hasattr(each, "stats")]
hits, misses = (sum(sum(getattr(each, name).values()) for each in stats)
                for name in ("cache_hits", "cache_misses"))
sys.exit(f"{hits} of the reader's functions loaded, {misses} compiled" if misses or not hits else 0)
"""


@pytest.mark.long
@pytest.mark.parametrize("user", ["1001:0", "12345:0", "12345:12345"])
def test_no_user_compiles_the_reader_although_the_root_is_read_only(image: str, user: str) -> None:
    docker(
        *("run", "--rm", "--read-only", "--tmpfs=/tmp", "--network=none", f"--user={user}"),
        *("--cap-drop=ALL", image, "python", "-c", READS_ALL_FORMATS),
    )


@pytest.mark.long
def test_the_demo_refuses_a_database_and_a_bucket_that_hold_other_days(stack: Stack) -> None:
    stack.orders("generate", "s3://orders", "--start", "2026-10-01", "--days", "1", "--orders", "9")
    code, _, err = stack.ended("demo", "--use-settings")
    assert code == 2
    assert "which no demo wrote" in err


@pytest.mark.long
def test_the_daily_job_starts_at_its_time_and_ends_at_sigterm(stack: Stack) -> None:
    config = json.loads(stack.compose("--profile=daily", "config", "--format=json"))
    at_once = ("--entrypoint", "snooze -v -H * -M * -S *")
    job = [*config["services"]["daily"]["command"], "--missing=report", "--dry-run"]
    ran = stack.compose("run", "--rm", "--no-TTY", *at_once, "daily", *job)
    assert "  missing: " in ran, "yesterday has no dump"

    daily = stack.compose("run", "--detach", "daily").strip()
    began = time.monotonic()
    docker("stop", "--time=20", daily)
    docker("rm", daily)
    assert time.monotonic() - began < 10, "snooze didn't end at SIGTERM"


def test_ports_are_published_to_this_machine_alone(stack: Stack) -> None:
    services = json.loads(stack.compose("--profile=*", "config", "--format=json"))["services"]
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert {port["host_ip"] for port in published} == {"127.0.0.1"}
    assert len(published) == 3


def test_a_file_of_the_image_can_be_read_by_everybody_and_written_by_nobody(image: str) -> None:
    others = "find /opt/orders-dask ! -perm -o=r -o -perm /go=w ! -type l"
    assert not docker("run", "--rm", "--network=none", "--user=0", image, "sh", "-c", others)


def test_no_secret_is_in_the_configuration_or_the_log_of_a_container(
    stack: Stack, demo: str
) -> None:
    containers = stack.compose("ps", "--all", "--quiet").split()
    assert len(containers) >= 5
    assert stack.secret not in docker("inspect", *containers)
    assert stack.secret not in stack.compose("config")
    assert stack.secret not in stack.compose("logs") + demo
