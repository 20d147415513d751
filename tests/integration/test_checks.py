"""A bad day never replaces a good one: what checks hold, and how it is accepted or discarded."""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
from distributed import Client
from sqlalchemy import Engine

from orders_dask.checks.run import load_checks
from orders_dask.errors import DataRefused, LoadHeld, NothingToRestore, SettingsError
from orders_dask.jobs import unpublish as unpublish_job
from orders_dask.jobs.backfill import backfill
from orders_dask.jobs.diff import diff_without_loading
from orders_dask.jobs.load_dates import load_dates
from orders_dask.jobs.replay import replay
from orders_dask.jobs.review import accept, discard
from orders_dask.jobs.rollback import rollback
from orders_dask.jobs.run import run
from orders_dask.ledger.queries import status
from orders_dask.settings import Settings
from tests.support import REPOSITORY
from tests.support.builders import DAY, lines, order
from tests.support.types import Put, Query


def orders(first: int, last: int, price: str = "10", **values: object) -> bytes:
    return lines(*(order(n, price, **values) for n in range(first, last + 1)))


def published(query: Query) -> list[tuple[object, ...]]:
    return query("select run_date, count(*), sum(total_price) from orders.fact_order group by 1")


@pytest.fixture
def good_day(client: Client, settings: Settings, query: Query, put: Put) -> None:
    """Publish a day of 20 orders."""
    put("dump/a.ndjson", orders(1, 20))
    run(DAY, settings=settings, client=client)
    assert published(query) == [(DAY, 20, 200)]


HALF_A_DAY = orders(1, 10)
AMOUNTS_IN_CENTS = orders(1, 20, "0.10")
CONTAINERS = lines(*({"_airbyte_ab_id": n, "_airbyte_data": order(n)} for n in range(1, 4)))


@pytest.mark.usefixtures("good_day")
@pytest.mark.parametrize(
    ("dump", "reason"),
    [
        (HALF_A_DAY, "orders: 10, and 20 are published (fewer_orders)"),
        (AMOUNTS_IN_CENTS, "EUR: 2.00, and 200.00 are published (less_money)"),
        (CONTAINERS, "records: 3, and none became an order, most often not_an_order (3): "),
        (b"", "orders: 0, and 20 are published (fewer_orders)"),
    ],
)
def test_a_bad_day_is_held_and_the_good_one_stays(
    dump: bytes, reason: str, client: Client, settings: Settings, query: Query, put: Put
) -> None:
    put("dump/a.ndjson", dump)
    with pytest.raises(LoadHeld) as held:
        run(DAY, settings=settings, client=client)
    assert reason in str(held.value)
    assert f"`orders-dask accept --run-date {DAY}`" in str(held.value)
    assert published(query) == [(DAY, 20, 200)]
    assert query("select status, message from orders_ops.load_run order by load_id desc") == [
        ("held", str(held.value)),
        ("published", None),
    ]


@pytest.mark.usefixtures("good_day")
def test_an_error_document_of_an_api_refuses_the_run(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    put("dump/a.ndjson", b'{"errors": "Exceeded 2 calls per second for api client."}')
    with pytest.raises(DataRefused, match="An error document of an API"):
        run(DAY, settings=settings, client=client)
    assert published(query) == [(DAY, 20, 200)]


@pytest.mark.usefixtures("good_day")
def test_accept_publishes_a_held_load_without_decoding_anything(
    client: Client, settings: Settings, query: Query, warehouse: Engine, put: Put
) -> None:
    put("dump/a.ndjson", HALF_A_DAY)
    [held] = backfill(DAY, DAY, settings=settings, client=client)
    assert (held.outcome, held.exit_code) == ("held", 5)
    change = diff_without_loading(DAY, settings=settings)
    assert change
    assert (change.removed, change.added, change.published) == (10, 0, False)
    accepted = accept(DAY, "half of them was another shop's", settings=settings)
    assert (accepted.outcome, accepted.orders) == ("published", 10)
    assert published(query) == [(DAY, 10, 100)]
    [(by, because, loads)] = query(
        "select reviewed_by, review_note, (select count(*) from orders_ops.load_run)"
        " from orders_ops.load_run where reviewed_at is not null"
    )
    assert " on " in by
    assert (because, loads) == ("half of them was another shop's", 2)
    assert run(DAY, settings=settings, client=client).outcome == "up_to_date"
    with pytest.raises(NothingToRestore, match=r"No load of .* is held"):
        accept(DAY, settings=settings)


@pytest.mark.usefixtures("good_day")
def test_a_day_stays_held_until_somebody_accepts_or_discards_it(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    put("dump/a.ndjson", HALF_A_DAY)
    with pytest.raises(LoadHeld) as first:
        run(DAY, settings=settings, client=client)
    with pytest.raises(LoadHeld) as second:
        run(DAY, settings=settings, client=client)
    assert str(first.value) == str(second.value)
    [inspected] = load_dates(lambda *_: client, [DAY], settings)
    assert (inspected.outcome, inspected.message) == ("held", str(first.value))
    discarded = discard(DAY, "the shop's export broke", settings=settings)
    assert discarded.outcome == "discarded"
    left_alone = run(DAY, settings=settings, client=client)
    assert (left_alone.outcome, left_alone.exit_code) == ("discarded", 0)
    assert query("select count(*) from orders_ops.load_run") == [(2,)]
    put("dump/a.ndjson", orders(1, 21))
    assert run(DAY, settings=settings, client=client).orders == 21


@pytest.mark.usefixtures("good_day")
def test_what_was_rolled_back_does_not_come_back_before_its_files_change(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    put("dump/a.ndjson", orders(1, 21))
    bad = run(DAY, settings=settings, client=client)
    rollback(DAY, "the prices are wrong", settings=settings)
    [inspected] = load_dates(lambda *_: client, [DAY], settings)
    left_alone = run(DAY, settings=settings, client=client)
    assert [(each.outcome, each.message) for each in (inspected, left_alone)] == [
        (
            "discarded",
            f"Load {bad.load_id} of these files was rolled back: `orders-dask run --force "
            f"--run-date {DAY}` loads them again.",
        )
    ] * 2
    reviews = "select load_id, review_note from orders_ops.load_run where reviewed_at is not null"
    assert query(reviews) == [(bad.load_id, "the prices are wrong")]
    elsewhere = settings.model_copy(update={"shop_timezone": "Asia/Tokyo"})
    assert run(DAY, settings=elsewhere, client=client).outcome == "discarded", "the same files"
    put("dump/a.ndjson", orders(1, 22))
    assert run(DAY, settings=settings, client=client).orders == 22
    put("dump/a.ndjson", orders(1, 21))
    rollback(DAY, settings=settings)
    assert run(DAY, settings=settings, client=client, force=True).orders == 21
    assert run(DAY, settings=settings, client=client).outcome == "up_to_date"


@pytest.mark.usefixtures("good_day")
def test_the_load_that_is_meant_may_be_named_and_what_is_held_is_never_forgotten(
    client: Client, settings: Settings, put: Put
) -> None:
    put("dump/a.ndjson", HALF_A_DAY)
    with pytest.raises(LoadHeld):
        run(DAY, settings=settings, client=client)
    with pytest.raises(NothingToRestore, match=r"Load 9 of .* is not held, but load 2"):
        accept(DAY, load_id=9, settings=settings)
    with pytest.raises(NothingToRestore, match=r"Load 2 of .* is held: give `orders-dask accept"):
        replay(DAY, settings=settings, client=client)
    put("dump/a.ndjson", orders(1, 20))
    unchanged = run(DAY, settings=settings, client=client)
    assert (unchanged.outcome, unchanged.message) == (
        "up_to_date",
        f"Load 2 of other files is held still: `orders-dask discard --run-date {DAY}` drops it.",
    )
    assert accept(DAY, load_id=2, settings=settings).outcome == "published"


@pytest.mark.usefixtures("good_day")
def test_a_later_load_that_is_published_or_held_discards_a_held_one(
    client: Client, settings: Settings, query: Query, put: Put, warehouse: Engine
) -> None:
    for dump in (HALF_A_DAY, orders(1, 5)):
        put("dump/a.ndjson", dump)
        with pytest.raises(LoadHeld):
            run(DAY, settings=settings, client=client)
    put("dump/a.ndjson", orders(1, 22))
    run(DAY, settings=settings, client=client)
    assert query("select status, message from orders_ops.load_run order by load_id") == [
        ("replaced", None),
        ("discarded", "Load 3 came later."),
        ("discarded", "Load 4 came later."),
        ("published", None),
    ]
    [shown] = status(warehouse)
    assert (shown.status, shown.message) == ("published", None)


def test_an_empty_day_a_missing_currency_and_a_day_twice_are_held_beside_the_same_weekday(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    weeks = [DAY + timedelta(weeks=n) for n in range(7)]
    settings = settings.model_copy(update={"source": settings.source + "{run_date}/"})
    for n, day in enumerate(weeks[:4]):
        euros, dollars = orders(n * 100 + 1, n * 100 + 20), orders(n * 100 + 21, n * 100 + 40)
        put(f"dump/{day}/a.ndjson", euros + dollars.replace(b"EUR", b"USD"))
    put(f"dump/{weeks[4]}/a.ndjson", orders(501, 540))
    put(f"dump/{weeks[5]}/a.ndjson", b"")
    for name in ("a", "b"):
        euros, dollars = orders(701, 720), orders(721, 740)
        put(f"dump/{weeks[6]}/{name}.ndjson", euros + dollars.replace(b"EUR", b"USD"))
    ended = backfill(weeks[0], weeks[-1], settings=settings, client=client, max_parallel=1)
    by_date = {each.run_date: each for each in ended if each.outcome != "missing"}
    assert [by_date[day].outcome for day in weeks] == ["published"] * 4 + ["held"] * 3
    assert "orders in USD: 0, where the last 4 Thursdays had 20 to 20 (missing_currency)" in str(
        by_date[weeks[4]].message
    )
    assert "orders: 0, where the last 4 Thursdays had 40 to 40 (empty_day)" in str(
        by_date[weeks[5]].message
    )
    assert "superseded by another version of the same day: 50.0%" in str(by_date[weeks[6]].message)


def test_no_rejection_at_all_is_allowed_with_a_share_of_0(
    client: Client, settings: Settings, warehouse: Engine, put: Put
) -> None:
    put("dump/a.ndjson", orders(1, 20) + b"oops\n")
    strict = settings.model_copy(update={"max_rejected": 0.0})
    with pytest.raises(DataRefused, match="1 of 21 orders were rejected"):
        run(DAY, settings=strict, client=client)


@pytest.mark.usefixtures("good_day")
def test_a_check_can_be_switched_off_or_made_a_warning(
    client: Client, settings: Settings, put: Put
) -> None:
    put("dump/a.ndjson", HALF_A_DAY)
    lenient = settings.model_copy(
        update={"check_severities": {"fewer_orders": "warn", "less_money": "off"}}
    )
    assert run(DAY, settings=lenient, client=client).warnings == (
        "orders: 10, and 20 are published (fewer_orders)",
    )


def test_a_load_that_only_gave_way_to_another_one_may_come_back(
    client: Client, settings: Settings, query: Query, put: Put, good_day: None
) -> None:
    for dump in (HALF_A_DAY, orders(1, 5)):
        put("dump/a.ndjson", dump)
        with pytest.raises(LoadHeld):
            run(DAY, settings=settings, client=client)
    put("dump/a.ndjson", HALF_A_DAY)
    with pytest.raises(LoadHeld, match="Load 4 of"):
        run(DAY, settings=settings, client=client)


@pytest.mark.usefixtures("good_day")
def test_unpublish_discards_what_is_held(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    put("dump/a.ndjson", HALF_A_DAY)
    with pytest.raises(LoadHeld):
        run(DAY, settings=settings, client=client)
    with (
        patch.object(unpublish_job, "cutoff"),
        patch.object(unpublish_job, "timedelta", lambda days: -timedelta(days=36_500)),
    ):
        unpublish_job.unpublish(1, settings=settings)
    assert query("select status from orders_ops.load_run where status <> 'unpublished'") == [
        ("discarded",)
    ]
    with pytest.raises(NothingToRestore):
        accept(DAY, settings=settings)


def test_the_examples_of_the_page_are_checks(
    settings: Settings, warehouse: Engine, tmp_path: Path
) -> None:
    page = (REPOSITORY / "docs" / "checks.md").read_text(encoding="utf-8")
    examples = re.findall(r"```postgresql\n(.*?)```", page, re.DOTALL)
    for number, example in enumerate(examples):
        (tmp_path / f"example{number}.sql").write_text(example)
    checks = load_checks(settings.model_copy(update={"checks_folder": tmp_path}), warehouse)
    assert [check.severity for check in checks.own] == ["warn", "warn", "warn"]


OWN = """\
-- severity: hold
-- message: order {order_id} has no customer
select order_id from fact_order where customer_id is null and order_id not in
  (select order_id from orders.fact_order)  -- those that are published are known
"""


def test_a_check_of_ones_own_sees_the_load_and_what_is_published(
    client: Client, settings: Settings, query: Query, put: Put, tmp_path: Path
) -> None:
    (tmp_path / "customer.sql").write_text(OWN)
    strict = settings.model_copy(update={"checks_folder": tmp_path})
    put("dump/a.ndjson", orders(1, 20, customer={"id": 7}))
    run(DAY, settings=strict, client=client)
    put("dump/a.ndjson", orders(1, 20) + orders(21, 22))
    with pytest.raises(LoadHeld, match=r"order 2[12] has no customer \(2 rows\) \(customer\)"):
        run(DAY, settings=strict, client=client)
    assert query("select check_name, severity, message from orders_ops.check_finding")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("select nothing from fact_order", 'column "nothing" does not exist'),
        ("-- severity: stop\nselect 1", "severity must be off, warn or hold"),
        ("-- timeout: soon\nselect 1", "timeout must be a duration such as 30s, 5m or 3h"),
        ("-- message: {who} is bad\nselect 1 as n", "its message names who, which is no column"),
        ("delete from orders.dim_customer returning 1", "is not a query that PostgreSQL takes"),
        ("select 1; drop table x", "is not a query that PostgreSQL takes"),
    ],
)
def test_a_wrong_file_of_checks_is_an_error_before_anything_is_read(
    text: str,
    sentence: str,
    client: Client,
    settings: Settings,
    warehouse: Engine,
    tmp_path: Path,
) -> None:
    (tmp_path / "bad.sql").write_text(text)
    wrong = settings.model_copy(update={"checks_folder": tmp_path})
    with pytest.raises(SettingsError) as error:
        run(DAY, settings=wrong, client=client)
    assert sentence in str(error.value)
    assert "bad.sql of ORDERS_DASK_CHECKS" in str(error.value)


def test_a_check_that_fails_or_takes_too_long_finds_something_and_shows_no_value(
    client: Client, settings: Settings, warehouse: Engine, put: Put, tmp_path: Path
) -> None:
    (tmp_path / "fails.sql").write_text("select email::int from fact_order")
    (tmp_path / "slow.sql").write_text("-- timeout: 200ms\nselect pg_sleep(9) from fact_order")
    put("dump/a.ndjson", orders(1, 1, email="jane@example.com"))
    wrong = settings.model_copy(update={"checks_folder": tmp_path})
    with pytest.raises(LoadHeld) as held:
        run(DAY, settings=wrong, client=client)
    assert "it failed (InvalidTextRepresentation) (fails)" in str(held.value)
    assert "it did not end within 0.2 s (slow)" in str(held.value)
    assert "jane" not in str(held.value)


def test_an_unknown_check_in_a_setting_is_named_with_those_that_there_are(
    client: Client, settings: Settings, warehouse: Engine
) -> None:
    wrong = settings.model_copy(update={"check_severities": {"volume": "off"}})
    with pytest.raises(
        SettingsError, match="SEVERITY names no such check: volume; there are nothing_loaded, "
    ):
        run(date(2026, 1, 1), settings=wrong, client=client)
