"""What a run date costs in statements and requests is counted, and does not grow unnoticed.

The figures are those of docs/performance.md."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from typing import NamedTuple

import pytest
from s3fs import S3FileSystem
from sqlalchemy import Engine

from orders_dask.filesystem import filesystem
from orders_dask.jobs.backfill import backfill
from orders_dask.jobs.run import run
from orders_dask.load.connect import engine
from orders_dask.settings import Settings, load_settings
from orders_dask.synthetic import generate
from tests.support import REPOSITORY
from tests.support.builders import lines, order
from tests.support.proxy import Loop, PostgresProxy, S3Proxy
from tests.support.types import Put

FIRST = date(2026, 10, 1)
TABLE = re.compile(r"^\| (?P<what>[^|]+?) \|(?P<numbers>[ 0-9,|.]+)\|$", re.MULTILINE)
TOGETHER = 32


class Cost(NamedTuple):
    """What was counted between two moments, on average of the run dates."""

    statements: float
    transactions: float
    sessions: float
    puts: float
    gets: float
    listings: float


class Counts:
    """Counts what goes through the proxies."""

    def __init__(self, postgres: PostgresProxy, s3: S3Proxy) -> None:
        self.postgres, self.s3 = postgres, s3
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.postgres.statements.clear()
        self.s3.requests.clear()
        self.sessions = self.postgres.sessions

    def cost(self, run_dates: int = 1) -> Cost:
        """Return what was counted since the last call."""
        ends = Counter(s.strip(" ;").upper() for s in self.postgres.statements)
        listings = sum("list-type" in request for request in self.s3.requests)
        methods = Counter(request.partition(" ")[0] for request in self.s3.requests)
        cost = Cost(
            len(self.postgres.statements),
            ends["COMMIT"],
            self.postgres.sessions - self.sessions,
            methods["PUT"] + methods["POST"],
            methods["GET"] + methods["HEAD"] - listings,
            listings,
        )
        self.clear()
        return Cost(*(each / run_dates for each in cost))


@pytest.fixture
def counts(
    environment: dict[str, str], warehouse: Engine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Counts]:
    """Put proxies before the services, and count; this process does all."""
    servers = (
        int(environment["_PGSQL_PORT"]),
        int(environment["AWS_ENDPOINT_URL_S3"].split(":")[-1]),
    )
    loop = Loop()
    with (
        closing(loop),
        closing(PostgresProxy(loop, servers[0])) as postgres,
        closing(S3Proxy(loop, servers[1])) as s3,
    ):
        monkeypatch.setenv("_PGSQL_PORT", str(postgres.port))
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{s3.port}")
        monkeypatch.delitem(sys.modules, "distributed")
        forget_connections()
        yield Counts(postgres, s3)
    forget_connections()


def forget_connections() -> None:
    """Let nothing go on to use connections with S3 as they were before."""
    S3FileSystem.clear_instance_cache()
    type(filesystem("s3://bucket/")[0]).clear_instance_cache()


def promised() -> dict[str, Cost]:
    """Return the table of docs/performance.md."""
    page = (REPOSITORY / "docs" / "performance.md").read_text(encoding="utf-8")
    section = page.partition("### What a run date costs")[2].partition("\n#")[0]
    return {
        row["what"]: Cost(*(float(n) for n in row["numbers"].replace(",", "").split("|")[:6]))
        for row in TABLE.finditer(section)
    }


def check(what: str, cost: Cost) -> None:
    limits = promised()[what]
    grown = [
        f"{name} {now:g} > {limit:g}"
        for name, now, limit in zip(Cost._fields, cost, limits, strict=True)
        if now > limit
    ]
    assert not grown, f"{what} costs more than docs/performance.md says: {', '.join(grown)}"


@pytest.mark.parametrize("orders", [1, 400, 0])
def test_a_small_run_date_takes_few_statements_and_requests(
    orders: int, counts: Counts, put: Put
) -> None:
    put(f"dump/{FIRST}/a.ndjson", lines(*(order(number) for number in range(1, 1 + orders))))
    settings = dated()
    counts.clear()
    assert run(FIRST, settings=settings).orders == orders
    check(f"`run`, {orders:,} orders" if orders != 1 else "`run`, 1 order", counts.cost())
    assert run(FIRST, settings=settings).outcome == "up_to_date"
    if orders == 400:
        check("`run`, up to date", counts.cost())


def test_run_dates_that_go_together_share_what_it_takes(counts: Counts, put: Put) -> None:
    last = FIRST + timedelta(days=TOGETHER - 1)
    for number in range(TOGETHER):
        day = FIRST + timedelta(days=number)
        put(f"dump/{day}/a.ndjson", lines(*(order(400 * number + n) for n in range(1, 401))))
    settings = dated()
    counts.clear()
    ended = backfill(FIRST, last, settings=settings, max_parallel=1)
    assert {each.outcome for each in ended} == {"published"}
    check(f"`backfill`, one of {TOGETHER} of 400 orders", counts.cost(TOGETHER))


@pytest.mark.long
def test_a_large_run_date_takes_more_by_the_part(counts: Counts) -> None:
    settings = load_settings()
    source = generate(settings.source, start=FIRST, days=1, orders=100_000).source
    counts.clear()
    assert run(FIRST, settings=settings.model_copy(update={"source": source})).orders == 100_000
    check("`run`, 100,000 orders", counts.cost())


def dated() -> Settings:
    """Return the settings with the folder of each run date, and a session that is there."""
    settings = load_settings()
    with engine(settings).connect():
        return settings.model_copy(update={"source": f"{settings.source}{{run_date}}/"})
