"""A fetched run date in S3: it is loaded whole, or not at all."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import s3fs

from orders_dask.errors import SourceMissing, StoredObjectChanged
from orders_dask.extract.discover import discover_dump
from orders_dask.filesystem import filesystem
from orders_dask.jobs.fetch import fetch, fetch_range
from orders_dask.jobs.run import run
from orders_dask.order_api.settings import FetchSettings
from orders_dask.sandbox.shop import Shop
from orders_dask.settings import Settings, load_settings
from tests.support.builders import DAY, order
from tests.support.commands import ORDERS_DASK, orders_dask, start
from tests.support.shops import TOKEN, at, served, settings_of
from tests.support.types import Query

MORNING = datetime(DAY.year, DAY.month, DAY.day, 9, tzinfo=UTC)
BLOCK = 2**20


def order_of(number: int, minutes: int = 0, **values: object) -> dict[str, object]:
    updated = (MORNING + timedelta(minutes=minutes)).isoformat()
    text = json.dumps({**order(number), "updated_at": updated, **values}, default=str)
    made: dict[str, object] = json.loads(text)
    return made


@pytest.fixture
def shop() -> Shop:
    orders = [order_of(number, number) for number in range(1, 28)]
    return Shop(orders, now=at(MORNING + timedelta(days=2)))


@pytest.fixture
def fetching(shop: Shop, source: str, environment: dict[str, str]) -> Iterator[FetchSettings]:
    with served(shop) as url:
        yield settings_of(url, source.rstrip("/"))


def dated(fetching: FetchSettings) -> Settings:
    return load_settings(source=fetching.source)


@pytest.mark.usefixtures("warehouse")
def test_a_fetched_run_date_is_loaded_and_is_up_to_date_until_something_is_added(
    shop: Shop, fetching: FetchSettings, query: Query
) -> None:
    fetch(DAY, settings=fetching)
    ended = run(DAY, settings=dated(fetching))
    assert (ended.outcome, ended.orders, ended.left_out) == ("published", 27, ())
    fetch(DAY, settings=fetching)
    assert run(DAY, settings=dated(fetching)).outcome == "up_to_date"
    shop.put(order_of(28))
    shop.edit(1)  # its latest version is of another day now
    fetch(DAY, settings=fetching, force=True)
    assert run(DAY, settings=dated(fetching)).orders == 28
    assert query("select count(*) from orders.order_current") == [(28,)]


def test_a_fetch_that_did_not_finish_is_no_dump(shop: Shop, fetching: FetchSettings) -> None:
    fetch(DAY, settings=fetching)
    fs, folder = filesystem(fetching.source.format(run_date=DAY))
    fs.rm_file(f"{folder}/_fetched.json")
    with pytest.raises(SourceMissing, match="did not finish"):
        discover_dump(fetching.source, DAY, BLOCK)
    globbed = fetching.source + "**/*.json.gz"
    with pytest.raises(SourceMissing, match="did not finish"):
        discover_dump(globbed, DAY, BLOCK)


def test_only_pages_that_the_manifest_names_are_data(fetching: FetchSettings) -> None:
    fetch(DAY, settings=fetching)
    fs, folder = filesystem(fetching.source.format(run_date=DAY))
    fs.pipe_file(f"{folder}/fetch=20260101T000000Z-00000000/000-00000.json", b"{}")
    fs.pipe_file(f"{folder}/by-hand.json", b"{}")
    fs.pipe_file(f"{folder}/_SUCCESS", b"")
    dump = discover_dump(fetching.source, DAY, BLOCK)
    names = [file.name.rpartition("/")[2] for split in dump.splits for file in split.files]
    assert [name[:9] for name in sorted(names)] == ["000-00000", "by-hand.j"]
    assert [name.rpartition("/")[2] for name in dump.left_out] == ["_SUCCESS"]


@pytest.mark.parametrize("removed", [True, False])
def test_a_page_that_was_removed_or_replaced_is_an_error(
    fetching: FetchSettings, removed: bool
) -> None:
    fetch(DAY, settings=fetching)
    fs, folder = filesystem(fetching.source.format(run_date=DAY))
    [page] = fs.glob(f"{folder}/fetch=*/000-*")
    if removed:
        fs.rm_file(page)
    else:
        fs.pipe_file(page, fs.cat_file(page)[::-1])
    with pytest.raises(StoredObjectChanged, match="not the page that was fetched"):
        discover_dump(fetching.source, DAY, BLOCK)


def test_two_fetches_at_once_are_both_in_the_manifest(shop: Shop, fetching: FetchSettings) -> None:
    shop.faults.latency = 0.3
    with ThreadPoolExecutor(3) as pool:
        ended = list(pool.map(lambda _: fetch(DAY, settings=fetching, force=True), range(3)))
    assert {each.orders for each in ended} == {27}
    store = s3fs.S3FileSystem()
    url = fetching.source.format(run_date=DAY) + "_fetched.json"
    assert len(json.loads(store.cat_file(url))["objects"]) == 3
    dump = discover_dump(fetching.source, DAY, BLOCK)
    assert sum(len(split.files) for split in dump.splits) == 3


def test_a_range_is_fetched_date_by_date(shop: Shop, fetching: FetchSettings) -> None:
    shop.put(order_of(40, 24 * 60 - 10 * 60), MORNING - timedelta(days=3))
    ended = fetch_range(DAY - timedelta(days=3), DAY, settings=fetching)
    assert [(each.outcome, each.orders) for each in ended] == [
        ("fetched", 1),
        ("fetched", 0),
        ("fetched", 0),
        ("fetched", 27),
    ]
    assert ended[-1].run_date == DAY


@pytest.mark.usefixtures("warehouse")
def test_run_and_daily_fetch_first_what_was_not_fetched(
    fetching: FetchSettings, query: Query, shop: Shop
) -> None:
    environment = {
        "_AWS_S3_URL_SOURCE": fetching.source,
        "ORDERS_DASK_API_URL": fetching.url,
        "ORDERS_DASK_API_TOKEN": TOKEN,
    }
    of_run = ("run", "--run-date", str(DAY), "--fetch", "--json")
    out, err = orders_dask(*of_run, environment=environment)
    assert json.loads(out)["orders"] == 27
    assert f"{DAY} fetched: 27 orders, 1 request" in err
    assert json.loads(orders_dask(*of_run, environment=environment)[0])["outcome"] == "up_to_date"

    shop.now = lambda: datetime.now(UTC) + timedelta(hours=1)
    today = datetime.now(UTC)
    for days in range(1, 3):
        shop.put(order_of(100 + days), today - timedelta(days=days))
    of_daily = ("daily", "--fetch", "--lookback", "2", "--json", "--beyond", "ignore")
    out, err = orders_dask(*of_daily, "--missing", "report", environment=environment)
    assert "2 fetched" not in out, err
    assert query("select order_id from orders.order_current where order_id > 100 order by 1") == [
        (101,),
        (102,),
    ]


def test_a_sandbox_with_a_shop_has_all_that_a_fetch_needs() -> None:
    command = f"{shlex.join(ORDERS_DASK)} fetch --json"
    of_sandbox = ("sandbox", "--shop", "--", "sh", "-c", command)
    process = start(*of_sandbox, _AWS_S3_URL_SOURCE="")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out)[0]["outcome"] == "fetched"
    assert json.loads(out)[0]["orders"] > 500
