"""The ledger records the metrics of each step, and `status --run-date` shows them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from distributed import Client
from sqlalchemy import Engine, text

from orders_dask.cost import Price
from orders_dask.jobs.run import run
from orders_dask.ledger.timings import STEPS, load_timings
from orders_dask.settings import Settings
from tests.support.builders import DAY, lines, order
from tests.support.commands import orders_dask
from tests.support.loads import published
from tests.support.types import Put


def test_each_step_of_a_run_has_its_seconds_and_those_with_bytes_their_bytes(
    client: Client, settings: Settings, warehouse: Engine, put: Put
) -> None:
    content = lines(*(order(number) for number in range(1, 40)))
    put("dump/a.ndjson", content)
    result = run(DAY, settings=settings, client=client)
    times = load_timings(warehouse, DAY)
    assert times
    assert (times.load_id, times.status, times.orders) == (result.load_id, "published", 39)
    steps = {each.step: each for each in times.steps}
    assert tuple(steps) == STEPS
    assert sum(each.share for each in times.steps) == pytest.approx(1)
    assert times.seconds == pytest.approx(result.seconds, abs=0.01)
    assert times.bytes == len(content)
    assert steps["decode"].megabytes == pytest.approx(len(content) / 1e6)
    assert {step for step in steps if steps[step].megabytes} == {"decode", "stage", "load"}
    on_workers = ("decode", "normalise", "stage", "resolve", "load")
    assert all((steps[step].cpu_seconds is not None) == (step in on_workers) for step in steps)
    assert times.cpu_seconds > 0

    large = settings.model_copy(update={"block_size": 1000})  # several splits: no small run date
    for _ in range(2):
        forced = run(DAY, settings=large, client=client, force=True)
        times = load_timings(warehouse, DAY)
        assert times
        assert times.load_id == forced.load_id
        assert times.seconds == pytest.approx(forced.seconds, abs=0.01)
    steps = {each.step: each for each in times.steps}
    assert "normalise" not in steps, "staged parts are neither decoded nor normalised"


def test_status_of_a_run_date_is_a_table_of_its_steps_with_the_bottleneck_below(
    client: Client, settings: Settings, warehouse: Engine, put: Put
) -> None:
    put("dump/a.ndjson", lines(order(1)))
    run(DAY, settings=settings, client=client)
    of_day = ("status", "--run-date", str(DAY))
    out, _ = orders_dask(*of_day)
    rows = [line.split()[0] for line in out.splitlines() if line.startswith(" ")]
    assert rows == ["step", *STEPS]
    assert "The bottleneck was " in out.splitlines()[-2]
    assert "PUT and " in out.splitlines()[-1]
    result = json.loads(orders_dask(*of_day, "--json")[0])
    assert [each["step"] for each in result["steps"]] == list(STEPS)


def test_a_load_has_its_cost_and_more_than_the_budget_warns(
    client: Client, settings: Settings, warehouse: Engine, put: Put
) -> None:
    content = lines(*(order(number) for number in range(1, 40)))
    put("dump/a.ndjson", content)
    prices: dict[Price, float] = {"gigabyte": 1e9, "put_1000": 1000, "get_1000": 1000}
    priced = settings.model_copy(update={"prices": prices, "budget": 1.0})
    run(DAY, settings=settings, client=client)  # what it leaves in the workers is theirs no more
    put("dump/a.ndjson", content + b"\n")
    result = run(DAY, settings=priced, client=client)
    cost = result.cost
    assert cost
    assert cost.bytes_read == len(content) + 1
    assert cost.money == cost.bytes_read + cost.put_requests + cost.get_requests
    assert result.warnings == (f"cost {cost.money:,.4f}, more than ORDERS_DASK_BUDGET of 1",)
    timings = load_timings(warehouse, DAY, prices)
    assert timings
    assert timings.cost == cost
    metrics = dict(run_metrics(warehouse))
    assert metrics["discover"]["put_requests"] >= 1, "the client lists the dump"
    assert metrics["decode"]["get_requests"] >= 1, "a worker reads it"
    assert metrics["stage"]["put_requests"] >= 2, "a part is a table and its record at least"
    forced = run(DAY, settings=settings, client=client, force=True).cost
    assert forced
    assert (forced.bytes_read, forced.money) == (0, None)


def run_metrics(warehouse: Engine) -> dict[str, Any]:
    """Return the step metrics of the latest load."""
    query = "select step_metrics from orders_ops.load_run order by load_id desc limit 1"
    with warehouse.connect() as connection:
        metrics: dict[str, Any] = connection.scalar(text(query))
    return metrics


def test_status_of_a_run_date_without_times_explains_it(
    warehouse: Engine, settings: Settings
) -> None:
    _, err = orders_dask("status", "--run-date", str(DAY), code=6)
    assert err == f"Error: Nothing was ever loaded for {DAY}: see `orders-dask status`.\n"
    published(warehouse, DAY, {"fact_order": [{"order_id": 1}]})
    out, _ = orders_dask("status", "--run-date", str(DAY))
    assert "nothing is known of its time" in out
