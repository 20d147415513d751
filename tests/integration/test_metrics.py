"""`--metrics FILE` gives Prometheus what a command did, and the state of the ledger."""

from __future__ import annotations

import os
import re
import stat
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import get_args

import pytest
from distributed import Client
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, text

from orders_dask.jobs.metrics import LEDGER_GAUGES, write_metrics
from orders_dask.jobs.run import run
from orders_dask.ledger.timings import STEPS
from orders_dask.pipeline.results import Outcome, RunResult
from orders_dask.settings import Settings
from tests.support import REPOSITORY
from tests.support.builders import DAY, lines, order
from tests.support.commands import orders_dask
from tests.support.loads import published
from tests.support.types import Put

Samples = dict[str, float]


def samples(file: Path) -> Samples:
    """Return the values of a file by name, with the label's value behind a slash."""
    found = {}
    for family in text_string_to_metric_families(file.read_text()):
        assert family.type == "gauge"
        assert family.documentation.endswith("."), family.name
        for sample in family.samples:
            name = sample.name.removeprefix("orders_dask_")
            found["/".join((name, *sample.labels.values()))] = sample.value
    return found


def midnight(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the path of a file of metrics, which is not there yet."""
    return tmp_path / "orders.prom"


def test_a_run_that_publishes_gives_its_counts_its_steps_and_the_ledger(
    client: Client, settings: Settings, warehouse: Engine, put: Put, file: Path
) -> None:
    content = lines(*(order(number) for number in range(1, 40)), '{"id": "none"}')
    put("dump/a.ndjson", content)
    tolerant = settings.model_copy(update={"max_rejected": 1.0})
    began = time.time()
    result = run(DAY, settings=tolerant, client=client)
    write_metrics(file, [result], tolerant, exit_code=0, seconds=1.5)
    found = samples(file)
    assert found["last_command_orders"] == found["last_command_lines"] == 39
    assert found["last_command_rejected_orders"] == found["last_command_files"] == 1
    assert found["last_command_duration_seconds"] == 1.5
    assert found["last_command_run_dates/published"] == 1
    assert sum(found[f"last_command_run_dates/{each}"] for each in get_args(Outcome)) == 1
    steps = {step: found[f"last_command_step_seconds/{step}"] for step in STEPS}
    assert sum(steps.values()) == pytest.approx(result.seconds, abs=0.01)
    assert found["last_command_step_bytes/decode"] == len(content)
    assert found["last_command_step_cpu_seconds/decode"] > 0
    assert found["last_published_run_date_timestamp_seconds"] == midnight(DAY)
    assert began <= found["last_publish_timestamp_seconds"] <= time.time()
    assert began <= found["last_success_timestamp_seconds"] <= time.time()
    assert (found["held_run_dates"], found["published_run_dates"]) == (0, 1)
    assert len(found) < 80, "labels are few"
    names = {name.partition("/")[0] for name in found}
    page = (REPOSITORY / "docs" / "monitoring.md").read_text()
    documented = set(re.findall(r"`([a-z]+_[a-z_]+)[`{]", page))
    assert names <= documented, "docs/monitoring.md has no meaning of these"


def test_the_file_is_readable_by_others_and_alone_in_its_folder(
    settings: Settings, warehouse: Engine, file: Path
) -> None:
    before = os.umask(0o077)
    try:
        write_metrics(file, [], settings, exit_code=0, seconds=0)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert os.listdir(file.parent) == [file.name]


def test_a_command_that_fails_keeps_the_time_of_the_last_success(
    settings: Settings, warehouse: Engine, file: Path
) -> None:
    write_metrics(file, [], settings, exit_code=0, seconds=0)
    good = samples(file)
    failed = RunResult(DAY, "failed", message="S3 can't be reached.", exit_code=4)
    write_metrics(file, [failed], settings, exit_code=4, seconds=0)
    found = samples(file)
    assert found["last_success_timestamp_seconds"] == good["last_success_timestamp_seconds"]
    assert found["last_command_timestamp_seconds"] > good["last_command_timestamp_seconds"]
    assert (found["last_command_exit_code"], found["last_command_run_dates/failed"]) == (4, 1)
    assert "reached" not in file.read_text()


def test_a_first_command_that_fails_gives_no_success(
    settings: Settings, warehouse: Engine, file: Path
) -> None:
    write_metrics(file, [], settings, exit_code=4, seconds=0)
    assert "last_success_timestamp_seconds" not in samples(file)


def test_without_the_ledger_its_gauges_stay_with_a_warning(
    settings: Settings, warehouse: Engine, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    published(warehouse, DAY, {"fact_order": [{"order_id": 1}]})
    write_metrics(file, [], settings, exit_code=0, seconds=0)
    before = samples(file)
    unreachable = settings.model_copy(update={"pgsql_port": 1})
    write_metrics(file, [], unreachable, exit_code=4, seconds=0)
    found = samples(file)
    assert [found[name] for name in LEDGER_GAUGES] == [before[name] for name in LEDGER_GAUGES]
    assert found["last_command_exit_code"] == 4
    [warning] = caplog.messages
    assert warning.startswith(f"The state in {file} is that of an earlier command: PostgreSQL at")


def test_without_tables_there_are_the_gauges_of_the_command_alone(
    settings: Settings, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_metrics(file, [], settings, exit_code=2, seconds=0)
    assert samples(file)["last_command_exit_code"] == 2
    assert not samples(file).keys() & set(LEDGER_GAUGES)
    assert len(caplog.messages) == 1


def test_a_held_and_an_overdue_date_are_counted_by_a_command_that_does_nothing(
    settings: Settings, warehouse: Engine, owner: Engine, file: Path
) -> None:
    today = datetime.now(UTC).date()
    published(warehouse, today - timedelta(days=5), {"fact_order": [{"order_id": 1}]})
    with owner.begin() as connection:
        connection.execute(
            text(
                "insert into orders_ops.load_run (run_date, status, source, fingerprint, run_by)"
                " values (:day, 'held', '', '', ''), (:day, 'held', '', '', '')"
            ),
            {"day": today - timedelta(days=4)},
        )
    write_metrics(file, [], settings, exit_code=0, seconds=0)
    found = samples(file)
    assert found["held_run_dates"] == 1
    assert found["overdue_run_dates"] in (3, 4), "yesterday is due at noon"


def test_a_file_that_cannot_be_written_is_one_warning(
    settings: Settings, warehouse: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for file, reason in (
        (tmp_path / "missing" / "orders.prom", "No such file or directory"),
        (Path("/proc/orders.prom"), "No such file or directory"),
    ):
        caplog.clear()
        write_metrics(file, [], settings, exit_code=0, seconds=0)
        assert caplog.messages == [
            f"The metrics can't be written to {file} ({reason}): check --metrics and who may "
            "write there."
        ]


def test_a_file_of_somebody_else_is_replaced(
    settings: Settings, warehouse: Engine, file: Path
) -> None:
    file.write_bytes(b"\xff{{{ no metrics")
    write_metrics(file, [], settings, exit_code=4, seconds=0)
    assert samples(file)["last_command_exit_code"] == 4


def test_a_reader_never_sees_half_a_file(settings: Settings, warehouse: Engine, file: Path) -> None:
    write_metrics(file, [], settings, exit_code=0, seconds=0)
    names, halves, stop = samples(file).keys(), [], Event()

    def read() -> None:
        while not stop.is_set():
            if samples(file).keys() != names:
                halves.append(file.read_text())

    reader = Thread(target=read)
    reader.start()
    for _ in range(20):
        write_metrics(file, [], settings, exit_code=0, seconds=0)
    stop.set()
    reader.join()
    assert halves == []


@pytest.mark.parametrize(
    ("command", "outcome", "code"),
    [
        (("run", "--run-date", str(DAY)), "up_to_date", 0),
        (("run", "--run-date", "2026-09-30"), "missing", 6),
        (("backfill", "--from", str(DAY), "--to", str(DAY)), "up_to_date", 0),
        (("daily", "--missing", "report"), "missing", 0),
    ],
)
def test_each_command_that_loads_writes_it_with_its_exit_code(
    client: Client,
    settings: Settings,
    warehouse: Engine,
    put: Put,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    outcome: str,
    code: int,
) -> None:
    monkeypatch.setenv("_AWS_S3_URL_SOURCE", settings.source + "{run_date}/")
    put(f"dump/{DAY}/a.ndjson", lines(order(1)))
    by_date = settings.model_copy(update={"source": settings.source + "{run_date}/"})
    run(DAY, settings=by_date, client=client)
    orders_dask(*command, "--metrics", str(file), code=code)
    found = samples(file)
    assert found["last_command_exit_code"] == code
    if command[0] != "daily":  # what it inspects depends on the day of the test
        assert found[f"last_command_run_dates/{outcome}"] == 1
    assert found["last_published_run_date_timestamp_seconds"] == midnight(DAY)


def test_a_dry_run_writes_none(settings: Settings, warehouse: Engine, put: Put, file: Path) -> None:
    put("dump/a.ndjson", lines(order(1)))
    orders_dask("run", "--run-date", str(DAY), "--dry-run", "--metrics", str(file))
    assert not file.exists()
