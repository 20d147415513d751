"""The command line documents itself, and ends with one sentence and the right exit code."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from datetime import date
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from rich.console import Console
from tenacity import nap
from typer.testing import CliRunner

from orders_dask.cli import app, output, progress
from orders_dask.pipeline.progress import Progress
from orders_dask.pipeline.results import RunResult
from orders_dask.settings import without_service_variables

OPTIONS = {
    "init": {"--roles"},
    "run": {
        *("--run-date", "--wait-for-source", "--report", "--performance-report"),
        *("--source", "--scheduler", "--workers", "--force", "--dry-run", "--metrics", "--json"),
        "--fetch",
    },
    "migrate": {"--dry-run"},
    "fetch": {
        *("--run-date", "--from", "--to", "--source", "--force", "--verify", "--dry-run", "--json"),
    },
    "backfill": {
        *("--from", "--to", "--last", "--refresh", "--missing", "--max-parallel"),
        *("--source", "--scheduler", "--workers", "--force", "--dry-run", "--metrics", "--json"),
    },
    "daily": {
        *("--lookback", "--beyond", "--missing", "--max-parallel", "--fetch"),
        *("--source", "--scheduler", "--workers", "--dry-run", "--metrics", "--json"),
    },
    "fresh": {"--last", "--missing", "--json"},
    "status": {"--run-date", "--json"},
    "report": {"--run-date", "--days", "--out", "--samples"},
    "docs": {"--out"},
    "drift": {"--run-date", "--last", "--json"},
    "diff": {"--run-date", "--source", "--scheduler", "--workers", "--limit", "--json"},
    "accept": {"--run-date", "--because", "--load", "--json"},
    "discard": {"--run-date", "--because", "--load", "--json"},
    "rollback": {"--run-date", "--because", "--json"},
    "prune": {"--older-than", "--rejected-older-than", "--dry-run", "--json"},
    "unpublish": {"--older-than", "--dry-run", "--json"},
    "dimensions load": {"--json"},
    "dimensions": set(),
    "marts": set(),
    "marts check": {"--month", "--all", "--json"},
    "marts rebuild": set(),
    "rejects": {"--run-date", "--code", "--json"},
    "rejects replay": {"--run-date", "--code", "--scheduler", "--workers", "--json"},
    "sandbox": {"--upload", "--data", "--shop"},
    "generate": {
        *("--start", "--days", "--orders", "--seed", "--layout", "--compression"),
        *("--files-per-day", "--edited", "--duplicates", "--defects", "--defect", "--json"),
    },
    "demo": {"--orders", "--workers", "--data", "--use-settings"},
}
ORDERS_DASK = f"{sys.executable} -c 'from orders_dask.cli import main; main()'"
UNREACHABLE = {
    "_PGSQL_HOSTNAME": "127.0.0.1",
    "_PGSQL_PORT": "1",
    "_PGSQL_USER": "loader",
    "_PGSQL_PASS": "correct horse",
    "_PGSQL_DATABASE": "shop",
    "_AWS_S3_URL_SOURCE": "s3://bucket/{run_date}/",
}


def _commands(group: Any, prefix: str = "") -> dict[str, Any]:
    found = {}
    for name, command in group.commands.items():
        found[prefix + name] = command
        if hasattr(command, "commands"):
            found |= _commands(command, f"{prefix}{name} ")
    return found


COMMANDS = _commands(typer.main.get_command(app))
DAY = date(2017, 10, 30)


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner(env=dict.fromkeys([*UNREACHABLE, "DASK_SCHEDULER_ADDRESS"]))


def test_the_commands_and_options_are_those_that_are_promised() -> None:
    found = {
        name: {
            option for parameter in command.params for option in parameter.opts if option[0] == "-"
        }
        for name, command in COMMANDS.items()
    }
    of_all = {"--debug", "--log-format"}
    assert found == {name: options | of_all for name, options in OPTIONS.items()}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_option_and_argument_has_help(name: str) -> None:
    command = COMMANDS[name]
    assert command.help, f"{name} has no help"
    for parameter in command.params:
        assert parameter.help, f"{name}: {parameter.name} has no help"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_can_be_shown(runner: CliRunner, name: str) -> None:
    shown = runner.invoke(app, [*name.split(), "--help"])
    assert shown.exit_code == 0
    assert COMMANDS[name].help.splitlines()[0][:40] in shown.stdout


def test_the_version_is_that_of_the_package(runner: CliRunner) -> None:
    ended = runner.invoke(app, ["--version"])
    assert (ended.exit_code, ended.stdout) == (
        0,
        f"orders-dask {metadata.version('orders_dask')}\n",
    )


def test_help_needs_none_of_the_heavy_libraries() -> None:
    heavy = ["dask", "distributed", "pyarrow", "sqlalchemy", "psycopg2", "s3fs", "pandas"]
    code = f"import sys, orders_dask.cli; print([m for m in {heavy} if m in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout == "[]\n", "completion and --help would take a second more"


@pytest.mark.parametrize("name", ["init", "run", "status", "docs --out .", "drift", "rejects"])
def test_missing_settings_are_one_sentence_and_exit_code_2(runner: CliRunner, name: str) -> None:
    ended = runner.invoke(app, name.split())
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert ended.stderr == (
        "Error: _PGSQL_HOSTNAME, _PGSQL_USER, _PGSQL_DATABASE and _AWS_S3_URL_SOURCE are not set\n"
    )


def test_debug_adds_the_traceback(runner: CliRunner) -> None:
    ended = runner.invoke(app, ["status", "--debug"])
    assert ended.exit_code == 2
    assert "Traceback (most recent call last)" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("Error: _PGSQL_HOSTNAME")


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try what is unreachable as often as ever, without the 10 s between."""
    monkeypatch.setattr(nap, "time", SimpleNamespace(sleep=lambda seconds: None))


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize("name", ["init", "status", "docs --out .", "drift", "rejects"])
def test_an_unreachable_database_is_exit_code_4_and_no_password(
    runner: CliRunner, name: str
) -> None:
    ended = runner.invoke(app, [*name.split(), "--debug"], env=UNREACHABLE)
    assert (ended.exit_code, ended.stdout) == (4, "")
    assert "127.0.0.1:1" in ended.stderr.splitlines()[-1]
    assert "horse" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "--run-date", "2017-13-01"], "2017-13-01"),
        (["run", "--workers", "0"], "--workers"),
        (["run", "--wait-for-source", "soon"], "'soon' is not a duration such as 30s,"),
        (["backfill", "--last", "2", "--to", "2017-10-30"], "--from and --to, or --last"),
        (["backfill", "--last", "0"], "--last"),
        (["drift", "--last", "2", "--run-date", "2017-10-30"], "--run-date or --last"),
        (["backfill"], "--last"),
        (["run", "--scheduler", "tcp://a:1", "--workers", "2"], "--scheduler or --workers"),
        (["backfill", "--from", "2017-10-30"], "--to"),
        (["generate", "somewhere", "--defect", "bad_money"], "bad_money=0.01"),
        (["generate", "somewhere", "--defect", "no_such_code=0.1"], "no_such_code"),
        (["sandbox", "--upload", "no-such-file"], "no-such-file"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_names_it(
    runner: CliRunner, arguments: list[str], complaint: str
) -> None:
    ended = runner.invoke(app, arguments)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert complaint in ended.stderr


def test_closed_output_changes_no_exit_code() -> None:
    closed = f"exec >&- 2>&-; exec {ORDERS_DASK} run --run-date 2030-01-01"
    environment = without_service_variables(os.environ) | UNREACHABLE
    ended = subprocess.run(["bash", "-c", closed], env=environment, check=False)
    assert ended.returncode == 4, "PostgreSQL can't be reached"


def test_output_that_can_not_be_written_is_one_sentence(tmp_path: Path) -> None:
    written = f"exec {ORDERS_DASK} generate {tmp_path} --orders 1 --json >/dev/full"
    ended = subprocess.run(["bash", "-c", written], stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 4
    assert ended.stderr.endswith("Error: the output can't be written (No space left on device).\n")


@pytest.mark.usefixtures("no_waits")
def test_standard_error_may_be_json_lines(runner: CliRunner) -> None:
    ended = runner.invoke(app, ["status", "--log-format", "json"], env=UNREACHABLE)
    [*_, last] = map(json.loads, ended.stderr.splitlines())
    assert (last["level"], last["logger"], last["exit_code"]) == ("error", "orders_dask", 4)
    assert last["message"].startswith("Error: PostgreSQL at 127.0.0.1:1 gave user loader")
    assert last["time"].endswith("+00:00")
    assert runner.invoke(app, ["status"], env=UNREACHABLE).stderr.startswith("Error: ")


def test_a_fault_of_ours_is_one_sentence_and_exit_code_1(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise LookupError("nothing\nhere")

    monkeypatch.setattr("orders_dask.synthetic.generate", broken)
    ended = runner.invoke(app, ["generate", "somewhere"])
    assert ended.exit_code == 1
    assert "LookupError: nothing" in ended.stderr
    assert "--debug" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_generate_writes_only_json_to_stdout(runner: CliRunner, tmp_path: Path) -> None:
    arguments = [
        "generate",
        str(tmp_path),
        "--start",
        "2017-10-30",
        "--days",
        "2",
        "--orders",
        "50",
    ]
    ended = runner.invoke(app, [*arguments, "--defect", "bad_money=0.04", "--json"])
    assert ended.exit_code == 0, ended.stderr
    made = json.loads(ended.stdout)
    assert made["source"] == f"{tmp_path}/run_date={{run_date}}/"
    assert [(day["run_date"], day["defects"]) for day in made["days"]] == [
        ("2017-10-30", {"bad_money": 2}),
        ("2017-10-31", {"bad_money": 2}),
    ]
    assert {path.parent.name for path in tmp_path.rglob("*.ndjson")} == {
        "run_date=2017-10-30",
        "run_date=2017-10-31",
    }


def test_generate_names_where_it_can_not_write(runner: CliRunner) -> None:
    ended = runner.invoke(app, ["generate", "/dev/null/dump", "--orders", "10"])
    assert ended.exit_code == 4
    assert "Error: Can't write to /dev/null/dump" in ended.stderr


def test_no_control_codes_where_there_is_no_terminal(runner: CliRunner, tmp_path: Path) -> None:
    ended = runner.invoke(app, ["generate", str(tmp_path), "--orders", "300"])
    assert "300" in ended.stdout
    assert "\x1b" not in ended.stdout + ended.stderr


def test_progress_is_plain_lines_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress.shown_progress() as listener:
        for done in range(4):
            listener(Progress(DAY, "decode", done, 3, done * 100))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("2017-10-30 decode 3/3, 300 orders, ")
    assert shown.err.count("\n") == 1, "one line, when the step has ended"


def test_progress_is_a_bar_a_step_and_run_date_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120)
    monkeypatch.setattr(output, "STDERR", terminal)
    bars = progress._bars()
    listener = progress._drawing(bars)

    def drawn() -> list[str]:
        return [f"{bar.description} {bar.completed}/{bar.total}" for bar in bars.tasks]

    listener(Progress(DAY, "discover", 0, 1))
    assert drawn() == ["2017-10-30 discover 0/1"]
    listener(Progress(DAY, "discover", 1, 1))
    listener(Progress(DAY, "decode", 2, 3, 200))
    listener(Progress(date(2017, 10, 31), "decode", 1, 5, 50))
    assert drawn() == ["2017-10-30 decode 2/3", "2017-10-31 decode 1/5"]
    listener(Progress(DAY, "publish", 1, 1))
    assert drawn() == ["2017-10-31 decode 1/5"]
    terminal.print(bars)
    assert "50 orders" in terminal.file.getvalue()  # type: ignore[attr-defined]


def test_text_of_a_dump_can_not_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.result("a note: \x1b[31m[bold]red[/bold] :smile:\x07")
    output.result_table([{"note": "\x1b[2Jgone [link]"}])
    shown = capsys.readouterr().out
    assert "a note: \ufffd[31m[bold]red[/bold] :smile:\ufffd\n" in shown
    assert "\ufffd[2Jgone [link]" in shown


def test_a_range_ends_with_a_line_a_run_date_and_a_total() -> None:
    results = [
        RunResult(DAY, "published", orders=1200, lines=3400, files=1, seconds=1.25, rejected=2),
        RunResult(date(2017, 10, 31), "missing", message="There is no file."),
    ]
    assert [output.show_outcome(result) for result in results] == [
        "2017-10-30  published: 1,200 orders, 3,400 lines, 0 superseded, 2 rejected, 1 file, 1.2 s",
        "2017-10-31  missing: There is no file.",
    ]
    assert output.show_outcomes(results, 2.0) == (
        "2 run dates: 1 published, 1 missing; 1,200 orders, 3,400 lines, 2.0 s"
    )


def test_people_read_up_to_date_and_json_has_the_outcome_as_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = RunResult(DAY, "up_to_date", orders=1, lines=2, files=1, seconds=0.1)
    assert output.show_outcome(result).startswith("2017-10-30  up to date: 1 order, 2 lines, ")
    assert output.show_outcomes([result, result], 1.0).startswith("2 run dates: 2 up to date; ")
    output.result_json(result)
    assert json.loads(capsys.readouterr().out)["outcome"] == "up_to_date"
