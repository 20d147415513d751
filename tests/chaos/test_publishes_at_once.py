"""Concurrent publishes of run dates that write the same dimension rows never deadlock."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import date
from threading import Barrier

import pytest
from sqlalchemy import text

from orders_dask.ledger.leases import Lease, acquire_lease
from orders_dask.publish.publish import precompute, publish
from tests.chaos.environment import ChaosEnvironment
from tests.support import loads

pytestmark = pytest.mark.chaos

DAYS = [date(2027, 1, day) for day in range(1, 11)]
ROUNDS = 5
EMAILS = "select distinct email from orders.dim_customer where customer_id >= :key"
KEYS = range(1_000_001, 1_000_301)


def test_publishes_of_many_dates_with_the_same_dimension_keys_never_deadlock(
    chaos: ChaosEnvironment,
) -> None:
    chaos.reset()
    warehouse = chaos.engine()

    def rows(day: date, round_number: int) -> dict[str, loads.Rows]:
        keys = KEYS if day.day % 2 else KEYS[::-1]
        email = f"{day} {round_number}"
        return {
            "fact_order": [{"order_id": key, "created_at": None} for key in keys],
            "dim_customer": [{"customer_id": key, "email": email} for key in keys],
            "dim_location": [{"location_id": key} for key in keys],
        }

    def published(lease: Lease, load_id: int, together: Barrier) -> None:
        plan = precompute(warehouse, lease.run_date, load_id)
        together.wait()
        publish(lease, load_id, plan)

    for round_number in range(ROUNDS):
        with ExitStack() as stack, ThreadPoolExecutor(len(DAYS)) as pool:
            leases = [stack.enter_context(acquire_lease(warehouse, day)) for day in DAYS]
            made = [loads.verified(lease, rows(lease.run_date, round_number)) for lease in leases]
            together = Barrier(len(DAYS))
            list(pool.map(published, leases, made, [together] * len(DAYS)))
    with warehouse.connect() as connection:
        deadlocks = "select deadlocks from pg_stat_database where datname = current_database()"
        assert connection.scalar(text(deadlocks)) == 0
        emails = connection.scalars(text(EMAILS), {"key": KEYS[0]}).all()
        assert emails == [f"{DAYS[-1]} {ROUNDS - 1}"]
