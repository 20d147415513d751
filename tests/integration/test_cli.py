"""The commands as users run them, against real services."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine

from orders_dask.settings import without_service_variables
from orders_dask.synthetic import generate
from tests.support import REPOSITORY
from tests.support.commands import ORDERS_DASK, orders_dask, start
from tests.support.loads import order, published

DAY, NEXT = date(2026, 3, 1), date(2026, 3, 2)


def test_a_database_without_tables_is_reported_with_the_command_to_run(
    environment: dict[str, str],
) -> None:
    _, err = orders_dask("status", code=2)
    assert "orders-dask init" in err


def test_a_run_is_planned_then_published_with_both_results_in_json(
    environment: dict[str, str], owner_login: dict[str, str], source: str
) -> None:
    made = generate(source, start=DAY, days=1, orders=300)
    for _ in range(2):
        out, _ = orders_dask("init", "--roles", environment=owner_login)
        assert "is ready" in out
    arguments = ("run", "--run-date", "2026-03-01", "--source", made.source, "--workers", "1")
    out, err = orders_dask(*arguments, "--dry-run", "--json")
    assert json.loads(out)["outcome"] == "planned"
    assert "Dashboard" not in err, "a plan needs no cluster"

    out, err = orders_dask(*arguments, "--json")
    assert err.startswith("Dashboard: http://127.0.0.1:"), "the dashboard comes first"
    result = json.loads(out)
    assert (result["run_date"], result["outcome"], result["orders"], result["lines"]) == (
        *("2026-03-01", "published"),
        *(made.days[0].rows[table] for table in ("fact_order", "fact_order_line")),
    )
    assert re.search(r"^2026-03-01 load 1/1, \d+ orders, ", err, re.MULTILINE)

    out, err = orders_dask(*arguments, "--json")
    assert json.loads(out)["outcome"] == "up_to_date"
    assert not err, "that there is nothing to do needs no cluster"


def test_a_backfill_lists_every_date_and_ends_with_the_worst_of_their_exit_codes(
    environment: dict[str, str], owner_login: dict[str, str], source: str
) -> None:
    good = generate(source, start=DAY, days=2, orders=400, defects=0.001, only=[DAY])
    generate(source, start=DAY, days=2, orders=400, defects={"not_an_order": 0.1}, only=[NEXT])
    orders_dask("init", "--roles", environment=owner_login)
    backfill = ("backfill", "--source", good.source, "--workers", "1", "--to", "2026-03-02")

    out, _ = orders_dask(*backfill, "--from", "2026-02-28", code=3)
    missing, published, refused, total = out.splitlines()
    assert missing.startswith("2026-02-28  missing: ")
    assert published.startswith("2026-03-01  published: ")
    assert refused.startswith("2026-03-02  refused: ")
    assert total.startswith("3 run dates: 1 missing, 1 published, 1 refused; ")

    options = ("--source", good.source, "--workers", "1", "--json")
    out, _ = orders_dask("backfill", "--from", "2026-03-02", "--to", "2026-03-02", *options, code=3)
    [of_backfill] = json.loads(out)
    out, err = orders_dask("run", "--run-date", "2026-03-02", *options, code=3)
    for result in (of_backfill, json.loads(out)):
        assert (result["run_date"], result["outcome"], result["exit_code"]) == (
            "2026-03-02",
            "refused",
            3,
        )
        assert "were rejected" in result["message"]
    assert err.splitlines()[-1] == f"Error: {result['message']}"
    out, _ = orders_dask("run", "--run-date", "2026-02-28", *options, code=6)
    assert (json.loads(out)["outcome"], json.loads(out)["exit_code"]) == ("missing", 6)

    out, _ = orders_dask(*backfill[:-1], "2026-03-01", "--from", "2026-03-01")
    assert out.startswith("2026-03-01  up to date: ")

    out, _ = orders_dask("status", "--json")
    states = {row["run_date"]: row for row in json.loads(out)}
    assert states["2026-03-01"]["status"] == "published"
    assert states["2026-03-02"]["status"] == "refused"
    assert states["2026-03-01"]["rejected"] == good.days[0].rejected
    out, _ = orders_dask("status")
    assert f"{good.days[0].rows['fact_order_line']:,}" in out

    chosen = ("rejects", "--run-date", "2026-03-01", "--code", "bad_order_id")
    out, _ = orders_dask(*chosen, "--json")
    (row,) = json.loads(out)
    assert (row["run_date"], row["code"]) == ("2026-03-01", "bad_order_id")
    out, _ = orders_dask(*chosen)
    assert out.startswith(f"2026-03-01  bad_order_id  {row['file']}, record {row['position']}: ")
    out, _ = orders_dask("rejects", "--run-date", "2026-02-28", "--json")
    assert json.loads(out) == []


def test_dates_that_lack_a_younger_column_are_named_until_none_does(
    environment: dict[str, str], warehouse: Engine, owner: Engine
) -> None:
    published(warehouse, DAY, {"fact_order": [order(1)]})
    _, err = orders_dask("status")
    assert err == "", "no published date lacks a column"
    out, err = orders_dask("backfill", "--refresh", "all", "--json")
    assert (json.loads(out), err) == ([], "No published run date lacks it.\n")
    with owner.begin() as connection:
        connection.exec_driver_sql(
            "update orders_ops.load_run set columns = columns - 'fact_order.note' - 'fact_order.tags'"
        )
    _, err = orders_dask("status")
    assert err == (
        "1 published run date lacks fact_order.note or 1 other younger column: `orders-dask "
        "backfill --refresh all` fills them in.\n"
    )
    out, _ = orders_dask("backfill", "--refresh", "note", "--dry-run", "--json")
    assert [each["run_date"] for each in json.loads(out)] == [str(DAY)]
    _, err = orders_dask("backfill", "--refresh", "", code=2)
    assert err.startswith("Error: There is no column or table '': name one as fact_order.note")


def test_missing_dates_of_a_backfill_fail_where_that_is_asked_for(
    environment: dict[str, str], owner_login: dict[str, str], source: str
) -> None:
    made = generate(source, start=DAY, days=1, orders=100)
    orders_dask("init", "--roles", environment=owner_login)
    dates = ("--from", "2026-02-28", "--to", "2026-03-01")
    backfill = ("backfill", *dates, "--source", made.source, "--workers", "1", "--json")
    for missing, code in (("report", 0), ("fail", 6), ("fail", 6)):  # the last one is up to date
        out, _ = orders_dask(*backfill, "--missing", missing, code=code)
        first, second = json.loads(out)
        assert (first["outcome"], first["exit_code"]) == ("missing", 6)
        assert second["outcome"] in ("published", "up_to_date")


def test_the_last_days_end_with_yesterday_in_the_zone_of_the_shop(
    environment: dict[str, str], owner_login: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORDERS_DASK_SHOP_TIMEZONE", "Pacific/Kiritimati")  # 14 hours before UTC
    orders_dask("init", "--roles", environment=owner_login)
    before = datetime.now(ZoneInfo("Pacific/Kiritimati")).date()
    out, _ = orders_dask("backfill", "--last", "3", "--json")
    after = datetime.now(ZoneInfo("Pacific/Kiritimati")).date()
    dates = [date.fromisoformat(row["run_date"]) for row in json.loads(out)]
    assert dates in [[today - timedelta(days=n) for n in (3, 2, 1)] for today in (before, after)]


def test_a_run_waits_for_the_first_file_of_its_date(
    environment: dict[str, str], owner_login: dict[str, str], source: str, tmp_path: Path
) -> None:
    orders_dask("init", "--roles", environment=owner_login)
    dates = ("--source", f"{source}run_date={{run_date}}/", "--run-date", "2026-03-01")
    run = ("run", *dates, "--workers", "1", "--json", "--wait-for-source")
    _, err = orders_dask(*run, "1s", code=6)
    assert "There is no file for run date 2026-03-01" in err

    with start(*run, "5m") as waiting:
        assert waiting.stderr
        assert "yet: if the dump should be there, check _AWS_S3_URL_SOURCE. (Waiting for it.)" in (
            waiting.stderr.readline()
        )
        made = generate(source, start=DAY, days=1, orders=100)
        out, err = waiting.communicate(timeout=300)
    assert waiting.returncode == 0, err
    assert json.loads(out)["orders"] == made.days[0].rows["fact_order"]


def test_a_stage_that_can_not_be_written_is_reported_at_once(
    environment: dict[str, str], owner_login: dict[str, str], source: str
) -> None:
    made = generate(source, start=DAY, days=1, orders=100)
    orders_dask("init", "--roles", environment=owner_login)
    arguments = ("run", "--run-date", "2026-03-01", "--source", made.source, "--workers", "1")
    _, err = orders_dask(
        *arguments, code=2, environment={"ORDERS_DASK_STAGE_URL": "file:///proc/x"}
    )
    assert "Trying again" not in err
    assert err.splitlines()[-1].startswith("Error: file:///proc/x/.orders_dask/")


def test_a_missing_profile_is_reported_without_a_cluster(
    environment: dict[str, str], owner_login: dict[str, str]
) -> None:
    orders_dask("init", "--roles", environment=owner_login)
    for days in (("run", "--run-date"), ("backfill", "--to", "2026-03-02", "--from")):
        with start(*days, "2026-03-01", AWS_PROFILE="nobody") as process:
            out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (2, ""), err
        assert err.startswith("Error: S3 at "), "neither a cluster nor a retry"
        assert "profile (nobody) could not be found" in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_backfill_keeps_what_was_published(
    environment: dict[str, str],
    owner_login: dict[str, str],
    source: str,
    number: signal.Signals,
    code: int,
) -> None:
    made = generate(source, start=DAY, days=12, orders=300)
    orders_dask("init", "--roles", environment=owner_login)
    arguments = ("--from", "2026-03-01", "--to", "2026-03-12", "--source", made.source)
    with start("backfill", *arguments, "--workers", "1", "--max-parallel", "1") as process:
        assert process.stderr
        seen: list[str] = []
        while "2026-03-01 publish" not in (line := process.stderr.readline()):
            assert line, f"it ended before the first publish: {seen}"
            seen.append(line)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert err.splitlines()[-1].startswith("Stopped. What was published stands")
    assert "Traceback" not in err
    assert out == ""
    out, _ = orders_dask("status", "--json")
    states = {row["run_date"]: row["status"] for row in json.loads(out)}
    assert states["2026-03-01"] == "published"
    assert len(states) < 12


# The sandbox.


def sandbox(*arguments: str, code: int = 0, **environment: str) -> str:
    """Run ``orders-dask sandbox ...`` in an environment without settings of the product."""
    with subprocess.Popen(
        [*ORDERS_DASK, "sandbox", *arguments],
        cwd=REPOSITORY,
        env=without_service_variables(os.environ) | environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        out, _ = process.communicate(timeout=120)
    assert process.returncode == code
    return out


def test_a_sandbox_gives_a_command_all_settings_and_ends_with_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "day.json").write_text('{"orders": []}')
    script = (
        "import sys, s3fs, psycopg2\n"
        "from orders_dask.settings import load_settings\n"
        "s = load_settings()\n"
        "print(s.source, s3fs.S3FileSystem().cat(s.source + 'day.json'))\n"
        "psycopg2.connect(host=s.pgsql_hostname, port=s.pgsql_port, user=s.pgsql_user,"
        " password=s.pgsql_pass.get_secret_value(), dbname=s.pgsql_database).close()\n"
        "sys.exit(7)"
    )
    out = sandbox("--upload", str(tmp_path), "--", sys.executable, "-c", script, code=7)
    assert out == "s3://orders/ b'{\"orders\": []}'\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("zip://{run_date}.json::s3://orders/orders.zip", None),
        ("s3://production/{run_date}/", "s3://orders/"),
    ],
)
def test_a_sandbox_takes_a_source_of_its_own_bucket_alone(given: str, expected: str | None) -> None:
    echo = ("sh", "-c", 'echo "$_AWS_S3_URL_SOURCE $AWS_PROFILE"')
    out = sandbox("--", *echo, _AWS_S3_URL_SOURCE=given, AWS_PROFILE="production")
    assert out == f"{expected or given} \n"


def test_a_sandbox_names_a_command_that_is_not_there(capfd: pytest.CaptureFixture[str]) -> None:
    sandbox("--", "no-such-command", code=2)
    assert "no-such-command" in capfd.readouterr().err


def test_a_sandbox_without_a_command_prints_its_settings_and_stays() -> None:
    with subprocess.Popen(
        [*ORDERS_DASK, "sandbox"],
        cwd=REPOSITORY,
        env=without_service_variables(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        assert "Ctrl-C ends them" in process.stderr.readline()
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    shell = f"unset _PGSQL_PASS; {out} echo $_PGSQL_HOSTNAME $_AWS_S3_URL_SOURCE ${{#_PGSQL_PASS}}"
    echoed = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True)
    assert echoed.stdout == "127.0.0.1 s3://orders/ 32\n"


def test_the_demo_shows_what_was_loaded_and_rejected_and_what_to_try_next() -> None:
    with start(
        "demo", "--orders", "300", "--workers", "1", ORDERS_DASK_STAGE_URL="s3://mine"
    ) as demo:
        out, err = demo.communicate(timeout=180)
    assert demo.returncode == 0, err
    assert "\x1b" not in out + err, "no control codes where there is no terminal"
    for day in ("2026-03-01", "2026-03-02", "2026-03-03"):
        assert f"{day}  published: " in out
    promised = (
        "bad_order_id",
        "money_rounded",
        "orders.order_summary",
        "is held",
        "orders.sales_by_day",
        "Damaged",
    )
    shown = [out.find(text) for text in promised]
    assert -1 not in shown
    assert shown == sorted(shown), "what a shop asks comes last"
    assert "orders-dask sandbox --data" in out.splitlines()[-4]
    [report] = [Path(line.split(": ")[1]) for line in out.splitlines() if "Its report" in line]
    assert "a later load is held" in report.read_text()
    report.unlink()
