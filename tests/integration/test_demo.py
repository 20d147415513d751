"""`orders-dask demo --use-settings`: on a cluster, a database and a bucket that people gave it."""

from __future__ import annotations

from datetime import date

import pytest
from sqlalchemy import Engine

from tests.support.commands import orders_dask, start
from tests.support.loads import published
from tests.support.types import Put

DEMO = ("demo", "--use-settings", "--orders", "300", "--workers", "1")


@pytest.mark.long
def test_a_demo_in_empty_services_stays_and_may_be_repeated(
    environment: dict[str, str], owner_login: dict[str, str]
) -> None:
    for repeated in (False, True):
        with start(*DEMO, **owner_login) as demo:
            out, err = demo.communicate(timeout=180)
        assert demo.returncode == 0, err
        for day in ("2026-03-01", "2026-03-02", "2026-03-03"):
            assert f"{day}  {'up to date' if repeated else 'published: '}" in out
        assert "orders.sales_by_day" in out
        assert "of 2026-03-03 is held, and what was published stands: orders: " in out
    out, _ = orders_dask("status", environment=owner_login)
    assert out.count("published") == 3


@pytest.mark.parametrize(
    "name", ["dump/run_date=2026-03-01/orders-0001.ndjson", "dump/run_date=2026-10-01/a.ndjson"]
)
def test_a_demo_overwrites_no_dump(environment: dict[str, str], put: Put, name: str) -> None:
    put(name, b"{}\n")
    _, err = orders_dask(*DEMO, code=2)
    assert name in err


@pytest.mark.parametrize("run_date", [date(2026, 3, 1), date(2026, 10, 1)])
def test_a_demo_touches_no_database_with_other_loads(warehouse: Engine, run_date: date) -> None:
    published(warehouse, run_date, {})
    _, err = orders_dask(*DEMO, code=2)
    assert f"has a load of {run_date} that is no demo's" in err


def test_a_demo_takes_the_settings_or_a_folder_for_its_sandbox(
    environment: dict[str, str],
) -> None:
    _, err = orders_dask(*DEMO, "--data", "there", code=2)
    assert "Give --data or --use-settings" in err
