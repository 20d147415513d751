"""A dry run plans what to read, load and replace. It writes nothing and needs no cluster."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
import s3fs
from distributed import Client
from sqlalchemy import Engine

from orders_dask import Plan, backfill, run
from orders_dask.settings import Settings
from tests.support.builders import DAY, lines, order, zipped
from tests.support.commands import orders_dask
from tests.support.types import Put, Query


def test_a_first_run_is_planned_without_a_client_and_nothing_is_written(
    settings: Settings, query: Query, put: Put
) -> None:
    content = [lines(order(1)), lines(order(2), order(3))]
    for number, text in enumerate(content):
        put(f"dump/{number}.ndjson", text)
    planned = run(DAY, settings=settings, dry_run=True)
    size = sum(map(len, content))
    assert (planned.outcome, planned.files) == ("planned", 2)
    assert planned.plan == Plan(
        files=2,
        bytes=size,
        tasks=1,
        staged=0,
        staged_orders=0,
        staged_lines=0,
        replaced_load_id=None,
        replaced_orders=0,
        replaced_lines=0,
    )
    assert planned.message == (
        f"Would read 2 files of {size} bytes in 1 tasks. "
        "Nothing is published that it would replace."
    )
    assert query("select count(*) from orders_ops.load_run") == [(0,)]
    assert not s3fs.S3FileSystem().exists(settings.stage_url)


def test_a_plan_counts_staged_parts_and_names_the_load_to_be_replaced(
    client: Client, settings: Settings, query: Query, put: Put
) -> None:
    small = settings.model_copy(update={"block_size": 200})
    put("dump/a.ndjson", lines(order(1), order(2)))
    first = run(DAY, settings=small, client=client)
    assert run(DAY, settings=small, dry_run=True).outcome == "up_to_date"
    put("dump/b.ndjson", lines(order(3)))
    planned = run(DAY, settings=small, dry_run=True)
    plan = planned.plan
    assert plan
    assert (plan.files, plan.staged_orders, plan.staged_lines) == (2, 2, 2)
    assert 0 < plan.staged < plan.tasks
    assert (plan.replaced_load_id, plan.replaced_orders, plan.replaced_lines) == (
        first.load_id,
        2,
        2,
    )
    assert f"Would replace load {first.load_id} with its 2 orders and 2 lines." in str(plan)
    assert "are staged already (2 orders, 2 lines) and " in str(plan)
    forced = run(DAY, settings=small, force=True, dry_run=True)
    assert forced.plan == plan
    assert query("select count(*) from orders_ops.load_run") == [(1,)]


def test_every_member_of_a_zip_counts(settings: Settings, warehouse: Engine, put: Put) -> None:
    members = {"a.ndjson": lines(order(1)), "b.ndjson": lines(order(2), order(3))}
    put("orders.zip", zipped(members))
    source = "zip://*.ndjson::" + settings.source.removesuffix("dump/") + "orders.zip"
    of_zip = settings.model_copy(update={"source": source})
    plan = run(DAY, settings=of_zip, dry_run=True).plan
    assert plan
    assert (plan.files, plan.bytes) == (2, len(lines(order(1), order(2), order(3))))


def test_a_backfill_is_planned_date_by_date_also_in_json(
    settings: Settings, warehouse: Engine, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = settings.source + "{run_date}/"
    put(f"dump/{DAY}/a.ndjson", lines(order(1)))
    dated = settings.model_copy(update={"source": source})
    results = backfill(DAY, DAY + timedelta(days=1), settings=dated, dry_run=True)
    assert [each.outcome for each in results] == ["planned", "missing"]

    monkeypatch.setenv("_AWS_S3_URL_SOURCE", source)
    arguments = ["backfill", "--from", str(DAY), "--to", str(DAY), "--dry-run", "--json"]
    out, err = orders_dask(*arguments)
    (result,) = json.loads(out)
    assert (result["outcome"], result["plan"]["tasks"], result["plan"]["staged"]) == (
        "planned",
        1,
        0,
    )
    assert "Dashboard" not in err
