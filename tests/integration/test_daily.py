"""The daily job finds by itself what it has to load."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from threading import Thread
from zoneinfo import ZoneInfo

import pytest
from distributed import Client
from sqlalchemy import Engine

from orders_dask.errors import SettingsError
from orders_dask.jobs import dates
from orders_dask.jobs.backfill import backfill
from orders_dask.jobs.daily import daily, overdue
from orders_dask.jobs.run import run_once
from orders_dask.pipeline.results import RunResult
from orders_dask.settings import Settings
from tests.support.builders import DAY, lines, order, zipped
from tests.support.types import Put, Query

TODAY = date(2026, 10, 26)
"""The day after the clocks go back in Berlin."""

Daily = Callable[..., dict[str, str]]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return settings of a dump with a folder a run date."""
    changed = {"source": settings.source + "{run_date}/", "shop_timezone": "Europe/Berlin"}
    return settings.model_copy(update=changed)


@pytest.fixture
def dump(put: Put) -> Callable[..., None]:
    """Return a function that writes an order into the dump of days before today."""

    def write(*days_ago: int, price: str = "10") -> None:
        for days in days_ago:
            put(f"dump/{TODAY - timedelta(days=days)}/a.ndjson", lines(order(days, price)))

    return write


@pytest.fixture
def run_daily(
    client: Client, settings: Settings, warehouse: Engine, monkeypatch: pytest.MonkeyPatch
) -> Daily:
    """Return a function that runs the job at noon of a day, and returns outcomes by date."""

    def run(today: date = TODAY, **options: object) -> dict[str, str]:
        set_time(monkeypatch, datetime(today.year, today.month, today.day, 12))
        ended = daily(settings=settings, client=client, **options)  # type: ignore[arg-type]
        return {str(each.run_date): each.outcome for each in ended}

    return run


def set_time(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    """Make it a moment of Berlin."""

    class FixedTime(datetime):
        @classmethod
        def now(cls, zone: ZoneInfo | None = None) -> datetime:  # type: ignore[override]
            return moment.replace(tzinfo=ZoneInfo("Europe/Berlin")).astimezone(zone)

    monkeypatch.setattr(dates, "datetime", FixedTime)


def test_the_first_time_it_loads_what_is_there_and_misses_nothing_before(
    run_daily: Daily, dump: Callable[..., None]
) -> None:
    dump(3, 1)
    assert run_daily() == {
        "2026-10-23": "published",
        "2026-10-24": "missing",
        "2026-10-25": "published",
    }
    assert set(run_daily().values()) == {"up_to_date", "missing"}


def test_without_any_dump_yesterday_is_missing(run_daily: Daily) -> None:
    assert run_daily() == {"2026-10-25": "missing"}


@pytest.mark.long
def test_after_a_pause_of_a_month_all_days_since_are_loaded_oldest_first(
    run_daily: Daily, dump: Callable[..., None], query: Query
) -> None:
    dump(*range(1, 41))
    run_daily(TODAY - timedelta(days=38))
    ended = run_daily()
    assert list(ended.values()).count("published") == 38
    assert "missing" not in ended.values()
    [(in_order,)] = query(
        "select array_agg(run_date order by load_id) = array_agg(run_date order by run_date)"
        " from orders_ops.load_run where run_date >= '2026-10-01' and load_id % 2 = 0"
    )
    assert in_order, "two at a time, so every other one"


def test_a_late_file_and_a_changed_one_are_loaded_within_the_lookback_and_named_before(
    run_daily: Daily, dump: Callable[..., None], query: Query
) -> None:
    dump(9, 8, 6, 2, 1)
    run_daily(lookback=9)
    dump(8, 6, 3, price="11")  # 3 days ago had none
    ended = run_daily(lookback=7)
    assert ended == {
        "2026-10-18": "changed",
        "2026-10-19": "missing",
        "2026-10-20": "published",
        "2026-10-21": "missing",
        "2026-10-22": "missing",
        "2026-10-23": "published",
        "2026-10-24": "up_to_date",
        "2026-10-25": "up_to_date",
    }
    assert "2026-10-18" not in run_daily(lookback=7, beyond="ignore")
    assert query("select total_price from orders.fact_order where run_date = '2026-10-18'") == [
        (10,)
    ]
    assert run_daily(lookback=7, beyond="load")["2026-10-18"] == "published"


def test_a_date_that_is_held_stops_no_other_one(
    run_daily: Daily, dump: Callable[..., None], put: Put
) -> None:
    dump(3, 2)
    run_daily()
    put(f"dump/{TODAY - timedelta(days=3)}/a.ndjson", b"")
    dump(1)
    ended = run_daily()
    assert ended == {
        "2026-10-23": "held",
        "2026-10-24": "up_to_date",
        "2026-10-25": "published",
    }


def test_two_at_once_load_each_date_once(
    client: Client,
    settings: Settings,
    warehouse: Engine,
    query: Query,
    dump: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dump(*range(1, 6))
    set_time(monkeypatch, datetime(2026, 10, 26, 12))
    ended: list[list[RunResult]] = []
    jobs = [
        Thread(target=lambda: ended.append(daily(settings=settings, client=client)))
        for _ in range(2)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    outcomes = [{each.outcome for each in results} for results in ended]
    assert all(found <= {"published", "up_to_date"} for found in outcomes), outcomes
    assert query("select count(*), count(distinct run_date) from orders_ops.load_run") == [(5, 5)]


@pytest.mark.parametrize(
    ("now", "late"),
    [
        (datetime(2026, 10, 25, 5, 59), []),  # the 24th is due at six
        (datetime(2026, 10, 25, 6, 0), [date(2026, 10, 24)]),
        (datetime(2026, 10, 26, 6, 0), [date(2026, 10, 24), date(2026, 10, 25)]),
        (datetime(2026, 10, 20), []),  # before what is published
    ],
)
def test_a_date_is_overdue_after_the_latest_time_of_the_shops_zone(
    now: datetime,
    late: list[date],
    client: Client,
    settings: Settings,
    warehouse: Engine,
    dump: Callable[..., None],
) -> None:
    dump(3)
    backfill(date(2026, 10, 23), date(2026, 10, 23), settings=settings, client=client)
    early = settings.model_copy(update={"latest": datetime.min.time().replace(hour=6)})
    assert overdue(settings=early, now=now.replace(tzinfo=ZoneInfo("Europe/Berlin"))) == late


def test_without_anything_published_the_latest_due_date_is_overdue(
    settings: Settings, warehouse: Engine
) -> None:
    noon = datetime(2026, 10, 26, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    assert overdue(settings=settings, now=noon) == [date(2026, 10, 25)]


@pytest.mark.usefixtures("warehouse")
def test_a_source_without_run_date_gives_no_two_dates(
    settings: Settings, client: Client, put: Put
) -> None:
    put("dump/a.ndjson", lines(order(1)))
    flat = settings.model_copy(update={"source": settings.source.removesuffix("{run_date}/")})
    with pytest.raises(SettingsError, match=r"has no \{run_date\}, so each of 3 run dates would"):
        backfill(DAY, DAY + timedelta(days=2), settings=flat, client=client)


def test_a_damaged_old_dump_and_a_fault_of_ours_stop_no_other_date(
    client: Client, settings: Settings, warehouse: Engine, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put_zip(days_ago: int, content: bytes) -> None:
        put(f"dump/{TODAY - timedelta(days=days_ago)}.zip", content)

    def good(number: int) -> bytes:
        return zipped({"a.ndjson": lines(order(number))})

    source = settings.source.removesuffix("{run_date}/")
    zips = settings.model_copy(update={"source": f"zip://*.ndjson::{source}{{run_date}}.zip"})
    days = [str(TODAY - timedelta(days=n)) for n in (3, 2, 1)]
    for number in (3, 2):
        put_zip(number, good(number))
    set_time(monkeypatch, datetime(2026, 10, 25, 12))
    daily(settings=zips, client=client, lookback=2)
    put_zip(3, b"<html>503</html>")
    put_zip(1, good(1))
    set_time(monkeypatch, datetime(2026, 10, 26, 12))
    ended = daily(settings=zips, client=client, lookback=2)
    assert [(str(e.run_date), e.outcome) for e in ended] == [
        (days[0], "changed"),
        (days[1], "up_to_date"),
        (days[2], "published"),
    ]
    put_zip(2, good(22))
    put_zip(1, good(11))

    def fails_once(run_date: date, *given: object, **others: object) -> RunResult:
        if str(run_date) == days[1]:
            raise ValueError("anna@example.com")
        return run_once(run_date, *given, **others)  # type: ignore[arg-type]

    def fails_always(*_: object, **__: object) -> dict[date, RunResult]:
        raise ValueError("bert@example.com")

    monkeypatch.setattr("orders_dask.jobs.load_dates.run_once", fails_once)
    monkeypatch.setattr("orders_dask.jobs.batch.load_together", fails_always)
    ended = daily(settings=zips, client=client, lookback=2, beyond="ignore")
    assert [each.outcome for each in ended] == ["failed", "published"]
    assert (ended[0].exit_code, "anna" in str(ended[0].message)) == (1, False)
