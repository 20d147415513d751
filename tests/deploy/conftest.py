"""Dumps of several days."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import s3fs

from orders_dask.sandbox import Sandbox
from tests.support.builders import lines, order


@pytest.fixture
def daily(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the test's settings, with a folder a day as source."""
    environment["_AWS_S3_URL_SOURCE"] += "run_date={run_date}/"
    monkeypatch.setenv("_AWS_S3_URL_SOURCE", environment["_AWS_S3_URL_SOURCE"])
    return environment


@pytest.fixture
def owner(services: Sandbox, daily: dict[str, str]) -> dict[str, str]:
    """Return the test's settings, with the owner of the tables as user."""
    login = {name: services.environment[name] for name in ("_PGSQL_USER", "_PGSQL_PASS")}
    return daily | login


@pytest.fixture
def put_days(daily: dict[str, str]) -> Callable[..., None]:
    """Return a function that writes orders into the dump of each day, one by default."""

    def put(*days: str, orders: int = 1) -> None:
        bucket = s3fs.S3FileSystem(skip_instance_cache=True)
        for number, day in enumerate(days, start=1):
            folder = daily["_AWS_S3_URL_SOURCE"].format(run_date=day)
            content = lines(*(order(number * orders + n, "12.00") for n in range(orders)))
            bucket.pipe_file(f"{folder}orders.ndjson", content)

    return put


@pytest.fixture
def last_seven() -> list[str]:
    """Return the seven days up to yesterday, in UTC."""
    today = datetime.now(UTC).date()
    return [str(today - timedelta(days=back)) for back in range(7, 0, -1)]
