"""A run tells OpenLineage what it read and wrote, and is never stopped or delayed much by that."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from orders_dask.contract.order_tables import FACTS
from orders_dask.monitoring.lineage_client import WAIT_SECONDS
from orders_dask.settings import Settings
from tests.support.builders import DAY, lines, order
from tests.support.commands import start
from tests.support.openlineage import problems
from tests.support.receivers import Receiver, receiver
from tests.support.types import Put, Query
from tests.support.waiting import until

OF_DAY = ("run", "--run-date", str(DAY), "--workers", "1")
REFUND = {
    "id": 5,
    "created_at": "2026-10-01T10:00:00+02:00",
    "refund_line_items": [{"id": 6, "line_item_id": 10, "quantity": 1, "subtotal": "1.00"}],
}


@pytest.fixture
def server() -> Iterator[Receiver]:
    """Yield a running receiver of events."""
    with receiver() as running:
        yield running


def call(*arguments: str, code: int, **environment: str) -> str:
    process = start(*arguments, **environment)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    return err


def states(events: list[dict[str, Any]]) -> list[str]:
    for event in events:
        assert problems(event) == []
    assert len({event["run"]["runId"] for event in events}) <= 1
    return [event["eventType"] for event in events]


def test_a_published_load_has_its_files_tables_and_rows(
    settings: Settings, warehouse: Engine, query: Query, put: Put, server: Receiver
) -> None:
    put("dump/a.ndjson", lines(order(1, refunds=[REFUND]), order(2)))
    put("dump/b.ndjson", lines(order(3), order(3, updated_at="2026-10-01T11:00:00+02:00")))
    call(*OF_DAY, code=0, OPENLINEAGE_URL=server.url, OPENLINEAGE_NAMESPACE="shops")
    assert server.paths == {"/api/v1/lineage"}
    assert states(server.received) == ["START", "COMPLETE"]
    completed = server.received[1]
    assert completed["job"]["namespace"] == "shops"
    assert completed["job"]["name"] == f"{settings.pgsql_database}.load"

    [dump] = completed["inputs"]
    _, _, path = settings.source.partition("://")
    bucket, _, key = path.partition("/")
    assert (dump["namespace"], dump["name"]) == (f"s3://{bucket}", key.rstrip("/"))
    assert dump["inputFacets"]["inputStatistics"]["rowCount"] == 4
    files = query(
        "select name, fingerprint, etag, bytes from orders_ops.load_file"
        " join orders_ops.load_run using (load_id) order by 1"
    )
    assert dump["inputFacets"]["subset"]["inputCondition"]["locations"] == [f[0] for f in files]
    assert dump["facets"]["version"]["datasetVersion"] == files[0][1]
    assert dump["facets"]["orders_dask_files"]["files"] == [
        {"name": name, "etag": etag, "bytes": size} for name, _, etag, size in files
    ]

    rows = {
        output["name"]: output["outputFacets"]["outputStatistics"]["rowCount"]
        for output in completed["outputs"]
        if output.get("outputFacets")
    }
    numbers = {"fact_order": 3, "fact_order_line": 3, "fact_refund": 1, "fact_refund_line": 1}
    assert rows == {
        f"{settings.pgsql_database}.orders.{fact.name}": numbers.get(fact.name, 0) for fact in FACTS
    }
    assert {output["namespace"] for output in completed["outputs"]} == {
        f"postgres://{settings.pgsql_hostname}:{settings.pgsql_port}"
    }
    for output in completed["outputs"]:
        _, schema, table = output["name"].split(".")
        columns = query(
            "select column_name from information_schema.columns where table_schema = :schema"
            " and table_name = :table order by ordinal_position",
            schema=schema,
            table=table,
        )
        assert [f["name"] for f in output["facets"]["schema"]["fields"]] == [c[0] for c in columns]
    everything = json.dumps(server.received)
    assert settings.pgsql_pass.get_secret_value() not in everything
    assert settings.pgsql_user not in everything

    call(*OF_DAY, code=0, OPENLINEAGE_URL=server.url)
    assert len(server.received) == 2, "a run date that is up to date is no load"


def test_a_refused_load_fails_with_a_message_that_quotes_nothing(
    settings: Settings, warehouse: Engine, put: Put, server: Receiver
) -> None:
    put("dump/a.ndjson", lines(order(1), *['{"id": "secret@example.org"}'] * 20))
    call(*OF_DAY, code=3, OPENLINEAGE_URL=server.url)
    assert states(server.received) == ["START", "FAIL"]
    error = server.received[1]["run"]["facets"]["errorMessage"]
    assert "rejected" in error["message"]
    assert "stackTrace" not in error
    assert server.received[1]["outputs"] == []
    assert "secret" not in json.dumps(server.received)


@pytest.mark.long
def test_a_held_load_fails_with_a_message_that_quotes_nothing(
    settings: Settings, warehouse: Engine, put: Put, server: Receiver, tmp_path: Path
) -> None:
    (tmp_path / "own.sql").write_text(
        "-- message: secret {order_id}\nselect order_id from fact_order"
    )
    put("dump/a.ndjson", lines(order(1)))
    call(*OF_DAY, code=5, OPENLINEAGE_URL=server.url, ORDERS_DASK_CHECKS=str(tmp_path))
    assert states(server.received) == ["START", "FAIL"]
    message = server.received[1]["run"]["facets"]["errorMessage"]["message"]
    assert message.startswith("A check holds load ")
    call("accept", "--run-date", str(DAY), code=0, OPENLINEAGE_URL=server.url)
    accepted = server.received[2:]
    assert states(accepted) == ["START", "COMPLETE"], "a run of its own"
    assert accepted[1]["inputs"][0]["name"] == server.received[0]["inputs"][0]["name"]
    assert accepted[1]["inputs"][0]["inputFacets"] == {
        **server.received[0]["inputs"][0]["inputFacets"],
        "inputStatistics": accepted[1]["inputs"][0]["inputFacets"]["inputStatistics"],
    }
    assert "secret" not in json.dumps(server.received)


@pytest.mark.long
def test_a_replay_is_a_load_of_the_same_dump(
    settings: Settings, warehouse: Engine, owner: Engine, put: Put, server: Receiver
) -> None:
    put("dump/a.ndjson", lines(order(1), order(2, id="none")))
    call(*OF_DAY, code=0)
    with owner.begin() as connection:
        fixed = text("update orders_ops.rejected_record set corrected_raw = :text")
        connection.execute(fixed, {"text": json.dumps(order(2))})
    replay = ("rejects", "replay", "--run-date", str(DAY), "--workers", "1")
    call(*replay, code=0, OPENLINEAGE_URL=server.url)
    assert states(server.received) == ["START", "COMPLETE"]
    [order_table] = [o for o in server.received[1]["outputs"] if o["name"].endswith(".fact_order")]
    assert order_table["outputFacets"]["outputStatistics"]["rowCount"] == 2
    [dump] = server.received[1]["inputs"]
    assert dump["inputFacets"]["inputStatistics"]["fileCount"] == 1


@pytest.mark.long
def test_a_load_that_is_stopped_is_aborted(
    settings: Settings, warehouse: Engine, owner: Engine, put: Put, server: Receiver
) -> None:
    put("dump/a.ndjson", lines(order(1)))
    with owner.begin() as connection:
        connection.execute(text("lock table orders_ops.load_part in access exclusive mode"))
        process = start(*OF_DAY, OPENLINEAGE_URL=server.url)
        until(lambda: server.received != [], 60, "the load did not begin")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert states(server.received) == ["START", "ABORT"]


def test_events_may_go_to_a_file(
    settings: Settings, warehouse: Engine, put: Put, tmp_path: Path
) -> None:
    put("dump/a.ndjson", lines(order(1)))
    file = tmp_path / "events"
    transport = {"type": "file", "log_file_path": str(file), "append": True}
    call(*OF_DAY, code=0, OPENLINEAGE__TRANSPORT=json.dumps(transport))
    events = [json.loads(line) for line in file.read_text().splitlines()]
    assert states(events) == ["START", "COMPLETE"]


LONG_KINDS = [pytest.param(kind, marks=pytest.mark.long) for kind in ("refused", "wrong")]


@pytest.mark.parametrize("kind", ["broken", *LONG_KINDS])
def test_a_receiver_that_takes_nothing_is_a_warning_and_little_time(
    settings: Settings, warehouse: Engine, put: Put, server: Receiver, kind: str
) -> None:
    put("dump/a.ndjson", lines(order(1)))
    server.status = 500
    url = {"refused": "http://user:hidden@127.0.0.1:1", "broken": server.url, "wrong": "hidden"}
    began = time.monotonic()
    err = call(*OF_DAY, code=0, OPENLINEAGE_URL=url[kind])
    assert time.monotonic() - began < WAIT_SECONDS + 60, "a run takes some 15 s on a busy machine"
    [warning] = [line for line in err.splitlines() if "OpenLineage" in line]
    assert f"load 1 of {DAY}" in warning
    assert "hidden" not in err
    assert "Traceback" not in err
    assert "Retrying" not in err
