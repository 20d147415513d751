"""Readers are not disturbed by publishes, rollbacks, prunes and unpublishes."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from datetime import date, timedelta
from typing import Any

import psycopg2
import pytest
from sqlalchemy import Engine, text

from orders_dask.jobs import maintenance
from orders_dask.jobs.prune import prune
from orders_dask.jobs.rollback import rollback
from orders_dask.jobs.unpublish import unpublish
from orders_dask.ledger import leases
from orders_dask.load.partitions import ensure_partitions
from orders_dask.publish.publish import publish
from orders_dask.sandbox import Sandbox
from orders_dask.settings import Settings
from tests.support.analysts import PG_DUMP, Analysts, Version
from tests.support.loads import verified
from tests.support.services import as_user

FIRST = date(2017, 10, 30)
DAYS = [FIRST + timedelta(days=n) for n in range(4)]  # two partitions
ROUNDS = 5


@pytest.fixture
def analysts(database: str, warehouse: Engine, reader: dict[str, str]) -> Analysts:
    """Return readers that know what they may see. Partitions exist, as `init` makes them ahead."""
    with warehouse.connect() as connection:
        for day in DAYS:
            ensure_partitions(connection, day)
    login = "{_PGSQL_USER}:{_PGSQL_PASS}".format(**reader)
    return Analysts(f"postgresql://{login}@{database.rpartition('@')[2]}")


@pytest.mark.slow
@pytest.mark.skipif(not PG_DUMP.exists(), reason="there is no pg_dump of the server's version")
def test_no_reader_sees_part_of_a_day_fails_or_waits(
    database: str,
    settings: Settings,
    services: Sandbox,
    warehouse: Engine,
    owner: Engine,
    analysts: Analysts,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    monkeypatch.setattr(maintenance, "READERS_TIMEOUT", 1.0)
    owner_settings = as_user(settings, services.environment)
    longest: dict[str, float] = {}

    def timed(name: str, action: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        began = time.monotonic()
        result = action(*arguments, **options)
        longest[name] = max(longest.get(name, 0), time.monotonic() - began)
        return result

    def publish_version(day: date, number: int) -> None:
        version = Version(day, number, orders=300 + 100 * (number % 7))
        analysts.expect(version)
        with leases.acquire_lease(warehouse, day) as lease:
            load_id = verified(lease, version.rows)
            timed("publish", publish, lease, load_id)

    for number, day in enumerate(DAYS, 1):
        publish_version(day, number)
    with (
        closing(psycopg2.connect(analysts.url, application_name="analyst")) as blocker,
        analysts.at_work(database) as found,
    ):
        # A transaction that keeps its locks throughout: only the drop of partitions waits for it.
        blocker.cursor().execute("select count(*) from orders.order_summary")
        for round_ in range(1, ROUNDS + 1):
            for index, day in enumerate(DAYS):
                publish_version(day, 10 * round_ + index)
            timed("rollback", rollback, DAYS[round_ % len(DAYS)], settings=settings)
        with owner.begin() as connection:
            connection.execute(text(_AGED))
        pruned = timed("prune", prune, 1, settings=owner_settings)
        # From here on partitions are dropped: that waits for readers, and they for it, briefly.
        waits, waited_for = found.longest_wait, set(found.waited_for)
        unpublished = timed("unpublish", unpublish, 1, settings=owner_settings)
        blocker.rollback()
        monkeypatch.setattr(maintenance, "READERS_TIMEOUT", 60.0)
        dropped = timed("drop of partitions", prune, 1, settings=owner_settings)
    record_property(
        "measured",
        f"{found.reads:,} reads, {len(found.wrong)} wrong; "
        f"longest wait of a reader for a lock {found.longest_wait:.3f} s, "
        f"longest read {found.longest_read:.3f} s; "
        + ", ".join(f"longest {name} {seconds:.3f} s" for name, seconds in longest.items()),
    )
    assert found.wrong == []
    assert found.reads > 1000
    assert waits == 0, "a reader waited"
    assert found.longest_wait < 0.1, "a reader waited for long while partitions were dropped"
    assert waited_for == set(), "somebody waited for a reader"
    assert pruned.loads > ROUNDS, "replaced loads are deleted"
    assert list(unpublished.run_dates) == DAYS
    assert unpublished.partitions == (), "somebody still could see them"
    assert len(dropped.partitions) == 2


_AGED = """
    update orders_ops.load_run set published_at = published_at - interval '2 days',
      unpublished_at = unpublished_at - interval '2 days',
      finished_at = finished_at - interval '2 days'
"""
