"""A command sends its spans to an OpenTelemetry collector, and never waits long for it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from sqlalchemy import Engine

from orders_dask.ledger.timings import STEPS
from orders_dask.monitoring.telemetry import FLUSH_SECONDS
from orders_dask.settings import Settings
from tests.support.builders import DAY, lines, order
from tests.support.commands import start
from tests.support.receivers import Receiver, attributes_of, decode_spans, receiver, spans_of
from tests.support.types import Put

TO_DAY = ("--from", str(DAY), "--to", str(DAY), "--workers", "1")
OF_CLIENT = [step for step in STEPS if step not in ("normalise", "stage")]
"""Steps of the client: decode, normalise and stage are one there."""


@pytest.fixture
def collector() -> Iterator[Receiver]:
    """Yield a running collector."""
    with receiver(decode_spans) as server:
        yield server


def call(*arguments: str, code: int, **environment: str) -> tuple[str, str]:
    process = start(*arguments, **environment)
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    return out, err


def below(parent: Span, spans: list[Span]) -> list[Span]:
    """Return the spans below one, in the order of their begin."""
    found = [span for span in spans if span.parent_span_id == parent.span_id]
    return sorted(found, key=lambda span: span.start_time_unix_nano)


def test_a_command_is_a_span_with_its_run_dates_and_their_steps_below(
    settings: Settings, warehouse: Engine, put: Put, collector: Receiver
) -> None:
    put("dump/a.ndjson", lines(*(order(number) for number in range(1, 40))))
    trace_id, parent_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    out, _ = call(
        *("run", "--run-date", str(DAY), "--json"),
        code=0,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        TRACEPARENT=f"00-{trace_id}-{parent_id}-01",
        ORDERS_DASK_BLOCK_SIZE="1kB",  # several splits: no small run date
    )
    result = json.loads(out)
    assert collector.paths == {"/v1/traces"}
    spans = spans_of(collector)
    assert {span.trace_id.hex() for span in spans} == {trace_id}
    [command] = [span for span in spans if span.name == "orders-dask run"]
    assert command.parent_span_id.hex() == parent_id
    [run_date] = below(command, spans)
    assert run_date.name == "run date"
    assert attributes_of(run_date) == {
        "run_date": str(DAY),
        "outcome": "published",
        "load_id": result["load_id"],
        "files": 1,
        "orders": 39,
        "lines": 39,
        "superseded": 0,
        "rejected": 0,
    }
    assert [span.name for span in below(run_date, spans)] == OF_CLIENT
    decode = attributes_of(below(run_date, spans)[OF_CLIENT.index("decode")])
    assert decode["tasks"] > 1
    assert decode["orders"] == 39
    assert decode["bytes"] > 0
    assert {span.status.code for span in spans} == {Status.STATUS_CODE_UNSET}
    resource = collector.received[0].resource_spans[0].resource
    names = {each.key: each.value.string_value for each in resource.attributes}
    assert names["service.name"] == "orders_dask"


def test_a_run_date_that_is_refused_is_an_error_with_its_type_and_no_text(
    settings: Settings, warehouse: Engine, put: Put, collector: Receiver
) -> None:
    bad = '{"id": "secret@example.org"}'
    put("dump/a.ndjson", lines(order(1), *[bad] * 20))
    call(
        *("backfill", *TO_DAY),
        code=3,
        OTEL_TRACES_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector.url}/v1/traces",
        OTEL_SERVICE_NAME="shop",
    )
    spans = spans_of(collector)
    [together] = [span for span in spans if span.name == "run dates"]
    assert [span.name for span in below(together, spans)] == ["load", "run date"]
    [run_date] = [span for span in spans if span.name == "run date"]
    found = attributes_of(run_date)
    assert (found["outcome"], found["error.type"]) == ("refused", "DataRefused")
    assert found["load_id"] > 0
    assert run_date.status.code == Status.STATUS_CODE_ERROR
    assert run_date.status.message == ""
    assert not any(span.events for span in spans), "an event would have the message"
    [command] = [span for span in spans if span.name == "orders-dask backfill"]
    assert command.status.code == Status.STATUS_CODE_ERROR
    assert attributes_of(command)["exit_code"] == 3
    text = str(collector.received)
    assert "secret" not in text
    assert "shop" in text


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_TRACES_EXPORTER": "none"},
    ],
    ids=str,
)
def test_nothing_is_sent_where_it_is_not_asked_for(
    settings: Settings,
    warehouse: Engine,
    put: Put,
    collector: Receiver,
    variables: dict[str, str],
) -> None:
    put("dump/a.ndjson", lines(order(1)))
    if variables:
        variables = variables | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    _, err = call("backfill", *TO_DAY, "--dry-run", code=0, **variables)
    assert collector.received == []
    assert "telemetry" not in err.lower()


LONG_KINDS = [pytest.param(kind, marks=pytest.mark.long) for kind in ("refused", "broken")]


@pytest.mark.parametrize("kind", ["silent", *LONG_KINDS])
def test_a_collector_that_does_not_answer_is_a_warning_and_little_time(
    settings: Settings, warehouse: Engine, put: Put, collector: Receiver, kind: str
) -> None:
    put("dump/a.ndjson", lines(order(1)))
    collector.status = 503
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = {"refused": 1, "silent": silent.getsockname()[1], "broken": collector.server_port}
        began = time.monotonic()
        out, err = call(
            *("backfill", *TO_DAY, "--dry-run"),
            code=0,
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://user:hidden@127.0.0.1:{port[kind]}",
        )
    assert time.monotonic() - began < FLUSH_SECONDS + 30, "a command starts within 10 s"
    assert "planned" in out
    warnings = [line for line in err.splitlines() if "OpenTelemetry" in line]
    assert 1 <= len(warnings) <= 2, err
    assert "hidden" not in err
    assert "Traceback" not in err


def test_a_wrong_variable_is_one_warning(settings: Settings, warehouse: Engine, put: Put) -> None:
    put("dump/a.ndjson", lines(order(1)))
    _, err = call("backfill", *TO_DAY, "--dry-run", code=0, OTEL_TRACES_EXPORTER="no-such")
    [warning] = [line for line in err.splitlines() if "OpenTelemetry" in line]
    assert "check" in warning or "can't be configured" in warning
    assert "no-such" not in warning, "a message of a plug-in may have a secret"


def test_the_sdk_is_not_imported_where_it_is_not_asked_for() -> None:
    code = (
        "import sys; from orders_dask.monitoring import telemetry\n"
        "with telemetry.command_span('a'): telemetry.describe(run_date='b')\n"
        "print([m for m in sys.modules if m.startswith('opentelemetry')])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
