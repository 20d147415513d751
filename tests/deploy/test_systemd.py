"""deploy/systemd, run by a systemd of its own: what is repeated, when, and with which rights."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from orders_dask.errors import DataRefused, ServiceUnavailable, SettingsError, SourceMissing
from orders_dask.settings import Settings
from tests.support import REPOSITORY
from tests.support.commands import orders_dask
from tests.support.secret_files import secret_files, without_secrets
from tests.support.systemd import System, booted
from tests.support.waiting import until

UNITS = REPOSITORY / "deploy" / "systemd"
SERVICE, TIMER = "orders-dask.service", "orders-dask.timer"
TRANSIENT, MISSING = ServiceUnavailable.exit_code, SourceMissing.exit_code
SETTINGS, REFUSED = SettingsError.exit_code, DataRefused.exit_code

ATTEMPT = """\
attempt=$(($(cat "$CACHE_DIRECTORY/attempts" 2>/dev/null) + 1))
echo $attempt > "$CACHE_DIRECTORY/attempts"
exit "$(cut -d ' ' -f $attempt /etc/orders-dask/codes)"
"""
"""Ends with the next of the codes, in place of the command."""


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """Yield a system that has the units, set up as docs/systemd.md says."""
    with booted(tmp_path) as system:
        for unit in (SERVICE, TIMER):
            system.write(f"/etc/systemd/system/{unit}", (UNITS / unit).read_text())
        system.write("/etc/orders-dask/settings.env", (UNITS / "settings.env").read_text())
        system.write("/etc/orders-dask/_PGSQL_PASS", "a password", mode=0o600)
        system.run("systemctl", "daemon-reload")
        yield system


def override(system: System, unit: str, *settings: str) -> None:
    """Change a unit by a file beside it, as administrators do."""
    text = "\n".join([f"[{unit.rpartition('.')[2].capitalize()}]", *settings, ""])
    system.write(f"/etc/systemd/system/{unit}.d/test.conf", text)
    system.run("systemctl", "daemon-reload")


def end_with(system: System, *codes: int, settings: tuple[str, ...] = ()) -> None:
    """Let the service's command end with these codes, one an attempt, without a pause."""
    system.write("/etc/orders-dask/attempt", ATTEMPT)
    system.write("/etc/orders-dask/codes", " ".join(map(str, codes)))
    override(
        system,
        SERVICE,
        "ExecStart=",
        "ExecStart=/bin/sh /etc/orders-dask/attempt",
        "RestartSec=10ms",
        *settings,
    )


def attempts(system: System) -> int:
    counted = system.call("cat", "/var/cache/private/orders-dask/attempts")
    return int(counted.stdout or 0)


def has_ended(system: System) -> bool:
    return system.show(SERVICE, "ActiveState") in ("inactive", "failed")


def journal(system: System) -> str:
    return system.journal(SERVICE)


def test_systemd_has_nothing_against_the_units(system: System) -> None:
    ended = system.call("systemd-analyze", "verify", SERVICE, TIMER)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_misspelt_setting_of_a_unit_is_found(system: System) -> None:
    misspelt = (UNITS / SERVICE).read_text().replace("RestartSec=", "RestartSecs=")
    system.write(f"/etc/systemd/system/{SERVICE}", misspelt)
    assert "RestartSecs" in system.call("systemd-analyze", "verify", SERVICE).stderr


def test_the_service_has_few_rights(system: System) -> None:
    shown = system.run("systemd-analyze", "security", SERVICE, "--no-pager")
    exposure = re.search(r"exposure level for .*: ([\d.]+)", shown)
    assert exposure, shown
    assert float(exposure[1]) <= 1.5, "of 10, where 10 is everything"


def test_every_setting_of_the_example_is_one_of_ours_or_of_a_library() -> None:
    named = re.findall(r"^(\w+)=", (UNITS / "settings.env").read_text(), re.MULTILINE)
    named += re.findall(r"^#? ?Environment=(\w+)=", (UNITS / SERVICE).read_text(), re.MULTILINE)
    ours = {str(field.validation_alias) for field in Settings.model_fields.values()}
    documented = (REPOSITORY / "docs" / "settings.md").read_text()
    assert [name for name in named if name not in ours and f"`{name}`" not in documented] == []


@pytest.mark.parametrize(
    ("codes", "made", "result"),
    [
        ((0,), 1, "success"),
        ((TRANSIENT, TRANSIENT, 0), 3, "success"),
        ((MISSING, 0), 2, "success"),
        ((REFUSED, 0), 1, "exit-code"),
        ((TRANSIENT, SETTINGS, 0), 2, "exit-code"),
    ],
    ids=str,
)
def test_what_may_pass_is_repeated_and_nothing_else(
    system: System, codes: tuple[int, ...], made: int, result: str
) -> None:
    end_with(system, *codes)
    system.call("systemctl", "start", SERVICE)
    until(lambda: has_ended(system), otherwise="the service has not ended")
    assert attempts(system) == made
    assert system.show(SERVICE, "Result") == result


def test_after_the_last_of_the_allowed_starts_the_service_has_failed(system: System) -> None:
    allowed = int(system.show(SERVICE, "StartLimitBurst"))
    end_with(system, *[MISSING] * (allowed + 1))
    system.call("systemctl", "start", SERVICE)
    until(lambda: has_ended(system), otherwise="the service has not ended")
    assert attempts(system) == allowed == 24
    assert system.show(SERVICE, "ActiveState") == "failed"
    interval = system.show(SERVICE, "StartLimitIntervalUSec")
    assert interval == "12h", "24 pauses of 15 minutes are 6 h, and the next day starts afresh"


def test_the_timer_starts_the_service_at_its_time_in_its_zone(system: System) -> None:
    calendar = re.search(r"^OnCalendar=(.*)$", (UNITS / TIMER).read_text(), re.MULTILINE)
    assert calendar
    berlin = calendar[1].replace("Etc/UTC", "Europe/Berlin")
    shown = system.run("systemd-analyze", "calendar", "--base-time=2026-06-30", berlin)
    assert "2026-06-30 02:30:00 UTC" in shown

    end_with(system, 0)
    override(system, TIMER, "OnCalendar=", "OnCalendar=*:*:0/1 Etc/UTC", "AccuracySec=1us")
    system.run("systemctl", "start", TIMER)
    until(lambda: attempts(system) > 0, otherwise="the service was not started")


def test_a_start_that_was_missed_is_made_up_for(system: System) -> None:
    end_with(system, 0)
    stamp = f"/var/lib/systemd/timers/stamp-{TIMER}"
    system.write(stamp, "")
    system.run("touch", "--date=2 days ago", stamp)
    system.run("systemctl", "start", TIMER)
    until(lambda: attempts(system) == 1, otherwise="the service was not started")


def configure(system: System, environment: Mapping[str, str], *more: str) -> None:
    """Give the service the test's own services; its secrets are files that only root may read."""
    settings = without_secrets(environment)
    system.write(
        "/etc/orders-dask/settings.env",
        "".join(f'{name}="{value}"\n' for name, value in settings.items()),
    )
    for name, content in secret_files(environment).items():
        system.write(f"/etc/orders-dask/{name}", content, mode=0o600)
    commented = re.findall(
        r"^# ((?:LoadCredential|Environment)=.*aws-credentials)$",
        (UNITS / SERVICE).read_text(),
        re.MULTILINE,
    )
    assert len(commented) == 2
    override(system, SERVICE, *commented, "RestartSec=1s", *more)


@pytest.fixture
def initialised(owner: dict[str, str]) -> None:
    orders_dask("init", "--roles", environment=owner)


@pytest.mark.slow
@pytest.mark.usefixtures("initialised")
def test_the_service_loads_seven_days_with_the_rights_that_it_has_and_awaits_a_late_one(
    system: System,
    daily: dict[str, str],
    put_days: Callable[..., None],
    last_seven: list[str],
) -> None:
    configure(system, daily)
    put_days(*last_seven[:-1])
    system.run("systemctl", "start", "--no-block", SERVICE)
    until(
        lambda: f"status={SourceMissing.exit_code}" in journal(system) or has_ended(system),
        seconds=200,
        otherwise="the six days are not loaded",
    )
    put_days(*last_seven)
    until(lambda: has_ended(system), seconds=200, otherwise="the service has not ended")
    assert system.show(SERVICE, "Result") == "success", journal(system)
    days = json.loads(orders_dask("status", "--json")[0])
    assert sorted((day["run_date"], day["status"]) for day in days) == [
        (day, "published") for day in last_seven
    ]
    assert daily["_PGSQL_PASS"] not in system.run("systemctl", "show", SERVICE)


@pytest.mark.slow
@pytest.mark.usefixtures("initialised")
def test_a_service_that_is_stopped_ends_cleanly_and_goes_on_later(
    system: System,
    daily: dict[str, str],
    put_days: Callable[..., None],
    last_seven: list[str],
) -> None:
    command = "ExecStart=/opt/orders-dask/bin/orders-dask daily --lookback 1"
    configure(system, daily, "ExecStart=", command)
    put_days(last_seven[-1], orders=20_000)  # long enough to be stopped in the middle
    system.run("systemctl", "start", "--no-block", SERVICE)
    until(lambda: "Dashboard" in journal(system), otherwise="no cluster was started")
    system.run("systemctl", "stop", SERVICE)
    assert system.show(SERVICE, "ActiveState") == "inactive"
    assert system.show(SERVICE, "Result") == "success"
    assert "Stopped. What was published stands" in journal(system)
    assert "timed out" not in journal(system)
    system.run("systemctl", "start", SERVICE)
    [day] = json.loads(orders_dask("status", "--json")[0])
    assert (day["run_date"], day["status"]) == (last_seven[-1], "published")
