"""People are told once that a run date is not all right, and once that it is again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from orders_dask.alerts import send as sending
from orders_dask.alerts.send import Alert, send
from orders_dask.jobs.alert import alert_overdue, alert_results
from orders_dask.pipeline.results import RunResult
from orders_dask.settings import Settings
from tests.support.builders import DAY
from tests.support.types import Query

HELD = RunResult(DAY, "held", message="Load 2 is held.", exit_code=5)
PUBLISHED = RunResult(DAY, "published", load_id=3)


class Receiver(HTTPServer):
    """Keeps the JSON that it gets, and answers with `status`."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.status = 200
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.received.append(json.loads(self.rfile.read(length)))
        self.send_response(self.server.status)
        if self.server.status == 302:
            self.send_header("Location", "/login")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Yield a running receiver."""
    with Receiver() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def settings(settings: Settings, receiver: Receiver) -> Settings:
    """Return settings that name the receiver."""
    url = SecretStr(f"http://127.0.0.1:{receiver.server_port}/services/T0/secret-token")
    return settings.model_copy(update={"alert_url": url})


def texts(receiver: Receiver) -> list[str]:
    return [each["text"] for each in receiver.received]


def test_each_alert_is_sent_once_and_so_is_the_recovery(
    receiver: Receiver, settings: Settings, warehouse: Engine
) -> None:
    for results in ([HELD], [HELD], [PUBLISHED], [PUBLISHED], [HELD]):
        alert_results(results, settings)
    assert texts(receiver) == [
        f"Orders of {DAY}: held\nLoad 2 is held.",
        f"Orders of {DAY}: recovered, was held\nIt is published.",
        f"Orders of {DAY}: held\nLoad 2 is held.",
    ]
    assert receiver.received[0] == {
        "text": texts(receiver)[0],
        "run_date": str(DAY),
        "kind": "held",
        "message": "Load 2 is held.",
        "recovered": False,
    }


def test_a_discarded_load_ends_the_alert_on_it_alone(
    receiver: Receiver, settings: Settings, warehouse: Engine
) -> None:
    alert_results([HELD], settings)
    alert_overdue([DAY], settings)
    alert_results([RunResult(DAY, "discarded")], settings)
    alert_results([RunResult(DAY, "locked", exit_code=4)], settings)
    assert texts(receiver)[2:] == [f"Orders of {DAY}: recovered, was held\nThe load was discarded."]


def test_a_date_has_not_recovered_while_another_load_of_it_is_held(
    receiver: Receiver, settings: Settings, query: Query, owner: Engine
) -> None:
    alert_results([HELD], settings)
    with owner.begin() as connection:
        connection.execute(
            text(
                "insert into orders_ops.load_run (run_date, status, source, fingerprint, run_by)"
                " values (:day, 'held', '', '', '')"
            ),
            {"day": DAY},
        )
    alert_results([RunResult(DAY, "up_to_date")], settings)
    assert len(receiver.received) == 1
    assert query("select recovered_at from orders_ops.alert") == [(None,)]


def test_the_alert_of_a_late_date_has_its_time(
    receiver: Receiver, settings: Settings, warehouse: Engine
) -> None:
    alert_overdue([DAY, DAY + timedelta(days=1)], settings)
    alert_overdue([DAY], settings)
    assert texts(receiver) == [
        f"Orders of {day}: late\nIt was due at 12:00 of the next day, and is not published: see "
        "`orders-dask status`."
        for day in (DAY, DAY + timedelta(days=1))
    ]


def test_an_alert_that_nobody_took_is_a_warning_without_the_url_and_sent_later(
    receiver: Receiver, settings: Settings, warehouse: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status = 500
    alert_results([HELD], settings)
    assert caplog.messages == [f"Orders of {DAY}: held could not be told to 127.0.0.1 (500)."]
    receiver.status = 200
    alert_results([HELD], settings)
    assert len(receiver.received) == 2
    nobody = settings.model_copy(update={"alert_url": SecretStr("http://127.0.0.1:1/secret-token")})
    assert not send(Alert(DAY, "held", ""), nobody)
    assert "secret-token" not in caplog.text + repr(settings)


def test_without_a_database_all_alerts_are_sent(receiver: Receiver, settings: Settings) -> None:
    unreachable = settings.model_copy(update={"pgsql_port": 1})
    alert_results([RunResult(DAY, "failed", message="PostgreSQL is down.")], unreachable)
    assert texts(receiver) == [f"Orders of {DAY}: failed\nPostgreSQL is down."]


def test_another_held_load_is_a_new_alert(
    receiver: Receiver, settings: Settings, warehouse: Engine
) -> None:
    alert_results([HELD], settings)
    other = replace(HELD, message="Load 3 is held.")
    for _ in range(2):
        alert_results([other], settings)
    assert texts(receiver)[1:] == [f"Orders of {DAY}: held\nLoad 3 is held."]


def test_an_alert_that_nobody_took_is_sent_with_whatever_command_comes_next(
    receiver: Receiver, settings: Settings, warehouse: Engine
) -> None:
    receiver.status = 500
    alert_results([HELD], settings)
    receiver.status = 200
    alert_results([RunResult(DAY + timedelta(days=1), "published")], settings)
    assert texts(receiver)[1:] == [f"Orders of {DAY}: held\nLoad 2 is held."]


def test_a_receiver_that_is_down_is_asked_once_by_a_command_however_much_is_to_be_sent(
    receiver: Receiver, settings: Settings, warehouse: Engine
) -> None:
    wrong = [replace(HELD, run_date=DAY + timedelta(days=n)) for n in range(3)]
    receiver.status = 500
    alert_results(wrong, settings)
    assert len(receiver.received) == 1
    receiver.status = 200
    alert_results([RunResult(DAY - timedelta(days=1), "published")], settings)
    assert len(receiver.received) == 1 + len(wrong)


def test_a_redirect_takes_no_alert(
    receiver: Receiver, settings: Settings, warehouse: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status = 302
    alert_results([HELD], settings)
    assert "could not be told to 127.0.0.1 (302)" in caplog.text
    receiver.status = 200
    alert_results([HELD], settings)
    assert len(receiver.received) == 2


def test_pagerduty_gets_an_incident_and_its_end(
    receiver: Receiver,
    settings: Settings,
    warehouse: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "PAGERDUTY", "127.0.0.1")
    keyed = settings.model_copy(update={"alert_key": SecretStr("routing")})
    alert_results([HELD], keyed)
    alert_results([PUBLISHED], keyed)
    opened, ended = receiver.received
    assert (opened["event_action"], ended["event_action"]) == ("trigger", "resolve")
    assert opened["dedup_key"] == ended["dedup_key"] == f"orders_dask {DAY} held"
    assert opened["routing_key"] == "routing"
    assert opened["payload"]["severity"] == "error"
    assert opened["payload"]["summary"] == f"Orders of {DAY}: held. Load 2 is held."


def test_a_command_gets_the_alert_as_json_and_its_failure_is_a_warning(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "alert"
    copy = f"import sys; open({str(file)!r}, 'w').write(sys.stdin.read())"
    configured = settings.model_copy(
        update={"alert_url": None, "alert_command": f'{sys.executable} -c "{copy}"'}
    )
    assert send(Alert(DAY, "refused", "Too many."), configured)
    assert json.loads(file.read_text()) == {
        "title": f"Orders of {DAY}: refused",
        "run_date": str(DAY),
        "kind": "refused",
        "message": "Too many.",
        "recovered": False,
    }
    for command, reason in (("/nowhere", "FileNotFoundError"), ("false", "ended with 1")):
        assert not send(
            Alert(DAY, "late", ""), configured.model_copy(update={"alert_command": command})
        )
        assert reason in caplog.messages[-1]
