"""Fetching from a shop: what is stored, what is proven, and what is refused."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orders_dask.errors import (
    DataRefused,
    FetchIncomplete,
    ServiceUnavailable,
    SettingsError,
    SourceMissing,
    StoredObjectChanged,
)
from orders_dask.extract.discover import discover_dump
from orders_dask.jobs.fetch import fetch, fetch_range
from orders_dask.order_api import pages
from orders_dask.order_api.settings import load_fetch_settings
from orders_dask.sandbox.shop import Shop
from tests.support.commands import orders_dask, start
from tests.support.shops import TOKEN, at, dumped, latest, order_at, orders_on, served, settings_of

DAY = date(2026, 3, 2)
LATER = datetime(2026, 3, 4, tzinfo=UTC)


def shop_with(number: int, **options: Any) -> Shop:
    return Shop(orders_on(DAY, number), now=at(LATER), **options)


def manifest_of(folder: Path, day: date = DAY) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / f"run_date={day}/_fetched.json").read_text())
    return content


def paths(shop: Shop) -> list[str]:
    return [path.rpartition("/")[2] for _, path, _ in shop.log]


def test_a_small_day_is_one_request(tmp_path: Path) -> None:
    shop = shop_with(20)
    with served(shop) as url:
        ended = fetch(DAY, settings=settings_of(url, str(tmp_path)))
    assert (ended.outcome, ended.orders, ended.pages, ended.requests) == ("fetched", 20, 1, 1)
    assert paths(shop) == ["shop.json", "access_scopes.json", "orders.json"]
    assert latest(dumped(tmp_path)) == shop.orders


def test_a_day_without_orders_is_fetched_too(tmp_path: Path) -> None:
    with served(shop_with(0)) as url:
        ended = fetch(DAY, settings=settings_of(url, str(tmp_path)))
    assert (ended.outcome, ended.orders, ended.pages) == ("fetched", 0, 1)
    assert manifest_of(tmp_path)["orders"] == 0


def test_a_large_day_is_counted_and_read_in_slices_to_the_last_order(tmp_path: Path) -> None:
    shop = shop_with(3_000)
    with served(shop) as url:
        settings = settings_of(url, str(tmp_path))
        ended = fetch(DAY, settings=settings)
        assert fetch(DAY, settings=settings).outcome == "up_to_date"
    assert (ended.outcome, ended.orders) == ("fetched", 3_000)
    assert latest(dumped(tmp_path)) == shop.orders
    manifest = manifest_of(tmp_path)
    assert (manifest["count_before"], manifest["count_after"]) == (3_000, 3_000)
    asked = [query for _, _, query in shop.log if "updated_at_min" in query]
    assert {query["status"] for query in asked} == {"any"}
    assert len({query["updated_at_min"] for query in asked}) > 2, "slices"


def test_closed_orders_and_those_on_the_bounds_are_fetched(tmp_path: Path) -> None:
    midnight = datetime(2026, 3, 2, tzinfo=UTC)
    shop = Shop(
        [
            order_at(1, midnight, closed_at="2026-03-02T00:00:00Z"),
            order_at(2, midnight + timedelta(hours=3), cancelled_at="2026-03-02T03:00:00Z"),
        ],
        now=at(LATER),
    )
    shop.put(order_at(3, midnight), midnight + timedelta(days=1, microseconds=-1))
    shop.put(order_at(4, midnight), midnight + timedelta(days=1, microseconds=1))
    shop.now = at(LATER + timedelta(hours=1))
    with served(shop) as url:
        settings = settings_of(url, str(tmp_path))
        ended = fetch_range(DAY, DAY + timedelta(days=1), settings=settings)
    assert [each.outcome for each in ended] == ["fetched", "fetched"]
    assert latest(dumped(tmp_path)) == shop.orders


@pytest.mark.parametrize(
    "fault",
    [
        {"dropped": {700}},
        {"dropped": set(range(100, 105))},
        {"unordered": True},
        {"count_error": 1},
        {"count_error": -1},
    ],
    ids=lambda fault: f"{next(iter(fault))}",
)
def test_a_shop_that_omits_an_order_or_counts_wrongly_is_refused(
    tmp_path: Path, fault: dict[str, Any]
) -> None:
    shop = shop_with(1_000)
    if "unordered" in fault:  # by id, the other way round
        shop = Shop([{**o, "id": 10_000 - o["id"]} for o in orders_on(DAY, 1_000)], now=at(LATER))
    for name, value in fault.items():
        setattr(shop.faults, name, value)
    with served(shop) as url, pytest.raises(FetchIncomplete):
        fetch(DAY, settings=settings_of(url, str(tmp_path)))
    assert not list(tmp_path.rglob("_fetched.json")), "nothing of it can be loaded"


@pytest.mark.parametrize("skip", [1, 2, 40])
def test_what_links_skip_is_found_by_the_counts(tmp_path: Path, skip: int) -> None:
    shop = shop_with(3_000)
    shop.faults.skip = skip
    with served(shop) as url:
        try:
            fetch(DAY, settings=settings_of(url, str(tmp_path)))
        except FetchIncomplete:
            assert not list(tmp_path.rglob("_fetched.json"))
        else:
            assert latest(dumped(tmp_path)) == shop.orders
    assert any("ids" in query for _, _, query in shop.log), "the missing are asked for by id"


def test_orders_that_are_edited_while_pages_are_read_are_not_missed(tmp_path: Path) -> None:
    shop = shop_with(2_000)
    edited = iter(range(1, 2_000, 7))
    shop.before_request = lambda number: shop.edit(next(edited)) if number > 4 else None
    with served(shop) as url:
        settings = settings_of(url, str(tmp_path))
        ended = fetch(DAY, settings=settings)
        assert ended.outcome == "fetched"
        manifest = manifest_of(tmp_path)
        assert manifest["count_after"] < manifest["count_before"]
        shop.before_request = lambda number: None
        shop.now = at(LATER + timedelta(days=2))
        fetch(LATER.date(), settings=settings)
    assert latest(dumped(tmp_path)) == shop.orders


@pytest.mark.parametrize("fault", ["failing_orders", "max_good_limit", "cut", "damaged"])
def test_a_page_that_fails_is_asked_for_until_it_is_there(tmp_path: Path, fault: str) -> None:
    shop = shop_with(600)
    shop.faults.max_good_limit = 30 if fault == "max_good_limit" else 250
    if fault == "cut":
        shop.faults.cut = {3, 6, 8}
    if fault == "damaged":
        shop.faults.damaged = {3, 6, 8}
    if fault == "failing_orders":
        shop.faults.failing_orders = {300}

        def heal(number: int) -> None:
            if number > 20:
                shop.faults.failing_orders = set()

        shop.before_request = heal
    with served(shop) as url:
        ended = fetch(DAY, settings=settings_of(url, str(tmp_path)))
    assert ended.outcome == "fetched"
    assert latest(dumped(tmp_path)) == shop.orders


def test_an_order_that_can_not_be_had_refuses_the_date(tmp_path: Path) -> None:
    shop = shop_with(300)
    shop.faults.failing_orders = {150}
    with served(shop) as url, pytest.raises(FetchIncomplete, match="behind 149"):
        fetch(DAY, settings=settings_of(url, str(tmp_path)))
    assert not list(tmp_path.rglob("_fetched.json"))


def test_links_that_expire_are_replaced(tmp_path: Path) -> None:
    shop = shop_with(1_500)
    shop.cursor_seconds = -1
    with served(shop) as url:
        ended = fetch(DAY, settings=settings_of(url, str(tmp_path)))
    assert ended.orders == 1_500
    assert latest(dumped(tmp_path)) == shop.orders


def test_more_orders_in_a_second_than_a_page_holds_need_links(tmp_path: Path) -> None:
    moment = datetime(2026, 3, 2, 12, tzinfo=UTC)
    shop = Shop([order_at(n, moment) for n in range(1, 601)], now=at(LATER))
    with served(shop) as url:
        settings = settings_of(url, str(tmp_path))
        assert fetch(DAY, settings=settings).orders == 600
        shop.cursor_seconds = -1
        with pytest.raises(FetchIncomplete, match="links that end at once"):
            fetch(DAY, settings=settings, force=True)


def test_a_day_is_fetched_once_it_is_over_by_the_shops_time(tmp_path: Path) -> None:
    shop = shop_with(3)
    with served(shop) as url:
        settings = settings_of(url, str(tmp_path))
        shop.now = at(datetime(2026, 3, 3, 0, 14, tzinfo=UTC))
        with pytest.raises(SourceMissing, match="15 minutes"):
            fetch(DAY, settings=settings)
        shop.now = at(datetime(2026, 3, 3, 0, 15, tzinfo=UTC))
        assert fetch(DAY, settings=settings).orders == 3


def test_a_second_fetch_adds_and_removes_nothing(tmp_path: Path) -> None:
    shop = shop_with(10)
    with served(shop) as url:
        settings = settings_of(url, str(tmp_path))
        fetch(DAY, settings=settings)
        shop.edit(4, note="edited later")
        shop.put(order_at(11, datetime(2026, 3, 2, 9, tzinfo=UTC)))
        fetch(DAY, settings=settings, force=True)
    assert len(manifest_of(tmp_path)["objects"]) == 2
    assert {order["id"] for order in dumped(tmp_path)} == set(range(1, 12))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"zone": "Europe/Berlin"}, "time zone is Europe/Berlin"),
        ({"scopes": ()}, "read_orders"),
        ({"token": "another"}, "token is wrong"),
    ],
)
def test_what_would_cut_in_silence_is_asked_first(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with served(shop_with(3, **change)) as url, pytest.raises(SettingsError, match=message):
        fetch(DAY, settings=settings_of(url, str(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_a_version_that_is_no_longer_there_is_not_answered_by_another(tmp_path: Path) -> None:
    with served(shop_with(3)) as url, pytest.raises(SettingsError, match="2024-01"):
        fetch(DAY, settings=settings_of(url, str(tmp_path), version="2024-01"))


def test_days_that_the_token_would_cut_are_refused_and_recent_ones_warn(tmp_path: Path) -> None:
    shop = shop_with(3, scopes=("read_orders",))
    with served(shop) as url:
        settings = settings_of(url, str(tmp_path))
        ended = fetch(DAY, settings=settings)
        assert "read_all_orders" in ended.warnings[0]
        assert manifest_of(tmp_path)["warnings"] == list(ended.warnings)
        shop.now = at(LATER + timedelta(days=90))
        with pytest.raises(DataRefused, match="read_all_orders"):
            fetch(DAY, settings=settings, force=True)


def test_a_token_of_24_hours_is_renewed_when_it_ends(tmp_path: Path) -> None:
    shop = shop_with(900)

    def end_tokens(number: int) -> None:
        if number == 6:
            shop.tokens = {token: 0.0 for token in shop.tokens}

    shop.before_request = end_tokens
    with served(shop) as url:
        settings = settings_of(
            url, str(tmp_path), token=None, client_id="client", client_secret="secret"
        )
        assert fetch(DAY, settings=settings).orders == 900
    assert paths(shop).count("access_token") == 2


def test_a_full_bucket_is_not_run_over(tmp_path: Path) -> None:
    shop = shop_with(3_000)
    with served(shop) as url:
        ended = fetch(DAY, settings=settings_of(url, str(tmp_path)))
    assert ended.throttled == shop.throttled == 0


def test_requests_of_others_are_waited_for(tmp_path: Path) -> None:
    shop = shop_with(600)

    def fill(number: int) -> None:
        if number == 4:
            shop._used = shop.size

    shop.before_request = fill
    with served(shop) as url:
        ended = fetch(DAY, settings=settings_of(url, str(tmp_path)))
    assert ended.orders == 600
    assert 1 <= ended.throttled <= 3


def test_a_shop_that_can_not_be_reached_is_transient(tmp_path: Path) -> None:
    with served(shop_with(1)) as url:
        settings = settings_of(url, str(tmp_path))
    with pytest.raises(ServiceUnavailable, match="can't be reached"):
        fetch(DAY, settings=settings)


@pytest.mark.parametrize("fault", [None, "latency", "scopes", "count_error"])
def test_token_and_secret_are_neither_stored_nor_shown(
    tmp_path: Path, fault: str | None, capfd: pytest.CaptureFixture[str]
) -> None:
    shop = shop_with(300)
    secret = "very-secret"
    shop.client = "client", secret
    if fault == "scopes":
        shop.scopes = ()
    if fault == "count_error":
        shop.faults.count_error = 1
    environment = {
        "_AWS_S3_URL_SOURCE": f"{tmp_path}/{{run_date}}/",
        "ORDERS_DASK_API_CLIENT_ID": "client",
        "ORDERS_DASK_API_CLIENT_SECRET": secret,
    }
    with served(shop) as url:
        process = start(
            "fetch", "--run-date", str(DAY), "--debug", ORDERS_DASK_API_URL=url, **environment
        )
        out, err = process.communicate(timeout=60)
    assert process.returncode == {None: 0, "latency": 0, "scopes": 2, "count_error": 3}[fault], err
    stored = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    shown = out.encode() + err.encode() + stored + "".join(capfd.readouterr()).encode()
    assert b"shpca_" not in shown
    assert secret.encode() not in shown


def test_a_range_ends_with_a_result_for_each_date(tmp_path: Path) -> None:
    with served(shop_with(30)) as url:
        process = start(
            *("fetch", "--from", str(DAY), "--to", str(DAY + timedelta(days=2)), "--json"),
            _AWS_S3_URL_SOURCE=f"{tmp_path}/{{run_date}}/",
            ORDERS_DASK_API_URL=url,
            ORDERS_DASK_API_TOKEN=TOKEN,
        )
        out, err = process.communicate(timeout=60)
    assert process.returncode == 6, err
    assert [each["outcome"] for each in json.loads(out)] == ["fetched", "missing", "missing"]


@pytest.mark.parametrize("arguments", [["--from", "2026-01-01"], ["--force", "--verify"]])
def test_options_that_contradict_are_one_sentence(arguments: list[str]) -> None:
    _, err = orders_dask("fetch", *arguments, code=2)
    assert err.startswith("Error: Give ")


def test_a_late_order_is_found_by_verify_and_added(tmp_path: Path) -> None:
    shop = shop_with(600)
    with served(shop) as url:
        settings = settings_of(url, str(tmp_path))
        fetch(DAY, settings=settings)
        assert fetch_range(DAY, DAY, settings=settings, verify=True)[0].outcome == "up_to_date"
        shop.put(order_at(9_000, datetime(2026, 3, 2, 9, tzinfo=UTC)))
        [ended] = fetch_range(DAY, DAY, settings=settings, verify=True)
        assert (ended.outcome, ended.orders, ended.message) == (
            "fetched",
            601,
            "1 came late",
        )
    assert latest(dumped(tmp_path)) == shop.orders
    assert manifest_of(tmp_path)["orders"] == 601


def test_a_dry_run_counts_and_stores_nothing(tmp_path: Path) -> None:
    with served(shop_with(600)) as url:
        [ended] = fetch_range(DAY, DAY, settings=settings_of(url, str(tmp_path)), dry_run=True)
    assert (ended.outcome, ended.orders, ended.pages) == ("planned", 600, 3)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"url": "https://shop.example/admin"}, "host alone"),
        ({"url": "http://shop.example"}, "https"),
        ({"url": "https://me:pw@shop.example"}, "no user or password"),
        ({"token": "with blank"}, "no blank"),
        ({"token": None}, "must be set"),
        ({"client_id": "x"}, "not both"),
        ({"version": "2026-11"}, "version of the Admin API"),
        ({"source": "s3://bucket/orders.json"}, "folder"),
        ({"source": "s3://bucket/orders/"}, "{run_date}"),
        ({"source": "s3://bucket/{run_date:%Y-%m}/"}, "all of {run_date}"),
    ],
)
def test_a_wrong_setting_is_one_sentence(given: dict[str, Any], message: str) -> None:
    settings = {"url": "https://shop.example", "token": "t", "source": "s3://b/{run_date}/"}
    with pytest.raises(SettingsError, match=re.escape(message)) as raised:
        load_fetch_settings(**{**settings, **given})
    assert "pw" not in str(raised.value)


def test_a_late_order_does_not_refuse_its_date_for_ever(tmp_path: Path) -> None:
    shop = shop_with(1_000)
    shop.faults.hidden = {500: 6}
    with served(shop) as url:
        ended = fetch(DAY, settings=settings_of(url, str(tmp_path)))
    assert ended.orders == 1_000
    assert latest(dumped(tmp_path)) == shop.orders


def test_a_refused_fetch_is_begun_anew(tmp_path: Path) -> None:
    shop = shop_with(1_000)
    with served(shop) as url:
        settings = settings_of(url, str(tmp_path))
        shop.faults.count_error = 1
        with pytest.raises(FetchIncomplete):
            fetch(DAY, settings=settings)
        shop.faults.count_error = 0
        assert fetch(DAY, settings=settings).orders == 1_000


def test_an_order_that_was_edited_late_is_found_by_verify(tmp_path: Path) -> None:
    shop = shop_with(600)
    with served(shop) as url:
        settings = settings_of(url, str(tmp_path))
        fetch(DAY, settings=settings)
        late = {**shop.orders[7], "note": "late"}
        shop.put(late, datetime(2026, 3, 2, 23, 59, 50, tzinfo=UTC))
        [ended] = fetch_range(DAY, DAY, settings=settings, verify=True)
    assert ended.message == "1 came late"
    assert latest(dumped(tmp_path)) == shop.orders


def test_a_second_fetch_while_the_first_is_at_work_ends_in_one_manifest(tmp_path: Path) -> None:
    shop = shop_with(3_000)
    shop.faults.latency = 0.3
    with served(shop) as url, ThreadPoolExecutor(2) as pool:
        settings = settings_of(url, str(tmp_path))
        first = pool.submit(fetch, DAY, settings=settings)
        time.sleep(1.2)
        second = pool.submit(fetch, DAY, settings=settings)
        assert {first.result().orders, second.result().orders} == {3_000}
    assert latest(dumped(tmp_path)) == shop.orders


def test_a_page_that_was_removed_is_healed_by_force(tmp_path: Path) -> None:
    shop = shop_with(10)
    with served(shop) as url:
        settings = settings_of(url, str(tmp_path))
        fetch(DAY, settings=settings)
        [page] = tmp_path.rglob("000-*")
        page.unlink()
        with pytest.raises(StoredObjectChanged, match="--force"):
            discover_dump(settings.source, DAY, 2**20)
        fetch(DAY, settings=settings, force=True)
    assert len(discover_dump(settings.source, DAY, 2**20).splits) == 1


def test_force_always_asks_the_shop(tmp_path: Path) -> None:
    shop = shop_with(10)
    with served(shop) as url:
        settings = settings_of(url, str(tmp_path))
        fetch(DAY, settings=settings)
        next(tmp_path.rglob("_fetched.json")).unlink()  # as if it was killed just before
        shop.put(order_at(50, datetime(2026, 3, 2, 9, tzinfo=UTC)))
        assert fetch(DAY, settings=settings).orders == 11


def test_what_was_fetched_for_another_zone_or_shop_is_not_taken_for_this_one(
    tmp_path: Path,
) -> None:
    with served(shop_with(10)) as url:
        settings = settings_of(url, str(tmp_path))
        fetch(DAY, settings=settings)
    with served(shop_with(10, zone="Asia/Tokyo")) as url:
        settings = settings_of(url, str(tmp_path), shop_timezone="Asia/Tokyo")
        assert fetch(DAY, settings=settings).outcome == "fetched"
    file = tmp_path / f"run_date={DAY}/_fetched.json"
    file.write_text(file.read_text().replace("127.0.0.1", "another.myshopify.com"))
    with served(shop_with(10)) as url, pytest.raises(SettingsError, match=r"another\.myshopify"):
        fetch(DAY, settings=settings_of(url, str(tmp_path)))


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_that_fails_in_every_way_is_given_up(
    tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "OUTAGE_WAITS", (0.01, 0.01))
    shop = shop_with(600)
    shop.faults.max_good_limit = 0
    with served(shop) as url:
        settings = settings_of(url, str(tmp_path))
        with pytest.raises(FetchIncomplete, match="not even by itself"):
            fetch(DAY, settings=settings)
    assert len(shop.log) < 600


@pytest.mark.parametrize("content", ["[]", "5", '{"shop": "x"}', '{"shop": null}', "{}"])
def test_odd_answers_are_one_sentence(tmp_path: Path, content: str) -> None:
    shop = shop_with(1)
    shop.faults.odd = json.loads(content)
    with served(shop) as url, pytest.raises(ServiceUnavailable, match="answers without"):
        fetch(DAY, settings=settings_of(url, str(tmp_path)))


def test_the_requests_of_each_date_are_its_own(tmp_path: Path) -> None:
    shop = Shop(orders_on(DAY, 20) + orders_on(DAY - timedelta(days=1), 600, 100), now=at(LATER))
    with served(shop) as url:
        ended = fetch_range(DAY - timedelta(days=1), DAY, settings=settings_of(url, str(tmp_path)))
    assert [each.requests for each in ended][1] == 1
    assert 5 <= ended[0].requests <= 8


def test_a_fetch_that_is_refused_before_it_begins_removes_nothing(tmp_path: Path) -> None:
    shop = shop_with(3)
    shop.faults.unordered = True
    shop.put(order_at(0x7FFF, datetime(2026, 3, 2, 0, 0, 1, tzinfo=UTC)))
    own = tmp_path / f"run_date={DAY}/begin.json"
    own.parent.mkdir()
    own.write_text("somebody's own")
    with served(shop) as url, pytest.raises(FetchIncomplete, match="another order"):
        fetch(DAY, settings=settings_of(url, str(tmp_path)))
    assert own.read_text() == "somebody's own"
